"""Fixes for plain networks: the same experiment with an initializer whose predicted variances stay level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack, cast

from initprobe.activations.record import Activation
from initprobe.config.arguments import ConfigChanges, ConfigFields
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.phase import critical_line
from initprobe.remedies.forecast import COMMON_SHARE, LAST_RESORT_SHARE, Network, most_level_gain, smaller_gains
from initprobe.remedies.trial import same_weights


def plain_fixes(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, original: ProbeConfig
) -> Iterator[ProbeConfig]:
    """The experiments with plain weights that theory predicts to keep the signal.

    Args:
        config: a plain network whose initializer and activation have names.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        original: the experiment that needs the fix, which is not offered again.
    """
    network = Network.of(config, sizes, inputs)
    names = (*common_initializers(config.activation), *level_gains(config.activation))
    for candidate in _with_initializers(config, sizes, names, original):
        if network.forecast(network.variances(candidate.initializer)).holds(COMMON_SHARE):
            yield candidate
    gain = most_level_gain(network)
    if gain is not None and network.scaled(gain).holds(LAST_RESORT_SHARE):
        yield from _with_initializers(config, sizes, [f"lecun:gain={gain:g}"], original)


def doubtful_fixes(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, original: ProbeConfig
) -> Iterator[ProbeConfig]:
    """Plain weights that may pass the verdict by a narrow margin, so that only a trial can tell.

    Args:
        config: a plain network whose initializer and activation have names.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        original: the experiment that needs the fix, which is not offered again.
    """
    network = Network.of(config, sizes, inputs)
    for candidate in _with_initializers(config, sizes, common_initializers(config.activation), original):
        if network.forecast(network.variances(candidate.initializer)).holds(1.0, chance=False):
            yield candidate
    gain = most_level_gain(network)
    if gain is not None:
        names = [f"lecun:gain={smaller:g}" for smaller in smaller_gains(network, gain)]
        yield from _with_initializers(config, sizes, names, original)


def changed(config: ProbeConfig, **changes: Unpack[ConfigChanges]) -> ProbeConfig:
    """The same experiment with some fields of its config changed."""
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    return ProbeConfig(**cast(ConfigFields, fields | changes))


def common_initializers(activation: Activation) -> tuple[str, ...]:
    """The names of the initializers in common use, as they suit the activation."""
    slope = activation.params.get("slope")
    return "xavier", f"he:slope={slope:g}" if slope is not None else "he", "lecun"


def _with_initializers(
    config: ProbeConfig, sizes: Sequence[int], names: Sequence[str], original: ProbeConfig
) -> Iterator[ProbeConfig]:
    """The same experiment with zero biases and each of these weights, without those that `original` has."""
    for name in names:
        candidate = changed(config, init=name, bias_init=None)
        differs = not original.is_plain or config.bias_init is not None
        if differs or not same_weights(candidate, config, tuple(sizes)):
            yield candidate


def level_gains(activation: Activation) -> Iterator[str]:
    """LeCun weights with the gain that keeps q = 1, and with that of the edge of chaos if it is stable."""
    yield f"lecun:gain={gain_row(activation).forward:.4g}"
    point = critical_line(activation, 0.0)
    if point is not None and point.stable:
        yield f"lecun:gain={point.sigma_w:.4g}"
