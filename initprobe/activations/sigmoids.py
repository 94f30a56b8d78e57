"""The identity, the sine and the sigmoidal activations: functions with bounded output, and the linear one.

To add one, write a function that returns its record. List it in `SIGMOIDS` at the end of this file.
"""

from __future__ import annotations

import math

import numpy as np

from initprobe.activations.record import SATURATED_SLOPE, Activation, Band
from initprobe.arrays import Array


def logistic(z: Array) -> Array:
    """`1 / (1 + exp(-z))` without overflow at either end."""
    small: Array = np.exp(-np.abs(z))
    share: Array = np.where(z >= 0, 1, small) / (1 + small)
    return share


def error_function(z: Array) -> Array:
    """`erf(z)`, the error function."""
    from scipy import special  # lazy: it costs more than the rest of a start-up

    return np.asarray(special.erf(z))


def linear() -> Activation:
    """The identity: a deep linear network."""
    return Activation(
        name="linear",
        value=lambda z: z.copy(),
        slope=lambda z, h: np.ones_like(z),
        formula="x",
        reference="Saxe et al. 2014, arXiv:1312.6120",
        aliases=("identity", "none"),
    )


def sigmoid() -> Activation:
    """The logistic function."""
    edge = (1 - math.sqrt(1 - SATURATED_SLOPE)) / 2
    return Activation(
        name="sigmoid",
        value=logistic,
        slope=lambda z, h: h * (1 - h),
        formula="1 / (1 + exp(-x))",
        reference="Glorot & Bengio 2010, AISTATS 9:249",
        aliases=("logistic", "expit"),
        saturation=Band(edge, 1 - edge),
        bounds=(0, 1),
        pytorch={},
    )


def tanh() -> Activation:
    """The hyperbolic tangent."""
    edge = math.sqrt(1 - SATURATED_SLOPE)
    return Activation(
        name="tanh",
        value=np.tanh,
        slope=lambda z, h: 1 - h * h,
        formula="tanh(x)",
        reference="LeCun et al. 1998, Efficient BackProp",
        saturation=Band(-edge, edge),
        bounds=(-1, 1),
        pytorch={},
    )


def hardtanh() -> Activation:
    """The clipped identity."""
    return Activation(
        name="hardtanh",
        value=lambda z: np.clip(z, -1, 1),
        slope=lambda z, h: (np.abs(z) < 1).astype(z.dtype),
        formula="min(max(x, -1), 1)",
        reference="Collobert 2004, PhD thesis, Universite Paris VI",
        kinks=(-1, 1),
        saturation=Band(-1, 1),
        bounds=(-1, 1),
    )


def erf() -> Activation:
    """The error function: the sigmoidal unit whose theory has closed forms."""
    peak = 2 / math.sqrt(math.pi)
    edge = math.erf(math.sqrt(-math.log(SATURATED_SLOPE)))
    return Activation(
        name="erf",
        value=error_function,
        slope=lambda z, h: peak * np.exp(-z * z),
        formula="erf(x)",
        reference="Williams 1996, Computing with infinite networks, NIPS 9",
        saturation=Band(-edge, edge),
        bounds=(-1, 1),
        uses_scipy=True,
    )


def sin() -> Activation:
    """The sine, as in implicit neural representations."""
    return Activation(
        name="sin",
        value=np.sin,
        slope=lambda z, h: np.cos(z),
        formula="sin(x)",
        reference="Sitzmann et al. 2020, arXiv:2006.09661",
        aliases=("sine",),
        bounds=(-1, 1),
        period=2 * math.pi,
    )


def softsign() -> Activation:
    """A sigmoidal function with polynomial tails."""
    edge = 1 - math.sqrt(SATURATED_SLOPE)
    return Activation(
        name="softsign",
        value=lambda z: z / (1 + np.abs(z)),
        slope=lambda z, h: (1 + np.abs(z)) ** -2,
        formula="x / (1 + |x|)",
        reference="Bergstra et al. 2009, technical report 1337, Universite de Montreal",
        kinks=(0,),
        saturation=Band(-edge, edge),
        bounds=(-1, 1),
        pytorch={},
    )


def hardsigmoid() -> Activation:
    """The piecewise linear sigmoid."""
    return Activation(
        name="hardsigmoid",
        value=lambda z: np.clip(z + 3, 0, 6) / 6,
        slope=lambda z, h: ((z > -3) & (z < 3)) / z.dtype.type(6),
        formula="min(max(x + 3, 0), 6) / 6",
        reference="Courbariaux et al. 2015, arXiv:1511.00363; slope 1/6 as in PyTorch and Keras 3",
        kinks=(-3, 3),
        saturation=Band(0, 1),
        dead_below=-3,
        bounds=(0, 1),
        pytorch={},
    )


SIGMOIDS = (linear(), sigmoid(), tanh(), hardtanh(), erf(), sin(), softsign(), hardsigmoid())
