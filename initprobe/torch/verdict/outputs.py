"""Attention, gates, memory, the loss at the start, and numbers beyond the dtype."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.results.summary import Place
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.paths import path
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case, Cure, Observation, back_path, gathered


def ends(case: Case) -> Iterator[Observation]:
    """What is no matter of one layer."""
    yield from _attention(case)
    yield from gathered(_shut(case))
    yield from _memory(case)
    yield from _loss(case)


def _attention(case: Case) -> Iterator[Observation]:
    sharp = [op for op in case.operations if _attends(op) and _is_sharp(case, op)]
    if not sharp:
        return
    queries = list(dict.fromkeys(name for op in sharp if (name := _query(op))))
    sharp.sort(key=lambda op: -op.facts["std"])
    first, std = sharp[0], sharp[0].facts["std"]
    others = f"; {len(sharp) - 1} more like it" if len(sharp) > 1 else ""
    line = fix_lines.over(f"{{}}.data.div_({std:.4g})", [path(name) for name in queries]) if queries else ""
    yield Observation(
        "attention-logits",
        "warning",
        case.layer_of(first),
        f"{_sharpness(first)}{others}",
        "softmax picks one key from the start: products of queries and keys want a factor 1/sqrt(d), once",
        first.module or None,
        (Cure(line, tuple(queries)),) if line else (),
        elsewhere=tuple(
            Place(layer=case.layer_of(op), module=op.module or None, evidence=_sharpness(op)) for op in sharp[1:]
        ),
    )


def _sharpness(op: Operation) -> str:
    """The spread of the logits, and the entropy of the weights beside that of equal ones."""
    equal = math.log(op.facts["keys"])
    return (
        f"logits of std {short(op.facts['std'])} in place of 1, entropy {short(op.facts['entropy'] * equal)} of "
        f"ln {op.facts['keys']:.0f} = {short(equal)}"
    )


def _attends(op: Operation) -> bool:
    """A softmax whose weights are for a product, or the fused whole."""
    if "std" not in op.facts or op.signal is None:
        return False
    return op.kind == "attention" or _feeds_product(op.signal)


def _feeds_product(signal: Signal) -> bool:
    return any(one.kind == "product" for one in signal.consumers)


def _is_sharp(case: Case, op: Operation) -> bool:
    return op.facts["std"] > case.limits.logits and op.facts["entropy"] < case.limits.entropy


def _query(op: Operation) -> str | None:
    """The weight that the queries were made with."""
    signal = op.inputs[0] if op.inputs else None
    if op.kind == "softmax":
        *_, signal = back_path(op.inputs[0], ("other", "part", "softmax"))
        signal = signal.inputs[0] if signal.op.kind == "product" and signal.inputs else None
    if signal is None:
        return None
    *_, source = back_path(signal, ("part", "other"))
    return source.op.leaf if source.op.kind == "layer" else None


def _shut(case: Case) -> Iterator[Observation]:
    """Gates by sigmoid that let nothing pass."""
    for layer in case.layers:
        act = layer.activation
        if act is None or act.name not in ("sigmoid", "hardsigmoid") or act.signal is None:
            continue
        if any(op.kind == "gate" for op in act.signal.consumers) and layer.h.mean < case.limits.shut:
            bias = case.bias_of(layer)
            yield Observation(
                "shut-gate",
                "warning",
                layer.number,
                f"the gate lets {short(100 * layer.h.mean)}% pass on average",
                "what it multiplies is all but cut off, forward and back",
                layer.label,
                (fix_lines.zeros(bias),) if bias is not None else fix_lines.for_layers(case, [layer]),
            )


def _memory(case: Case) -> Iterator[Observation]:
    """How long a gated recurrence remembers, as a number to know."""
    for op in case.operations:
        keep, steps = op.facts.get("keep", 0.0), op.facts.get("steps", 0.0)
        if op.kind != "recurrence" or not 0 < keep < 1 or steps < 2:
            continue
        gate = "forget" if op.name.startswith("lstm") else "update"
        yield Observation(
            "short-memory",
            "info",
            case.layer_of(op),
            f"{gate} gate {keep:.2f}: memory of about {short(1 / (1 - keep))} steps; the gradient over "
            f"{steps - 1:.0f} steps falls by about {keep:.2f}^{steps - 1:.0f} = {short(keep ** (steps - 1))}",
            "a gated recurrence keeps that share of its memory at every step",
            op.label,
        )


def _loss(case: Case) -> Iterator[Observation]:
    for op in case.operations:
        if op.kind != "loss" or op.name not in ("cross_entropy", "nll_loss"):
            continue
        signal = next(iter(op.inputs), None)
        made = None if signal is None else _end_of(signal)
        if op.name == "cross_entropy" and made is not None:
            yield _twice(case, op, made)
            return
        found = _start(case, op, signal)
        if found is not None:
            yield found
            return


def _end_of(signal: Signal) -> Operation | None:
    """The softmax that made what a loss is given, if one did."""
    made = next((one.op for one in back_path(signal, ("other", "part")) if one.op.kind == "softmax"), None)
    return None if made is None or made.name == "log_softmax" else made


def _twice(case: Case, op: Operation, made: Operation) -> Observation:
    name = made.module.partition("#")[0]
    held: Any = case.held.modules.get(name)
    is_module = type(held).__name__ in ("Softmax", "Softmax2d", "Softmin")
    line = f"{path(name)} = nn.Identity()" if is_module and name else ""
    return Observation(
        "double-softmax",
        "warning",
        len(case.layers),
        f"{made.name} before {op.name}: the loss starts at {op.facts['value']:.4g} "
        f"and cannot fall below {_floor(op.facts['classes']):.3g}",
        "cross_entropy takes logits and applies softmax itself",
        name or None,
        (Cure(line),) if line else (),
        "" if line else "leave the softmax out of the model's code, or take nll_loss of log_softmax",
    )


def _floor(classes: float) -> float:
    """The loss of a sample whose probabilities, 1 and 0, are taken for logits."""
    return math.log(math.e + classes - 1) - 1


def _start(case: Case, op: Operation, signal: Signal | None) -> Observation | None:
    classes, value = op.facts["classes"], op.facts["value"]
    chance = math.log(classes) if classes > 1 else 0.0
    if not chance or not value > chance + case.limits.loss_excess:
        return None
    head = next((layer for layer in reversed(case.layers) if layer.head and layer.op.fans[1] == classes), None)
    if head is None:
        head = case.layers[-1]
    given = head.op.given.square if head.op.given else 1.0
    tied = _tied(case, head.op.leaf)
    also = f"; it is tied to {tied}" if tied else ""
    std = min(0.02, 1 / math.sqrt(max(head.op.fans[0] * given, 1e-30)))
    return Observation(
        "starting-loss",
        "warning",
        head.number,
        f"cross-entropy {value:.4g} at the start, chance is ln {classes:.0f} = {chance:.4g}{also}",
        "logits of this size are confident before anything is learned",
        head.label,
        (fix_lines.drawn(head.op.leaf, std),) if head.op.leaf else (),
    )


def _tied(case: Case, leaf: str | None) -> str:
    """Other names of a parameter."""
    if leaf is None:
        return ""
    own = case.parameters.get(leaf)
    names = [name for name, one in case.held.all_parameters if one is own and name != leaf]
    return ", ".join(path(name) for name in names)


RULES = (
    RuleText(
        name="attention-logits",
        meaning="softmax picks one key from the start, and passes next to no gradient to the others",
        measurement=(
            "standard deviation of attention's logits, and the entropy of its weights beside that of equal ones"
        ),
        remedy="the factor 1/sqrt(d) on products of queries and keys, once",
        reference="Vaswani et al. 2017, arXiv:1706.03762",
    ),
    RuleText(
        name="shut-gate",
        meaning="a gate lets nothing pass, so what it multiplies learns nothing",
        measurement="mean of a sigmoid that multiplies another signal",
        remedy="a bias of 0 for the gate",
        reference="Srivastava et al. 2015, arXiv:1505.00387",
    ),
    RuleText(
        name="short-memory",
        meaning="a gated recurrence keeps a share of its memory at every step, and of the gradient on its way back",
        measurement="mean of the forget gate of an LSTM or the update gate of a GRU, made again from weights and input",
        remedy="a bias of 1 or more for the forget gate",
        reference="Jozefowicz et al. 2015, PMLR 37:2342",
    ),
    RuleText(
        name="double-softmax",
        meaning="cross_entropy applies softmax itself; given probabilities it cannot fall near 0",
        measurement="what a loss is given comes from a softmax",
        remedy="logits for cross_entropy, without a softmax",
        reference="PyTorch documentation, CrossEntropyLoss",
    ),
    RuleText(
        name="starting-loss",
        meaning="logits are confident before anything is learned",
        measurement="cross-entropy at the start beside ln(classes)",
        remedy="a smaller head; a tied embedding of N(0, 1) is the usual cause",
        reference="Karpathy 2019, A Recipe for Training Neural Networks",
    ),
)
