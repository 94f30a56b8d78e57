"""Which share of the parameters of a model was judged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from initprobe.results.summary import Coverage

# Uses of a parameter that some rule judges.
_JUDGED = frozenset(
    ("layer", "recurrence", "embedding", "norm", "scale", "shift", "activation", "cat", "sum", "gate", "attention")
)


def coverage(
    parameters: Mapping[str, Any], roles: Mapping[str, frozenset[str]], replaced: Collection[str] = ()
) -> Coverage:
    """The share of the parameters that was judged.

    Args:
        parameters: every parameter by its first name.
        roles: by name of a parameter, the kinds of operation that used it.
        replaced: names in whose place the model's code puts another tensor.

    Returns:
        Counts of all and of judged parameters, and the others with the reason, the largest first.
    """
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    missing = {name: size for name, size in sizes.items() if not roles.get(name, set()) & _JUDGED}
    return Coverage(
        parameters=sum(sizes.values()),
        judged=sum(sizes.values()) - sum(missing.values()),
        not_judged=tuple(_reasons(missing, roles, replaced)),
    )


def _reasons(
    missing: Mapping[str, int], roles: Mapping[str, frozenset[str]], replaced: Collection[str]
) -> Iterator[str]:
    """The reasons by module, as `rnn (never used)`."""
    grouped: dict[tuple[str, str], int] = {}
    for name, size in missing.items():
        unused = "replaced in forward" if name in replaced else "never used"
        reason = "used in an operation that is not known" if roles.get(name) else unused
        holder = name.rpartition(".")[0] or name
        grouped[holder, reason] = grouped.get((holder, reason), 0) + size
    for (holder, reason), _ in sorted(grouped.items(), key=lambda item: -item[1]):
        yield f"{holder} ({reason})"
