"""Every rule that a verdict may name: the rules of `run`, and the rules for PyTorch models only.

The texts load without PyTorch. A rule for models stands in the module that has its function, in the tuple `RULES`.
"""

from __future__ import annotations

from dataclasses import replace

from initprobe.diagnosis.diagnose import RULES
from initprobe.diagnosis.rule import RuleText, modules_with_rules
from initprobe.registry import Registry
from initprobe.torch import verdict
from initprobe.torch.verdict import (
    attention_logits,
    cut_off,
    equal_weights,
    float_range,
    gates,
    input_scale,
    lost_signal,
    norms,
    number_formats,
    odd_layer,
    similarity,
    starting_loss,
    trends,
    units,
)
from initprobe.torch.verdict.model_rule import ModelRule

# In the order in which they look at a model. Of equally severe observations the earlier one is named first. Modules
# that are not here follow.
_ORDER = (
    odd_layer,
    norms,
    input_scale,
    units,
    cut_off,
    equal_weights,
    attention_logits,
    gates,
    starting_loss,
    trends,
    lost_signal,
    float_range,
    number_formats,
    similarity,
)
_MODULES = modules_with_rules(verdict, _ORDER, without={"judge", "rulebook"})
MODEL_RULES: tuple[ModelRule, ...] = tuple(rule for module in _MODULES for rule in module.RULES)
_TEXTS = tuple(
    replace(text, measurement=f"{text.measurement}; judged in PyTorch models only")
    for rule in MODEL_RULES
    for text in rule.texts
)
RULEBOOK: Registry[RuleText] = Registry("rule", [*RULES.values(), *_TEXTS])
