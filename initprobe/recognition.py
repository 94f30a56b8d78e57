"""Which known rules the weights of a network may have been drawn by, from their variance, shape and biases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.independence import SDS
from initprobe.initializers import RULES, Initializer
from initprobe.numbers import percent
from initprobe.weights import Layer, Network

Array = npt.NDArray[Any]

# A spread known to less than this tells no rule from another.
_WIDEST = 0.5


@dataclass(frozen=True)
class Match:
    """The rules that one layer agrees with.

    Attributes:
        names: of the rules; none where no rule agrees.
        ratio: measured variance over that of the rule; of the nearest rule of this shape where none agrees.
        chance: how far chance lets the ratio lie from 1: 5 SD of the estimator.
        scale: measured `fan_in Var(W)`.
    """

    names: tuple[str, ...]
    ratio: float
    chance: float
    scale: float


def recognised(network: Network) -> str:
    """The rules that all layers, or runs of them, agree with, in words."""
    matches = [match(layer) for layer in network.layers]
    common = [name for name in matches[0].names if all(name in one.names for one in matches)]
    if common:
        return _words(matches, common)
    parts = []
    for names, run in groupby(enumerate(matches, start=1), key=lambda pair: pair[1].names):
        numbered = list(run)
        first, last = numbered[0][0], numbered[-1][0]
        which = f"layer {first}" if first == last else f"layers {first}-{last}"
        rules = f"variance {variance_words(RULES[names[0]])}, {', '.join(names)}" if names else ""
        parts.append(f"{which}: {rules or _unknown([one for _, one in numbered])}")
    return "; ".join(parts)


def _words(matches: Sequence[Match], names: Sequence[str]) -> str:
    """The rules of all layers, and how near the one that is furthest comes."""
    furthest = max(matches, key=lambda one: abs(one.ratio - 1) / one.chance)
    near = f"{100 * (furthest.ratio - 1):+.2g}% at most, chance allows {percent(furthest.chance)}%"
    return f"variance {variance_words(RULES[names[0]])}: {', '.join(names)} ({near})"


_FANS: Mapping[str, Callable[[int, int], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "(fan_in + fan_out)": lambda fan_in, fan_out: fan_in + fan_out,
    "max(fan_in, fan_out)": max,
}


def variance_words(rule: Initializer) -> str:
    """A variance rule as a formula, `1/(3 fan_in)`: that of which a multiple is the same at every size."""
    for fan, size in _FANS.items():
        scales = [rule.variance(*fans) * size(*fans) for fans in ((3, 5), (7, 4))]
        if math.isclose(*scales, rel_tol=1e-9):
            scale = Fraction(scales[0]).limit_denominator(1000)
            return f"{scale.numerator}/{fan if scale.denominator == 1 else f'({scale.denominator} {fan})'}"
    return rule.formula


def _unknown(found: Sequence[Match]) -> str:
    low, high = min(one.scale for one in found), max(one.scale for one in found)
    span = f"{low:.3g}" if math.isclose(low, high, rel_tol=1e-2) else f"{low:.3g} .. {high:.3g}"
    return f"no known rule ({span})"


def match(layer: Layer) -> Match:
    """The rules that a layer agrees with, in the order of the registry."""
    fans = (layer.weight.shape[0], layer.weight.shape[1])
    found, room = layer.judged, _chance(layer)
    scale = fans[0] * found.variance
    if found.mean or not found.variance or room > _WIDEST:
        return Match((), math.nan, room, scale)
    ratios = {rule.name: found.variance / rule.variance(*fans) for rule in _rules() if _agrees(rule, layer, fans, room)}
    return Match(tuple(ratios), next(iter(ratios.values()), math.nan), room, scale)


def _rules() -> Iterator[Initializer]:
    """Those that need no number: a normal of some std is no rule to be recognised, nor is a primitive."""
    for rule in RULES.values():
        fixed = not rule.needs_fan or rule.name in ("sparse", "variance_scaling")
        if not fixed and rule.distribution.gaussian_limit:
            yield rule


def _agrees(rule: Initializer, layer: Layer, fans: tuple[int, int], room: float) -> bool:
    found = layer.judged
    if rule.distribution.orthogonal != found.orthogonal:
        return False
    if abs(found.variance / rule.variance(*fans) - 1) > room:
        return False
    return (found.orthogonal or _is_shape(rule, layer)) and _has_bias(rule, layer, fans)


def _chance(layer: Layer) -> float:
    """5 SD of the relative variance: `sqrt((E[w^4]/E[w^2]^2 - 1)/entries)`; nothing but rounding if orthonormal."""
    if layer.judged.orthogonal:
        return 1e-5
    return SDS * math.sqrt(max(layer.judged.kurtosis - 1, 0.0) / layer.weight.size)


def _is_shape(rule: Initializer, layer: Layer) -> bool:
    """The kurtosis lies within 5 SD of that of the rule's distribution.

    Of a kurtosis k the estimator has variance `E[(u^4 - 2 k u^2 + k)^2]/entries`, u of mean 0 and variance 1, the
    error of the variance among it.
    """
    found = layer.judged
    expected = rule.distribution.fourth(layer.weight.shape[0])[0]
    squares = (np.asarray(layer.weight, float) - found.mean) ** 2 / found.variance
    influence = squares * squares - 2 * found.kurtosis * squares + found.kurtosis
    return abs(found.kurtosis - expected) <= SDS * float(np.std(influence)) / math.sqrt(layer.weight.size)


def _has_bias(rule: Initializer, layer: Layer, fans: tuple[int, int]) -> bool:
    """Zeros, or entries of the variance that comes with the rule."""
    if rule.bias is None or layer.bias is None:
        return rule.bias is None and layer.bias is None
    squares = np.asarray(layer.bias, float) ** 2 / rule.bias.variance(*fans)
    fourth = rule.bias.distribution.fourth(fans[0])[0]
    return abs(float(np.mean(squares)) - 1) <= SDS * math.sqrt((fourth - 1) / len(squares))
