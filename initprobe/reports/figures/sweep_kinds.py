"""The figures of published papers, of all runs of a sweep: names, contents, and how to draw them.

A new one is a module with a function `figure(title, runs, look)` and an entry in `KINDS`. The module is loaded only to
draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.config.probe_config import ProbeConfig
    from initprobe.reports.figures.look import Look
    from initprobe.reports.sweep_table import Entry
    from initprobe.results.run import ProbeResult
    from initprobe.results.spectrum import Spectrum

# What each kind shows; the module of this package with the same name draws it.
KINDS: Mapping[str, str] = {
    "maps": "The length map and the correlation map, measured points beside theory (Poole et al. 2016).",
    "singular_values": "The singular values of the Jacobian over their predicted density (Pennington et al. 2017).",
    "length_spread": "The variance over draws of the mean square against the sum of 1/width (Hanin & Rolnick 2018).",
    "layer_histograms": "Histograms of h and dL/dh, a curve per layer (Glorot & Bengio 2010).",
    "loss_curves": "The loss over the steps of training, a curve per run (He et al. 2015).",
}


@dataclass(frozen=True)
class SweepRun:
    """A finished run of a sweep, and what a figure may read of it.

    Attributes:
        entry: the run in the table, with its axes.
        config: the experiment.
        read: reads the whole result.
        spectrum: measures the singular values of the same networks.
    """

    entry: Entry
    config: ProbeConfig
    read: Callable[[], ProbeResult]
    spectrum: Callable[[], Spectrum]


def draw(kind: str, title: str, runs: Sequence[SweepRun], look: Look | None = None) -> Figure:
    """Draw one of `KINDS`.

    Args:
        kind: its name.
        title: above the figure.
        runs: of a sweep.
        look: size, title, panels per row and style; None for those of a screen.

    Raises:
        ConfigError: the runs lack what the figure shows.
    """
    make = import_module(f"initprobe.reports.figures.{kind}").figure
    drawn: Figure = make(title, runs, look) if look else make(title, runs)
    return drawn
