"""The command line that cures: the same experiment under an initializer whose predicted variances stay level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initprobe.activations.record import Activation
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.record import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.phase import critical_line
from initprobe.remedies.command_line import command_line
from initprobe.remedies.forecast import CUSTOMARY_ROOM, LAST_ROOM, Net, steadiest_gain


def plain_fix(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, sick: ProbeConfig) -> str | None:
    """A runnable `initprobe run` line, or None where theory knows no plain initializer that keeps the signal.

    Args:
        config: a plain net whose initializer and activation have names.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        sick: the experiment that needs it, which is not offered again.
    """
    net = Net.of(config, sizes, inputs)
    for candidate in _candidates(config, sick):
        if net.forecast(net.variances(candidate.initializer)).holds(CUSTOMARY_ROOM):
            return command_line(candidate)
    gain = steadiest_gain(net)
    if gain is None or not net.scaled(gain).holds(LAST_ROOM):
        return None
    return next(map(command_line, _others(config, [f"lecun:gain={gain:g}"], sick)), None)


def customary(activation: Activation) -> tuple[str, ...]:
    """The initializers that everybody uses, as fits the activation."""
    slope = activation.params.get("slope")
    return "xavier", f"he:slope={slope:g}" if slope is not None else "he", "lecun"


def _candidates(config: ProbeConfig, sick: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same experiment with customary weights and zero biases."""
    yield from _others(config, (*customary(config.activation), *level_gains(config.activation)), sick)


def _others(config: ProbeConfig, inits: Sequence[str], sick: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same experiment with zero biases and each of these weights, less those that the sick one has already."""
    for init in inits:
        fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
        changed = ProbeConfig(**(fields | {"init": init, "bias_init": None}))
        other = not sick.is_plain or config.bias_init is not None
        if other or not _same(changed.initializer, config.initializer, config):
            yield changed


def _same(one: Initializer, other: Initializer, config: ProbeConfig) -> bool:
    """Two names for one distribution of the weights."""
    fans = (config.layer_widths[0], config.layer_widths[-1])
    alike = math.isclose(one.variance(*fans), other.variance(*fans), rel_tol=1e-3)
    return alike and (one.distribution.name, one.mean) == (other.distribution.name, other.mean)


def level_gains(activation: Activation) -> Iterator[str]:
    """LeCun weights with the gain that keeps q = 1, and with the one at the edge of chaos where that is stable."""
    yield f"lecun:gain={gain_row(activation).forward:.4g}"
    point = critical_line(activation, 0.0)
    if point is not None and point.stable:
        yield f"lecun:gain={point.sigma_w:.4g}"
