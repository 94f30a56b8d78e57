"""All registries whose names `initprobe explain` explains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.registry import Registry


def registries() -> tuple[Registry[Any], ...]:
    """Initializers, activations, inputs, rules, words and the rules of `initprobe width`."""
    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.data.noise import INPUTS
    from initprobe.diagnosis.width_verdict import WIDTH_RULES
    from initprobe.initializers.catalogue import INITIALIZERS
    from initprobe.registry import Registry
    from initprobe.reports.glossary import WORDS
    from initprobe.reports.glossary_word import Word
    from initprobe.torch.verdict.rulebook import RULEBOOK

    width_rules = [Word(name, meaning, see=("coordinate check",)) for name, meaning in WIDTH_RULES.items()]
    return INITIALIZERS, ACTIVATIONS, INPUTS, RULEBOOK, WORDS, Registry("rule of initprobe width", width_rules)
