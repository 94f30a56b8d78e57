"""Fixes for plain networks: the same experiment with an initializer whose predicted variances stay level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from initprobe.activations.record import Activation
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.record import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.phase import critical_line
from initprobe.remedies.command_line import command_line
from initprobe.remedies.forecast import COMMON_SHARE, LAST_RESORT_SHARE, Network, most_level_gain


def plain_fix(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, original: ProbeConfig) -> str | None:
    """An `initprobe run` line, or None where theory knows no plain initializer that keeps the signal.

    Args:
        config: a plain network whose initializer and activation have names.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        original: the experiment that needs the fix, which is not offered again.
    """
    network = Network.of(config, sizes, inputs)
    names = (*common_initializers(config.activation), *level_gains(config.activation))
    for candidate in _with_initializers(config, names, original):
        if network.forecast(network.variances(candidate.initializer)).holds(COMMON_SHARE):
            return command_line(candidate)
    gain = most_level_gain(network)
    if gain is None or not network.scaled(gain).holds(LAST_RESORT_SHARE):
        return None
    return next(map(command_line, _with_initializers(config, [f"lecun:gain={gain:g}"], original)), None)


def changed(config: ProbeConfig, **changes: Any) -> ProbeConfig:
    """The same experiment with some fields of its config changed."""
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    return ProbeConfig(**(fields | changes))


def common_initializers(activation: Activation) -> tuple[str, ...]:
    """The names of the initializers in common use, as they suit the activation."""
    slope = activation.params.get("slope")
    return "xavier", f"he:slope={slope:g}" if slope is not None else "he", "lecun"


def _with_initializers(config: ProbeConfig, names: Sequence[str], original: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same experiment with zero biases and each of these weights, without those that `original` has."""
    for name in names:
        candidate = changed(config, init=name, bias_init=None)
        differs = not original.is_plain or config.bias_init is not None
        if differs or not _same(candidate.initializer, config.initializer, config):
            yield candidate


def _same(first: Initializer, second: Initializer, config: ProbeConfig) -> bool:
    """Whether two initializers draw weights from one distribution."""
    fans = (config.layer_widths[0], config.layer_widths[-1])
    close = math.isclose(first.variance(*fans), second.variance(*fans), rel_tol=1e-3)
    return close and (first.distribution.name, first.mean) == (second.distribution.name, second.mean)


def level_gains(activation: Activation) -> Iterator[str]:
    """LeCun weights with the gain that keeps q = 1, and with the gain at the edge of chaos if that is stable."""
    yield f"lecun:gain={gain_row(activation).forward:.4g}"
    point = critical_line(activation, 0.0)
    if point is not None and point.stable:
        yield f"lecun:gain={point.sigma_w:.4g}"
