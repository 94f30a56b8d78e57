"""Packed weights of attention: one product makes queries, keys and values, a third of its outputs each.

The thirds are recognised by where the parts of the output lie in memory, whatever call takes them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initprobe.torch.graph import Operation, Signal

NAMES = ("q", "k", "v")
_ROWS_FIRST = ("linear", "conv1d", "conv2d", "conv3d")  # products whose weight has an output per row
_TORCH_OWN = "in_proj_weight"  # of nn.MultiheadAttention, which copies the output before it takes it apart
_PASSING = ("norm", "part", "other", "sum", "cat")
_FARTHEST = 8  # operations between a third and the product of queries and keys


@dataclass(frozen=True)
class Third:
    """A third of the outputs of a packed weight.

    Attributes:
        name: q, k or v.
        weight_variance: variance of its entries of W about their mean; None for a weight that is made of parameters.
        weight_square: mean square of its entries of W.
        variance: variance of its entries of z.
        outputs: the first of its outputs, and the first after them.
        axis: axis of the outputs in W.
    """

    name: str
    weight_variance: float | None
    weight_square: float | None
    variance: float
    outputs: tuple[int, int]
    axis: int


def third_facts(product: Operation, part: Any, weight: Any, before: Mapping[str, float]) -> dict[str, float]:
    """Facts about a part of the output of a product; nothing where it is no third.

    Args:
        product: the operation.
        part: the part.
        weight: the parameter; None where the weight is made of parameters.
        before: the facts of earlier draws.

    Returns:
        `third`: 0, 1 or 2. `z`: variance of its entries. `w`, `w_square`: variance and mean square of its weights.
        `draws`: how many draws these are means of.
    """
    place = _place(product, part)
    if place is None:
        return {}
    measured = {"z": _moments(part)[0]}
    if weight is not None:
        variance, mean = _moments(weight.chunk(3, _axis(product))[place])
        measured |= {"w": variance, "w_square": variance + mean * mean}
    draws = before.get("draws", 0.0)
    means = {name: (draws * before.get(name, 0.0) + value) / (draws + 1) for name, value in measured.items()}
    return {"third": float(place), "draws": draws + 1, **means}


def _moments(tensor: Any) -> tuple[float, float]:
    """Variance and mean, without a copy of the entries."""
    import torch  # the rules read this file without PyTorch too

    plain = tensor.detach()
    variance, mean = torch.var_mean(
        plain if plain.dtype in (torch.float32, torch.float64) else plain.float(), correction=0
    )
    return float(variance), float(mean)


def _axis(product: Operation) -> int:
    """The axis of the outputs in the weight."""
    return 0 if product.name in _ROWS_FIRST else -1


def _place(product: Operation, part: Any) -> int | None:
    """Which third of the output the part is."""
    base, weight = part._base, product.weight
    if base is None or weight is None or len(weight.shape) < 2 or 3 * part.numel() != base.numel():
        return None
    outputs, axis = weight.shape[_axis(product)], 1 if product.name.startswith("conv") else -1
    if outputs % 3 or not base.is_contiguous():
        return None
    if (product.leaf or "").rpartition(".")[2] == _TORCH_OWN:
        step = part.numel()
    elif base.shape[axis] == outputs:
        step = base.stride(axis) * (outputs // 3)
    else:
        return None
    place, rest = divmod(part.storage_offset() - base.storage_offset(), step)
    return place if rest == 0 and 0 <= place < 3 else None


def thirds_of(signal: Signal) -> tuple[Third, ...]:
    """Queries, keys and values of a product whose output is taken apart into them; nothing for other products."""
    op = signal.op
    parts = {
        int(part.facts["third"]): part for part in signal.consumers if part.kind == "part" and "third" in part.facts
    }
    if op.weight is None or set(parts) != {0, 1, 2} or not all(_attends(parts[place].signal) for place in (0, 1)):
        return ()
    axis = _axis(op)
    size = op.weight.shape[axis] // 3
    return tuple(
        Third(
            name,
            parts[place].facts.get("w"),
            parts[place].facts.get("w_square"),
            parts[place].facts["z"],
            (place * size, (place + 1) * size),
            axis % len(op.weight.shape),
        )
        for place, name in enumerate(NAMES)
    )


def _attends(signal: Signal | None, left: int = _FARTHEST) -> bool:
    """Whether a product of two signals is made of this one, with no layer between."""
    return signal is not None and any(
        op.kind in ("attention", "product") or (left > 0 and op.kind in _PASSING and _attends(op.signal, left - 1))
        for op in signal.consumers
    )
