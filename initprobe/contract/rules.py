"""Rules of a contract: a name of the grammar, `normal:std=0.02/sqrt(24)`, or `any` for what is not judged.

A rule that begins with `~` was measured, not chosen: `~normal:std=0.0199`. Its std is as uncertain as that of the
parameter beside it, and the comparison allows for both. `~moments:mean=-4.6,std=1.4` compares mean and std only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from initprobe.config.names import resolve
from initprobe.contract.parameter import Parameter
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec, parse_spec

ANY, MEASURED, MOMENTS = "any", "~", "moments"
# Rules whose entries are all equal or given one by one: compared exactly.
_EXACT = ("constant", "identity")
TORCH_DEFAULT = "torch_linear"
_CALL = re.compile(r"\s*(~?\w+)\((.*)\)\s*", re.DOTALL)

Kind = Literal["any", "exact", "orthogonal", "random", "moments"]


@dataclass(frozen=True)
class Rule:
    """What a parameter is meant to hold.

    Attributes:
        text: as written.
        initializer: None for `any`.
        kind: how it is compared: by entries, products of rows, distribution, mean and std, or not at all.
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
        return self.initializer.mean, self.initializer.std(*self.fans(parameter))

    def fans(self, parameter: Parameter) -> tuple[int, int]:
        """The fans from which this rule takes its scale; `torch_linear` has those by which PyTorch draws.

        Raises:
            ConfigError: the rule takes its scale from fans, and the parameter is a vector, which has none.
        """
        assert self.initializer is not None
        if self.initializer.name == TORCH_DEFAULT and parameter.torch_fan_in:
            return parameter.torch_fan_in, parameter.torch_fan_in
        if self.initializer.needs_fan and parameter.fans is None:
            raise ConfigError(
                f"{self.text} takes its scale from fan_in and fan_out, which a vector of {parameter.count} does not "
                "have. Write `ones` for the weight of a norm, or a std, as in normal:std=0.02",
                field=parameter.name,
            )
        return parameter.fans or (parameter.count, parameter.count)


def read_rule(text: str) -> Rule:
    """The rule that a text names.

    Raises:
        ConfigError: no such rule or parameter, or a rule that depends on data or on an activation.
    """
    if text.strip().lower() == ANY:
        return Rule(ANY, None, "any")
    bare = text.strip().removeprefix(MEASURED)
    if call := _CALL.fullmatch(bare):
        raise ConfigError(f"{text.strip()}: write {':'.join(filter(None, call.groups()))}")
    spec = _named_as_torch_does(parse_spec(bare))
    if spec.name == MOMENTS:
        return Rule(text.strip(), resolve(INITIALIZERS, Spec("normal", spec.params)), "moments", bare != text.strip())
    initializer: Initializer = resolve(INITIALIZERS, spec)
    if initializer.fit is not None or initializer.tuning is not None:
        raise ConfigError(f"{text}: depends on the data or on the activation, so a contract cannot check it")
    return Rule(text.strip(), initializer, _kind(text, initializer), bare != text.strip())


def _named_as_torch_does(spec: Spec) -> Spec:
    """`kaiming_uniform_:a=sqrt(5)` as `kaiming_uniform:slope=sqrt(5)`."""
    name = spec.name.removesuffix("_")
    is_kaiming = name.lower().startswith("kaiming") and "a" in spec.params and "slope" not in spec.params
    return Spec(name, {"slope" if is_kaiming and key == "a" else key: value for key, value in spec.params.items()})


def _kind(text: str, initializer: Initializer) -> Kind:
    distribution = initializer.distribution
    if distribution.name in _EXACT or distribution.orthogonal:
        return "exact" if distribution.name in _EXACT else "orthogonal"
    if distribution.cdf is None:
        raise ConfigError(f"{text}: its entries have no distribution that a contract can check")
    return "random"
