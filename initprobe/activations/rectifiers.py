"""The rectifiers: ReLU and its relatives, which pass large positive pre-activations nearly unchanged.

To add one, write a function that returns its record. List it in `RECTIFIERS` at the end of this file. `leaky_relu` is
the pattern for one with a parameter. What is bounded goes into `sigmoids.py`.
"""

from __future__ import annotations

import math

import numpy as np

from initprobe.activations.record import (
    LARGEST,
    SATURATED_SLOPE,
    SMALLEST,
    Activation,
    Band,
    require_positive,
    require_within,
)
from initprobe.activations.sigmoids import logistic
from initprobe.arrays import Array, normal_cdf

SELU_SCALE = 1.0507009873554804934
SELU_ALPHA = 1.6732632423543772848


def relu() -> Activation:
    """The rectified linear unit."""
    return Activation(
        name="relu",
        value=lambda z: np.maximum(z, 0),
        slope=lambda z, h: (z > 0).astype(z.dtype),
        formula="max(x, 0)",
        reference="Nair & Hinton 2010, ICML",
        kinks=(0,),
        dead_below=0,
        bounds=(0, math.inf),
        pytorch={},
    )


def relu6() -> Activation:
    """ReLU clipped at 6."""
    return Activation(
        name="relu6",
        value=lambda z: np.clip(z, 0, 6),
        slope=lambda z, h: ((z > 0) & (z < 6)).astype(z.dtype),
        formula="min(max(x, 0), 6)",
        reference="Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10",
        kinks=(0, 6),
        saturation=Band(high=6),
        dead_below=0,
        bounds=(0, 6),
        pytorch={},
    )


def leaky_relu(slope: float = 0.01) -> Activation:
    """ReLU with a small slope on the negative side."""
    require_within("leaky_relu", "slope", slope, -LARGEST)
    return Activation(
        name="leaky_relu",
        value=lambda z: np.where(z > 0, z, slope * z),
        slope=lambda z, h: np.where(z > 0, 1, slope).astype(z.dtype),
        formula="x if x > 0 else slope x",
        reference="Maas et al. 2013, ICML workshop",
        aliases=("lrelu",),
        kinks=(0,),
        params={"slope": slope},
        make=leaky_relu,
        pytorch={"negative_slope": "slope"},
    )


def elu(alpha: float = 1.0) -> Activation:
    """The exponential linear unit."""
    require_positive("elu", "alpha", alpha)
    require_within("elu", "alpha", alpha, 0)
    return Activation(
        name="elu",
        value=lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
        slope=lambda z, h: np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0))),
        formula="x if x > 0 else alpha (exp(x) - 1)",
        reference="Clevert et al. 2016, arXiv:1511.07289",
        kinks=(0,),
        # With a smaller alpha every slope below 0 is small, as of a leaky ReLU. So none marks a saturated end.
        saturation=Band(low=SATURATED_SLOPE * max(alpha, 1) - alpha) if alpha > SATURATED_SLOPE else None,
        bounds=(-alpha, math.inf),
        params={"alpha": alpha},
        make=elu,
        pytorch={"alpha": "alpha"},
    )


def selu() -> Activation:
    """The self-normalising ELU, with the constants of its paper."""
    floor = SELU_SCALE * SELU_ALPHA
    return Activation(
        name="selu",
        value=lambda z: np.where(z > 0, SELU_SCALE * z, floor * np.expm1(np.minimum(z, 0))),
        slope=lambda z, h: np.where(z > 0, SELU_SCALE, floor * np.exp(np.minimum(z, 0))),
        formula="1.0507 (x if x > 0 else 1.6733 (exp(x) - 1))",
        reference="Klambauer et al. 2017, arXiv:1706.02515",
        kinks=(0,),
        saturation=Band(low=-floor * (1 - SATURATED_SLOPE)),
        bounds=(-floor, math.inf),
        pytorch={},
    )


def celu(alpha: float = 1.0) -> Activation:
    """ELU with a continuous slope for every alpha."""
    require_positive("celu", "alpha", alpha)
    require_within("celu", "alpha", alpha, SMALLEST)
    return Activation(
        name="celu",
        value=lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) / alpha)),
        slope=lambda z, h: np.where(z > 0, 1, np.exp(np.minimum(z, 0) / alpha)),
        formula="x if x > 0 else alpha (exp(x / alpha) - 1)",
        reference="Barron 2017, arXiv:1704.07483",
        kinks=(0,),
        saturation=Band(low=-alpha * (1 - SATURATED_SLOPE)),
        bounds=(-alpha, math.inf),
        params={"alpha": alpha},
        make=celu,
        pytorch={"alpha": "alpha"},
    )


def gelu() -> Activation:
    """The Gaussian error linear unit, exact."""
    peak = 1 / math.sqrt(2 * math.pi)

    def slope(z: Array, h: Array) -> Array:
        # Phi(z) = h / z saves the second, costly evaluation of Phi; for a subnormal z it is 1/2.
        share = np.divide(h, z, out=np.full_like(h, 0.5), where=np.abs(z) > 2 * np.finfo(h.dtype).tiny)
        result: Array = share + z * (peak * np.exp(-z * z / 2))  # as a product: a division costs more
        return result

    return Activation(
        name="gelu",
        value=lambda z: z * normal_cdf(z),
        slope=slope,
        formula="x Phi(x), Phi the normal distribution function",
        reference="Hendrycks & Gimpel 2016, arXiv:1606.08415",
        bounds=(-0.16997120747990366, math.inf),
        uses_scipy=True,
    )


def gelu_tanh() -> Activation:
    """The tanh approximation of GELU."""
    scale, cubic = math.sqrt(2 / math.pi), 0.044715

    def slope(z: Array, h: Array) -> Array:
        z = np.clip(z, -20, 20)  # beyond, tanh is exactly +-1 and z^2 (1 - tanh^2) would be inf * 0
        t: Array = np.tanh(scale * (z + cubic * z**3))
        result: Array = (1 + t) / 2 + z / 2 * (1 - t * t) * (scale * (1 + 3 * cubic * z * z))
        return result

    return Activation(
        name="gelu_tanh",
        value=lambda z: z / 2 * (1 + np.tanh(scale * (z + cubic * z**3))),
        slope=slope,
        formula="x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
        reference="Hendrycks & Gimpel 2016, arXiv:1606.08415",
        aliases=("gelu_new", "gelu_approximate"),
        bounds=(-0.1700407505712541, math.inf),
    )


def silu() -> Activation:
    """The sigmoid linear unit, also called swish."""

    def slope(z: Array, h: Array) -> Array:
        s = logistic(z)
        result: Array = s * (1 + z * (1 - s))
        return result

    return Activation(
        name="silu",
        value=lambda z: z * logistic(z),
        slope=slope,
        formula="x / (1 + exp(-x))",
        reference="Elfwing et al. 2017, arXiv:1702.03118; Ramachandran et al. 2017, arXiv:1710.05941",
        aliases=("swish",),
        bounds=(-0.27846454276107385, math.inf),
        pytorch={},
    )


def mish() -> Activation:
    """A smooth relative of swish."""

    def slope(z: Array, h: Array) -> Array:
        t = np.tanh(np.logaddexp(0, z))
        result: Array = t + z * (1 - t * t) * logistic(z)
        return result

    return Activation(
        name="mish",
        value=lambda z: z * np.tanh(np.logaddexp(0, z)),
        slope=slope,
        formula="x tanh(log(1 + exp(x)))",
        reference="Misra 2019, arXiv:1908.08681",
        bounds=(-0.30884341301725043, math.inf),
        pytorch={},
    )


def softplus(beta: float = 1.0) -> Activation:
    """A smooth ReLU."""
    require_positive("softplus", "beta", beta)
    require_within("softplus", "beta", beta, SMALLEST)
    return Activation(
        name="softplus",
        value=lambda z: np.logaddexp(0, beta * z) / beta,
        slope=lambda z, h: logistic(beta * z),
        formula="log(1 + exp(beta x)) / beta",
        reference="Dugas et al. 2001, NIPS 13",
        saturation=Band(low=-math.log(1 - SATURATED_SLOPE) / beta),
        bounds=(0, math.inf),
        params={"beta": beta},
        make=softplus,
        pytorch={"beta": "beta"},
    )


def hardswish() -> Activation:
    """The piecewise quadratic relative of swish."""
    return Activation(
        name="hardswish",
        value=lambda z: z * (np.clip(z + 3, 0, 6) / 6),
        slope=lambda z, h: np.where(z <= -3, 0, np.where(z >= 3, 1, (2 * z + 3) / 6)).astype(z.dtype),
        formula="x min(max(x + 3, 0), 6) / 6",
        reference="Howard et al. 2019, arXiv:1905.02244",
        kinks=(-3, 3),
        dead_below=-3,
        bounds=(-0.375, math.inf),
        pytorch={},
    )


RECTIFIERS = (
    relu(),
    relu6(),
    leaky_relu(),
    elu(),
    selu(),
    celu(),
    gelu(),
    gelu_tanh(),
    silu(),
    mish(),
    softplus(),
    hardswish(),
)
