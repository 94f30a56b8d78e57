"""The initializers: one frozen record each, a variance rule and a unit-variance sampler.

`W = mean + sqrt(variance(fan_in, fan_out)) * unit sample`, for the sampler and for the theory alike, so that they
cannot disagree. `W` has shape `(fan_in, fan_out)`. To add one, write a function that returns its record and list it in
`INITIALIZERS`; tables, help, theory and the tests over the whole registry follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.fits import Autoencoder, Fit, Measured, UnitVariance
from initprobe.normals import standard_normal
from initprobe.registry import Registry

Array = npt.NDArray[Any]
Mode = Literal["fan_in", "fan_out", "fan_avg"]
Shape = Literal["normal", "uniform", "truncated_normal"]
Tuning = Literal["critical", "forward", "backward"]
VarianceRule = Callable[[int, int], float]

# Of epochs and iterations: more would not end in a lifetime.
_MOST_REPEATS = 1_000_000

GLOROT = "Glorot & Bengio 2010, AISTATS 9:249"
HE = "He et al. 2015, arXiv:1502.01852"
LECUN = "LeCun et al. 1998, Efficient BackProp"
VARIANCE_SCALING = "the primitive that Keras and JAX build their initializers from"


@dataclass(frozen=True)
class Distribution:
    """Entries of mean 0 and variance 1, before they are scaled.

    Attributes:
        name: what it is called.
        sample: `(generator, (rows, columns), dtype)` to an array of that shape.
        describe: `(mean, std)` of the entries to words, e.g. `N(0, std 0.0447)`.
        cdf: the distribution function of an entry, or None where entries are not identically distributed reals.
        whole: a matrix must be sampled in one piece, because its entries depend on each other.
        gaussian_limit: a wide layer under these weights has Gaussian pre-activations, so mean-field theory applies.
        orthogonal: rows or columns are orthonormal, which leaves a finite net less room to stray from theory.
        fourth: fan_in to `E[w^4]` and to `E[w_i^2 w_j^2]` of two weights of one unit: (3, 1) if normal. They decide how
            far a finite net strays.
    """

    name: str
    sample: Callable[[np.random.Generator, tuple[int, int], npt.DTypeLike], Array]
    describe: Callable[[float, float], str]
    cdf: Callable[[Array], Array] | None = None
    whole: bool = False
    gaussian_limit: bool = True
    orthogonal: bool = False
    fourth: Callable[[int], tuple[float, float]] = lambda fan_in: (3.0, 1.0)


@dataclass(frozen=True)
class Initializer:
    """How a weight matrix `W` of shape `(fan_in, fan_out)` gets its starting value.

    Attributes:
        name: canonical name.
        distribution: the unit-variance sampler.
        variance: `(fan_in, fan_out)` to the variance of an entry about `mean`.
        formula: the rule in plain text.
        reference: the paper or document it comes from.
        aliases: other names people type (case, `-` and `_` do not matter).
        example: the shortest specification that works, where the bare name does not.
        used_by: which framework uses it, and as what.
        mean: the mean of an entry.
        needs_fan: the rule depends on the layer's size, so it cannot serve a bias.
        bias: the bias initializer that comes with it, or None for zeros.
        fit: what is done to the drawn weights with the layer's input; None for nothing, and then theory applies.
        tuning: what the scale is fitted to the activation for; the record itself is the one of a linear net.
        params: the parameters this record was made with.
        make: makes the record again with other parameters, or None.
    """

    name: str
    distribution: Distribution
    variance: VarianceRule
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()
    example: str = ""
    used_by: str = ""
    mean: float = 0.0
    needs_fan: bool = True
    bias: Initializer | None = None
    fit: Fit | None = None
    tuning: Tuning | None = None
    params: Mapping[str, float | bool | str] = field(default_factory=dict)
    make: Callable[..., Initializer] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "example", self.example or self.name)

    def std(self, fan_in: int, fan_out: int) -> float:
        """Standard deviation of an entry of a `(fan_in, fan_out)` matrix."""
        return math.sqrt(self.variance(fan_in, fan_out))

    def describe(self, fan_in: int, fan_out: int) -> str:
        """The distribution of an entry of a `(fan_in, fan_out)` matrix in words."""
        return self.distribution.describe(self.mean, self.std(fan_in, fan_out))

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, int], fans: tuple[int, int], dtype: npt.DTypeLike
    ) -> Array:
        """Entries of a `fans = (fan_in, fan_out)` matrix in an array of `shape` (some of its rows, or all).

        A single row serves as a bias.
        """
        entries = self.distribution.sample(rng, shape, dtype)
        entries *= self.std(*fans)
        if self.mean:
            entries += self.mean
        return entries


def _number(x: float) -> str:
    return f"{x:.4g}"


def _normal_words(mean: float, std: float) -> str:
    return f"N({_number(mean)}, std {_number(std)})"


def _uniform_words(mean: float, std: float) -> str:
    half = math.sqrt(3) * std
    if mean:
        ends = (end if abs(end) > 1e-9 * half else 0.0 for end in (mean - half, mean + half))  # rounding is no bound
        return f"U({', '.join(map(_number, ends))})"
    return f"U(+-{_number(half)}), std {_number(std)}"


def _sample_uniform(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    entries = rng.random(shape, dtype=dtype)  # type: ignore[arg-type]
    entries -= 0.5
    entries *= math.sqrt(12)
    return entries


def _normal_cdf(x: Array) -> Array:
    from scipy import special

    return np.asarray(special.ndtr(x))


def _uniform_cdf(x: Array) -> Array:
    return np.clip((x / math.sqrt(3) + 1) / 2, 0, 1)


NORMAL = Distribution("normal", standard_normal, _normal_words, _normal_cdf)
UNIFORM = Distribution("uniform", _sample_uniform, _uniform_words, _uniform_cdf, fourth=lambda fan_in: (9 / 5, 1.0))


def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and variance of a standard normal cut to `[low, high]` (standard deviations before the cut).

    `Z = Phi(high) - Phi(low)`; `m = (pdf(low) - pdf(high)) / Z`; `v = 1 + (low pdf(low) - high pdf(high)) / Z - m^2`.
    """
    mass = _mass(low, high)
    mean = (_density(low) - _density(high)) / mass
    return mean, 1 + (low * _density(low) - high * _density(high)) / mass - mean**2


def _truncated_kurtosis(low: float, high: float) -> float:
    """`E[(x - m)^4] / v^2` of a standard normal cut to `[low, high]`: its raw moments follow by parts."""
    raw = [1.0, truncated_moments(low, high)[0]]
    for k in range(2, 5):
        edge = low ** (k - 1) * _density(low) - high ** (k - 1) * _density(high)
        raw.append((k - 1) * raw[k - 2] + edge / _mass(low, high))
    m, variance = raw[1], raw[2] - raw[1] ** 2
    return (raw[4] - 4 * m * raw[3] + 6 * m**2 * raw[2] - 3 * m**4) / variance**2


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _mass(low: float, high: float) -> float:
    return (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2


def _truncated(low: float, high: float) -> Distribution:
    """A standard normal cut to `[low, high]`, then shifted and scaled to mean 0 and variance 1."""
    mean, variance = truncated_moments(low, high)
    scale = math.sqrt(variance)

    def sample(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
        entries = standard_normal(rng, shape, dtype)
        outside = (entries < low) | (entries > high)
        while count := int(np.count_nonzero(outside)):
            entries[outside] = standard_normal(rng, (1, count), dtype)[0]
            outside = (entries < low) | (entries > high)
        entries -= mean
        entries /= scale
        return entries

    def cdf(x: Array) -> Array:
        inside = np.clip(x * scale + mean, low, high)
        return np.asarray((_normal_cdf(inside) - _normal_cdf(np.asarray(low))) / _mass(low, high))

    def describe(entry_mean: float, std: float) -> str:
        before = std / scale
        centre = entry_mean - mean * before
        bounds = f"[{_number(centre + low * before)}, {_number(centre + high * before)}]"
        return f"N({_number(centre)}, std {_number(before)}) cut to {bounds}, std {_number(std)} after the cut"

    kurtosis = _truncated_kurtosis(low, high)
    return Distribution("truncated_normal", sample, describe, cdf, fourth=lambda fan_in: (kurtosis, 1.0))


# The cut that Keras and JAX use in their variance-scaling initializers.
TRUNCATED = _truncated(-2, 2)
SHAPES: Mapping[str, Distribution] = {"normal": NORMAL, "uniform": UNIFORM, "truncated_normal": TRUNCATED}


def _haar(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    """A Haar-distributed matrix with orthonormal rows or columns, scaled to unit-variance entries.

    QR in float64, then cast: QR fails or loses orthogonality in low precision. The signs of R's diagonal make the
    distribution uniform (Mezzadri 2007, arXiv:math-ph/0609050).
    """
    tall = (max(shape), min(shape))
    q, r = np.linalg.qr(rng.standard_normal(tall))
    q *= np.where(np.diag(r) < 0, -1, 1)
    q *= math.sqrt(max(shape))
    return np.ascontiguousarray(q if shape == tall else q.T, dtype=dtype)


def _eye(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    """The identity, scaled so that the mean square of its entries is 1."""
    if shape[0] != shape[1]:
        raise ConfigError(
            f"identity needs square layers, but one is {shape[0]} -> {shape[1]}; "
            "make --input-width equal to the widths, or use orthogonal"
        )
    return math.sqrt(shape[0]) * np.eye(shape[0], dtype=dtype)


ORTHOGONAL = Distribution(
    "orthogonal",
    _haar,
    lambda mean, std: f"Haar orthogonal, entries of std {_number(std)}",
    whole=True,
    orthogonal=True,
)
IDENTITY = Distribution(
    "identity", _eye, lambda mean, std: f"diagonal, entries of rms {_number(std)}", whole=True, gaussian_limit=False
)
CONSTANT = Distribution(
    "constant",
    lambda rng, shape, dtype: np.zeros(shape, dtype),
    lambda mean, std: f"every entry {_number(mean)}",
    gaussian_limit=False,
)


def _connections_cut(fan_in: int, sparsity: float) -> int:
    return math.ceil(sparsity * fan_in)


def _sparse_distribution(sparsity: float) -> Distribution:
    def sample(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
        fan_in = shape[0]
        cut = _connections_cut(fan_in, sparsity)
        entries = standard_normal(rng, shape, dtype)
        entries[rng.permuted(np.tile(np.arange(fan_in)[:, None] < cut, shape[1]), axis=0)] = 0
        # Nothing is left to scale where every connection is cut.
        return entries * math.sqrt(fan_in / (fan_in - cut)) if cut < fan_in else entries

    def fourth(fan_in: int) -> tuple[float, float]:
        kept = fan_in - _connections_cut(fan_in, sparsity)
        # Their number is fixed, so that of two weights of a unit, the second is the rarer for the first's being there.
        return (3 * fan_in / kept, fan_in * (kept - 1) / (kept * max(fan_in - 1, 1))) if kept else (3.0, 1.0)

    words = f"{_number(100 * sparsity)}% zeros in each column"
    return Distribution(
        "sparse",
        sample,
        lambda mean, std: f"normal with {words}, std {_number(std)} overall",
        whole=True,
        fourth=fourth,
    )


def _fixed_variance(variance: float) -> VarianceRule:
    return lambda fan_in, fan_out: variance


def _scaled_variance(scale: float, mode: Mode) -> VarianceRule:
    """`scale / fan`, the one rule behind LeCun, Glorot and He."""

    def variance(fan_in: int, fan_out: int) -> float:
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        return scale / fan

    return variance


def _spread(name: str, std: float | None, var: float | None) -> float:
    """The variance given by exactly one of `std=` and `var=`.

    Raises:
        ConfigError: both, neither or a negative one.
    """
    if std is None and var is None:
        raise ConfigError(
            f"{name} needs std= or var=: papers write N(0, 0.01) for either, and at width 500 std 0.01 makes tanh "
            f"collapse while variance 0.01 saturates it; write {name}:std=0.01 or {name}:var=0.01"
        )
    if std is not None and var is not None:
        raise ConfigError(f"{name} takes std= or var=, not both")
    given, value = ("std", std) if std is not None else ("var", var)
    if value is None or not 0 <= value < math.inf:
        raise ConfigError(f"{name}: {given} must be at least 0, not {value:g}")
    return value**2 if given == "std" else value


def _given(**params: float | bool | str | None) -> dict[str, float | bool | str]:
    return {key: value for key, value in params.items() if value is not None}


def constant(value: float) -> Initializer:
    """Every weight the same: units stay identical for ever, whatever the data."""
    return Initializer(
        name="constant",
        distribution=CONSTANT,
        variance=_fixed_variance(0),
        mean=value,
        formula="W = value",
        reference="symmetry: Goodfellow et al. 2016, Deep Learning, section 8.4",
        example="constant:value=0.1",
        needs_fan=False,
        params={"value": value},
        make=constant,
    )


def zeros() -> Initializer:
    """All zeros: the usual bias, and a dead network as weights."""
    return replace(constant(0), name="zeros", formula="W = 0", aliases=("zero",), example="zeros", params={}, make=None)


def ones() -> Initializer:
    """All ones."""
    return replace(constant(1), name="ones", formula="W = 1", aliases=("one",), example="ones", params={}, make=None)


def identity(gain: float = 1.0) -> Initializer:
    """The identity matrix times a gain; square layers only."""
    scale = gain**2
    return Initializer(
        name="identity",
        distribution=replace(
            IDENTITY, sample=lambda rng, shape, dtype: np.copysign(1, gain, dtype=dtype) * _eye(rng, shape, dtype)
        ),
        variance=lambda fan_in, fan_out: scale / max(fan_in, fan_out),
        formula="W = gain I; the mean square of its entries is gain^2 / fan_in",
        reference="Le et al. 2015, arXiv:1504.00941",
        aliases=("eye",),
        params={"gain": gain},
        make=identity,
    )


def normal(std: float | None = None, var: float | None = None, mean: float = 0.0) -> Initializer:
    """Normal with the spread you give, whatever the size of the layer."""
    return Initializer(
        name="normal",
        distribution=NORMAL,
        variance=_fixed_variance(_spread("normal", std, var)),
        mean=mean,
        formula="N(mean, std^2), std or var as given",
        reference="Krizhevsky et al. 2012 (std 0.01), Radford et al. 2019 (std 0.02)",
        aliases=("random_normal", "randn"),
        example="normal:std=0.01",
        needs_fan=False,
        params=_given(std=std, var=var, mean=mean or None),
        make=normal,
    )


def uniform(
    limit: float | None = None,
    low: float | None = None,
    high: float | None = None,
    std: float | None = None,
    var: float | None = None,
) -> Initializer:
    """Uniform between the bounds you give, whatever the size of the layer."""
    low, high = _uniform_bounds(limit, low, high, std, var)
    return Initializer(
        name="uniform",
        distribution=UNIFORM,
        variance=_fixed_variance((high - low) ** 2 / 12),
        mean=(low + high) / 2,
        formula="U(-limit, limit) or U(low, high); variance (high - low)^2 / 12",
        reference="LeCun et al. 1998, Efficient BackProp; the bounds are yours",
        aliases=("random_uniform",),
        example="uniform:limit=0.05",
        needs_fan=False,
        params={"low": low, "high": high},
        make=uniform,
    )


def _uniform_bounds(
    limit: float | None, low: float | None, high: float | None, std: float | None, var: float | None
) -> tuple[float, float]:
    ways = [limit is not None, low is not None or high is not None, std is not None or var is not None]
    if sum(ways) != 1:
        raise ConfigError(
            "uniform needs exactly one of limit=, low= with high=, std= or var=: "
            "its default differs between torch (0..1), Keras (+-0.05) and JAX (0..0.01); write uniform:limit=0.05"
        )
    if limit is not None:
        low, high = -limit, limit
    elif ways[2]:
        half = math.sqrt(3 * _spread("uniform", std, var))
        low, high = -half, half
    if low is None or high is None:
        raise ConfigError("uniform: low= and high= go together")
    if low > high:
        raise ConfigError(f"uniform: low {low:g} is above high {high:g}")
    return low, high


def truncated_normal(
    std: float | None = None,
    var: float | None = None,
    mean: float = 0.0,
    low: float = -2.0,
    high: float = 2.0,
    corrected: bool = False,
) -> Initializer:
    """Normal cut at `low` and `high`, which are in standard deviations of the uncut normal.

    `std` (or `var`) is that of the uncut normal, as in torch, Keras and JAX; with `corrected=true` it is what is left
    after the cut.
    """
    spread = _spread("truncated_normal", std, var)
    if not low < high or _mass(low, high) < 0.01:
        raise ConfigError(
            f"truncated_normal: [{low:g}, {high:g}] must hold at least 1% of the normal it cuts; "
            "bounds are in standard deviations"
        )
    cut_mean, cut_variance = truncated_moments(low, high)
    before = math.sqrt(spread / cut_variance if corrected else spread)
    return Initializer(
        name="truncated_normal",
        distribution=_truncated(low, high),
        variance=_fixed_variance(before**2 * cut_variance),
        mean=mean + cut_mean * before,
        formula="N(mean, std^2) cut to mean + [low, high] std; variance 0.774 std^2 at +-2, or std^2 if corrected",
        reference="Abadi et al. 2016, arXiv:1603.04467",
        aliases=("trunc_normal",),
        example="truncated_normal:std=0.02",
        used_by="bounds in standard deviations as in Keras and JAX; torch's trunc_normal_ takes absolute bounds",
        needs_fan=False,
        params=_given(std=std, var=var, mean=mean or None, low=low, high=high, corrected=corrected),
        make=truncated_normal,
    )


def variance_scaling(scale: float = 1.0, mode: Mode = "fan_in", distribution: Shape = "normal") -> Initializer:
    """`variance = scale / fan`, the primitive behind LeCun, Glorot and He."""
    if scale < 0:
        raise ConfigError(f"variance_scaling: scale must be at least 0, not {scale:g}")
    return Initializer(
        name="variance_scaling",
        distribution=SHAPES[distribution],
        variance=_scaled_variance(scale, mode),
        formula="Var(W) = scale / fan; fan is fan_in, fan_out or their mean",
        reference=VARIANCE_SCALING,
        used_by="Keras and JAX; with distribution=truncated_normal the cut is corrected, as theirs is",
        params={"scale": scale, "mode": mode, "distribution": distribution},
        make=variance_scaling,
    )


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Glorot's compromise between signal and gradient, normal."""
    return Initializer(
        name="xavier_normal",
        distribution=NORMAL,
        variance=_scaled_variance(gain**2, "fan_avg"),
        formula="N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out))",
        reference=GLOROT,
        aliases=("xavier", "glorot", "glorot_normal"),
        used_by="torch xavier_normal_; glorot_normal of Keras and JAX has this variance but is cut at 2 std",
        params={"gain": gain},
        make=xavier_normal,
    )


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Glorot's compromise between signal and gradient, uniform."""
    return Initializer(
        name="xavier_uniform",
        distribution=UNIFORM,
        variance=_scaled_variance(gain**2, "fan_avg"),
        formula="U(-a, a), a = gain sqrt(6 / (fan_in + fan_out))",
        reference=GLOROT,
        aliases=("glorot_uniform",),
        used_by="torch xavier_uniform_; Keras and JAX glorot_uniform; default of Keras Dense",
        params={"gain": gain},
        make=xavier_uniform,
    )


def _he(
    name: str,
    make: Callable[..., Initializer],
    distribution: Distribution,
    aliases: tuple[str, ...],
    gain: float,
    mode: Mode,
    slope: float,
) -> Initializer:
    bound = "U(-a, a), a = gain sqrt(6 / ((1 + slope^2) fan))"
    std = "N(0, std^2), std = gain sqrt(2 / ((1 + slope^2) fan))"
    return Initializer(
        name=name,
        distribution=distribution,
        variance=_scaled_variance(2 * gain**2 / (1 + slope**2), mode),
        formula=bound if distribution is UNIFORM else std,
        reference=HE,
        aliases=aliases,
        used_by=f"torch kaiming_{distribution.name}_; {name} of Keras and JAX"
        + (" has this variance but is cut at 2 std" if distribution is NORMAL else ""),
        params={"gain": gain, "mode": mode, "slope": slope},
        make=make,
    )


def he_normal(gain: float = 1.0, mode: Mode = "fan_in", slope: float = 0.0) -> Initializer:
    """He's rule for ReLU and leaky ReLU (`slope` on the negative side), normal."""
    return _he("he_normal", he_normal, NORMAL, ("he", "kaiming", "kaiming_normal"), gain, mode, slope)


def he_uniform(gain: float = 1.0, mode: Mode = "fan_in", slope: float = 0.0) -> Initializer:
    """He's rule for ReLU and leaky ReLU (`slope` on the negative side), uniform."""
    return _he("he_uniform", he_uniform, UNIFORM, ("kaiming_uniform",), gain, mode, slope)


def lecun_normal(gain: float = 1.0) -> Initializer:
    """LeCun's rule, normal: the forward signal of a linear or SELU net keeps its variance."""
    return Initializer(
        name="lecun_normal",
        distribution=NORMAL,
        variance=_scaled_variance(gain**2, "fan_in"),
        formula="N(0, std^2), std = gain sqrt(1 / fan_in)",
        reference=f"{LECUN}; Klambauer et al. 2017, arXiv:1706.02515",
        aliases=("lecun",),
        used_by="SELU nets; lecun_normal of Keras and JAX has this variance but is cut at 2 std",
        params={"gain": gain},
        make=lecun_normal,
    )


def lecun_uniform(gain: float = 1.0) -> Initializer:
    """LeCun's rule, uniform."""
    return Initializer(
        name="lecun_uniform",
        distribution=UNIFORM,
        variance=_scaled_variance(gain**2, "fan_in"),
        formula="U(-a, a), a = gain sqrt(3 / fan_in)",
        reference=LECUN,
        used_by="Keras and JAX lecun_uniform",
        params={"gain": gain},
        make=lecun_uniform,
    )


def fan_in_heuristic(gain: float = 1.0) -> Initializer:
    """The rule that Glorot & Bengio start from; a third of LeCun's variance."""
    return Initializer(
        name="fan_in_heuristic",
        distribution=UNIFORM,
        variance=_scaled_variance(gain**2 / 3, "fan_in"),
        formula="U(-a, a), a = gain / sqrt(fan_in); Var(W) = gain^2 / (3 fan_in)",
        reference=f"{GLOROT}, equation 1",
        aliases=("standard", "commonly_used_heuristic"),
        used_by="the weights of torch_linear",
        params={"gain": gain},
        make=fan_in_heuristic,
    )


def orthogonal(gain: float = 1.0) -> Initializer:
    """A random rotation times a gain; rows or columns are orthonormal where the layer is not square."""
    scale = gain**2
    return Initializer(
        name="orthogonal",
        distribution=ORTHOGONAL,
        variance=lambda fan_in, fan_out: scale / max(fan_in, fan_out),
        formula="W'W = gain^2 I (or WW'), Haar-distributed; Var(W) = gain^2 / max(fan_in, fan_out)",
        reference="Saxe et al. 2014, arXiv:1312.6120",
        aliases=("orthonormal",),
        used_by="torch orthogonal_; Keras and JAX orthogonal",
        params={"gain": gain},
        make=orthogonal,
    )


def sparse(sparsity: float = 0.9, std: float | None = None, var: float | None = None) -> Initializer:
    """Normal with a share `sparsity` of every unit's incoming weights cut to zero."""
    if not 0 <= sparsity <= 1:
        raise ConfigError(f"sparse: sparsity must lie between 0 and 1, not {sparsity:g}")
    spread = _spread("sparse", std, var)

    def variance(fan_in: int, fan_out: int) -> float:
        return spread * (1 - _connections_cut(fan_in, sparsity) / fan_in)

    return Initializer(
        name="sparse",
        distribution=_sparse_distribution(sparsity),
        variance=variance,
        formula="N(0, std^2), ceil(sparsity fan_in) zeros among a unit's inputs; Var(W) = std^2 (1 - share of zeros)",
        reference="Martens 2010, ICML (Hessian-free optimization)",
        example="sparse:sparsity=0.9,std=0.1",
        used_by="torch sparse_, which cuts among each unit's outgoing weights instead",
        params=_given(sparsity=sparsity, std=std, var=var),
        make=sparse,
    )


def torch_linear() -> Initializer:
    """What `torch.nn.Linear` really does: kaiming_uniform with a = sqrt(5), and a bias of the same width."""
    weights = fan_in_heuristic()
    return replace(
        weights,
        name="torch_linear",
        formula="W and b ~ U(-a, a), a = 1 / sqrt(fan_in); Var(W) = 1 / (3 fan_in)",
        reference="PyTorch nn.Linear.reset_parameters: kaiming_uniform_(a=sqrt(5))",
        aliases=("pytorch", "torch", "pytorch_linear", "torch_default"),
        example="torch_linear",
        used_by="default of torch.nn.Linear",
        bias=weights,
        params={},
        make=None,
    )


def keras_dense() -> Initializer:
    """What a Keras `Dense` layer does: Glorot uniform, zero bias."""
    return replace(
        xavier_uniform(),
        name="keras_dense",
        aliases=("keras", "tensorflow", "keras_default"),
        example="keras_dense",
        used_by="default of keras.layers.Dense",
        params={},
        make=None,
    )


def flax_dense() -> Initializer:
    """What a Flax `Dense` layer does: LeCun normal cut at 2 std with the variance corrected, zero bias."""
    return replace(
        variance_scaling(1.0, "fan_in", "truncated_normal"),
        name="flax_dense",
        formula="N(0, s^2) cut at +-2s, s = sqrt(1 / fan_in) / 0.87963; Var(W) = 1 / fan_in",
        reference=f"{LECUN}; Flax nn.Dense",
        aliases=("flax", "jax", "flax_default"),
        example="flax_dense",
        used_by="default of flax.linen.Dense and flax.nnx.Linear",
        params={},
        make=None,
    )


# Rules that weights are drawn by, whatever the activation and the data.
RULES = Registry(
    "initializer",
    [
        zeros(),
        ones(),
        constant(0.1),
        identity(),
        normal(std=0.01),
        uniform(limit=0.05),
        truncated_normal(std=0.02),
        variance_scaling(),
        xavier_normal(),
        xavier_uniform(),
        he_normal(),
        he_uniform(),
        lecun_normal(),
        lecun_uniform(),
        fan_in_heuristic(),
        orthogonal(),
        sparse(std=0.1),
        torch_linear(),
        keras_dense(),
        flax_dense(),
    ],
)


def autoencoder(
    epochs: float = 10,
    learning_rate: float = 0.5,
    batch: float | None = None,
    noise: float = 0.0,
    tied: bool = True,
    base: str = "xavier",
) -> Initializer:
    """Greedy layer-wise pretraining: each layer learns to encode its own input, then hands its output to the next.

    `learning_rate` is in units of 1 / the steepest curvature of the loss at the start, so that it suits any layer;
    `noise` is the share of the input that is masked (Vincent et al.'s denoising form); a step takes `batch` samples, or
    100 if there are as many.
    """
    drawn = _base("autoencoder", base)
    if not learning_rate > 0:
        raise ConfigError(f"autoencoder: learning_rate must be above 0, not {learning_rate:g}")
    if not 0 <= noise < 1:
        raise ConfigError(f"autoencoder: noise is a share of the input and lies in [0, 1), not {noise:g}")
    whole = _whole("autoencoder", epochs=epochs, **({} if batch is None else {"batch": batch}))
    return replace(
        drawn,
        name="autoencoder",
        formula="drawn by base, then trained to decode the layer's input: x' = phi(x W + b) W' + c, squared error, SGD",
        reference="Bengio et al. 2007, NIPS 19:153; with noise: Vincent et al. 2010, JMLR 11:3371",
        aliases=("pretraining", "pretrained", "denoising_autoencoder"),
        example="autoencoder",
        used_by="deep nets before Glorot & Bengio's and He's rules",
        fit=Autoencoder(whole["epochs"], learning_rate, whole.get("batch"), noise, tied),
        params={**whole, "learning_rate": learning_rate, "noise": noise, "tied": tied, "base": base},
        make=autoencoder,
    )


def lsuv(
    tol: float = 0.1, max_iterations: float = 10, of: Measured = "preactivation", center: bool = False
) -> Initializer:
    """Orthonormal weights, each layer then scaled on the data until its variance is 1.

    `of=preactivation` is the paper's (its layer is the linear one); `of=output` measures after the activation, as
    fastai does. `center=true` shifts the bias too, until the mean is 0.
    """
    if not 0 < tol < 1:
        raise ConfigError(f"lsuv: tol must lie between 0 and 1, not {tol:g}")
    whole = _whole("lsuv", max_iterations=max_iterations)
    return replace(
        orthogonal(),
        name="lsuv",
        formula="orthonormal, then W / std of the layer's z (or h) on the data, until |variance - 1| < tol",
        reference="Mishkin & Matas 2016, arXiv:1511.06422",
        aliases=("layer_sequential_unit_variance",),
        example="lsuv",
        used_by="fastai, with of=output and center=true",
        fit=UnitVariance(tol, whole["max_iterations"], of, center),
        params={"tol": tol, **whole, "of": of, "center": center},
        make=lsuv,
    )


def _whole(name: str, **counts: float) -> dict[str, int]:
    """Counts from 1 to a million.

    Raises:
        ConfigError: one is no such number.
    """
    for key, value in counts.items():
        if not 1 <= value <= _MOST_REPEATS or value != int(value):
            raise ConfigError(f"{name}: {key} must be a whole number from 1 to {_MOST_REPEATS:,}, not {value:g}")
    return {key: int(value) for key, value in counts.items()}


def _base(name: str, base: str) -> Initializer:
    """What the weights are drawn by before they are fitted."""
    try:
        return RULES[base]
    except UnknownNameError as error:
        raise UnknownNameError(f"{name}: base: {error}") from None


def _tuned(
    name: Tuning, make: Callable[..., Initializer], formula: str, reference: str, mode: Mode = "fan_in"
) -> Initializer:
    return Initializer(
        name=name,
        distribution=NORMAL,
        variance=_scaled_variance(1.0, mode),
        formula=formula,
        reference=reference,
        used_by="the activation decides the gain (`initprobe gain --act NAME`); what is shown here is for linear",
        tuning=name,
        make=make,
    )


def critical(sigma_b: float = 0.0) -> Initializer:
    """The edge of chaos of the activation: small differences between inputs neither grow nor fade."""
    if not sigma_b >= 0:
        raise ConfigError(f"critical: sigma_b must be at least 0, not {sigma_b:g}")
    formula = "N(0, sigma_w^2 / fan_in), b ~ N(0, sigma_b^2), chi_1 = sigma_w^2 E[phi'^2] = 1 where q settles"
    found = _tuned("critical", critical, formula, "Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017")
    bias = replace(normal(std=sigma_b), name="critical") if sigma_b else None
    return replace(found, aliases=("edge_of_chaos", "eoc"), bias=bias, params={"sigma_b": sigma_b})


def forward() -> Initializer:
    """The gain that keeps the signal's variance at 1 for this very activation."""
    return _tuned("forward", forward, "N(0, gain^2 / fan_in), gain = 1 / sqrt(E[phi(z)^2]), z ~ N(0, 1)", HE)


def backward() -> Initializer:
    """The gain that keeps the gradient's variance where z has variance 1, for this very activation."""
    return _tuned(
        "backward", backward, "N(0, gain^2 / fan_out), gain = 1 / sqrt(E[phi'(z)^2]), z ~ N(0, 1)", HE, "fan_out"
    )


INITIALIZERS = Registry("initializer", [*RULES.values(), critical(), forward(), backward(), lsuv(), autoencoder()])
