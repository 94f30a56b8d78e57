"""The gallery of symptoms: `python tests/support/gallery.py` writes it anew into .github/gallery.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from initprobe import ProbeResult, run
from initprobe.cli.commands.run import config_of

GALLERY = Path(__file__).parents[2] / ".github" / "gallery.md"
_SIZE = "--draws 1"
_HEAD = """# Symptom, command, verdict

Each command builds a small network with a fault that people meet. Each verdict is what the command prints. The file is
written by `python tests/support/gallery.py`, and the tests check it.

| symptom | command | verdict | fix |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Entry:
    """What a user sees, the options of a network that shows it, and the rule that names it; None for no finding."""

    symptom: str
    options: str
    rule: str | None

    def measured(self) -> ProbeResult:
        """The network of the entry."""
        return run(config_of(f"{self.options} {_SIZE}"), threads=1)

    def row(self) -> str:
        """The entry as a row of the table."""
        result = self.measured()
        found = {finding.rule: finding for finding in result.diagnosis}
        shown = found[self.rule] if self.rule else None
        fixes = [finding.fix for finding in result.diagnosis if finding.fix]
        verdict = f"{shown.severity}: {shown.name} from layer {shown.layer}" if shown else "signal survives"
        fix = f"`{fixes[0].replace('initprobe run ', '')}`" if fixes else "-"
        return f"| {self.symptom} | `initprobe run {self.options} {_SIZE}` | {verdict} | {fix} |"


ENTRIES = (
    Entry("The loss stays at ln(classes)", "--init normal:std=0.01 --act tanh --width 100", "vanishing-output"),
    Entry("All units learn the same", "--init constant:value=0.05 --act tanh --width 100", "symmetric"),
    Entry("The loss is NaN at the first step", "--init normal:std=3 --act relu --layers 60 --width 100", "overflow"),
    Entry("Outputs are -1 or 1, and training is slow", "--init normal:std=1 --act tanh --width 100", "saturated"),
    Entry("A deep ReLU network does not train", "--init xavier --act relu --layers 20 --width 100", "vanishing-output"),
    Entry("A deep sigmoid network does not train", "--init xavier --act sigmoid --width 100", "vanishing-gradient"),
    Entry(
        "Many units are never active",
        "--init he --act relu --bias-init constant:value=-2 --layers 4 --width 100",
        "dead-layer",
    ),
    Entry("All inputs give the same output", "--init he --act relu --layers 50 --width 100", "rank-collapse"),
    Entry("A residual network explodes", "--init he --act relu --residual --layers 40 --width 100", "exploding-output"),
    Entry("SELU does not normalize itself", "--init he --act selu --layers 30 --width 100", "exploding-gradient"),
    Entry(
        "Half of the draws of a narrow deep network fail", "--init he --act relu --layers 100 --width 16", "too-deep"
    ),
    Entry("Nothing is wrong", "--init he --act relu --width 100", None),
)


def text() -> str:
    """The gallery as Markdown."""
    return _HEAD + "".join(f"{row}\n" for row in _rows())


def _rows() -> Iterator[str]:
    yield from (entry.row() for entry in ENTRIES)


if __name__ == "__main__":
    GALLERY.write_text(text(), encoding="utf-8")
