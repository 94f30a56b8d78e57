"""The page of two sets of results: what changed, and both sides of each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from initprobe.formatting import NOTHING, visible
from initprobe.reports.html_charts import Chart, Line
from initprobe.reports.html_outcome import Outcome
from initprobe.reports.html_page import meaning, page
from initprobe.reports.html_tables import table, text_columns
from initprobe.results.digest import Digest
from initprobe.results.summary import Environment

_MOST_STILL = 20  # runs with charts on a page without scripts


@dataclass(frozen=True)
class Side(Outcome):
    """A run on one side.

    Attributes:
        state: `done`, or why there is no result; `missing` where this side does not have the run.
        digest: its numbers; None where there is no result.
        environment: versions and machine; None where there is no result.
        name: of the net, where the two sides are different nets; else empty.
    """

    state: str
    digest: Digest | None
    environment: Environment | None = None
    name: str = ""

    @property
    def evidence(self) -> str:
        """The evidence of its worst finding; may be empty."""
        return (self.digest and self.digest.evidence) or ""

    def data(self) -> dict[str, Any]:
        """What the script shows; variances are log10."""
        digest = self.digest
        return {
            "words": visible(self.verdict_words),
            "level": self.level,
            "evidence": visible(self.evidence),
            "name": visible(self.name),
            "output": digest and digest.output,
            "output_zeros": digest and digest.output_zeros,
            "gradient": digest and digest.gradient,
            "gradient_zeros": digest and digest.gradient_zeros,
        }


@dataclass(frozen=True)
class BothSides:
    """A run before and now.

    Attributes:
        name: of the run.
        old: before.
        new: now.
        changes: one line for each change beyond its tolerance.
    """

    name: str
    old: Side
    new: Side
    changes: Sequence[str]

    def charts(self) -> Iterator[Chart]:
        """Log10 variances of h and dL/dh, both sides in one chart."""
        for key, title, name in (
            ("output", "Variance of the output h", "output.variance"),
            ("gradient", "Variance of the gradient dL/dh", "output_gradient.variance"),
        ):
            sides = (("OLD", self.old.digest), ("NEW", self.new.digest))
            lines = [(word, getattr(digest, key), getattr(digest, f"{key}_zeros")) for word, digest in sides if digest]
            depth = max((len(values) for _, values, _ in lines), default=1)
            padded = [Line.of_layers(*line, depth) for line in lines]
            chart = Chart(key, title, "layer", range(1, depth + 1), padded, meaning=meaning(name))
            if not chart.is_empty:
                yield chart


_CHANGES = ("run", "number", "layer", "was", "is", "change")
_PAIRS = ("run", "OLD", "NEW", "changes")


def diff_page(
    headline: str, notes: Sequence[str], pairs: Sequence[BothSides], changes: Sequence[Sequence[str]], command: str
) -> str:
    """The report of a comparison as HTML.

    Args:
        headline: how many runs agree and differ.
        notes: why runs could not be compared.
        pairs: the runs of both sides.
        changes: rows of run, number, layer, old value, new value and size.
        command: the command line that compares again.
    """
    rows = [(pair.name, pair.old.verdict, pair.new.verdict, str(len(pair.changes) or NOTHING)) for pair in pairs]
    data = [
        {
            "name": visible(pair.name),
            "old": pair.old.data(),
            "new": pair.new.data(),
            "changes": list(map(visible, pair.changes)),
        }
        for pair in pairs
    ]
    changed = [pair for pair in pairs if pair.changes] or list(pairs)
    return page(
        "diff",
        {"pairs": data},
        title=visible(headline),
        notes=[visible(note) for note in notes],
        command=visible(command),
        changes=table(text_columns(_CHANGES), changes),
        table=table(text_columns(_PAIRS), rows),
        still=changed[:_MOST_STILL],
        left_out=len(changed) - len(changed[:_MOST_STILL]),
        environments=list(_environments(pairs)),
    )


def _environments(pairs: Sequence[BothSides]) -> Iterator[tuple[str, Environment]]:
    """Versions and machine of the first result on each side."""
    for word, sides in (("OLD", [pair.old for pair in pairs]), ("NEW", [pair.new for pair in pairs])):
        environment = next((side.environment for side in sides if side.environment), None)
        if environment is not None:
            yield word, environment
