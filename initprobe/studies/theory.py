"""`gain` and `phase`: what mean-field theory says of an activation, without a measurement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.config.names import activation_of, as_activation
from initprobe.errors import ConfigError
from initprobe.meanfield.gain import GainRow, gain_row
from initprobe.meanfield.phase import phase_diagram
from initprobe.meanfield.phase_diagram import PhaseDiagram
from initprobe.spec import Spec


def gain(act: str | Spec | Activation) -> GainRow:
    """The gains of an activation, for square layers without bias and weights of std `gain / sqrt(fan_in)`.

    Args:
        act: a name, `name:key=value,...`, `package.module:name`, or an `Activation`.

    Returns:
        The forward and the backward gain, and what they do in a deep network.

    Raises:
        ConfigError: the activation is unknown.

    Example:
        >>> round(gain("relu").forward, 4)
        1.4142
    """
    return gain_row(activation_of(as_activation(act)))


def phase(act: str | Spec | Activation, sigma_w: npt.ArrayLike, sigma_b: npt.ArrayLike = 0.0) -> PhaseDiagram:
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
    return phase_diagram(activation_of(as_activation(act)), columns, rows)


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
