"""Initializers whose scale depends on the activation: names and parameters. `config.tuned` computes the scale.

To add one, write a function that returns its record. List it in `ACTIVATION_TUNED` at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from initprobe.errors import ConfigError
from initprobe.initializers.distributions import NORMAL
from initprobe.initializers.fan_scaled import scaled_variance
from initprobe.initializers.fixed import normal
from initprobe.initializers.record import HE, Initializer, Mode, Tuning


def _tuned(
    name: Tuning, make: Callable[..., Initializer], formula: str, reference: str, mode: Mode = "fan_in"
) -> Initializer:
    return Initializer(
        name=name,
        distribution=NORMAL,
        variance=scaled_variance(1.0, mode),
        formula=formula,
        reference=reference,
        used_by="the gain depends on the activation (`initprobe gain --act NAME`); the one shown here is for linear",
        tuning=name,
        make=make,
    )


def critical(sigma_b: float = 0.0) -> Initializer:
    """The edge of chaos of the activation: small differences between inputs neither grow nor shrink.

    Args:
        sigma_b: standard deviation of the biases.

    Raises:
        ConfigError: `sigma_b` is negative.
    """
    if not sigma_b >= 0:
        raise ConfigError(f"critical: sigma_b must be at least 0, not {sigma_b:g}")
    formula = "N(0, sigma_w^2 / fan_in), b ~ N(0, sigma_b^2), chi_1 = sigma_w^2 E[phi'^2] = 1 where q settles"
    record = _tuned("critical", critical, formula, "Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017")
    bias = replace(normal(std=sigma_b), name="critical") if sigma_b else None
    return replace(record, aliases=("edge_of_chaos", "eoc"), bias=bias, params={"sigma_b": sigma_b})


def forward() -> Initializer:
    """The gain that keeps the mean square of the signal at 1 for this activation."""
    return _tuned("forward", forward, "N(0, gain^2 / fan_in), gain = 1 / sqrt(E[phi(z)^2]), z ~ N(0, 1)", HE)


def backward() -> Initializer:
    """The gain that keeps the variance of the gradient where z has variance 1, for this activation."""
    return _tuned(
        "backward", backward, "N(0, gain^2 / fan_out), gain = 1 / sqrt(E[phi'(z)^2]), z ~ N(0, 1)", HE, "fan_out"
    )


ACTIVATION_TUNED = (critical(), forward(), backward())
