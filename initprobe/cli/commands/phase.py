"""Show where very deep networks settle: order or chaos.

In the ordered phase gradients vanish and inputs become alike. In the chaotic phase gradients explode and inputs become
unlike. Cells whose variance grows without bound have a mark of their own.

\b
Examples:
  initprobe phase --act tanh --figure phase.png
  initprobe phase --act tanh --mark xavier --mark torch_linear --width 500
  initprobe phase --act relu --sigma-w 1..2 --export-json phase.json
  initprobe phase --act mymodule:swish
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from initprobe.cli.experiment_config import option_name
from initprobe.cli.parameters import command_of, option

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from initprobe.activations.record import Activation
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.meanfield.phase_diagram import PhaseDiagram


Range = tuple[float, float]
_LAYERS, _UNITS = click.IntRange(1, 100_000), click.IntRange(1, 10_000_000)
_NUMBERS = ("q", "slope", "chi_1", "correlation", "xi_q", "xi_c", "xi_gradient")
# A mark beyond this scale does not widen the diagram.
_FURTHEST = 10.0


@dataclass(frozen=True, kw_only=True)
class PhaseOptions:
    """The options of `initprobe phase`."""

    act: str = option(
        "--act",
        required=True,
        metavar="NAME[:key=value,...]",
        help="Activation, or your own function: package.module:name.",
    )
    sigma_w: str | None = option(
        "--sigma-w", metavar="A..B", help="std of weights x sqrt(fan_in).  [default: 0.5..3, wider if a mark needs it]"
    )
    sigma_b: str | None = option(
        "--sigma-b", metavar="A..B", help="std of biases.  [default: 0..1, wider if a mark needs it]"
    )
    size: int = option(
        "--size", type=click.IntRange(2, 400), default=150, show_default=True, metavar="N", help="Cells per side."
    )
    layers: int = option(
        "--layers", type=_LAYERS, default=10, show_default=True, metavar="N", help="Depth of your network."
    )
    marks: tuple[str, ...] = option(
        "--mark", multiple=True, metavar="NAME[:...]", help="Show an initializer in the diagram; repeatable."
    )
    width: int = option(
        "--width", type=_UNITS, default=500, show_default=True, metavar="N", help="Width of the network for --mark."
    )
    figure: str | None = option("--figure", metavar="FILE", help="Draw the diagram; png, svg or pdf.")
    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write the numbers of every cell as JSON.")


@dataclass(frozen=True)
class Mark:
    """An initializer in the diagram, at its scales."""

    name: str
    sigma_w: float
    sigma_b: float


@command_of(PhaseOptions, help=__doc__)
def command(options: PhaseOptions) -> None:
    """Work out the phase diagram, print it and draw it."""
    from initprobe.cli import outputs
    from initprobe.cli.progress import waiting
    from initprobe.cli.run_output import text_stream
    from initprobe.config.names import activation_of, as_activation
    from initprobe.reports.console import console

    fmt = outputs.figure_format(options.figure) if options.figure else None
    outputs.check_exports([options.figure, options.export_json], None)
    marks = [_mark(options, name) for name in options.marks]
    activation = activation_of(as_activation(options.act))
    with waiting("computing the phase diagram"):
        diagram = _diagram(activation, options, marks)
    if options.figure and fmt:
        outputs.write_figure(options.figure, fmt, _drawn(diagram, options.layers, marks))
        for mark in marks:
            if not _is_inside(mark, diagram):
                click.echo(f"note: {mark.name} lies outside the figure", err=True)
    if options.export_json:
        outputs.write_text(options.export_json, _json(activation, diagram))
    to = console(text_stream(options.export_json))
    _report(activation, float(diagram.sigma_b[-1]), marks, to)
    if marks:
        to.print(f"sigma_w = sqrt(fan_in) std(W), here with fan_in {options.width} (--width)", soft_wrap=True)


def _diagram(activation: Activation, options: PhaseOptions, marks: Sequence[Mark]) -> PhaseDiagram:
    import numpy as np

    from initprobe.meanfield.phase import phase_diagram

    weights = _range("--sigma-w", options.sigma_w, (0.5, 3.0), [mark.sigma_w for mark in marks])
    biases = _range("--sigma-b", options.sigma_b, (0.0, 1.0), [mark.sigma_b for mark in marks])
    return phase_diagram(activation, np.linspace(*weights, options.size), np.linspace(*biases, options.size))


def _drawn(diagram: PhaseDiagram, layers: int, marks: Sequence[Mark]) -> Figure:
    from initprobe.reports.figures.look import SCREEN
    from initprobe.results.display import draw_phase

    return draw_phase(diagram, None, SCREEN, layers, [(mark.name, mark.sigma_w, mark.sigma_b) for mark in marks])


def _is_inside(mark: Mark, diagram: PhaseDiagram) -> bool:
    inside_w = diagram.sigma_w[0] <= mark.sigma_w <= diagram.sigma_w[-1]
    return bool(inside_w and diagram.sigma_b[0] <= mark.sigma_b <= diagram.sigma_b[-1])


def _mark(options: PhaseOptions, name: str) -> Mark:
    """An initializer and the biases that come with it, at the width of the network.

    Raises:
        ConfigError: there is no such initializer, or mean-field theory does not describe its weights by a variance.
    """
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.errors import ConfigError
    from initprobe.prediction.rules import no_theory, rule

    width = options.width
    try:
        config = ProbeConfig(init=name, act=options.act, width=width)
    except ConfigError as error:
        raise error.at(field="--mark" if error.field == "init" else option_name(error.field)) from None
    mean = rule(config, (width, width)).weight_mean
    if mean or (config.initializer.fit is None and no_theory(config, (width, width))):
        why = f"its weights have a mean of {mean:.4g}" if mean else "its pre-activations are not Gaussian"
        raise ConfigError(f"{name} has no place in a phase diagram: {why}", field="--mark")
    return Mark(name, *_scales(config, width))


def _scales(config: ProbeConfig, width: int) -> tuple[float, float]:
    """`(sigma_w, sigma_b)` of an initializer, and of the biases that come with it, in a square layer."""
    weights, bias = config.initializer.variance(width, width), config.bias_initializer.variance(width, width)
    return math.sqrt(width * weights), math.sqrt(bias)


def _range(option: str, text: str | None, default: Range, marks: list[float]) -> Range:
    """The range given, or the default one, widened to show the marks.

    Raises:
        ConfigError: the text is not a range of numbers.
    """
    from initprobe.errors import ConfigError, at_field
    from initprobe.spec import parse_number

    if text is None:
        near = [mark for mark in marks if mark <= _FURTHEST]
        return min([default[0], *(0.9 * mark for mark in near)]), max([default[1], *(1.1 * mark for mark in near)])
    low, dots, high = text.partition("..")
    if not dots:
        raise ConfigError(f"{text!r} is not a range like 0.5..3", field=option)
    with at_field(option):
        ends = parse_number(low), parse_number(high)
    if not 0 <= ends[0] < ends[1]:
        raise ConfigError(f"{text} must begin at 0 or above, and its end must be larger", field=option)
    if not ends[1] * ends[1] < math.inf:
        raise ConfigError(f"{text} must end below 1e154, the root of the float range", field=option)
    return ends


def _json(activation: Activation, diagram: PhaseDiagram) -> str:
    """The diagram as rows of sigma_b and columns of sigma_w; null where a number does not exist."""
    from initprobe.arrays import finite

    cells = {name: [[finite(v) for v in row] for row in getattr(diagram, name)] for name in _NUMBERS}
    axes = {"sigma_w": diagram.sigma_w.tolist(), "sigma_b": diagram.sigma_b.tolist()}
    document = {"schema": 1, "activation": activation.name, **axes, "settling": diagram.settling.tolist(), **cells}
    return json.dumps(document) + "\n"


def _report(activation: Activation, sigma_b: float, marks: Sequence[Mark], to: Console) -> None:
    """Print the edge of chaos at the lowest and the highest sigma_b, and the phase of each mark."""
    from initprobe.reports.tables import plain_table

    for scale in (0.0, sigma_b):
        to.print(
            f"edge of chaos of {activation.name} at sigma_b = {scale:g}: {_edge(activation, scale)}", soft_wrap=True
        )
    if not marks:
        return
    headings = ("initializer", "sigma_w", "sigma_b", "phase", "q*", "chi_1", "gradient depth")
    table = plain_table(*headings, left=headings, gap=2)
    for mark in marks:
        table.add_row(*_cells(activation, mark))
    to.print()
    to.print(table)


def _cells(activation: Activation, mark: Mark) -> list[str]:
    from initprobe.arrays import finite
    from initprobe.formatting import fixed, short
    from initprobe.meanfield.phase import fixed_point
    from initprobe.meanfield.phase_diagram import phase_name

    point = fixed_point(activation, mark.sigma_w, mark.sigma_b)
    numbers = [finite(value) for value in (point.q, point.chi_1, point.xi_gradient)]
    return [
        mark.name,
        fixed(mark.sigma_w, 4),
        fixed(mark.sigma_b, 4),
        phase_name(point.settling, point.chi_1),
        *map(short, numbers),
    ]


def _edge(activation: Activation, sigma_b: float) -> str:
    from initprobe.meanfield.phase import critical_line

    point = critical_line(activation, sigma_b)
    if point is None:
        return "none"
    where = "any q*" if math.isnan(point.q) else f"q* = {point.q:.9g}"
    return f"sigma_w = {point.sigma_w:.9g}, {where}" + (
        "" if point.stable else " (unstable: the length map's slope > 1)"
    )
