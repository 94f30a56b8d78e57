"""The rule about small floating-point formats: whether signal and gradient would fit in one."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.rule import Observation, Rule
from initprobe.formatting import percent
from initprobe.results.base import BACKWARD_TENSORS, FORWARD_TENSORS, TENSOR_SYMBOLS
from initprobe.results.formats import FormatStats
from initprobe.results.run import ProbeResult

LOST = "lost-in-format"
_NO_FIX = "use a format with a larger range, such as bfloat16, or weights that keep the variance"


def lost_in_formats(formats: tuple[FormatStats, ...]) -> Iterator[Observation]:
    """An observation for each format that loses the signal or the gradient, in the order of the formats."""
    for form in formats:
        if (layer := _signal_lost(form)) is not None:
            yield Observation(layer, _words(form, layer, FORWARD_TENSORS), "warning", no_fix=_NO_FIX)
        elif (back := _gradient_lost(form)) is not None:
            yield Observation(back, _words(form, back, BACKWARD_TENSORS), "warning", no_fix=_NO_FIX)
        elif form.loss_scale is not None and form.lost_at.gradient is not None and not form.needs_scales:
            scale = f"2^{form.loss_scale.scale_log2}"
            evidence = f"in {form.name}, gradients need a loss scale; with {scale} they fit"
            yield Observation(form.lost_at.gradient, evidence, "info")


def _signal_lost(form: FormatStats) -> int | None:
    """The first layer at which the signal is lost, as the format is used."""
    return form.scaled_lost_at.signal if form.needs_scales else form.lost_at.signal


def _gradient_lost(form: FormatStats) -> int | None:
    """The first layer on the way back at which the gradient is lost, as the format is used."""
    if form.needs_scales:
        return form.scaled_lost_at.gradient
    return None if form.loss_scale is None else form.loss_scale.lost_at


def _words(form: FormatStats, layer: int, names: Collection[str]) -> str:
    """Which tensor of the layer loses most, and how."""
    here = [tensor for tensor in form.tensors if tensor.layer == layer and tensor.tensor in names]
    worst = max(here, key=lambda tensor: (tensor.overflow, tensor.zero))
    symbol = TENSOR_SYMBOLS[worst.tensor]
    if form.needs_scales:
        return f"in {form.name}, {percent(worst.scaled_zero)}% of {symbol} becomes 0 at its best scale"
    if worst.overflow:
        return f"in {form.name}, {percent(worst.overflow)}% of {symbol} becomes {form.beyond}"
    return f"in {form.name}, {percent(worst.zero)}% of {symbol} becomes 0"


def _look(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    return lost_in_formats(result.formats)


RULES = (
    Rule(
        name=LOST,
        meaning="the numbers are too small or too large for this format",
        measurement="--formats: the share of the entries of each tensor that become 0 or leave the range",
        remedy="a format with a larger range, a loss scale for the gradient, or weights that keep the variance",
        reference="Micikevicius et al. 2018, arXiv:1710.03740",
        look=_look,
    ),
)
