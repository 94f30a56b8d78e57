"""A layer, or a third of a packed weight, whose weights have another scale than the same place in other blocks."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from initprobe.formatting import factor, short
from initprobe.results.base import Severity
from initprobe.torch.packed import Third, thirds_of
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation

ODD = "odd-layer"
_FEWEST = 3  # siblings, the layer itself among them, that have a scale in common
_BY_CHANCE = math.log(1.2)  # by which the thirds of a small weight differ from the whole
_ERROR_DECADES = 4.0  # of variance: a factor of 100 in scale is beyond one learning rate


@dataclass(frozen=True)
class _Comparison:
    """A layer beside others, or a third of one beside other thirds.

    Attributes:
        layer: the layer.
        size: its scale, `sqrt(fan_in E[W^2])`.
        ratio: of its scale to that of the others.
        limit: of the ratio.
        siblings: how many others have its role; 0 where it is compared with layers or thirds of other roles.
        third: the third of its weight; None for the whole.
    """

    layer: Layer
    size: float
    ratio: float
    limit: float
    siblings: int
    third: Third | None = None

    @property
    def distance(self) -> float:
        """How far the ratio is from 1, as a log. A third counts less: where the whole is odd, its thirds are too."""
        return abs(math.log(self.ratio)) - (_BY_CHANCE if self.third else 0.0)


def _observe(case: Case) -> Iterator[Observation]:
    """The layer that is furthest from the others. Smaller ones are often so on purpose."""
    layers = [layer for layer in _each_weight(case) if layer.own_scale > 0]
    compared = [*(_compared(case, layers) if len(layers) >= _FEWEST else ()), *_compared_thirds(case, layers)]
    odd = [
        comparison
        for comparison in compared
        if comparison.ratio > comparison.limit or comparison.ratio < 1 / case.limits.odd**2
    ]
    furthest = max(odd, key=lambda comparison: comparison.distance, default=None)
    if furthest is not None and (furthest.ratio >= 1 or furthest.siblings):
        yield (
            _observation_of_third(furthest, furthest.third) if furthest.third else _observation(case, furthest, layers)
        )


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
    medians = {key: _Median(map(_size, family)) for key, family in families.items() if len(family) >= _FEWEST}
    whole = _Median(map(_size, layers))
    for layer in layers:
        key, size = (layer.role, layer.op.fans), _size(layer)
        if key in medians:
            yield _Comparison(layer, size, size / medians[key].without(size), case.limits.odd, len(families[key]) - 1)
        else:
            limit = case.limits.odd_head if layer.head else case.limits.odd_alone
            yield _Comparison(layer, size, size / whole.without(size), limit, 0)


def _compared_thirds(case: Case, layers: Sequence[Layer]) -> Iterator[_Comparison]:
    """Each third of a packed weight beside the same third of its siblings, and beside the other two thirds."""
    taken_apart = [(layer, thirds_of(layer.signal)) for layer in layers if layer.op.leaf]
    packed = [(layer, thirds) for layer, thirds in taken_apart if thirds and all(map(_third_size, thirds))]
    families: dict[tuple[str, tuple[int, int], str], list[float]] = {}
    for layer, thirds in packed:
        for third in thirds:
            families.setdefault((layer.role, layer.op.fans, third.name), []).append(_scaled(layer, third))
    medians = {key: _Median(sizes) for key, sizes in families.items() if len(sizes) >= _FEWEST}
    for layer, thirds in packed:
        inner = _Median(_scaled(layer, third) for third in thirds)
        for third in thirds:
            key, size = (layer.role, layer.op.fans, third.name), _scaled(layer, third)
            yield _Comparison(layer, size, size / inner.without(size), case.limits.odd, 0, third)
            if key in medians:
                ratio = size / medians[key].without(size)
                yield _Comparison(layer, size, ratio, case.limits.odd, len(families[key]) - 1, third)


def _third_size(third: Third) -> float:
    return third.weight_square or 0.0


def _scaled(layer: Layer, third: Third) -> float:
    """The scale of a third, as `_size` of a layer."""
    return math.sqrt(layer.op.fans[0] * _third_size(third))


def _size(layer: Layer) -> float:
    return math.sqrt(layer.own_scale)


class _Median:
    """The median of some sizes without one of them, for each of them in turn."""

    def __init__(self, sizes: Iterable[float]) -> None:
        self._sizes = sorted(sizes)

    def without(self, size: float) -> float:
        """The median of the others."""
        place, count = bisect_left(self._sizes, size), len(self._sizes) - 1
        low, high = (count - 1) // 2, count // 2
        middle = [self._sizes[k + (k >= place)] for k in (low, high)]
        return sum(middle) / 2


def _observation(case: Case, odd: _Comparison, layers: Sequence[Layer]) -> Observation:
    layer, fan_in = odd.layer, odd.layer.op.fans[0]
    typical, count = odd.size / odd.ratio, odd.siblings or len(layers) - 1
    exact = fix_lines.for_layers(case, [layer], [typical / math.sqrt(fan_in)])
    plain = () if odd.siblings else fix_lines.for_layers(case, [layer])
    return Observation(
        ODD,
        _severity(odd),
        layer.number,
        f"sqrt({fan_in} x E[W^2]) = {short(odd.size)} where the median of {count} "
        f"{'siblings' if odd.siblings else 'other layers'} is {short(typical)}: {factor(odd.ratio)}",
        "the norm after it undoes this scale, but W needs another learning rate" if layer.norm is not None else MEANING,
        layer.label,
        (*plain, *exact),
    )


def _observation_of_third(odd: _Comparison, third: Third) -> Observation:
    layer, fan_in = odd.layer, odd.layer.op.fans[0]
    typical = odd.size / odd.ratio
    others = f"the same third of {odd.siblings} siblings" if odd.siblings else "the two other thirds"
    cure = fix_lines.part_drawn(layer.op.leaf or "", third.outputs, third.axis, typical / math.sqrt(fan_in))
    return Observation(
        ODD,
        _severity(odd),
        layer.number,
        f"sqrt({fan_in} x E[W_{third.name}^2]) = {short(odd.size)} where the median of {others} is {short(typical)}: "
        f"{factor(odd.ratio)}",
        "one third of the weight that makes queries, keys and values is drawn on another scale",
        f"{layer.label}[{third.name}]",
        (cure,),
    )


def _severity(odd: _Comparison) -> Severity:
    layer = odd.layer
    if layer.norm is not None or (odd.ratio < 1 and (layer.beside or layer.head)):
        return "info"
    return "warning" if abs(2 * math.log10(odd.ratio)) < _ERROR_DECADES else "error"


RULES = (ModelRule(_observe, names=(ODD,), causes=(ODD,)),)
