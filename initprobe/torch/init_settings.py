"""What an initialization sets: one `Setting` per parameter, as a line of PyTorch with the reason for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from initprobe.contract.patterns import Clause, assign
from initprobe.contract.rules import ANY, Rule, read_rule
from initprobe.torch.paths import path

_INSIDE = ".parametrizations."


@dataclass(frozen=True)
class Setting:
    """How one weight is set.

    Attributes:
        name: of the whole weight, as the user knows it: `fc.weight`, also where the layer is parametrized.
        template: Python code with `{}` for the target; it assigns, so that a second call changes nothing but the draw.
        target: the module or tensor that goes into the template, as Python finds it.
        reason: why, in words; the same for all parameters that are set for the same reason.
        std: of the entries where they are drawn from a normal distribution; else None.
        last: it is computed from other weights, so it comes after all others.
        unscaled: LSUV left the scale of theory, because the samples hardly differ at its input.
    """

    name: str
    template: str
    target: str
    reason: str
    std: float | None = None
    last: bool = False
    unscaled: bool = False


def setting(name: str, call: str, reason: str, std: float | None = None) -> Setting:
    """The setting of a parameter that the model holds under this name.

    Args:
        name: qualified name of the parameter.
        call: Python code with `{}` for the parameter.
        reason: why.
        std: of a normal distribution.

    Returns:
        The setting, whose target is the module that holds the parameter.
    """
    holder, _, own = name.rpartition(".")
    if own.isidentifier():
        return Setting(name, call.replace("{}", f"{{}}.{own}"), path(holder) if holder else "model", reason, std)
    return Setting(name, call, path(name), reason, std)


def whole_name(name: str, names: Sequence[str]) -> str:
    """The name of the weight that a parameter is a part of.

    Args:
        name: of a parameter, such as `fc.parametrizations.weight.original1` or `fc.weight_g`.
        names: of all parameters of the model.

    Returns:
        `fc.weight`; the name itself for a parameter that is a weight.
    """
    if _INSIDE in f".{name}":
        holder, _, rest = f".{name}".partition(_INSIDE)
        return f"{holder}.{rest.split('.')[0]}".lstrip(".")
    stem = name[:-2]
    is_part = name.endswith(("_g", "_v")) and {f"{stem}_g", f"{stem}_v"} <= set(names)
    return stem if is_part else name


def kept_names(names: Mapping[str, Sequence[str]], keep: Sequence[str], clauses: Sequence[Clause]) -> set[str]:
    """The weights that stay unchanged: those that a pattern of `keep` or a clause of a contract names.

    Args:
        names: of all whole weights, by the first name of each.
        keep: patterns, in which `*` stands for any text.
        clauses: of a contract.

    Returns:
        Names of weights.

    Raises:
        ConfigError: a pattern matches no name.
    """
    nothing = read_rule(ANY)
    patterns = [*(Clause(pattern, nothing) for pattern in keep), *_unjudged(clauses, nothing)]
    assign(names, patterns, nothing)
    return {name for name, group in names.items() if any(clause.matches(group) for clause in patterns)}


def _unjudged(clauses: Sequence[Clause], rule: Rule) -> Iterator[Clause]:
    """The same patterns with one rule, so that two of the same rank do not contradict each other."""
    for clause in clauses:
        yield Clause(clause.pattern, rule, clause.place, optional=clause.optional)
