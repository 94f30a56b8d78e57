"""`gain` and `phase`: what mean-field theory says of an activation, without a measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import numpy as np
import numpy.typing as npt

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.config.names import activation_of, as_activation
from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.meanfield.gain import NEUTRAL, gain_row
from initprobe.meanfield.phase import phase_diagram, settled_lengths
from initprobe.meanfield.phase_diagram import PhaseDiagram
from initprobe.results.gain import Gain
from initprobe.spec import Spec

Act = str | Spec | Activation | Callable[[Array], Array]


def gain(act: Act, sigma_b: float = 0.0) -> Gain:
    """The gains of an activation, for square layers and weights of std `gain / sqrt(fan_in)`.

    Args:
        act: a name, `name:key=value,...`, `package.module:name`, a function, or an `Activation`.
        sigma_b: std of the biases, at least 0 and below 1.

    Returns:
        The forward and the backward gain, and what they do in a deep network.

    Raises:
        ConfigError: the activation is unknown, or `sigma_b` is out of range.

    Example:
        >>> round(gain("relu").forward, 4)
        1.4142
    """
    if not (isinstance(sigma_b, Real) and 0 <= sigma_b < 1):
        reason = ": biases alone would exceed q = 1" if isinstance(sigma_b, Real) and sigma_b >= 1 else ""
        raise ConfigError(f"must be at least 0 and below 1, not {sigma_b!r}{reason}", field="sigma_b")
    activation, bias = _activation(act), float(sigma_b)
    row, share = gain_row(activation), 1 - bias**2
    settled = settled_lengths(
        activation, [row.mean_removed, *([] if row.torch is None else [row.torch])], bias
    ).tolist()
    return Gain(
        activation=row.activation,
        sigma_b=bias,
        forward=math.sqrt(share) * row.forward,
        backward=row.backward,
        mean_removed=row.mean_removed,
        chi_1=share * row.chi_1,
        slope=share * row.slope,
        stable=share * row.slope <= 1 + NEUTRAL,
        spectrum=row.spectrum,
        torch=row.torch,
        torch_q=settled[1] if len(settled) > 1 else None,
        mean_removed_q=settled[0],
    )


def phase(act: Act, sigma_w: npt.ArrayLike, sigma_b: npt.ArrayLike = 0.0) -> PhaseDiagram:
    """Where very deep networks settle: the fixed points over a grid of scales. Poole et al. 2016, arXiv:1606.05340.

    Args:
        act: as for `gain`.
        sigma_w: std of the weights times sqrt(fan_in), one number or `(columns,)`.
        sigma_b: std of the biases, one number or `(rows,)`.

    Returns:
        The fixed points, as arrays of shape `(rows, columns)`.

    Raises:
        ConfigError: the activation is unknown, or a scale is negative or not finite.

    Example:
        >>> phase("tanh", [0.9, 1.5]).chi_1.round(2).tolist()
        [[0.81, 1.14]]
    """
    columns, rows = _scales("sigma_w", sigma_w), _scales("sigma_b", sigma_b)
    return phase_diagram(_activation(act), columns, rows)


def _activation(act: Act) -> Activation:
    """The activation that is named or given."""
    if isinstance(act, Activation):
        return act
    return ProbeConfig(init="he", act=act).activation if callable(act) else activation_of(as_activation(act))


def _scales(field: str, values: npt.ArrayLike) -> Array:
    """Scales as an array, `(points,)`.

    Raises:
        ConfigError: they are not numbers, negative, not finite, or not in one dimension.
    """
    try:
        scales = np.atleast_1d(np.asarray(values, float))
    except (TypeError, ValueError):
        scales = np.array([np.nan])
    if scales.ndim != 1 or not (scales.size and np.isfinite(scales).all() and (scales >= 0).all()):
        raise ConfigError("must be one or more finite numbers of at least 0, in one dimension", field=field)
    return scales
