"""The gain of the initializers that depend on the activation: edge of chaos, forward gain and backward gain."""

from __future__ import annotations

from dataclasses import replace

from initprobe.activations.record import Activation
from initprobe.errors import ConfigError
from initprobe.initializers.record import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.phase import critical_line

# Scales of the biases tried for a stable edge of chaos, to suggest one that exists.
_OFFERED = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def tuned(record: Initializer, activation: Activation) -> Initializer:
    """A record with a `tuning`, its variance multiplied by the square of the activation's gain.

    Args:
        record: one of the family `activation_tuned`.
        activation: whose gain is computed by mean-field theory.

    Raises:
        ConfigError: the activation has no edge of chaos at this scale of the biases, or an unstable one.
    """
    gain = _gain(record, activation)
    return replace(record, variance=lambda fan_in, fan_out: gain * gain * record.variance(fan_in, fan_out))


def _gain(record: Initializer, activation: Activation) -> float:
    if record.tuning != "critical":
        row = gain_row(activation)
        return row.forward if record.tuning == "forward" else row.backward
    sigma_b = float(record.params["sigma_b"])
    point = critical_line(activation, sigma_b)
    if point is not None and point.stable:
        return point.sigma_w
    edge = f"the edge of chaos of {activation.name} at sigma_b = {sigma_b:g}"
    if point is None:
        raise ConfigError(f"critical: there is no {edge[4:]}, no sigma_w has chi_1 = 1; {_instead(activation)}")
    raise ConfigError(
        f"critical: {edge} (sigma_w = {point.sigma_w:.4g}) is unstable: a signal slightly larger than its fixed point "
        f"grows from layer to layer; {_instead(activation)}"
    )


def _instead(activation: Activation) -> str:
    """What to use instead of an edge of chaos that does not exist or is unstable."""
    for sigma_b in _OFFERED:
        point = critical_line(activation, sigma_b)
        if point is not None and point.stable:
            return f"critical:sigma_b={sigma_b:g} is stable"
    return "use forward, or norm layer"
