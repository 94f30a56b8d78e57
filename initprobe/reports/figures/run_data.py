"""All that the figures of one result show, as plain numbers and words.

It loads neither matplotlib nor pydantic: one process makes it, and another draws it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from initprobe.reports.figures.result_data import (
    HistogramRow,
    Profile,
    gradient_histograms,
    output_histograms,
    profiles,
)
from initprobe.reports.gaps import STATUS_WORDS
from initprobe.reports.layer_blocks import roles, short_name

if TYPE_CHECKING:
    from initprobe.results.layers import LayerStats
    from initprobe.results.run import ProbeResult

FEW_LAYERS = 40
_MOST_ROLES = 8  # lines that colours distinguish


class Heading(NamedTuple):
    """The lines above a figure: the title, and the weights and the setting."""

    title: str
    details: str


class RoleLine(NamedTuple):
    """The layers of one role in a deep PyTorch model.

    Attributes:
        label: the role.
        layers: numbers of its layers.
        output: log10 of the variance of h in each, NaN where it was lost.
        gradient: the same of dL/dh.
    """

    label: str
    layers: tuple[int, ...]
    output: tuple[float, ...]
    gradient: tuple[float, ...]


class Loss(NamedTuple):
    """The first layer where the dtype lost a number, in words, and the dashes of its line."""

    layer: int
    label: str
    dashes: str


@dataclass(frozen=True)
class Depth:
    """Variances over depth.

    Attributes:
        count: of all layers.
        draws: networks behind each mean.
        profiles: of h, dL/dh and dL/dW.
        roles: a line per role instead, where a model has roles.
        losses: where the dtype lost a number, forward and back.
    """

    count: int
    draws: int
    profiles: tuple[Profile, ...]
    roles: tuple[RoleLine, ...]
    losses: tuple[Loss, ...]


class Fits(NamedTuple):
    """How the layers were fitted: the quantity in words, and its log10 per layer, NaN where there is none."""

    quantity: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    baseline: tuple[float, ...]


class ChangeLine(NamedTuple):
    """log10 variances per layer of h or of dL/dh, before or after training, NaN where they were lost."""

    label: str
    is_output: bool
    is_trained: bool
    logs: tuple[float, ...]


class Course(NamedTuple):
    """The training.

    Attributes:
        losses: per step.
        loss: its name.
        chance: the loss of the best constant.
        chance_words: its formula.
        diverged_at: a step, or None.
        learning_rate: of each step.
        lines: variances before and after.
        layers: numbers of these layers.
    """

    losses: tuple[float, ...]
    loss: str
    chance: float
    chance_words: str
    diverged_at: int | None
    learning_rate: float
    lines: tuple[ChangeLine, ...]
    layers: tuple[int, ...]


class RunData(NamedTuple):
    """What the figures of one result show; None for what it does not have."""

    heading: Heading
    outputs: HistogramRow
    gradients: HistogramRow
    depth: Depth
    fits: Fits | None
    course: Course | None


def run_data(result: ProbeResult) -> RunData:
    """What the figures of a result show.

    Args:
        result: of a run or a PyTorch model.
    """
    words = result.description
    return RunData(
        heading=Heading(words.title, f"{words.weights} | {words.setting}"),
        outputs=output_histograms(result),
        gradients=gradient_histograms(result),
        depth=_depth(result),
        fits=_fits(result),
        course=_course(result),
    )


def _depth(result: ProbeResult) -> Depth:
    forward = _losses(result.layers, ("preactivation", "output"), "from", "--")
    back = _losses(result.layers[::-1], ("output_gradient",), "down from", "-.")
    return Depth(len(result.layers), result.draws, profiles(result), tuple(_roles(result)), (*forward, *back))


def _losses(layers: Sequence[LayerStats], tensors: Sequence[str], where: str, dashes: str) -> Iterator[Loss]:
    """The first of `layers` where the dtype lost a number, if there is one."""
    for layer in layers:
        lost = [layer.tensor(name).status for name in tensors if layer.tensor(name).status != "ok"]
        if lost:
            yield Loss(layer.layer, f"{STATUS_WORDS[lost[0]]} {where} layer {layer.layer}", dashes)
            return


def _roles(result: ProbeResult) -> Iterator[RoleLine]:
    """A line per role of a model of many blocks; none where it has few layers or no roles."""
    if not result.modules or len(result.layers) <= FEW_LAYERS:
        return
    by_role = sorted(roles(result.layers).items(), key=lambda item: -len(item[1]))
    if len(by_role) < 2 or len(by_role[0][1]) < 3:
        return
    for name, group in by_role[:_MOST_ROLES]:
        label = short_name(name, 40) if name else "others"
        yield RoleLine(
            label, tuple(layer.layer for layer in group), _logs(group, "output"), _logs(group, "output_gradient")
        )


def _fits(result: ProbeResult) -> Fits | None:
    fitted = [layer.fitting for layer in result.layers]
    quantity = next((fitting.quantity for fitting in fitted if fitting), None)
    if quantity is None:
        return None
    before, after, baseline = (
        tuple(_log10_or_nan(getattr(fitting, name) if fitting else None) for fitting in fitted)
        for name in ("before", "after", "baseline")
    )
    return Fits(quantity, before, after, baseline)


def _log10_or_nan(value: float | None) -> float:
    return math.log10(value) if value else math.nan


def _course(result: ProbeResult) -> Course | None:
    training, loss = result.training, result.loss
    if training is None or loss is None:
        return None
    layers = tuple(layer.layer for layer in result.stream)
    shown = [("new", result.layers)] + ([] if training.layers is None else [("trained", training.layers)])
    lines = tuple(
        ChangeLine(
            label=f"Var({symbol}), {when}",
            is_output=tensor == "output",
            is_trained=when == "trained",
            logs=_logs([measured[number - 1] for number in layers], tensor),
        )
        for tensor, symbol in (("output", "h"), ("output_gradient", "dL/dh"))
        for when, measured in shown
    )
    return Course(
        losses=training.losses,
        loss=loss.name,
        chance=loss.chance,
        chance_words=loss.chance_words,
        diverged_at=training.diverged_at,
        learning_rate=training.learning_rate,
        lines=lines,
        layers=layers,
    )


def _logs(layers: Sequence[LayerStats], tensor: str) -> tuple[float, ...]:
    """log10 of the variance of a tensor per layer, NaN where it was lost."""
    values = (layer.tensor(tensor).variance_log10 for layer in layers)
    return tuple(math.nan if value is None else value for value in values)
