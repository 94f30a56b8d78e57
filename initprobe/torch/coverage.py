"""Which share of a model's parameters was judged at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from initprobe.results.summary import Coverage

# What a parameter may be used for, and is then compared with something.
_JUDGED = frozenset(
    ("layer", "recurrence", "embedding", "norm", "scale", "shift", "activation", "cat", "sum", "gate", "attention")
)


def coverage(parameters: Mapping[str, Any], roles: Mapping[str, set[str]]) -> Coverage:
    """Parameters in all, those that were judged, and the names of the others with the reason, the largest first."""
    sizes = {name: one.numel() for name, one in parameters.items()}
    missing = {name: size for name, size in sizes.items() if not roles.get(name, set()) & _JUDGED}
    return Coverage(
        parameters=sum(sizes.values()),
        judged=sum(sizes.values()) - sum(missing.values()),
        not_judged=tuple(_reasons(missing, roles)),
    )


def _reasons(missing: Mapping[str, int], roles: Mapping[str, set[str]]) -> Iterator[str]:
    """By the module that holds them: `rnn (in an operation that is not known)`."""
    grouped: dict[tuple[str, str], int] = {}
    for name, size in missing.items():
        reason = "used in an operation that is not known" if roles.get(name) else "never used"
        holder = name.rpartition(".")[0] or name
        grouped[holder, reason] = grouped.get((holder, reason), 0) + size
    for (holder, reason), _ in sorted(grouped.items(), key=lambda one: -one[1]):
        yield f"{holder} ({reason})"
