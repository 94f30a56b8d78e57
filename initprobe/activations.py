"""The activation functions: one frozen record each, holding everything the rest of the tool asks about it.

To add one, write a function that returns its record and list it in `ACTIVATIONS`; tables, help, theory and the tests
over the whole registry follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.errors import ConfigError
from initprobe.registry import Registry

Array = npt.NDArray[Any]

# CS231n counts a tanh unit as saturated beyond |h| = 0.97. There the slope is 1 - 0.97^2 = 5.9% of its largest value;
# the same share of the slope marks the band of every other activation.
SATURATED_SLOPE = 1 - 0.97**2

# Of the parameters of an activation: fourth powers of what it gives stay in the range of float64.
_LARGEST, _SMALLEST = 1e75, 1e-75

SELU_SCALE = 1.0507009873554804934
SELU_ALPHA = 1.6732632423543772848


@dataclass(frozen=True)
class Band:
    """Outputs at or below `low`, or at or above `high`, count as saturated."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Activation:
    """An element-wise activation `h = phi(z)`.

    Attributes:
        name: canonical name.
        value: `phi(z)`; takes and returns an array of any shape and keeps its dtype.
        slope: `phi'(z)` from `(z, h)`, where `h = phi(z)` spares a second evaluation. At a kink it gives what the
            frameworks give (0 for ReLU at 0).
        formula: `phi(x)` in plain text.
        reference: the paper or document it comes from.
        aliases: other names people type.
        kinks: points where phi or one of its first two derivatives jumps; quadrature splits there.
        saturation: the outputs that count as saturated (slope below 5.9% of its largest), or None.
        dead_below: a pre-activation at or below which output and slope are exactly 0, or None if units cannot die; for
            a function of the user's own the output may be another constant.
        bounds: the closed range of phi, infinite where unbounded; histograms use it as their axis.
        period: the period of a periodic function, else None; quadrature panels must not be wider.
        slope_noise: rounding error of `slope` beside a phi of 1 where it is a central difference; 0 for a formula.
        params: the parameters this record was made with.
        make: makes the record again with other parameters, or None.
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

    @property
    def example(self) -> str:
        """The shortest specification that works on a command line."""
        return self.name


def _sigmoid(z: Array) -> Array:
    """`1 / (1 + e^-z)` without overflow at either end."""
    small: Array = np.exp(-np.abs(z))
    share: Array = np.where(z >= 0, 1, small) / (1 + small)
    return share


def _special() -> Any:
    """scipy.special, loaded by the first function that needs it: it costs more than the rest of a start-up."""
    from scipy import special

    return special


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
        value=_sigmoid,
        slope=lambda z, h: h * (1 - h),
        formula="1 / (1 + exp(-x))",
        reference="Glorot & Bengio 2010, AISTATS 9:249",
        aliases=("logistic", "expit"),
        saturation=Band(edge, 1 - edge),
        bounds=(0, 1),
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
        value=lambda z: _special().erf(z),
        slope=lambda z, h: peak * np.exp(-z * z),
        formula="erf(x)",
        reference="Williams 1996, Computing with infinite networks, NIPS 9",
        saturation=Band(-edge, edge),
        bounds=(-1, 1),
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
    )


def leaky_relu(slope: float = 0.01) -> Activation:
    """ReLU with a small slope on the negative side."""
    _require_within("leaky_relu", "slope", slope, -_LARGEST)
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
    )


def elu(alpha: float = 1.0) -> Activation:
    """The exponential linear unit."""
    _require_positive("elu", "alpha", alpha)
    _require_within("elu", "alpha", alpha, 0)
    return Activation(
        name="elu",
        value=lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
        slope=lambda z, h: np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0))),
        formula="x if x > 0 else alpha (exp(x) - 1)",
        reference="Clevert et al. 2016, arXiv:1511.07289",
        kinks=(0,),
        # A smaller alpha is a leaky ReLU in all but name: every slope below 0 is small, none is the flat end of it.
        saturation=Band(low=SATURATED_SLOPE * max(alpha, 1) - alpha) if alpha > SATURATED_SLOPE else None,
        bounds=(-alpha, math.inf),
        params={"alpha": alpha},
        make=elu,
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
    )


def celu(alpha: float = 1.0) -> Activation:
    """ELU with a continuous slope for every alpha."""
    _require_positive("celu", "alpha", alpha)
    _require_within("celu", "alpha", alpha, _SMALLEST)
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
    )


def gelu() -> Activation:
    """The Gaussian error linear unit, exact."""
    density = 1 / math.sqrt(2 * math.pi)

    def slope(z: Array, h: Array) -> Array:
        # Phi(z) = h / z spares its second evaluation, the dearest part; among subnormal numbers it is 1/2.
        share = np.divide(h, z, out=np.full_like(h, 0.5), where=np.abs(z) > 2 * np.finfo(h.dtype).tiny)
        result: Array = share + z * (density * np.exp(-z * z / 2))
        return result

    return Activation(
        name="gelu",
        value=lambda z: z * _special().ndtr(z),
        slope=slope,
        formula="x Phi(x), Phi the normal distribution function",
        reference="Hendrycks & Gimpel 2016, arXiv:1606.08415",
        bounds=(-0.16997120747990366, math.inf),
    )


def gelu_tanh() -> Activation:
    """The tanh approximation of GELU."""
    scale, cubic = math.sqrt(2 / math.pi), 0.044715

    def slope(z: Array, h: Array) -> Array:
        z = np.clip(z, -20, 20)  # beyond, tanh is +-1 to the last bit and z^2 (1 - tanh^2) would be inf * 0
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
        s = _sigmoid(z)
        result: Array = s * (1 + z * (1 - s))
        return result

    return Activation(
        name="silu",
        value=lambda z: z * _sigmoid(z),
        slope=slope,
        formula="x / (1 + exp(-x))",
        reference="Elfwing et al. 2017, arXiv:1702.03118; Ramachandran et al. 2017, arXiv:1710.05941",
        aliases=("swish",),
        bounds=(-0.27846454276107385, math.inf),
    )


def mish() -> Activation:
    """A smooth relative of swish."""

    def slope(z: Array, h: Array) -> Array:
        t = np.tanh(np.logaddexp(0, z))
        result: Array = t + z * (1 - t * t) * _sigmoid(z)
        return result

    return Activation(
        name="mish",
        value=lambda z: z * np.tanh(np.logaddexp(0, z)),
        slope=slope,
        formula="x tanh(log(1 + exp(x)))",
        reference="Misra 2019, arXiv:1908.08681",
        bounds=(-0.30884341301725043, math.inf),
    )


def softplus(beta: float = 1.0) -> Activation:
    """A smooth ReLU."""
    _require_positive("softplus", "beta", beta)
    _require_within("softplus", "beta", beta, _SMALLEST)
    return Activation(
        name="softplus",
        value=lambda z: np.logaddexp(0, beta * z) / beta,
        slope=lambda z, h: _sigmoid(beta * z),
        formula="log(1 + exp(beta x)) / beta",
        reference="Dugas et al. 2001, NIPS 13",
        saturation=Band(low=-math.log(1 - SATURATED_SLOPE) / beta),
        bounds=(0, math.inf),
        params={"beta": beta},
        make=softplus,
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
    )


def _require_positive(name: str, parameter: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name}: {parameter} must be above 0, not {value:g}")


def _require_within(name: str, parameter: str, value: float, low: float) -> None:
    if not low <= value <= _LARGEST:
        raise ConfigError(
            f"{name}: {parameter} must lie between {low:g} and {_LARGEST:g}, not {value:g}: "
            "theory takes fourth powers of phi, which leave the float range beyond"
        )


ACTIVATIONS = Registry(
    "activation",
    [
        make()
        for make in (
            linear,
            sigmoid,
            tanh,
            hardtanh,
            erf,
            sin,
            relu,
            relu6,
            leaky_relu,
            elu,
            selu,
            celu,
            gelu,
            gelu_tanh,
            silu,
            mish,
            softplus,
            softsign,
            hardswish,
            hardsigmoid,
        )
    ],
)
