"""Packed weights of attention: one product makes queries, keys and values, or two of them.

The parts are recognised by their places in memory, for any call that splits the output. Queries may have more heads
than keys and values. Where a part goes says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initprobe.torch.graph import Operation, Signal

NAMES = ("q", "k", "v")
_ROWS_FIRST = ("linear", "conv1d", "conv2d", "conv3d")  # products whose weight has an output per row
_TORCH_OWN = "in_proj_weight"  # of nn.MultiheadAttention, which copies the output before it takes it apart
_PASSING = ("norm", "part", "other", "sum", "cat")
_FARTHEST = 8  # operations between a part and the product of queries and keys


@dataclass(frozen=True)
class Part:
    """Some of the outputs of a packed weight.

    Attributes:
        name: q, k or v.
        parameter: name of the parameter that holds its weights; None for a weight that is made of parameters.
        weight_variance: variance of its entries of W about their mean; None without a parameter.
        weight_square: mean square of its entries of W.
        variance: variance of its entries of z.
        outputs: the first of its rows or columns of the parameter, and the first after them.
        axis: axis of the outputs in W.
    """

    name: str
    parameter: str | None
    weight_variance: float | None
    weight_square: float | None
    variance: float
    outputs: tuple[int, int]
    axis: int


def part_facts(product: Operation, part: Any, held: Mapping[str, Any], before: Mapping[str, float]) -> dict[str, float]:
    """Facts about a part of the output of a product; nothing where its outputs are not consecutive.

    Args:
        product: the operation.
        part: the part.
        held: all parameters by their first names.
        before: the facts of earlier draws.

    Returns:
        `first` and `count` of its outputs. `z`: variance of its entries. `w`, `w_square`: variance and mean square of
        its weights. `offset`: of the first output in the parameter. `draws`: how many draws these are means of.
    """
    run = _run(product, part)
    if run is None:
        return {}
    measured, holder = {"z": _moments(part)[0]}, _holder(product)
    if holder is not None:
        weight = held[holder]
        first = _offset(product, weight) + run[0]
        variance, mean = _moments(weight.narrow(_axis(product), first, run[1]))
        measured |= {"w": variance, "w_square": variance + mean * mean, "offset": first - run[0]}
    draws = before.get("draws", 0.0)
    means = {name: (draws * before.get(name, 0.0) + value) / (draws + 1) for name, value in measured.items()}
    return {"first": float(run[0]), "count": float(run[1]), "draws": draws + 1, **means}


def _moments(tensor: Any) -> tuple[float, float]:
    """Variance and mean, without a copy of the entries."""
    import torch  # the rules read this file without PyTorch too

    plain = tensor.detach()
    wide = plain if plain.dtype in (torch.float32, torch.float64) else plain.float()
    variance, mean = torch.var_mean(wide, correction=0)
    return float(variance), float(mean)


def _axis(product: Operation) -> int:
    """The axis of the outputs in the weight."""
    return 0 if product.name in _ROWS_FIRST else -1


def _holder(product: Operation) -> str | None:
    """The parameter that holds the weight: the weight itself, or torch's own one for all three."""
    own = [name for name in product.names if name.rpartition(".")[2] == _TORCH_OWN]
    return product.leaf or (own[0] if own else None)


def _offset(product: Operation, weight: Any) -> int:
    """The first row of the parameter that the product uses: torch's own cross-attention leaves out the queries."""
    return 0 if product.leaf else int(weight.shape[0] - product.weight.shape[0]) if product.weight else 0


def _run(product: Operation, part: Any) -> tuple[int, int] | None:
    """The first of the outputs that a part holds, and their number; None where they do not follow one another."""
    base, weight = part._base, product.weight
    if base is None or weight is None or len(weight.shape) < 2 or not base.is_contiguous():
        return None
    outputs, axis = weight.shape[_axis(product)], 1 if product.name.startswith("conv") else -1
    start = part.storage_offset() - base.storage_offset()
    if (_holder(product) or "").rpartition(".")[2] == _TORCH_OWN:
        count = outputs * part.numel() // base.numel()
        return (start // part.numel() * count, count) if start % part.numel() == 0 and count < outputs else None
    if not (-base.ndim <= axis < base.ndim) or base.shape[axis] != outputs:
        return None
    step = base.stride(axis)
    count = _followed(sorted(zip(part.stride(), part.shape, strict=True)), step, step * outputs)
    first = start // step % outputs
    return (first, count) if count is not None and count < outputs and first + count <= outputs else None


def _followed(dimensions: Sequence[tuple[int, int]], step: int, span: int) -> int | None:
    """How many outputs, one after the other, the dimensions of a part run over; None where they skip some.

    Args:
        dimensions: strides and sizes, by stride.
        step: stride from one output to the next.
        span: stride from all outputs of a position to those of the next.
    """
    reached = step
    for stride, size in dimensions:
        if step <= stride < span and size > 1:
            if stride != reached:
                return None
            reached = stride * size
    return reached // step if reached <= span else None


def parts_of(signal: Signal) -> tuple[Part, ...]:
    """Queries, keys and values of a product whose output is taken apart into them; nothing for other products."""
    op = signal.op
    taken = {
        int(part.facts["first"]): part for part in signal.consumers if part.kind == "part" and "first" in part.facts
    }
    if not taken:
        return ()  # as nearly always
    pieces = [taken[first] for first in sorted(taken)]
    if op.weight is None or not _is_whole(pieces, op.weight.shape[_axis(op)]):
        return ()
    names = _names([piece.signal for piece in pieces], [piece.facts["count"] for piece in pieces])
    return tuple(_part(op, name, piece.facts) for name, piece in zip(names, pieces, strict=True)) if names else ()


def _is_whole(pieces: Sequence[Operation], outputs: int) -> bool:
    """Whether the pieces, in order, make up all outputs."""
    reached = 0
    for piece in pieces:
        if piece.facts["first"] != reached:
            return False
        reached += int(piece.facts["count"])
    return len(pieces) in (2, 3) and reached == outputs


def _part(op: Operation, name: str, facts: Mapping[str, float]) -> Part:
    axis, weight = _axis(op), op.weight
    assert weight is not None
    first = int(facts["first"] + facts.get("offset", 0))
    outputs = first, first + int(facts["count"])
    holder = _holder(op)
    return Part(name, holder, facts.get("w"), facts.get("w_square"), facts["z"], outputs, axis % len(weight.shape))


def _names(signals: Sequence[Signal | None], counts: Sequence[float]) -> Sequence[str]:
    """What the pieces are; nothing where they are no queries, keys or values."""
    if len(signals) == 3:
        is_equal = counts[0] == counts[1] == counts[2]
        is_grouped = counts[0] > counts[1] == counts[2]
        asked = signals[:2] if is_equal else signals
        return NAMES if (is_equal or is_grouped) and all(_goals(signal) for signal in asked) else ()
    goals = [_goals(signal) for signal in signals]
    if counts[0] != counts[1] or not all(goals):
        return ()
    is_one_product = {id(op) for op, _ in goals[0] if op.kind == "product"} & {id(op) for op, _ in goals[1]}
    places = [_places(goal) for goal in goals]
    return NAMES[:2] if is_one_product or places == [{0}, {1}] else NAMES[1:] if places != [{0}, {2}] else ()


def _places(goals: Sequence[tuple[Operation, Signal]]) -> set[int]:
    """At which places the signals are given to fused attention."""
    return {op.inputs.index(signal) for op, signal in goals if op.kind == "attention" and signal in op.inputs}


def _goals(signal: Signal | None, left: int = _FARTHEST) -> list[tuple[Operation, Signal]]:
    """The products of two signals that are made of this one with no layer between, and their parts of it."""
    if signal is None:
        return []
    goals: list[tuple[Operation, Signal]] = []
    for op in signal.consumers:
        if op.kind in ("attention", "product"):
            goals.append((op, signal))
        elif left > 0 and op.kind in _PASSING:
            goals += _goals(op.signal, left - 1)
    return goals
