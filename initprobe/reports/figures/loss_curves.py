"""The loss over the steps of training, a curve per run. He et al. 2015, arXiv:1502.01852, figures 2 and 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.formatting import counted, factor
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import Key, PanelSizes, clipped, line_look, make_grid
from initprobe.reports.figures.style import BLACK, loss_limits, points, style
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.reports.figures.sweep_series import label, varying
from initprobe.results.run import ProbeResult

_MOST_CURVES = 14
# Steps that a point of the smooth curve averages over, as a share of all.
_WINDOW = 0.03
_WILD = 1.5  # times chance: the top of the axis
_MOST_UNSEEN = 4  # named


def figure(title: str, runs: Sequence[SweepRun], look: Look = SCREEN) -> Figure:
    """Draw the loss of each run, pale by itself and dark as a running mean; depths get a panel each.

    Args:
        title: above the figure.
        runs: of a sweep, each trained.
        look: size, title, panels per row and style.

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
    results = [result for part in by_depth.values() for _, result in part]
    size = (6.2, 3.4) if len(by_depth) == 1 else (3.7, 3.0)
    panels = PanelSizes(len(by_depth), 2, *size, across=0.6, between=0.75)
    with style(look.settings):
        keys = _keys(looks, _factors(by_depth.values()))
        name = f"{title}: {_loss_name(results)} while training"
        grid = make_grid(name, [_note(results)], panels, keys, longest=72, look=look)
        for index, (axes, (depth, part)) in enumerate(zip(grid.axes, sorted(by_depth.items()), strict=True)):
            _draw(axes, part, looks)
            axes.set_ylim(*_ends(results))
            axes.set_title(counted(depth, "layer"), fontsize=points(10))
            left, lowest = grid.outer(index)
            axes.set(xlabel="step" if lowest else "", ylabel="loss" if left else "")
        return grid.figure


def _loss_name(results: Sequence[ProbeResult]) -> str:
    names = {result.loss.name for result in results if result.loss}
    return names.pop() if len(names) == 1 else "loss"


def _note(results: Sequence[ProbeResult]) -> str:
    rates = {result.training.learning_rate for result in results if result.training}
    rate = f", rate {rates.pop():g}" if len(rates) == 1 else ""
    return f"trained by initprobe: plain SGD{rate}; pale: the batch of each step"


def _factors(parts: Iterable[Sequence[tuple[str, ProbeResult]]]) -> dict[str, str]:
    """The words of theory for each label; none where they differ from depth to depth."""
    words: dict[str, set[str]] = {}
    for name, result in (pair for part in parts for pair in part):
        words.setdefault(name, set()).add(_factor_words(result))
    return {name: each.pop() if len(each) == 1 else "" for name, each in words.items()}


def _factor_words(result: ProbeResult) -> str:
    """The factor of Var(z) per layer by theory, the reason that He et al. give; empty where theory has none."""
    variances = [layer.theory.preactivation_variance if layer.theory else None for layer in result.layers]
    first, last, steps = variances[0], variances[-1], len(variances) - 1
    return f"; theory: Var(z) {factor((last / first) ** (1 / steps))} per layer" if first and last and steps else ""


def _keys(looks: dict[str, int], words: dict[str, str]) -> list[Key]:
    keys: list[Key] = [(Line2D([], [], lw=2, **line_look(at)), f"{name}{words[name]}") for name, at in looks.items()]
    return [*keys, (Line2D([], [], color=BLACK, lw=1, ls=":"), "chance")]


def _ends(results: Sequence[ProbeResult]) -> tuple[float, float]:
    """Ends of the axis of all panels: chance and all losses, but for those far above chance."""
    chances = [result.loss.chance for result in results if result.loss is not None]
    losses = [loss for result in results if result.training for loss in result.training.losses]
    return loss_limits([*chances, *np.minimum(np.nan_to_num(losses, nan=np.inf), _WILD * max(chances))])


def _draw(axes: Axes, part: Sequence[tuple[str, ProbeResult]], looks: dict[str, int]) -> None:
    """Draw the runs of one depth; those that cannot be seen are named in the corner."""
    chances = {result.loss.chance for _, result in part if result.loss is not None}
    top = _WILD * max(chances)
    unseen = []
    for name, result in part:
        assert result.training is not None
        losses = np.array(result.training.losses, float)
        if losses.size:
            axes.plot(losses, lw=0.7, alpha=0.3, color=line_look(looks[name])["color"])
            axes.plot(*_smooth(losses), lw=1.8, **line_look(looks[name]))
        if not losses.size or losses.min() > top:
            unseen.append(f"{'above the axis' if losses.size else 'no finite loss'}: {name}")
    for chance in chances:
        axes.axhline(chance, color=BLACK, lw=1, ls=":")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _name_unseen(axes, unseen)
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)


def _name_unseen(axes: Axes, unseen: Sequence[str]) -> None:
    more = [f"and {len(unseen) - _MOST_UNSEEN} more"] if len(unseen) > _MOST_UNSEEN else []
    note = "\n".join([clipped(words) for words in unseen[:_MOST_UNSEEN]] + more)
    axes.text(0.02, 0.03, note, transform=axes.transAxes, fontsize=points(8))


def _smooth(losses: Array) -> tuple[Array, Array]:
    """Middles of windows of steps, and the mean loss in each, of at least one loss."""
    window = max(round(_WINDOW * len(losses)), 1)
    means = np.convolve(losses, np.ones(window) / window, mode="valid")
    return (window - 1) / 2 + np.arange(len(means)), means
