"""Attention whose logits are so large that softmax picks one key from the start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.results.summary import Place
from initprobe.torch.graph import Operation
from initprobe.torch.paths import path
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case, back_path
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Fix, Observation

_NAME = "attention-logits"


def _observe(case: Case) -> Iterator[Observation]:
    sharp = [op for op in case.operations if _attends(op) and _is_sharp(case, op)]
    if not sharp:
        return
    fixes = tuple(_divided_queries(sharp))
    sharp.sort(key=lambda op: -op.facts["std"])
    first, *further = (_place(case, op) for op in sharp)
    others = f"; {len(further)} more like it" if further else ""
    yield Observation(
        _NAME,
        "warning",
        first.layer,
        f"{first.evidence}{others}",
        "softmax picks one key from the start: products of queries and keys want a factor 1/sqrt(d), once",
        first.module,
        fixes,
        elsewhere=tuple(further),
    )


def _attends(op: Operation) -> bool:
    """Whether it is a softmax whose weights go into a product, or fused attention."""
    if "std" not in op.facts or op.signal is None:
        return False
    return op.kind == "attention" or any(consumer.kind == "product" for consumer in op.signal.consumers)


def _is_sharp(case: Case, op: Operation) -> bool:
    return op.facts["std"] > case.limits.logits and op.facts["entropy"] < case.limits.entropy


def _place(case: Case, op: Operation) -> Place:
    """The spread of the logits, and the entropy of the weights beside that of equal ones."""
    equal = math.log(op.facts["keys"])
    entropy = f"entropy {short(op.facts['entropy'] * equal)} of ln {op.facts['keys']:.0f} = {short(equal)}"
    evidence = f"logits of std {short(op.facts['std'])} in place of 1, {entropy}"
    return Place(layer=case.layer_of(op), module=op.module or None, evidence=evidence)


def _divided_queries(sharp: Sequence[Operation]) -> Iterator[Fix]:
    """The weights of the queries divided by the largest spread of the logits."""
    largest = max(op.facts["std"] for op in sharp)
    queries = tuple(dict.fromkeys(name for op in sharp if (name := _query(op))))
    if queries:
        yield Fix(fix_lines.over(f"{{}}.data.div_({largest:.4g})", [path(name) for name in queries]), queries)


def _query(op: Operation) -> str | None:
    """The name of the weight that made the queries."""
    signal = op.inputs[0] if op.inputs else None
    if op.kind == "softmax":
        *_, signal = back_path(op.inputs[0], ("other", "part", "softmax"))
        signal = signal.inputs[0] if signal.op.kind == "product" and signal.inputs else None
    if signal is None:
        return None
    *_, source = back_path(signal, ("part", "other"))
    return source.op.leaf if source.op.kind == "layer" else None


RULES = (
    ModelRule(
        _observe,
        texts=(
            RuleText(
                name=_NAME,
                meaning="softmax picks one key from the start, and passes almost no gradient to the others",
                measurement=(
                    "standard deviation of attention's logits, and the entropy of its weights beside that of equal ones"
                ),
                remedy="the factor 1/sqrt(d) on products of queries and keys, once",
                reference="Vaswani et al. 2017, arXiv:1706.03762",
            ),
        ),
    ),
)
