"""Why a log axis has no place for the variance of some layers, in words for people."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from initprobe.results.base import Status
    from initprobe.results.layers import LayerStats, TensorStats

# The status of a tensor, in words for people; JSON has the names.
STATUS_WORDS: dict[Status, str] = {
    "ok": "ok",
    "underflow": "underflow",
    "overflow": "overflow",
    "nonfinite": "NaN",
}


class Gap(NamedTuple):
    """Consecutive layers whose variance has no log.

    Attributes:
        why: `0`, `underflow`, `overflow` or `NaN`.
        first: the first of these layers.
        last: the last of them.
        is_whole: these are all layers.
    """

    why: str
    first: int
    last: int
    is_whole: bool

    @property
    def words(self) -> str:
        """`0 in layers 4 to 10`."""
        if self.is_whole:
            return f"{self.why} in all layers"
        layers = f"layer {self.first}" if self.first == self.last else f"layers {self.first} to {self.last}"
        return f"{self.why} in {layers}"


def gaps(layers: Sequence[LayerStats], tensor: str) -> Iterator[Gap]:
    """The gaps of a tensor's variance on a log axis.

    Args:
        layers: in their order.
        tensor: one of `TENSORS`.
    """
    reasons = [(layer.layer, _why(layer.tensor(tensor))) for layer in layers]
    for why, group in itertools.groupby(reasons, key=lambda pair: pair[1]):
        numbers = [number for number, _ in group]
        if why:
            yield Gap(why, numbers[0], numbers[-1], len(numbers) == len(layers) > 1)


def gap_words(gaps_of: Sequence[Gap]) -> str:
    """The gaps in one line, each reason once: `0 in layers 3, 5 and 7 to 9; overflow in layer 12`.

    Args:
        gaps_of: one tensor, in the order of the layers.
    """
    if len(gaps_of) < 2:
        return "".join(gap.words for gap in gaps_of)
    places: dict[str, list[str]] = {}
    for gap in gaps_of:
        layers = str(gap.first) if gap.first == gap.last else f"{gap.first} to {gap.last}"
        places.setdefault(gap.why, []).append(layers)
    return "; ".join(f"{why} in {_layers(shown)}" for why, shown in places.items())


def _layers(places: Sequence[str]) -> str:
    *others, last = places
    if not others:
        return f"layer{'s' if ' ' in last else ''} {last}"
    return f"layers {', '.join(others)} and {last}"


def _why(stats: TensorStats) -> str:
    """Why there is no log of the variance; empty where there is one."""
    if stats.variance_log10 is not None:
        return ""
    return "0" if stats.variance == 0 else STATUS_WORDS[stats.status]
