"""Rules for pooling and for enlarging pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.known_entries import summed_products
from initprobe.torch.theory.maxima import largest, largest_back, latent
from initprobe.torch.theory.mean_windows import MeanWindow, mean_windows
from initprobe.torch.theory.moments import Bent, Moments, NoRule, gaussian_noise, shares
from initprobe.torch.theory.pointwise import of_bent
from initprobe.torch.theory.pooled_pieces import pieces_of, pooled, pooled_back
from initprobe.torch.theory.rule import Lookup, Moved, Rule, first, names
from initprobe.torch.theory.trace import Node
from initprobe.torch.theory.window import Window, per_axis, swept, windows
from initprobe.torch.theory.window_maxima import CORRELATIONS, Maxima, maxima

_MOST_PATCH = 1 << 10  # entries of a patch of neighbouring windows; for more, the windows are drawn alone


def _by_distance(node: Node, given: Moments) -> tuple[Bent, Array]:
    """The Gaussian entries of which the maximum is taken, and their correlations by distance."""
    bent = latent(node, given)
    base = bent.given
    variance = base.square - base.mean**2
    return bent, np.clip((base.pairs - base.mean**2) / variance, -1, 1)


def _pool_windows(node: Node) -> list[Window]:
    source = first(node)
    count = int(node.name[-2]) if node.name[-1] == "d" else 2
    each = per_axis(node.argument("kernel_size", 1), count)
    if node.argument("stride", 2) in (None, ()):
        node = Node(node.number, node.name, node.args, {**node.kwargs, "stride": each}, node.shape)
    return windows(node, source, each, (2, 3, 4))


def _max_pool(node: Node, of: Lookup) -> Moments:
    if pieces_of(node):
        return pooled(node, of, _max_pool)
    if _is_large(node):
        return largest(replace(node, name="max_pool2d"), of)
    given = of(first(node))
    (rows, columns), tops = _max_parts(node, given)
    _, correlation = _by_distance(node, given)
    thin = columns.thinned(rows.thinned(correlation, correlation.ndim - 2), correlation.ndim - 1)
    pairs = np.interp(np.clip(thin, 0, 1), CORRELATIONS, tops.far)
    down, right = (min(2, size) for size in pairs.shape[-2:])
    pairs[(0,) * (pairs.ndim - 2)][:down, :right] = tops.near[:down, :right]
    levels = swept(given, (rows, columns), True)[1]
    moments = Moments(node.shape, tops.mean, pairs, levels=levels, law=(pairs, tops.values))
    inherited = max(given.noise - gaussian_noise(given), 0.0)
    return replace(moments, noise=inherited + gaussian_noise(moments))


def _is_large(node: Node) -> bool:
    return math.prod(window.taps + window.stride for window in _pool_windows(node)) > _MOST_PATCH


def _max_parts(node: Node, given: Moments) -> tuple[tuple[Window, Window], Maxima]:
    made = _pool_windows(node)
    if len(made) != 2:
        raise NoRule(f"{node.name} has a rule for pictures only")
    rows, columns = made
    bent, correlation = _by_distance(node, given)
    return (rows, columns), maxima(bent, correlation, rows, columns)


def _max_pool_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source = first(node)
    if pieces_of(node):
        yield source, pooled_back(node, of, gradient, _max_pool, _max_pool_back)
        return
    if _is_large(node):
        yield from largest_back(replace(node, name="max_pool2d"), of, gradient)
        return
    given = of(source)
    (rows, columns), tops = _max_parts(node, given)
    share = (rows.made / rows.size) * (columns.made / columns.size)
    near = gradient.pairs[(0,) * (gradient.pairs.ndim - 2)]
    square = near[0, 0]
    for (row, column), shared in np.ndenumerate(tops.shared):
        if (row or column) and shared > 0:
            ways = 4 if row and column else 2
            square += ways * shared * near[min(row, near.shape[0] - 1), min(column, near.shape[1] - 1)]
    pairs = _enlarged(gradient.pairs, (rows, columns)) * share**2
    pairs[(0,) * pairs.ndim] = square * share
    gain = 1.0
    if given.bent is not None:  # most of the largest entries are where the activation has a slope
        gain = tops.slope / max(float(of_bent(given.bent)[0].slope_powers.sum()), 1e-300)
    levels = swept(gradient, (rows, columns), False)[1]
    yield source, Moments(source.shape, 0.0, pairs, gradient.noise, gain=gain, levels=levels)


def _between(pairs: Array, axis: int, size: int, made: int) -> Array:
    """Pairs along an axis whose places were each repeated, on average over where a place lies among its copies."""
    if made == 1:
        return np.asarray(np.take(pairs, [0], axis))
    if pairs.shape[axis] == 1:
        return np.repeat(pairs, 2, axis)
    times = made / size
    if pairs.shape[axis] == 2 != size:
        same, other = np.take(pairs, [0], axis), np.take(pairs, [1], axis)
        share = max(times - 1, 0) / max(made - 1, 1)
        return np.concatenate([same, share * same + (1 - share) * other], axis)
    place = np.arange(made) / times
    low = np.minimum(np.floor(place).astype(int), size - 1)
    shape = [1] * pairs.ndim
    shape[axis] = -1
    part = (place - np.floor(place)).reshape(shape)
    after = np.take(pairs, np.minimum(low + 1, size - 1), axis)
    return np.asarray(np.take(pairs, low, axis) * (1 - part) + after * part)


def repeated(pairs: Array, axis: int, size: int, made: int) -> Array:
    """Pairs along an axis whose places were each repeated.

    Args:
        pairs: before.
        axis: of the tensor.
        size: places before.
        made: places after.
    """
    return _between(pairs, axis, size, made)


def summed_copies(pairs: Array, axis: int, size: int, made: int) -> Array:
    """Pairs of the sums over the copies of each place, on the way back; arguments as in `repeated`."""
    return _filtered(pairs, axis, _reverse(Window(size, made, 1))) * (made / size) ** 2


def _enlarged(pairs: Array, each: tuple[Window, ...]) -> Array:
    """Pairs of the inputs of windows, where each has what its window has."""
    for axis, window in enumerate(each, pairs.ndim - len(each)):
        pairs = _between(pairs, axis, window.made, window.size)
    return pairs


def _filtered(pairs: Array, axis: int, window: Window) -> Array:
    """Pairs of means over windows."""
    have, taps = pairs.shape[axis], min(window.taps, window.size)
    if have == 1:
        return pairs if window.made == 1 else np.repeat(pairs, 2, axis)
    if have == 2 != window.size:
        same, other = np.take(pairs, [0], axis), np.take(pairs, [1], axis)
        mean = same / taps + (1 - 1 / taps) * other
        return np.asarray(mean if window.made == 1 else np.concatenate([mean, other], axis))
    starts = np.arange(window.made) * window.stride
    total = np.zeros(())
    for shift in range(1 - taps, taps):
        places = np.minimum(np.abs(starts + shift), have - 1)
        total = total + np.take(pairs, places, axis) * ((taps - abs(shift)) / taps**2)
    return np.asarray(total)


def _mean_windows(node: Node) -> list[Window | MeanWindow | Array]:
    """The windows along each axis; a matrix for those of adaptive pooling that overlap or differ in length."""
    if not node.name.startswith("adaptive"):
        return [means.window if means.is_even else means for means in mean_windows(node)]
    count = int(node.name[-2])
    source = first(node)
    pairs = zip(source.shape[-count:], node.shape[-count:], strict=True)
    return [
        _adaptive(size, made) if size % made else Window(size, made, size // made, size // made) for size, made in pairs
    ]


@lru_cache(maxsize=64)
def _adaptive(size: int, made: int) -> Array:
    """The matrix of adaptive mean pooling, `(made, size)`."""
    places, starts = np.arange(size), np.arange(made) * size // made
    ends = -(-np.arange(1, made + 1) * size // made)
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    return np.asarray(inside / inside.sum(1, keepdims=True))


def _mapped(pairs: Array, axis: int, matrix: Array) -> Array:
    """Pairs by distance after a linear map along an axis, on average over the places."""
    before = matrix.shape[1]
    total = summed_products(matrix, 0) * shares(before, before) * before**2
    held = np.take(pairs, np.minimum(np.arange(before), pairs.shape[axis] - 1), axis)
    return np.moveaxis(np.tensordot(total, held, (1, axis)), 0, axis)


def _mean_pool(node: Node, of: Lookup) -> Moments:
    given, each = of(first(node)), _mean_windows(node)
    pairs, share, levels = given.pairs, 1.0, dict[int, Array]()
    for axis, window in enumerate(each, given.pairs.ndim - len(each)):
        if isinstance(window, Window):
            pairs = _filtered(pairs, axis, window)
        elif isinstance(window, MeanWindow):
            (pairs, level), share = window.forward(pairs, axis, given.levels), share * window.share
            levels |= level
        else:
            pairs = _mapped(pairs, axis, window)
    return Moments(node.shape, given.mean * share, pairs, given.noise, levels=levels)


def _mean_pool_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, each = first(node), _mean_windows(node)
    pairs, levels = gradient.pairs, dict[int, Array]()
    for axis, window in enumerate(each, pairs.ndim - len(each)):
        if isinstance(window, MeanWindow):
            pairs, level = window.back(pairs, axis, gradient.levels)
            levels |= level
        elif isinstance(window, Window):
            share = min(window.made * window.stride / window.size, 1.0) if window.made > 1 else 1.0
            pairs = _between(pairs, axis, window.made, window.size) * share / window.taps**2
        else:
            pairs = _mapped(pairs, axis, window.T)
    noise = gradient.noise + _uneven_noise(gradient, each)
    yield source, Moments(source.shape, 0.0, pairs, noise, levels=levels)


def _uneven_noise(gradient: Moments, each: Sequence[Window | MeanWindow | Array]) -> float:
    """Variance of the log of the growth of a gradient whose places count differently, or come with their neighbours.

    For Gaussian entries that are independent between the places, it is `2 r (tr G^2 / (tr G)^2 - 1 / n)`. `G` holds
    the products of two of the `n` windows. `r` is the mean squared correlation within a place.
    """
    plain, concentration = len(gradient.shape) - len(each), 1.0
    for axis, window in enumerate(each, plain):
        if isinstance(window, MeanWindow):
            concentration *= window.concentration(gradient.levels.get(axis, np.ones(window.window.made)))
        else:
            concentration /= gradient.shape[axis]
    within = gradient.pairs[(slice(None),) * plain + (slice(0, 1),) * len(each)] ** 2
    correlation = float(gradient.averaged(range(plain), within).item()) / max(gradient.square**2, 1e-300)
    return 2 * correlation * max(concentration - 1 / math.prod(gradient.shape[plain:]), 0.0)


def _reverse(window: Window) -> Window:
    times = max(window.made // window.size, 1)
    return Window(window.made, window.size, times, times)


def _scale_windows(node: Node) -> list[Window]:
    source = first(node)
    count = len(source.shape) - 2
    each = [Window(*sizes, 1) for sizes in zip(source.shape[-count:], node.shape[-count:], strict=True)]
    if any(window.made < window.size for window in each):
        raise NoRule("interpolate to fewer places")
    return each


def _enlarge(node: Node, of: Lookup) -> Moments:
    given, mode = of(first(node)), _mode(node)
    pairs = given.pairs
    each = _scale_windows(node)
    for axis, window in enumerate(each, pairs.ndim - len(each)):
        if mode != "nearest":
            pairs = _blurred(pairs, axis, window)
        pairs = _between(pairs, axis, window.size, window.made)
    return Moments(node.shape, given.mean, pairs, given.noise)


def _mode(node: Node) -> Any:
    mode = node.argument("mode", 3, "nearest")
    if mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear"):
        raise NoRule(f"interpolate with mode {mode}")
    return "nearest" if mode == "nearest-exact" else mode


def _blurred(pairs: Array, axis: int, window: Window) -> Array:
    """Pairs of weighted means of two neighbours."""
    times = max(window.made // window.size, 1)
    places = (np.arange(times) + 0.5) / times - 0.5
    weight = 1 - np.abs(places)
    own = float(np.mean(weight**2 + (1 - weight) ** 2))
    index = np.arange(pairs.shape[axis])
    after = np.take(pairs, np.minimum(index + 1, pairs.shape[axis] - 1), axis)
    before = np.take(pairs, np.minimum(np.abs(index - 1), pairs.shape[axis] - 1), axis)
    return np.asarray(own * pairs + (1 - own) / 2 * (after + before))


def _enlarge_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source = first(node)
    pairs = gradient.pairs
    for axis, window in enumerate(_scale_windows(node), pairs.ndim - len(source.shape) + 2):
        pairs = _filtered(pairs, axis, _reverse(window)) * (window.made / window.size) ** 2
        if _mode(node) != "nearest":
            pairs = _blurred(pairs, axis, window)
    yield source, Moments(source.shape, 0.0, pairs, gradient.noise)


RULES = (
    Rule(names("max_pool2d boolean_dispatch max_pool2d_with_indices"), _max_pool, _max_pool_back),
    Rule(
        names("avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"),
        _mean_pool,
        _mean_pool_back,
    ),
    Rule(names("interpolate upsample"), _enlarge, _enlarge_back),
)
