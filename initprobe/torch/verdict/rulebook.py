"""Every rule that a verdict may name: those of `run`, and those for PyTorch models only.

The texts load without PyTorch. A rule for models stands in the module that has its function, in the tuple `RULES`.
"""

from __future__ import annotations

from dataclasses import replace

from initprobe.diagnosis.diagnose import RULES
from initprobe.diagnosis.rule import RuleText
from initprobe.registry import Registry
from initprobe.torch.verdict import float_range, outputs, scales, units

MODEL_RULES = tuple(
    replace(rule, measurement=f"{rule.measurement}; judged in PyTorch models only")
    for module in (scales, units, outputs, float_range)
    for rule in module.RULES
)
RULEBOOK: Registry[RuleText] = Registry("rule", [*RULES.values(), *MODEL_RULES])
