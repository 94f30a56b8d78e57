"""Rules for known linear maps along an axis: an index takes places or adds them, or a matrix does.

The mean products of two places are followed one by one, as graphs need: neighbours are alike. Of more than
`MOST_PLACES`, only what is taken without sums has a rule. They count as alike then.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from initprobe.arrays import Array
from initprobe.torch.theory.moments import ALIKE, Moments, NoRule, alike, matched, mixed_noise
from initprobe.torch.theory.place_facts import MOST_PLACES, SUMS
from initprobe.torch.theory.places import axes_by_place, from_matrices, matrices, without_places
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, first, names
from initprobe.torch.theory.trace import Constant, Node


def mapped(given: Moments, axis: int, matrix: sparse.csr_array) -> Moments:
    """The moments after a linear map along an axis.

    Args:
        given: moments of the tensor before.
        axis: along which the map goes.
        matrix: `(places after, places before)`.

    Raises:
        NoRule: it adds up places, and there are too many.
    """
    after, before = matrix.shape
    shape = (*given.shape[:axis], after, *given.shape[axis + 1 :])
    mean = given.mean * float(matrix.sum()) / max(after, 1)
    is_even = axis not in axes_by_place(given) and _is_choice(matrix)
    if is_even or max(after, before) > MOST_PLACES:
        return Moments(shape, mean, _evenly(without_places(given, [axis]), axis, matrix), given.noise)
    held = matrices(given.pairs, before, axis)
    flat = held.reshape(-1, before, before)
    moved = np.stack([matrix @ (matrix @ part).T for part in flat]).reshape(*held.shape[:-2], after, after)
    pairs = from_matrices(moved, axis)
    return Moments(shape, mean, pairs.take([0], axis) if after == 1 else pairs, given.noise, levels=ALIKE)


def _is_choice(matrix: sparse.csr_array) -> bool:
    """Whether each place after is one before, or none, and no two are the same."""
    counts, uses = np.diff(matrix.indptr), np.bincount(matrix.indices, minlength=matrix.shape[1])
    return bool(counts.max(initial=0) <= 1 and uses.max(initial=0) <= 1 and (matrix.data == 1).all())


def _evenly(given: Moments, axis: int, matrix: sparse.csr_array) -> Array:
    """Pairs of places that count as alike, before and after."""
    after, before = matrix.shape
    most = max(np.diff(held.indptr).max(initial=0) for held in (matrix, matrix.tocsc()))
    if max(after, before) > MOST_PLACES and most > 1:
        raise NoRule(f"sums over an axis of more than {MOST_PLACES} places")
    pairs = alike(given.pairs, before, axis)
    same, other = pairs.take([0], axis), pairs.take([-1], axis)
    rows, columns = matrix.sum(1), matrix.sum(0)
    squares = float((matrix.data**2).sum())
    own = (squares * same + (float(rows @ rows) - squares) * other) / after
    if after == 1:
        return np.asarray(own)
    shared = float(columns @ columns) - squares
    count = float(rows.sum() ** 2 - rows @ rows)
    apart = (shared * same + (count - shared) * other) / (after * (after - 1))
    return np.asarray(np.concatenate([own, apart], axis))


def _choice(places: Array, size: int) -> sparse.csr_array:
    """The matrix that takes places."""
    entries = np.ones(len(places)), (np.arange(len(places)), places)
    return sparse.csr_array(sparse.coo_array(entries, (len(places), size)))


def taken(node: Node, of: Lookup) -> Moments:
    """The places that an index takes.

    Args:
        node: that takes places by an index.
        of: gives the moments of a node.
    """
    if "several" in node.facts:
        return _of_several(node, of(first(node)))
    source, axis, matrix = _taking(node)
    made = mapped(of(source), axis, matrix)
    return regrouped(made, node.shape) if made.shape != node.shape else made


def taken_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    """The gradient of the tensor of which places were taken.

    Args:
        node: that takes places by an index.
        of: gives the moments of a node.
        gradient: moments of the gradient of what was taken.
    """
    if "several" in node.facts:
        yield first(node), _to_several(node, first(node), gradient)
        return
    source, axis, matrix = _taking(node)
    shape = (*source.shape[:axis], matrix.shape[0], *source.shape[axis + 1 :])
    gradient = regrouped(gradient, shape) if gradient.shape != shape else gradient
    yield source, mapped(gradient, axis, sparse.csr_array(matrix.T))


def _meetings(places: Array) -> Array:
    """Share of the pairs of two entries that are at the same or another place of each axis, `(2, ..., 2)`.

    Args:
        places: that were taken, `(axes, taken)`.
    """
    made, count = np.zeros((2,) * len(places)), places.shape[1]
    for axes in np.ndindex(made.shape):  # 0 where the places of an axis are equal
        equal = [row for row, differs in zip(places, axes, strict=True) if not differs]
        met = np.unique(np.stack(equal), axis=1, return_counts=True)[1] if equal else np.array([count])
        made[axes] = float(np.sum(met.astype(float) ** 2)) - count
    for axis in range(len(places)):
        index: list[slice | int] = [slice(None)] * len(places)
        index[axis] = 1
        made[tuple(index)] -= np.take(made, 0, axis)
    return np.asarray(made / max(count * (count - 1), 1))


def _several(node: Node) -> tuple[list[int], Array]:
    axis, places = int(node.facts["axis"]), node.facts["several"]
    return list(range(axis, axis + len(places))), places


def _of_several(node: Node, given: Moments) -> Moments:
    """Entries that were taken by one index per axis; they lie along one axis then, where all count as alike."""
    axes, places = _several(node)
    pairs = without_places(given, axes).pairs
    for axis in axes:
        pairs = alike(pairs, given.shape[axis], axis)
    meetings = _meetings(places)
    index = tuple(slice(0, length) for length in (pairs.shape[axis] for axis in axes))
    other = np.tensordot(pairs, meetings[index], (axes, list(range(len(axes)))))
    same = pairs[(slice(None),) * axes[0] + (0,) * len(axes)]
    made = np.stack([same, other], axes[0]) if places.shape[1] > 1 else same[(slice(None),) * axes[0] + (None,)]
    shape = (*given.shape[: axes[0]], places.shape[1], *given.shape[axes[-1] + 1 :])
    return regrouped(Moments(shape, given.mean, made, given.noise), node.shape)


def _to_several(node: Node, source: Node, gradient: Moments) -> Moments:
    """The gradient of a tensor of which entries were taken by one index per axis."""
    axes, places = _several(node)
    shape = (*source.shape[: axes[0]], places.shape[1], *source.shape[axes[-1] + 1 :])
    held = without_places(regrouped(gradient, shape), [axes[0]])
    pairs, meetings = alike(held.pairs, shape[axes[0]], axes[0]), _meetings(places)
    same, other = pairs.take(0, axes[0]), pairs.take(-1, axes[0])
    sizes, count = [source.shape[axis] for axis in axes], places.shape[1]
    made = np.empty((*same.shape[: axes[0]], *(min(size, 2) for size in sizes), *same.shape[axes[0] :]))
    for place in np.ndindex(tuple(min(size, 2) for size in sizes)):
        ways = np.prod([size * (size - 1 if differs else 1) for size, differs in zip(sizes, place, strict=True)])
        whole = other * float(meetings[place]) * count * (count - 1)
        made[(slice(None),) * axes[0] + place] = (whole + (same * count if not any(place) else 0.0)) / ways
    return Moments(source.shape, 0.0, made, gradient.noise)


def _taking(node: Node) -> tuple[Node, int, sparse.csr_array]:
    source = first(node)
    if "taken" not in node.facts:
        raise NoRule(f"{node.name} by an index that no rule follows")
    axis = int(node.facts["axis"])
    return source, axis, _choice(node.facts["taken"], source.shape[axis])


def is_taken(node: Node) -> bool:
    """Whether a call takes places of one axis by an index tensor."""
    return "taken" in node.facts or "several" in node.facts


def _adding(node: Node) -> tuple[Node, int, sparse.csr_array]:
    """What is added, the axis, and the matrix that adds it."""
    source = node.argument("source" if node.name == "index_add" else "src", 3)
    start = node.argument("input", 0)
    is_sum = (isinstance(start, Constant) and start.moments[1] == 0) or _adds(node)
    if not isinstance(source, Node) or not is_sum or "goals" not in node.facts:
        raise NoRule(f"{node.name} that no rule follows")
    axis, goals = int(node.facts["axis"]), node.facts["goals"]
    matrix = _choice(goals, node.shape[axis]).T
    if node.name == "scatter_reduce":
        how, kept = node.argument("reduce", 4), node.kwargs.get("include_self", True)
        if how not in ("sum", "mean"):
            raise NoRule(f"scatter_reduce by {how}")
        if how == "mean":
            counts = np.bincount(goals, minlength=node.shape[axis]) + bool(kept)
            matrix = sparse.diags_array(1 / np.maximum(counts, 1)) @ matrix
    elif node.name == "scatter" and len(np.unique(goals)) < len(goals):
        raise NoRule("scatter to equal places")
    factor = float(node.kwargs.get("alpha", 1))
    return source, axis, sparse.csr_array(factor * matrix)


def _adds(node: Node) -> bool:
    """Whether it adds to a signal, whose entries stay."""
    return node.name in ("index_add", "scatter_add") and isinstance(node.argument("input", 0), Node)


def _added(node: Node, of: Lookup) -> Moments:
    source, axis, matrix = _adding(node)
    made = mapped(of(source), axis, matrix)
    if not _adds(node):
        return made
    before = of(node.argument("input", 0))
    shape, (left, right) = matched([before, made])
    noise = mixed_noise([before, made], [before.square, made.square])
    return Moments(shape, before.mean + made.mean, left + right + 2 * before.mean * made.mean, noise)


def _added_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, axis, matrix = _adding(node)
    if _adds(node):
        yield node.argument("input", 0), gradient
    yield source, mapped(gradient, axis, sparse.csr_array(matrix.T))


def _running(node: Node) -> tuple[Node, int, sparse.csr_array]:
    source = first(node)
    axis = axis_of(node.argument("dim", 1), len(source.shape))
    if source.shape[axis] > MOST_PLACES:
        raise NoRule(f"cumsum over more than {MOST_PLACES} places")
    return source, axis, sparse.csr_array(np.tri(source.shape[axis]))


def _cumsum(node: Node, of: Lookup) -> Moments:
    source, axis, matrix = _running(node)
    return mapped(of(source), axis, matrix)


def _cumsum_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, axis, matrix = _running(node)
    yield source, mapped(gradient, axis, sparse.csr_array(matrix.T))


def mixed(node: Node, of: Lookup) -> Moments:
    """The product of a known matrix and a signal, with the matrix on the left.

    Args:
        node: the product.
        of: gives the moments of a node.
    """
    source = first(node)
    return mapped(of(source), len(source.shape) - 2, sparse.csr_array(node.facts["matrix"]))


def mixed_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    """The gradient of the signal that a known matrix multiplied from the left.

    Args:
        node: the product.
        of: gives the moments of a node.
        gradient: moments of the gradient of the product.
    """
    source = first(node)
    yield source, mapped(gradient, len(source.shape) - 2, sparse.csr_array(node.facts["matrix"].T))


def _mixed_or_none(node: Node, of: Lookup) -> Moments:
    _checked(node)
    return mixed(node, of)


def _mixed_or_none_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    _checked(node)
    yield from mixed_back(node, of, gradient)


def _checked(node: Node) -> None:
    if "matrix" not in node.facts:
        raise NoRule(f"a product with a sparse matrix of more than {MOST_PLACES} rows or columns")


def scaled_by_place(given: Moments, axis: int, factors: Array) -> Moments:
    """The moments after each place of an axis was multiplied by its factor.

    Args:
        given: moments of the tensor before.
        axis: counted from the last.
        factors: by place.
    """
    place = axis % len(given.shape)
    return mapped(given, place, sparse.csr_array(sparse.diags_array(factors)))


RULES = (
    Rule(names("index_select gather take_along_dim"), taken, taken_back),
    Rule(tuple(SUMS), _added, _added_back),
    Rule(names("cumsum"), _cumsum, _cumsum_back),
    Rule(names("_sparse_mm"), _mixed_or_none, _mixed_or_none_back),
)
