"""The page of two sets of results: what changed, and both sides of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from initprobe.formatting import NOTHING, visible
from initprobe.reports.html.outcome import Outcome
from initprobe.reports.html.page import page
from initprobe.reports.html.tables import table, text_columns
from initprobe.results.digest import Digest


@dataclass(frozen=True)
class Side(Outcome):
    """A run on one side.

    Attributes:
        state: `done`, or why there is no result; `missing` where this side does not have the run.
        digest: its numbers; None where there is no result.
    """

    state: str
    digest: Digest | None

    def data(self) -> dict[str, Any]:
        """What the script shows; variances are log10."""
        digest = self.digest
        return {
            "verdict": self.verdict,
            "level": self.level,
            "layer": digest and digest.layer,
            "words": (digest and digest.evidence) or "",
            "output": digest and digest.output,
            "gradient": digest and digest.gradient,
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
        {"name": visible(pair.name), "old": pair.old.data(), "new": pair.new.data(), "changes": list(pair.changes)}
        for pair in pairs
    ]
    return page(
        "diff",
        {"pairs": data},
        title=visible(headline),
        notes=[visible(note) for note in notes],
        command=visible(command),
        changes=table(text_columns(_CHANGES), changes),
        table=table(text_columns(_PAIRS), rows),
    )
