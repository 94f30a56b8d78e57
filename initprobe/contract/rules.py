"""Rules of a contract: a name of the grammar, `normal:std=0.02/sqrt(24)`, or `any` for what is not judged.

A rule that begins with `~` was measured, not chosen: `~normal:std=0.0199`. Its std is as uncertain as that of the
parameter beside it, and the comparison allows for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from initprobe.config.names import resolve
from initprobe.contract.parameter import Parameter
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.record import Initializer
from initprobe.spec import parse_spec

ANY, MEASURED = "any", "~"
# Rules whose entries are all equal or given one by one: compared exactly.
_EXACT = ("constant", "identity")

Kind = Literal["any", "exact", "orthogonal", "random"]


@dataclass(frozen=True)
class Rule:
    """What a parameter is meant to hold.

    Attributes:
        text: as written.
        initializer: None for `any`.
        kind: how it is compared: not at all, entry by entry, by its products of rows, or by its distribution.
        measured: mean and std were measured on as many entries as they are compared with.
    """

    text: str
    initializer: Initializer | None
    kind: Kind
    measured: bool = False

    def scale(self, parameter: Parameter) -> tuple[float, float]:
        """Mean and standard deviation that an entry of this parameter is meant to have.

        Raises:
            ConfigError: the rule takes its scale from fans, and the parameter is a vector, which has none.
        """
        if self.initializer is None:
            return 0.0, 0.0
        if self.initializer.needs_fan and parameter.fans is None:
            raise ConfigError(
                f"{self.text} takes its scale from fan_in and fan_out, which a vector of {parameter.count} does not "
                "have; give a std, as in normal:std=0.02",
                field=parameter.name,
            )
        fan_in, fan_out = parameter.fans or (parameter.count, parameter.count)
        return self.initializer.mean, self.initializer.std(fan_in, fan_out)


def read_rule(text: str) -> Rule:
    """The rule that a text names.

    Raises:
        ConfigError: no such rule or parameter, or a rule that depends on data or on an activation.
    """
    if text.strip().lower() == ANY:
        return Rule(ANY, None, "any")
    bare = text.strip().removeprefix(MEASURED)
    initializer: Initializer = resolve(INITIALIZERS, parse_spec(bare))
    if initializer.fit is not None or initializer.tuning is not None:
        raise ConfigError(f"{text}: depends on the data or on the activation, so a contract cannot check it")
    return Rule(text.strip(), initializer, _kind(text, initializer), bare != text.strip())


def _kind(text: str, initializer: Initializer) -> Kind:
    if initializer.distribution.name in _EXACT:
        return "exact"
    if initializer.distribution.orthogonal:
        return "orthogonal"
    if initializer.distribution.cdf is None:
        raise ConfigError(f"{text}: its entries have no distribution that a contract can check")
    return "random"
