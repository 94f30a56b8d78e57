"""The loss over the steps of training, a curve per run. He et al. 2015, arXiv:1502.01852, figures 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.formatting import factor
from initprobe.reports.figures.panel_grid import CYCLE, Key, PanelSizes, clipped, columns_of, make_grid
from initprobe.reports.figures.style import BLACK, DASHES, style
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.reports.figures.sweep_series import label, varying
from initprobe.results.run import ProbeResult

_MOST_CURVES = 14
# Steps that a point of the smooth curve averages over, as a share of all.
_WINDOW = 0.03
_WILD = 1.5  # times chance


def figure(title: str, runs: Sequence[SweepRun]) -> Figure:
    """Draw the loss of each run, pale by itself and dark as a running mean; depths get a panel each.

    Raises:
        ConfigError: a run was not trained, or there are too many.
    """
    if len(runs) > _MOST_CURVES:
        raise ConfigError(f"loss_curves draws at most {_MOST_CURVES} runs, and these are {len(runs)}; use --where")
    by_depth: dict[int, list[tuple[str, ProbeResult]]] = {}
    names = [name for name in varying([run.entry for run in runs]) if name != "layers"]
    for run in runs:
        result = run.read()
        if result.training is None:
            raise ConfigError("loss_curves needs runs with train_steps")
        by_depth.setdefault(len(result.layers), []).append((label(run.entry, names) or "the run", result))
    looks = {
        name: number for number, name in enumerate(dict.fromkeys(n for part in by_depth.values() for n, _ in part))
    }
    with style():
        first = runs[0].read()
        assert first.loss is not None and first.training is not None
        panels = PanelSizes(len(by_depth), columns_of(len(by_depth)), 6.2 if len(by_depth) == 1 else 3.9, 3.4)
        note = f"training is ours: plain SGD, rate {first.training.learning_rate:g}; pale: each step's batch"
        factors = {name: _factor_words(result) for part in by_depth.values() for name, result in part}
        grid = make_grid(f"{title}: {first.loss.name} while training", [note], panels, _keys(looks, factors))
        for index, (axes, (depth, part)) in enumerate(zip(grid.axes, sorted(by_depth.items()), strict=True)):
            _draw(axes, part, looks)
            axes.set_title(f"{depth} layers", fontsize=10)
            left, lowest = grid.outer(index)
            axes.set(xlabel="step" if lowest else "", ylabel="loss" if left else "")
        return grid.figure


def _look(number: int) -> dict[str, str]:
    dashes, color = divmod(number, len(CYCLE))
    return {"color": CYCLE[color], "ls": DASHES[dashes % len(DASHES)]}


def _factor_words(result: ProbeResult) -> str:
    """The factor of Var(z) per layer by theory, the reason that He et al. give; empty where theory has none."""
    variances = [layer.theory.preactivation_variance if layer.theory else None for layer in result.layers]
    first, last, steps = variances[0], variances[-1], len(variances) - 1
    return f"; theory: Var(z) {factor((last / first) ** (1 / steps))} per layer" if first and last and steps else ""


def _keys(looks: dict[str, int], words: dict[str, str]) -> list[Key]:
    keys: list[Key] = [(Line2D([], [], lw=2, **_look(at)), f"{name}{words[name]}") for name, at in looks.items()]  # type: ignore[arg-type]
    return [*keys, (Line2D([], [], color=BLACK, lw=1, ls=":"), "chance")]


def _draw(axes: Axes, part: Sequence[tuple[str, ProbeResult]], looks: dict[str, int]) -> None:
    diverged = []
    for name, result in part:
        assert result.training is not None and result.loss is not None
        losses = np.array(result.training.losses, float)
        if losses.size:
            axes.plot(losses, lw=0.7, alpha=0.3, color=_look(looks[name])["color"])
            axes.plot(*_smooth(losses), lw=1.8, **_look(looks[name]))  # type: ignore[arg-type]
        else:
            diverged.append(name)
        axes.axhline(result.loss.chance, color=BLACK, lw=1, ls=":")
        axes.set_ylim(0, _WILD * result.loss.chance)
    if diverged:
        note = clipped(f"no finite loss: {', '.join(diverged)}")
        axes.text(0.02, 0.03, note, transform=axes.transAxes, fontsize=8)
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)


def _smooth(losses: Array) -> tuple[Array, Array]:
    """Middles of windows of steps, and the mean loss in each, of at least one loss."""
    window = max(round(_WINDOW * len(losses)), 1)
    means = np.convolve(losses, np.ones(window) / window, mode="valid")
    return (window - 1) / 2 + np.arange(len(means)), means
