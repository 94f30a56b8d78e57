"""Fixes for plain networks: the same experiment with an initializer whose predicted variances stay level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Unpack, cast

from initprobe.activations.record import Activation
from initprobe.config.arguments import ConfigChanges, ConfigFields
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.phase import critical_line
from initprobe.prediction.fix_trial import same_weights
from initprobe.prediction.forecast import COMMON_SHARE, LAST_RESORT_SHARE, Network, most_level_gain, smaller_gain


@dataclass(frozen=True)
class PlainFixes:
    """Experiments with other plain weights and zero biases, without the weights that `original` has.

    Attributes:
        config: a plain network whose initializer and activation have names.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        original: the experiment that needs the fix.
    """

    config: ProbeConfig
    sizes: Sequence[int]
    inputs: InputMoments
    original: ProbeConfig

    def predicted(self) -> Iterator[ProbeConfig]:
        """Those that theory predicts to keep the signal."""
        activation = self.config.activation
        yield from self._that_hold(chain(common_initializers(activation), level_gains(activation)), COMMON_SHARE)
        gain = self._most_level_gain
        if gain is not None and self._network.scaled(gain).holds(LAST_RESORT_SHARE):
            yield from self._with_initializers([f"lecun:gain={gain:g}"])

    def doubtful(self) -> Iterator[ProbeConfig]:
        """Those that may pass the verdict by a narrow margin: only a trial can decide."""
        yield from self._that_hold(common_initializers(self.config.activation), 1.0, chance=False)
        gain = self._most_level_gain
        smaller = None if gain is None else smaller_gain(self._network, gain)
        if smaller is not None:
            yield from self._with_initializers([f"lecun:gain={smaller:g}"])

    @cached_property
    def _network(self) -> Network:
        return Network.of(self.config, self.sizes, self.inputs)

    @cached_property
    def _most_level_gain(self) -> float | None:
        return most_level_gain(self._network)

    def _that_hold(self, names: Iterable[str], share: float, *, chance: bool = True) -> Iterator[ProbeConfig]:
        """The experiments with these weights that are predicted to pass; `share` and `chance` as in `holds`."""
        for candidate in self._with_initializers(names):
            if self._network.forecast(self._network.variances(candidate.initializer)).holds(share, chance=chance):
                yield candidate

    def _with_initializers(self, names: Iterable[str]) -> Iterator[ProbeConfig]:
        """The experiments with these weights."""
        for name in names:
            candidate = changed(self.config, init=name, bias_init=None)
            differs = not self.original.is_plain or self.config.bias_init is not None
            if differs or not same_weights(candidate, self.config, tuple(self.sizes)):
                yield candidate


def changed(config: ProbeConfig, **changes: Unpack[ConfigChanges]) -> ProbeConfig:
    """The same experiment with some fields of its config changed.

    Args:
        config: of the experiment.
        changes: fields with their new values.

    Raises:
        ConfigError: the new config is not valid.
    """
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    return ProbeConfig(**cast(ConfigFields, fields | changes))


def common_initializers(activation: Activation) -> tuple[str, ...]:
    """The names of the initializers in common use, as they suit the activation."""
    slope = activation.params.get("slope")
    return "xavier", f"he:slope={slope:g}" if slope is not None else "he", "lecun"


def level_gains(activation: Activation) -> Iterator[str]:
    """LeCun weights with the gain that keeps q = 1, then with that of a stable edge of chaos."""
    yield f"lecun:gain={gain_row(activation).forward:.4g}"
    point = critical_line(activation, 0.0)
    if point is not None and point.stable:
        yield f"lecun:gain={point.sigma_w:.4g}"
