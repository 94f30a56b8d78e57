"""Facts about an operation that need its tensors, and so are noted while these exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initprobe.torch.attention import attention_facts, logit_facts
from initprobe.torch.call_kinds import Call
from initprobe.torch.graph import Operation
from initprobe.torch.packed import part_facts
from initprobe.torch.recurrence import gate_facts, glu_facts


def facts_of(op: Operation, call: Call, made: Any, held: Mapping[str, Any]) -> Mapping[str, float]:
    """The facts about an operation; those of earlier draws where this one adds none.

    Args:
        op: the operation.
        call: its call.
        made: its output.
        held: all parameters by their first names.
    """
    if op.kind == "softmax":
        return {**op.facts, **logit_facts(call.tensors[0])}
    if op.kind == "attention":
        return {**op.facts, **attention_facts(call.args, call.kwargs)}
    if op.kind == "recurrence":
        return {**op.facts, **gate_facts(call.name, call.args, made)}
    if op.kind == "loss":
        return {**op.facts, **call.loss(made)}
    if op.kind == "part" and op.inputs[0].op.kind == "layer":
        return part_facts(op.inputs[0].op, made, held, op.facts) or op.facts
    return glu_facts(call.args, call.kwargs) if op.name == "glu" else op.facts
