"""Layers that no gradient reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from initprobe.diagnosis.rule import RuleText
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.structure import Layer
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation

_NAME = "no-gradient"


def _observe(case: Case) -> Iterator[Observation]:
    """The layer whose output is not used, and the last layer whose weight learns nothing."""
    learning = [layer for layer in case.layers if _learns(case, layer)]
    absent = [layer for layer in learning if _has_gradient(case, layer) is None]
    zero = [layer for layer in learning if _has_gradient(case, layer) is False and not case.is_explained(layer)]
    unused = [layer for layer in absent if id(layer.signal) not in case.used]
    cut_off = [layer for layer in absent if id(layer.signal) in case.used]
    if unused and len(unused) == len(learning):
        yield _cut_off(case, unused, "the output of the model has no gradient, so nothing learns: dL/dW is absent")
    elif unused:
        cut = [layer for layer in unused if _cut_after(layer.signal)]
        yield _unused(cut[-1] if cut else unused[0])
    if cut_off:
        yield _cut_off(case, cut_off, "dL/dW is absent, though W asks for it")
    elif zero:
        yield _cut_off(case, zero, "every entry of dL/dW is 0")


def _learns(case: Case, layer: Layer) -> bool:
    weights = [case.parameters[name] for name in layer.op.names if name in case.parameters]
    return any(weight.requires_grad and weight.ndim > 1 for weight in weights)


def _has_gradient(case: Case, layer: Layer) -> bool | None:
    """Whether an entry of the gradient of its weight is not 0; None where there is no gradient."""
    moved = [case.moved.get(name) for name in layer.op.names if case.parameters[name].ndim > 1]
    return True if any(moved) else False if any(is_moved is False for is_moved in moved) else None


def _unused(layer: Layer) -> Observation:
    """A layer that the output does not depend on, or only by a function that has no gradient."""
    cut = _cut_after(layer.signal)
    if cut:
        return Observation(
            _NAME,
            "warning",
            layer.number,
            f"{layer.label} reaches the output through {cut} only, which has no gradient, so it will not learn",
            MEANING,
            layer.label,
            no_fix=f"put a function with a gradient in place of {cut}, such as softmax, or freeze the weight",
        )
    return Observation(
        _NAME,
        "info",
        layer.number,
        f"the output of {layer.label} is not used, so it will not learn",
        "neither the model's output nor the loss depends on it",
        layer.label,
    )


def _cut_after(signal: Signal) -> str:
    """A function without gradient that took the signal, or one that is made of it; empty for none."""
    waiting, visited = [signal], set[int]()
    while waiting:
        current = waiting.pop()
        if current.cut:
            return current.cut
        visited.add(id(current))
        made = [op.signal for op in current.consumers if op.signal is not None]
        waiting += [each for each in made if id(each) not in visited]
    return ""


def _cut_off(case: Case, layers: Sequence[Layer], what: str) -> Observation:
    """The last of the layers: on the way back it is the first."""
    others = f", as in {len(layers) - 1} more of {len(case.layers)} layers" if len(layers) > 1 else ""
    constant = _constant_norm(case)
    if constant is not None:
        others += f"; {constant.name} gives the same for every input, as a norm over one entry does"
    return Observation(
        _NAME,
        "error",
        layers[-1].number,
        f"{what}{others}",
        MEANING,
        layers[-1].label,
        no_fix="the cause is in the model's code, in the loss or in the input",
    )


def _constant_norm(case: Case) -> Operation | None:
    """A norm whose output has no variance though its input has one."""
    return next((op for op in case.operations if op.kind == "norm" and _is_constant(op)), None)


def _is_constant(norm: Operation) -> bool:
    return bool(norm.output and norm.given and norm.output.variance == 0 < norm.given.variance)


RULES = (
    ModelRule(
        _observe,
        texts=(
            RuleText(
                name=_NAME,
                meaning="nothing comes back from the output to this weight, so it will never learn",
                measurement="a layer whose dL/dW is 0 everywhere, or missing although requires_grad is set",
                remedy="no detach, no_grad or product with 0 between the layer and the loss, which must depend on it",
                reference="PyTorch documentation, autograd mechanics",
            ),
        ),
    ),
)
