"""A layer whose weights have another scale than the same layer of other blocks."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from initprobe.formatting import factor, short
from initprobe.results.base import Severity
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation

ODD = "odd-layer"
_FEWEST = 3  # siblings, the layer itself among them, that have a scale in common
_ERROR_DECADES = 4.0  # of variance: a factor of 100 in scale is beyond one learning rate


@dataclass(frozen=True)
class _Comparison:
    """A layer beside others: the ratio of its scale to theirs, the limit of the ratio, and its siblings."""

    layer: Layer
    ratio: float
    limit: float
    siblings: Sequence[Layer]

    @property
    def distance(self) -> float:
        """How far the ratio is from 1, as a log."""
        return abs(math.log(self.ratio))


def _observe(case: Case) -> Iterator[Observation]:
    """The layer that is furthest from the others. Smaller ones are often so on purpose."""
    layers = [layer for layer in _each_weight(case) if layer.own_scale > 0]
    if len(layers) < _FEWEST:
        return
    odd = [one for one in _compared(case, layers) if one.ratio > one.limit or one.ratio < 1 / case.limits.odd**2]
    furthest = max(odd, key=lambda one: one.distance, default=None)
    if furthest is not None and (furthest.ratio >= 1 or furthest.siblings):
        yield _observation(case, furthest, layers)


def _each_weight(case: Case) -> list[Layer]:
    """A layer for each weight. An embedding has no scale, and a recurrence has one of its own."""
    layers: dict[str, Layer] = {}
    for layer in case.layers:
        if layer.op.kind == "layer" and not layer.is_embedding:
            layers.setdefault(layer.op.leaf or layer.label, layer)
    return list(layers.values())


def _compared(case: Case, layers: Sequence[Layer]) -> Iterator[_Comparison]:
    """Each layer beside its siblings; beside all layers where it has too few."""
    families: dict[tuple[str, tuple[int, int]], list[Layer]] = {}
    for layer in layers:
        families.setdefault((layer.role, layer.op.fans), []).append(layer)
    medians = {key: _Median(family) for key, family in families.items() if len(family) >= _FEWEST}
    whole = _Median(layers)
    for layer in layers:
        key = layer.role, layer.op.fans
        if key in medians:
            ratio = _size(layer) / medians[key].without(layer)
            yield _Comparison(layer, ratio, case.limits.odd, families[key])
        else:
            limit = case.limits.odd_head if layer.head else case.limits.odd_alone
            yield _Comparison(layer, _size(layer) / whole.without(layer), limit, ())


def _size(layer: Layer) -> float:
    return math.sqrt(layer.own_scale)


class _Median:
    """The median size of some layers without one of them, for each of them in turn."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._sizes = sorted(map(_size, layers))

    def without(self, layer: Layer) -> float:
        """The median of the others."""
        place, count = bisect_left(self._sizes, _size(layer)), len(self._sizes) - 1
        low, high = (count - 1) // 2, count // 2
        middle = [self._sizes[k + (k >= place)] for k in (low, high)]
        return sum(middle) / 2


def _observation(case: Case, odd: _Comparison, layers: Sequence[Layer]) -> Observation:
    layer, fan_in = odd.layer, odd.layer.op.fans[0]
    typical, count = _size(layer) / odd.ratio, len(odd.siblings or layers) - 1
    exact = fix_lines.for_layers(case, [layer], [typical / math.sqrt(fan_in)])
    plain = () if odd.siblings else fix_lines.for_layers(case, [layer])
    return Observation(
        ODD,
        _severity(odd),
        layer.number,
        f"sqrt({fan_in} x E[W^2]) = {short(_size(layer))} where the median of {count} "
        f"{'siblings' if odd.siblings else 'other layers'} is {short(typical)}: {factor(odd.ratio)}",
        "the norm after it undoes this scale, but W needs another learning rate" if layer.norm is not None else MEANING,
        layer.label,
        (*plain, *exact),
    )


def _severity(odd: _Comparison) -> Severity:
    layer = odd.layer
    if layer.norm is not None or (odd.ratio < 1 and (layer.beside or layer.head)):
        return "info"
    return "warning" if abs(2 * math.log10(odd.ratio)) < _ERROR_DECADES else "error"


RULES = (ModelRule(_observe, names=(ODD,), causes=(ODD,)),)
