"""The README's figures of papers: `python tests/support/paper_figures.py` redraws them, and keeps what they show."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from initprobe.probe.run import measured
from initprobe.reports.figures.style import render
from initprobe.reports.figures.sweep_kinds import SweepRun, draw
from initprobe.results.digest import Digest, digest
from initprobe.sweeps.figures import spectrum_of
from initprobe.sweeps.plan import load

GITHUB = Path(__file__).parents[2] / ".github"
NUMBERS = GITHUB / "papers.json"
# The kind of figure that the README shows of a config.
SHOWN = {"poole_2016": "maps", "pennington_2017": "singular_values"}


@dataclass(frozen=True)
class Entry:
    """A run as a store returns it."""

    axes: dict
    digest: Digest
    state: str = "done"
    error: str | None = None
    elapsed_s: float = 1.0
    result: object = field(default=None, repr=False)


def finished(run):
    """A run of a plan, done now; its spectrum is measured once."""
    result = measured(run.config)
    entry = Entry(dict(run.axes), digest(result), result=result)
    return SweepRun(entry, run.config, lambda: result, cache(lambda: spectrum_of(run.config)))


def swept(name, overrides=()):
    """The finished runs of a shipped config."""
    return [finished(run) for run in load(name, overrides).runs]


def numbers(name, run):
    """What the figure of a config shows of a run."""
    if SHOWN[name] == "maps":
        return [[layer.preactivation.rms, layer.correlation] for layer in run.read().layers]
    percentiles = [(stats.layer, stats.percentiles_log10) for stats in run.spectrum().end_to_end]
    return [[layer, values.p5, values.p50, values.p95] for layer, values in percentiles]


def redraw():
    """Run each config whole, and keep its figure and its numbers."""
    kept = {}
    for name, kind in SHOWN.items():
        runs = swept(name)
        (GITHUB / "figures" / f"{name}.png").write_bytes(render(draw(kind, name, runs), "png"))
        kept[name] = [numbers(name, run) for run in runs]
    NUMBERS.write_text(json.dumps(kept) + "\n")


if __name__ == "__main__":
    redraw()
