"""Which places of a tensor a call takes, adds up or multiplies: known from its index tensors and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse

from initprobe.arrays import Array
from initprobe.torch.call_kinds import Call

SUMS = frozenset(("index_add", "scatter_add", "scatter_reduce", "scatter"))
LEFT_PRODUCTS = frozenset(("matmul", "mm", "_sparse_mm"))
FACTORS = frozenset(("mul", "multiply", "div", "divide", "true_divide", "truediv"))
WITH_PLACES = SUMS | LEFT_PRODUCTS | FACTORS | {"getitem", "index_select", "gather", "take_along_dim"}
MOST_PLACES = 512  # of an axis whose places are followed one by one
_MOST_TAKEN = 1 << 20  # places that are taken of an axis


def place_facts(call: Call) -> Mapping[str, Array]:
    """What the index tensors and constants of a call of `WITH_PLACES` say.

    Args:
        call: the call.

    Returns:
        By name: `axis`; `taken`, the places that are taken, in order; `several`, the same for several axes. `goals`:
        the place to which each is added; `matrix`: by which places are multiplied from the left; `factors`: by place.
        Nothing for a call that does something else.
    """
    if call.name in LEFT_PRODUCTS:
        return _matrix(call)
    if call.name in FACTORS:
        return _factors(call)
    if call.name == "getitem" and isinstance(call.args[1], tuple):
        several = _of_several(call)
        if several:
            return several
    axis, index = _of_getitem(call) if call.name == "getitem" else _of_axis(call)
    if index is None or index.numel() > _MOST_TAKEN:
        return {}
    places = (index.nonzero() if index.dtype == torch.bool else index).flatten().cpu().numpy()
    size = call.tensors[0].shape[axis]
    name = "goals" if call.name in SUMS else "taken"
    return {"axis": np.array(axis), name: np.where(places < 0, places + size, places)}


def _of_getitem(call: Call) -> tuple[int, Any]:
    """The axis and the index tensor, if there is one such tensor and all of the other axes stay whole."""
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    parts = [(axis, part) for axis, part in enumerate(index) if not (isinstance(part, slice) and part == slice(None))]
    if len(parts) != 1 or not isinstance(parts[0][1], torch.Tensor):
        return 0, None
    axis, part = parts[0]
    return axis, None if part.dtype == torch.bool and part.ndim > 1 else part


def _of_several(call: Call) -> Mapping[str, Array]:
    """The axis of the first of several index tensors in a row, and the places that they take, `(axes, taken)`.

    A new last axis may follow them.
    """
    index = call.args[1][:-1] if call.args[1][-1] is None else call.args[1]
    axes = [axis for axis, part in enumerate(index) if isinstance(part, torch.Tensor)]
    whole = [part for part in index if not isinstance(part, torch.Tensor)]
    is_row = len(axes) > 1 and axes == list(range(axes[0], axes[-1] + 1))
    if not is_row or any(not isinstance(part, slice) or part != slice(None) for part in whole):
        return {}
    parts = [index[axis] for axis in axes]
    if any(part.ndim != 1 or part.dtype == torch.bool or part.numel() != parts[0].numel() for part in parts):
        return {}
    places = torch.stack(parts).cpu().numpy()
    sizes = np.array([call.tensors[0].shape[axis] for axis in axes])[:, None]
    return {"axis": np.array(axes[0]), "several": np.where(places < 0, places + sizes, places)}


def _of_axis(call: Call) -> tuple[int, Any]:
    """The axis and the index of a function that has both. None for an index that differs along other axes."""
    axis = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else None)
    index = call.kwargs.get("index", call.args[2] if len(call.args) > 2 else None)
    if not isinstance(axis, int) or not isinstance(index, torch.Tensor):
        return 0, None
    axis %= max(call.tensors[0].ndim, 1)
    if index.ndim < 2:
        return axis, index
    rows = index.movedim(axis, 0).reshape(index.shape[axis], -1)
    return axis, rows[:, 0] if rows.numel() and bool((rows == rows[:, :1]).all()) else None


def _matrix(call: Call) -> Mapping[str, Array]:
    """A constant matrix on the left of a signal."""
    if len(call.tensors) < 2 or call.values[0].signal is not None or call.values[0].names:
        return {}
    held = call.tensors[0].detach()
    if held.ndim != 2 or max(held.shape) > MOST_PLACES:
        return {}
    dense = held if held.layout == torch.strided else held.to_dense()
    return {"matrix": dense.double().cpu().numpy()}


def _factors(call: Call) -> Mapping[str, Array]:
    """The factors of a constant that has one for each place of an axis that is not the last."""
    is_division = "div" in call.name
    for held, value in zip(call.tensors[::-1], call.values[::-1], strict=True):
        if value.signal is not None or value.names or held.numel() != max(held.shape, default=1):
            continue
        if (
            not 1 < held.numel() <= MOST_PLACES
            or not held.is_floating_point()
            or (is_division and held is call.args[0])
        ):
            return {}
        axis = next(place for place, size in enumerate(held.shape) if size > 1) - held.ndim
        values = held.detach().double().flatten().cpu().numpy()
        if axis == -1 or np.ptp(values) == 0 or (is_division and not values.all()):
            return {}
        return {"axis": np.array(axis), "factors": 1 / values if is_division else values}
    return {}


def bag_facts(call: Call) -> Mapping[str, Array]:
    """How the bags of `embedding_bag` share rows of its table.

    Args:
        call: the call.

    Returns:
        `bags`, `(3, 2)`. First the mean product of the factors of a row, in one bag and in two. Then the same of the
        sums of all factors of a bag. Then the mean of these sums, and 0. Nothing for bags that
        take the largest, or weigh their rows.
    """

    def given(name: str, place: int, default: Any = None) -> Any:
        return call.kwargs.get(name, call.args[place] if len(call.args) > place else default)

    tokens, table, mode = given("input", 0), given("weight", 1), given("mode", 6, "mean")
    if (
        mode not in ("sum", "mean")
        or given("per_sample_weights", 8) is not None
        or given("padding_idx", 10) is not None
    ):
        return {}
    tokens, starts = tokens.detach().cpu().numpy(), given("offsets", 2)
    if tokens.ndim == 2:
        begins = np.arange(len(tokens)) * tokens.shape[1]
    else:
        begins = starts.detach().cpu().numpy()[: -1 if given("include_last_offset", 9, False) else None]
    bag = np.searchsorted(begins, np.arange(tokens.size), side="right") - 1
    entries = np.ones(tokens.size), (bag, tokens.ravel())
    factors = sparse.csr_array(sparse.coo_array(entries, (len(begins), len(table))))
    if mode == "mean":
        factors = sparse.csr_array(sparse.diags_array(1 / np.maximum(factors.sum(1), 1)) @ factors)
    count, totals, rows = factors.shape[0], factors.sum(1), factors.sum(0)
    own, own_total = float((factors.data**2).sum()), float(totals @ totals)
    ways = max(count * (count - 1), 1)
    shared = (float(rows @ rows) - own) / ways, (float(totals.sum()) ** 2 - own_total) / ways
    return {"bags": np.array([[own / count, shared[0]], [own_total / count, shared[1]], [float(totals.mean()), 0.0]])}
