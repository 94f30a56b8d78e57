"""Initializers whose variance is a scale over the fan: variance scaling, Glorot (Xavier), He (Kaiming) and LeCun.

To add one, write a function that returns its record. List it in `FAN_SCALED` at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable

from initprobe.errors import ConfigError
from initprobe.initializers.distributions import NORMAL, SHAPES, UNIFORM, Distribution, Shape
from initprobe.initializers.record import GLOROT, HE, LECUN, VARIANCE_SCALING, Initializer, Mode, VarianceRule


def scaled_variance(scale: float, mode: Mode) -> VarianceRule:
    """The rule `scale / fan`, on which LeCun, Glorot and He are built.

    Args:
        scale: the numerator.
        mode: which fan is the denominator.
    """

    def variance(fan_in: int, fan_out: int) -> float:
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        return scale / fan

    return variance


def variance_scaling(scale: float = 1.0, mode: Mode = "fan_in", distribution: Shape = "normal") -> Initializer:
    """`variance = scale / fan`, the rule on which LeCun, Glorot and He are built.

    Args:
        scale: the numerator.
        mode: which fan is the denominator.
        distribution: shape of the distribution of an entry.

    Raises:
        ConfigError: `scale` is negative.
    """
    if scale < 0:
        raise ConfigError(f"variance_scaling: scale must be at least 0, not {scale:g}")
    return Initializer(
        name="variance_scaling",
        distribution=SHAPES[distribution],
        variance=scaled_variance(scale, mode),
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
        variance=scaled_variance(gain**2, "fan_avg"),
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
        variance=scaled_variance(gain**2, "fan_avg"),
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
        variance=scaled_variance(2 * gain**2 / (1 + slope**2), mode),
        formula=bound if distribution is UNIFORM else std,
        reference=HE,
        aliases=aliases,
        used_by=f"torch kaiming_{distribution.name}_; {name} of Keras and JAX"
        + (" has this variance but is cut at 2 std" if distribution is NORMAL else ""),
        params={"gain": gain, "mode": mode, "slope": slope},
        make=make,
    )


def he_normal(gain: float = 1.0, mode: Mode = "fan_in", slope: float = 0.0) -> Initializer:
    """He's rule for ReLU and leaky ReLU (`slope` on the negative side), normal.

    Args:
        gain: factor on the standard deviation.
        mode: which fan is the denominator.
        slope: of leaky ReLU on the negative side.
    """
    return _he("he_normal", he_normal, NORMAL, ("he", "kaiming", "kaiming_normal"), gain, mode, slope)


def he_uniform(gain: float = 1.0, mode: Mode = "fan_in", slope: float = 0.0) -> Initializer:
    """He's rule for ReLU and leaky ReLU (`slope` on the negative side), uniform.

    Args:
        gain: factor on the standard deviation.
        mode: which fan is the denominator.
        slope: of leaky ReLU on the negative side.
    """
    return _he("he_uniform", he_uniform, UNIFORM, ("kaiming_uniform",), gain, mode, slope)


def lecun_normal(gain: float = 1.0) -> Initializer:
    """LeCun's rule, normal: the forward signal of a linear or SELU net keeps its variance."""
    return Initializer(
        name="lecun_normal",
        distribution=NORMAL,
        variance=scaled_variance(gain**2, "fan_in"),
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
        variance=scaled_variance(gain**2, "fan_in"),
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
        variance=scaled_variance(gain**2 / 3, "fan_in"),
        formula="U(-a, a), a = gain / sqrt(fan_in); Var(W) = gain^2 / (3 fan_in)",
        reference=f"{GLOROT}, equation 1",
        aliases=("standard", "commonly_used_heuristic"),
        used_by="the weights of torch_linear",
        params={"gain": gain},
        make=fan_in_heuristic,
    )


FAN_SCALED = (
    variance_scaling(),
    xavier_normal(),
    xavier_uniform(),
    he_normal(),
    he_uniform(),
    lecun_normal(),
    lecun_uniform(),
    fan_in_heuristic(),
)
