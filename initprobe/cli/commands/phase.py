"""`initprobe phase`: order and chaos over the scales of weights and biases."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from initprobe.activations.record import Activation
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.meanfield.phase import FixedPoint, PhaseDiagram


_LAYERS, _UNITS = click.IntRange(1, 100_000), click.IntRange(1, 10_000_000)
_NUMBERS = ("q", "slope", "chi_1", "correlation", "xi_q", "xi_c", "xi_gradient")


@click.command("phase")
@click.option(
    "--act", required=True, metavar="NAME[:key=value,...]", help="Activation; package.module:name for your own."
)
@click.option(
    "--sigma-w",
    metavar="A..B",
    help="std of weights x sqrt(fan_in).  [default: 0.5..3, and further if marks lie there]",
)
@click.option("--sigma-b", metavar="A..B", help="std of biases.  [default: 0..1, and further if marks lie there]")
@click.option("--size", type=click.IntRange(2, 400), default=150, show_default=True, metavar="N", help="Cells a side.")
@click.option("--layers", type=_LAYERS, default=10, show_default=True, metavar="N", help="Depth of your net.")
@click.option("--mark", "marks", multiple=True, metavar="NAME[:...]", help="Drop an initializer on it; repeatable.")
@click.option("--width", type=_UNITS, default=500, show_default=True, metavar="N", help="Width for --mark.")
@click.option("--figure", metavar="FILE", help="Draw it; png, svg or pdf.")
@click.option("--export-json", metavar="FILE|-", help="The numbers of every cell, as JSON.")
def command(
    act: str, marks: tuple[str, ...], width: int, layers: int, figure: str | None, export_json: str | None, **grid: Any
) -> None:
    """Show where very deep networks settle: order or chaos.

    In the ordered phase gradients vanish and inputs become alike; in the chaotic one gradients explode and inputs
    become unlike. A cell whose variance grows without bound is marked so, not filled in.

    \b
    Examples:
      initprobe phase --act tanh --figure phase.png
      initprobe phase --act tanh --mark xavier --mark torch_linear --width 500
      initprobe phase --act relu --sigma-w 1..2 --export-json phase.json
      initprobe phase --act mymodule:swish
    """
    import numpy as np

    from initprobe.cli import outputs
    from initprobe.meanfield.phase import fixed_point, phase_diagram

    fmt = outputs.figure_format(figure) if figure else None
    outputs.check_exports([figure, export_json], None)
    placed = [_config(act, mark, width) for mark in marks]
    activation = _activation(act)
    dots = [(mark, *_scales(config, width)) for mark, config in zip(marks, placed, strict=True)]
    (w_low, w_high), (b_low, b_high) = (
        _range("--sigma-w", grid["sigma_w"], (0.5, 3.0), [dot[1] for dot in dots]),
        _range("--sigma-b", grid["sigma_b"], (0.0, 1.0), [dot[2] for dot in dots]),
    )
    columns, rows = np.linspace(w_low, w_high, grid["size"]), np.linspace(b_low, b_high, grid["size"])
    diagram = phase_diagram(activation, columns, rows)
    if figure and fmt:
        from initprobe.reports.figures.style import render
        from initprobe.reports.figures.theory import phase_figure

        drawn = phase_figure(activation.name, columns, rows, diagram.chi_1, diagram.xi_c, layers, dots)
        data = render(drawn, fmt)
        outputs.write_whole(Path(figure), lambda file: file.write(data))
        beyond = [mark for mark, w, b in dots if not (w_low <= w <= w_high and b_low <= b <= b_high)]
        for mark in beyond:
            click.echo(f"note: {mark} lies outside the picture", err=True)
    if export_json:
        outputs.write_text(export_json, _json(activation, diagram))
    _report(
        activation, b_high, [(name, w, b, fixed_point(activation, w, b)) for name, w, b in dots], export_json == "-"
    )


def _activation(act: str) -> Activation:
    from initprobe.config.names import activation_of, as_activation

    return activation_of(as_activation(act))


def _config(act: str, mark: str, width: int) -> ProbeConfig:
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.errors import ConfigError
    from initprobe.prediction.rules import no_theory, rule

    config = ProbeConfig(init=mark, act=act, width=width)
    mean = rule(config, (width, width)).weight_mean
    if mean or (config.initializer.fit is None and no_theory(config, (width, width))):
        why = f"its weights have a mean of {mean:.4g}" if mean else "its pre-activations are not Gaussian"
        raise ConfigError(f"--mark {mark}: has no place in a phase diagram: {why}")
    return config


def _scales(config: ProbeConfig, width: int) -> tuple[float, float]:
    """`(sigma_w, sigma_b)` of an initializer, and of the biases that come with it, at this width."""
    weights, bias = config.initializer.variance(width, width), config.bias_initializer.variance(width, width)
    return math.sqrt(width * weights), math.sqrt(bias)


_FURTHEST = 10.0


def _range(option: str, text: str | None, default: tuple[float, float], marks: list[float]) -> tuple[float, float]:
    """The range asked for, or the default one, stretched to what is to be marked (within reason)."""
    from initprobe.errors import ConfigError
    from initprobe.spec import parse_number

    if text is None:
        near = [mark for mark in marks if mark <= _FURTHEST]
        return min([default[0], *(0.9 * mark for mark in near)]), max([default[1], *(1.1 * mark for mark in near)])
    low, dots, high = text.partition("..")
    if not dots:
        raise ConfigError(f"{option}: {text!r} is not a range like 0.5..3")
    ends = parse_number(low), parse_number(high)
    if not 0 <= ends[0] < ends[1]:
        raise ConfigError(f"{option}: {text} must begin at 0 or above and end higher")
    if not ends[1] * ends[1] < math.inf:
        raise ConfigError(f"{option}: {text} must end below 1e154, whose square is a variance beyond the float range")
    return ends


def _json(activation: Activation, diagram: PhaseDiagram) -> str:
    """The diagram as rows of sigma_b by columns of sigma_w; null where a number does not exist."""
    from initprobe.arrays import finite

    cells = {name: [[finite(v) for v in row] for row in getattr(diagram, name)] for name in _NUMBERS}
    axes = {"sigma_w": diagram.sigma_w.tolist(), "sigma_b": diagram.sigma_b.tolist()}
    whole = {"schema": 1, "activation": activation.name, **axes, "settling": diagram.settling.tolist(), **cells}
    return json.dumps(whole) + "\n"


def _report(
    activation: Activation, sigma_b: float, dots: list[tuple[str, float, float, FixedPoint]], to_stderr: bool
) -> None:
    """The edge of chaos at the ends of the diagram, and where the marked initializers stand."""
    from initprobe.arrays import finite
    from initprobe.formatting import fixed, short
    from initprobe.reports.console import console
    from initprobe.reports.tables import plain_table

    to = console(sys.stderr if to_stderr else sys.stdout)
    for b in (0.0, sigma_b):
        to.print(f"edge of chaos of {activation.name} at sigma_b = {b:g}: {_edge(activation, b)}", soft_wrap=True)
    if not dots:
        return
    headings = ("initializer", "sigma_w", "sigma_b", "phase", "q*", "chi_1", "gradient depth")
    table = plain_table(*headings, left=headings, gap=2)
    for name, w, b, point in dots:
        numbers = [finite(value) for value in (point.q, point.chi_1, point.xi_gradient)]
        table.add_row(name, fixed(w, 4), fixed(b, 4), _phase(point), *map(short, numbers))
    to.print()
    to.print(table)


def _edge(activation: Activation, sigma_b: float) -> str:
    from initprobe.meanfield.phase import critical_line

    point = critical_line(activation, sigma_b)
    if point is None:
        return "none"
    where = "any q*" if math.isnan(point.q) else f"q* = {point.q:.9g}"
    return f"sigma_w = {point.sigma_w:.9g}, {where}" + (
        "" if point.stable else " (unstable: the length map's slope > 1)"
    )


def _phase(point: FixedPoint) -> str:
    if point.settling == "diverges":
        return "diverges"
    if abs(point.chi_1 - 1) < 1e-6:
        return "edge of chaos"
    return "ordered" if point.chi_1 < 1 else "chaotic"
