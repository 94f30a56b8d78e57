"""A layer, or a part of a packed weight, whose scale differs from the same place in other blocks."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from initprobe.formatting import factor, role, short, without_numbers
from initprobe.results.base import Severity
from initprobe.torch.packed import Part, parts_of
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation

ODD = "odd-layer"
_FEWEST = 3  # siblings, the layer itself among them, that have a scale in common
_BY_CHANCE = math.log(1.2)  # by which the parts of a small weight differ from the whole
_LARGEST_SIZE = 2.0  # of a layer by the rules in use
_PAIR = 2.0  # times the usual limit, for values beside keys: DeepNet draws them 9.5 times smaller at 1,000 layers
_ERROR_DECADES = 4.0  # of variance: a factor of 100 in scale is beyond one learning rate


_Family: TypeAlias = tuple[str, tuple[int, int]]  # a place in a block, and fans


@dataclass(frozen=True)
class _Comparison:
    """A layer compared with others, or a part of its weight with other parts.

    Attributes:
        layer: the layer.
        size: its scale, `sqrt(fan_in E[W^2])`.
        ratio: of its scale to that of the others.
        limit: of the ratio.
        siblings: how many others have its role; 0 where it is compared with layers or parts of other roles.
        part: of its weight; None for the whole.
    """

    layer: Layer
    size: float
    ratio: float
    limit: float
    siblings: int
    part: Part | None = None

    @property
    def distance(self) -> float:
        """How far the ratio is from 1, as a log. A part counts less: where the whole is odd, its parts are too."""
        return abs(math.log(self.ratio)) - (_BY_CHANCE if self.part else 0.0)


def _observe(case: Case) -> Iterator[Observation]:
    """The layer that is furthest from the others. Smaller ones are often so on purpose."""
    layers = [layer for layer in _each_weight(case) if layer.own_scale > 0]
    compared = [*(_compared(case, layers) if len(layers) >= _FEWEST else ()), *_compared_parts(case, layers)]
    smallest = 1 / case.limits.odd**2
    odd = [
        comparison
        for comparison in compared
        if comparison.ratio > comparison.limit or (comparison.ratio < smallest and comparison.siblings)
    ]
    furthest = max(odd, key=lambda comparison: comparison.distance, default=None)
    if furthest is not None:
        part = furthest.part
        yield _observation_of_part(furthest, part) if part else _observation(case, furthest, layers)


def _scales(case: Case) -> Iterator[Observation]:
    """Factors that are parameters, such as LayerScale, where one is far larger than the same one in other blocks."""
    sizes: dict[str, tuple[int, float]] = {}
    for op in case.operations:
        if op.kind == "scale" and op.leaf is not None and op.weight is not None and op.weight.square > 0:
            sizes.setdefault(op.leaf, (case.layer_of(op), math.sqrt(op.weight.square)))
    families: dict[str, list[str]] = {}
    for name in sizes:
        families.setdefault(without_numbers(name), []).append(name)
    for names in families.values():
        if len(names) < _FEWEST:
            continue
        median = _Median(sizes[name][1] for name in names)
        ratios = {name: sizes[name][1] / median.without(sizes[name][1]) for name in names}
        largest = max(names, key=lambda name: ratios[name])
        if ratios[largest] > case.limits.odd_norm:
            yield _observation_of_scale(largest, *sizes[largest], ratios[largest], len(names) - 1)


def _observation_of_scale(name: str, layer: int, size: float, ratio: float, others: int) -> Observation:
    return Observation(
        ODD,
        "warning",
        layer,
        f"root mean square {short(size)} where the median of {others} siblings is {short(size / ratio)}: "
        f"{factor(ratio)}",
        "it multiplies its branch by another factor than in other blocks",
        name,
        (fix_lines.divided(name, ratio),),
    )


def _each_weight(case: Case) -> list[Layer]:
    """A layer for each weight. An embedding has no scale, and a recurrence has one of its own."""
    layers: dict[str, Layer] = {}
    for layer in case.layers:
        if layer.op.kind == "layer" and not layer.is_embedding:
            layers.setdefault(layer.op.leaf or layer.label, layer)
    return list(layers.values())


def _compared(case: Case, layers: Sequence[Layer]) -> Iterator[_Comparison]:
    """Each layer compared with its siblings, or with all layers where it has too few."""
    families: dict[_Family, list[Layer]] = {}
    for layer in layers:
        for family in _families_of(layer):
            families.setdefault(family, []).append(layer)
    medians = {key: _Median(map(_size, family)) for key, family in families.items() if len(family) >= _FEWEST}
    whole = _Median(map(_size, layers))
    for layer in layers:
        size, key = _size(layer), next((family for family in _families_of(layer) if family in medians), None)
        if key is not None:
            yield _Comparison(layer, size, size / medians[key].without(size), case.limits.odd, len(families[key]) - 1)
        else:
            limit = case.limits.odd_head if layer.head else case.limits.odd_alone
            ratio = size / whole.without(size)
            if size > _LARGEST_SIZE or ratio < 1:  # else it is the others that are small
                yield _Comparison(layer, size, ratio, limit, 0)


def _families_of(layer: Layer) -> Iterator[_Family]:
    """The places like its own, the closest first: the same one in other blocks, then any with such a name.

    Inside a block, `branch.0` and `branch.2` are different places: what ends a branch is often smaller on purpose.
    """
    place = f"{role(layer.label)}/{layer.op.name}"
    if place != layer.role:
        yield place, layer.op.fans
        if layer.beside:
            return
    yield layer.role, layer.op.fans


def _compared_parts(case: Case, layers: Sequence[Layer]) -> Iterator[_Comparison]:
    """Each part of a packed weight compared with the same part of its siblings, and with the other parts."""
    taken_apart = [(layer, parts_of(layer.signal)) for layer in layers]
    packed = [(layer, parts) for layer, parts in taken_apart if parts and all(part.weight_square for part in parts)]
    families: dict[tuple[str, tuple[int, int], str], list[float]] = {}
    for layer, parts in packed:
        for part in parts:
            families.setdefault((layer.role, layer.op.fans, part.name), []).append(_scaled(layer, part))
    medians = {key: _Median(sizes) for key, sizes in families.items() if len(sizes) >= _FEWEST}
    for layer, parts in packed:
        inner = _Median(_scaled(layer, part) for part in parts)
        for part in parts:
            key, size = (layer.role, layer.op.fans, part.name), _scaled(layer, part)
            limit = case.limits.odd * (_PAIR if len(parts) == 2 else 1)
            yield _Comparison(layer, size, size / inner.without(size), limit, 0, part)
            if key in medians:
                ratio = size / medians[key].without(size)
                yield _Comparison(layer, size, ratio, case.limits.odd, len(families[key]) - 1, part)


def _scaled(layer: Layer, part: Part) -> float:
    """The scale of a part, as `_size` of a layer."""
    return math.sqrt(layer.op.fans[0] * (part.weight_square or 0.0))


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


def _observation_of_part(odd: _Comparison, part: Part) -> Observation:
    layer, fan_in = odd.layer, odd.layer.op.fans[0]
    typical = odd.size / odd.ratio
    others = f"the same part of {odd.siblings} siblings" if odd.siblings else "its other parts"
    fix = fix_lines.part_drawn(part.parameter or "", part.outputs, part.axis, typical / math.sqrt(fan_in))
    return Observation(
        ODD,
        _severity(odd),
        layer.number,
        f"sqrt({fan_in} x E[W_{part.name}^2]) = {short(odd.size)} where the median of {others} is {short(typical)}: "
        f"{factor(odd.ratio)}",
        "one part of the packed weight of queries, keys and values is drawn on another scale",
        f"{layer.label.partition('#')[0]}[{part.name}]",
        (fix,),
    )


def _severity(odd: _Comparison) -> Severity:
    layer = odd.layer
    if layer.norm is not None or (odd.ratio < 1 and (layer.beside or layer.head)):
        return "info"
    return "warning" if abs(2 * math.log10(odd.ratio)) < _ERROR_DECADES else "error"


RULES = (ModelRule(_observe, names=(ODD,), causes=(ODD,)), ModelRule(_scales, names=(ODD,), causes=(ODD,)))
