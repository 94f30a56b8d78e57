"""Wider networks: the same experiment with enough units per layer that few draws lose the signal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.prediction.fix_plain import changed
from initprobe.prediction.typical import FEW, loss_probability

# The factor between two widths that are tried, and the largest width.
_STEP, _WIDEST = 1.3, 4096
# Steps to a second width, for when a trial of the first is one of the few draws that lose the signal.
_MORE = 2


def wider(config: ProbeConfig, inputs: InputMoments) -> Iterator[ProbeConfig]:
    """The experiment with the smallest width of two digits of which few draws lose the signal, then a larger one.

    Nothing where no width is enough.

    Args:
        config: of a plain network whose weights are drawn.
        inputs: moments of the input.
    """
    most = math.floor(math.log(_WIDEST / max(config.layer_widths), _STEP))
    if most < 1 or (_keeps_its_outputs(config) and not _is_wide_enough(config, most, inputs)):
        return  # the last layer loses the signal, and it keeps its width
    low, steps = 0, 1  # first in strides that double, then by halves
    while steps <= most and not _is_wide_enough(config, steps, inputs):
        low, steps = steps, 2 * steps if 2 * steps <= most or steps == most else most
    if steps > most:
        return
    while steps - low > 1:
        middle = (low + steps) // 2
        low, steps = (low, middle) if _is_wide_enough(config, middle, inputs) else (middle, steps)
    yield from (_widened(config, each) for each in (steps, steps + _MORE) if each <= most)


def _is_wide_enough(config: ProbeConfig, steps: int, inputs: InputMoments) -> bool:
    """Whether few draws lose the signal after so many steps of widening."""
    candidate = _widened(config, steps)
    lost = loss_probability(candidate, candidate.nominal_sizes, inputs)
    return lost is not None and lost <= FEW


def _widened(config: ProbeConfig, steps: int) -> ProbeConfig:
    """The same experiment with wider layers; where widths differ, the last layer keeps the number of its outputs."""
    widths = [_rounded(width * _STEP**steps) for width in config.layer_widths]
    if _keeps_its_outputs(config):
        widths[-1] = config.layer_widths[-1]
    return with_units(config, widths)


def _keeps_its_outputs(config: ProbeConfig) -> bool:
    """Whether the last layer keeps the number of its outputs: widths differ, so that it is a choice."""
    return config.widths is not None and len(set(config.layer_widths)) > 1


def with_units(config: ProbeConfig, widths: Sequence[int]) -> ProbeConfig:
    """The same experiment with other units per layer; the input keeps its features where they are given.

    Args:
        config: of the experiment.
        widths: units of each layer, `(layers,)`.
    """
    level = config.widths is None and len(set(widths)) == 1
    return changed(config, width=widths[0]) if level else changed(config, widths=tuple(widths))


def _rounded(width: float) -> int:
    """The next whole number of two digits."""
    unit: int = 10 ** max(math.floor(math.log10(width)) - 1, 0)
    return math.ceil(width / unit - 1e-9) * unit
