"""All registries whose names `initprobe explain` explains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.registry import Registry


def registries() -> tuple[Registry[Any], ...]:
    """Initializers, activations, inputs, rules and words."""
    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.data.noise import INPUTS
    from initprobe.initializers.catalogue import INITIALIZERS
    from initprobe.reports.glossary import WORDS
    from initprobe.torch.verdict.rulebook import RULEBOOK

    return INITIALIZERS, ACTIVATIONS, INPUTS, RULEBOOK, WORDS
