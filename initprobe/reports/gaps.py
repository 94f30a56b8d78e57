"""Why a log axis has no place for the variance of some layers, in words for people."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from initprobe.results.base import Status
from initprobe.results.layers import LayerStats, TensorStats

# The status of a tensor, in words for people; JSON has the names.
STATUS_WORDS: dict[Status, str] = {
    "ok": "ok",
    "underflow": "underflow",
    "overflow": "overflow",
    "nonfinite": "NaN or infinite",
}


def gaps(layers: Sequence[LayerStats], tensor: str) -> Iterator[str]:
    """What the variance of a tensor is where a log axis cannot show it: `0 in layers 4 to 10`.

    Args:
        layers: in their order.
        tensor: one of `TENSORS`.
    """
    words = [(layer.layer, _why(layer.tensor(tensor))) for layer in layers]
    for why, group in itertools.groupby(words, key=lambda pair: pair[1]):
        numbers = [number for number, _ in group]
        if why:
            yield f"{why} {places(numbers[0], numbers[-1], layers[-1].layer)}"


def places(first: int, last: int, deepest: int) -> str:
    """The layers from first to last, of a net with `deepest` layers: `in layer 4`, `in layers 4 to 10`."""
    if (first, last) == (1, deepest) and deepest > 1:
        return "in all layers"
    return f"in layer {first}" if first == last else f"in layers {first} to {last}"


def _why(stats: TensorStats) -> str:
    """Why there is no log of the variance; empty where there is one."""
    if stats.variance_log10 is not None:
        return ""
    return "0" if stats.variance == 0 else STATUS_WORDS[stats.status]
