"""Initializers whose numbers the user gives, and matrices of a fixed form: orthogonal, identity, sparse.

To add one, write a function that returns its record. List it in `FIXED` at the end of this file.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from initprobe.errors import ConfigError
from initprobe.initializers.distributions import (
    CONSTANT,
    IDENTITY,
    NORMAL,
    ORTHOGONAL,
    UNIFORM,
    connections_cut,
    diagonal,
    mass_within,
    sparse_distribution,
    truncated_distribution,
    truncated_moments,
)
from initprobe.initializers.record import Initializer, VarianceRule


def _fixed_variance(variance: float) -> VarianceRule:
    return lambda fan_in, fan_out: variance


def _spread(name: str, std: float | None, var: float | None) -> float:
    """The variance given by exactly one of `std=` and `var=`.

    Raises:
        ConfigError: both, neither or a negative one.
    """
    if std is None and var is None:
        raise ConfigError(
            f"{name} needs std= or var=, as in {name}:std=0.01 or {name}:var=0.01; N(0, 0.01) may mean either. "
            "At width 500 a std of 0.01 makes tanh collapse, and a variance of 0.01 saturates it"
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
    """Every weight the same: all units of a layer stay identical, whatever the data."""
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
        distribution=IDENTITY._replace(
            sample=lambda rng, shape, dtype: np.copysign(1, gain, dtype=dtype) * diagonal(rng, shape, dtype),
        ),
        variance=lambda fan_in, fan_out: scale / max(fan_in, fan_out),
        formula="W = gain I; the mean square of its entries is gain^2 / fan_in",
        reference="Le et al. 2015, arXiv:1504.00941",
        aliases=("eye",),
        params={"gain": gain},
        make=identity,
    )


def normal(std: float | None = None, var: float | None = None, mean: float = 0.0) -> Initializer:
    """Normal with the given spread, whatever the size of the layer.

    Args:
        std: standard deviation of a weight; give this or `var`.
        var: variance of a weight.
        mean: of a weight.

    Raises:
        ConfigError: both or neither of `std` and `var`, or a negative one.
    """
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
    """Uniform between the given bounds, whatever the size of the layer.

    Args:
        limit: the bounds are -limit and limit.
        low: the lower bound; goes with `high`.
        high: the upper bound.
        std: standard deviation of entries, with mean 0.
        var: its square.
    """
    low, high = _uniform_bounds(limit, low, high, std, var)
    return Initializer(
        name="uniform",
        distribution=UNIFORM,
        variance=_fixed_variance((high - low) ** 2 / 12),
        mean=(low + high) / 2,
        formula="U(-limit, limit) or U(low, high); variance (high - low)^2 / 12",
        reference="LeCun et al. 1998, Efficient BackProp; the bounds are the user's",
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
            "uniform needs exactly one of limit=, low= with high=, std= or var=, as in uniform:limit=0.05. "
            "The default differs between torch (0..1), Keras (+-0.05) and JAX (0..0.01)"
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
    """Normal cut at `low` and `high`, in standard deviations of the uncut normal.

    Args:
        std: of the uncut normal, as in torch, Keras and JAX.
        var: its square.
        mean: of the uncut normal.
        low: the lower cut, in standard deviations.
        high: the upper cut.
        corrected: `std` is that of the entries after the cut.

    Raises:
        ConfigError: the interval holds too little of the normal distribution, or both of `std` and `var` are given.
    """
    spread = _spread("truncated_normal", std, var)
    if not low < high or mass_within(low, high) < 0.01:
        raise ConfigError(
            f"truncated_normal: [{low:g}, {high:g}] must hold at least 1% of the normal it cuts; "
            "bounds are in standard deviations"
        )
    cut_mean, cut_variance = truncated_moments(low, high)
    before = math.sqrt(spread / cut_variance if corrected else spread)
    return Initializer(
        name="truncated_normal",
        distribution=truncated_distribution(low, high),
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
    """Normal, with a share `sparsity` of the incoming weights of each unit set to 0.

    Args:
        sparsity: share of the incoming weights of each unit that is 0.
        std: of the others; None for the default.
        var: its square; only one of both is given.

    Raises:
        ConfigError: a sparsity outside its range, or both of `std` and `var` are given.
    """
    if not 0 <= sparsity <= 1:
        raise ConfigError(f"sparse: sparsity must lie between 0 and 1, not {sparsity:g}")
    spread = _spread("sparse", std, var)

    def variance(fan_in: int, fan_out: int) -> float:
        return spread * (1 - connections_cut(fan_in, sparsity) / fan_in)

    return Initializer(
        name="sparse",
        distribution=sparse_distribution(sparsity),
        variance=variance,
        formula="N(0, std^2), ceil(sparsity fan_in) zeros among a unit's inputs; Var(W) = std^2 (1 - share of zeros)",
        reference="Martens 2010, ICML (Hessian-free optimization)",
        example="sparse:sparsity=0.9,std=0.1",
        used_by="torch sparse_, which cuts among each unit's outgoing weights instead",
        params=_given(sparsity=sparsity, std=std, var=var),
        make=sparse,
    )


FIXED = (
    zeros(),
    ones(),
    constant(0.1),
    identity(),
    normal(std=0.01),
    uniform(limit=0.05),
    truncated_normal(std=0.02),
    orthogonal(),
    sparse(std=0.1),
)
