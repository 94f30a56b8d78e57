"""`Activation`: the frozen record that holds everything the tool knows about an activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from initprobe.arrays import Array
from initprobe.errors import ConfigError

# CS231n counts a tanh unit as saturated beyond |h| = 0.97. There the slope is 1 - 0.97^2 = 5.9% of its largest value.
# The same share of the slope marks the band of every other activation.
SATURATED_SLOPE = 1 - 0.97**2

# Limits of an activation's parameters: within them, fourth powers of its output stay in the range of float64.
LARGEST, SMALLEST = 1e75, 1e-75


class Band(NamedTuple):
    """Outputs at or below `low`, or at or above `high`, count as saturated.

    Attributes:
        low: largest saturated output at the lower end; -inf where this end does not saturate.
        high: smallest saturated output at the upper end; inf where this end does not saturate.
    """

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, repr=False)
class Activation:
    """An element-wise activation `h = phi(z)`.

    Attributes:
        name: canonical name.
        value: `phi(z)`; takes and returns an array of any shape and keeps its dtype.
        slope: `phi'(z)` from `(z, h)` with `h = phi(z)`, which saves a second evaluation. At a kink it has the value
            of the frameworks: 0 for ReLU at 0.
        formula: `phi(x)` in plain text.
        reference: the paper or document it comes from.
        aliases: other names for it; case, `-` and `_` do not matter.
        kinks: points where phi or one of its first two derivatives jumps; quadrature splits its panels there.
        saturation: the outputs that count as saturated (slope below 5.9% of its largest), or None.
        dead_below: pre-activation at or below which output and slope are exactly 0; None if units cannot die. For a
            function of the user's own, the output may be another constant.
        bounds: the closed range of phi, infinite where unbounded; histograms use it as their axis.
        period: the period of a periodic function, else None; quadrature panels must not be wider.
        slope_noise: rounding error of `slope` beside a phi of 1, where it is a central difference; 0 for a formula.
        params: the parameters of this record.
        make: the function that made this record, as `make=leaky_relu`; None if it has no parameters.
        uses_scipy: `value` or `slope` imports `scipy.special`, which takes memory.
        pytorch: None unless PyTorch has this function under this name. Then its arguments after the tensor, in order:
            each name with the parameter that it sets here. Empty for no parameters.
    """

    name: str
    value: Callable[[Array], Array]
    slope: Callable[[Array, Array], Array]
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()
    kinks: tuple[float, ...] = ()
    saturation: Band | None = None
    dead_below: float | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    period: float | None = None
    slope_noise: float = 0.0
    params: Mapping[str, float] = field(default_factory=dict)
    make: Callable[..., Activation] | None = None
    uses_scipy: bool = False
    pytorch: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"<Activation: {self.name}: {self.formula}; {self.reference}>"

    @property
    def example(self) -> str:
        """The shortest specification that works on a command line."""
        return self.name


def require_positive(name: str, parameter: str, value: float) -> None:
    """Make sure that a parameter is above 0.

    Args:
        name: of the activation, for the error.
        parameter: its name, for the error.
        value: its value.

    Raises:
        ConfigError: it is 0 or below.
    """
    if not value > 0:
        raise ConfigError(f"{name}: {parameter} must be above 0, not {value:g}")


def require_within(name: str, parameter: str, value: float, low: float) -> None:
    """Make sure that a parameter is neither so small nor so large that the activation leaves the float range.

    Args:
        name: of the activation, for the error.
        parameter: its name, for the error.
        value: its value.
        low: its smallest value.

    Raises:
        ConfigError: it lies outside.
    """
    if not low <= value <= LARGEST:
        raise ConfigError(
            f"{name}: {parameter} must lie between {low:g} and {LARGEST:g}, not {value:g}; "
            "its fourth power must stay in the float range"
        )
