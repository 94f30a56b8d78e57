"""Gains: factors of `1/sqrt(fan_in)` under which a signal or its gradient keeps its variance.

A gain preserves one variance at one scale, q = 1. Whether that scale is stable is a separate question. For every
activation but the ReLU family, the gain for the signal is not the gain for its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.meanfield.moments import moments

# A slope that exceeds 1 by less than this counts as 1.
NEUTRAL = 1e-9

# torch.nn.init.calculate_gain, by name. The table mixes origins. 1 for sigmoid is a placeholder, 5/3 for tanh and 3/4
# for SELU are empirical. The ReLU family has the forward gain.
_TORCH: Mapping[str, Callable[[Activation], float]] = {
    "linear": lambda activation: 1.0,
    "sigmoid": lambda activation: 1.0,
    "tanh": lambda activation: 5 / 3,
    "relu": lambda activation: math.sqrt(2),
    "leaky_relu": lambda activation: math.sqrt(2 / (1 + activation.params["slope"] ** 2)),
    "selu": lambda activation: 3 / 4,
}


@dataclass(frozen=True)
class GainRow:
    """The gains of one activation at q = 1 and without biases; `results.gain.Gain` describes each field."""

    activation: str
    forward: float
    backward: float
    mean_removed: float
    chi_1: float
    slope: float
    stable: bool
    spectrum: float
    torch: float | None


def gain_row(activation: Activation) -> GainRow:
    """The gains of an activation at q = 1."""
    at_one = moments(activation, 1.0)
    square, slopes = float(at_one.square), float(at_one.slope_square)
    slope = float(at_one.growth) / square
    return GainRow(
        activation=activation.name,
        forward=1 / math.sqrt(square),
        backward=1 / math.sqrt(slopes),
        mean_removed=1 / math.sqrt(float(at_one.variance)),
        chi_1=slopes / square,
        slope=slope,
        stable=slope <= 1 + NEUTRAL,
        spectrum=float(at_one.slope_kurtosis),
        torch=torch_gain(activation),
    )


def torch_gain(activation: Activation) -> float | None:
    """The value of `torch.nn.init.calculate_gain`, or None where torch has none for this activation."""
    gain = _TORCH.get(activation.name)
    if gain is None or activation.reference != ACTIVATIONS[activation.name].reference:
        return None  # a user's own function may have the same name
    return gain(activation)
