"""Which known rules the weights of a network may have been drawn by, from their variance, shape and biases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import groupby

import numpy as np

from initprobe.formatting import percent
from initprobe.initializers.distributions import Distribution
from initprobe.initializers.independence import SDS
from initprobe.initializers.record import Initializer
from initprobe.initializers.size_rules import RULES
from initprobe.initializers.weight_files import Layer, Network

# Of fewer weights the variance is known to no better than a half (5 SD, if normal), which tells no rules apart.
_FEWEST = 200
# What float32 leaves of the variance of an orthonormal matrix, relative.
_ROUNDING = 1e-5
_SAMPLE = 200_000


def recognised(network: Network) -> str:
    """The rules that all layers, or runs of them, agree with, in words."""
    telling = [layer for layer in network.layers if _tells(layer)]
    if not telling:
        return f"too few weights to tell by which rule (fewer than {_FEWEST} a layer)"
    found = [matches(layer) for layer in telling]
    common = [name for name in found[0] if all(name in names for names in found)]
    if common:
        return f"variance {variance_words(RULES[common[0]])}: {', '.join(common)} ({_nearness(telling, common[0])})"
    numbered = enumerate(network.layers, start=1)
    return "; ".join(_run_words(list(run)) for _, run in groupby(numbered, key=lambda pair: _layer_words(pair[1])))


def _run_words(run: Sequence[tuple[int, Layer]]) -> str:
    """Of neighbours that agree with the same rules."""
    first, last = run[0][0], run[-1][0]
    which = f"layer {first}" if first == last else f"layers {first}-{last}"
    scales = [layer.weight.shape[0] * layer.judged.variance for _, layer in run]
    low, high = f"{min(scales):.3g}", f"{max(scales):.3g}"
    return f"{which}: {_layer_words(run[0][1])} (fan_in x Var(W) = {low if low == high else f'{low} .. {high}'})"


def _layer_words(layer: Layer) -> str:
    if not _tells(layer):
        return "too few weights to tell"
    names = matches(layer)
    return f"variance {variance_words(RULES[names[0]])}, {', '.join(names)}" if names else "no known rule"


def _nearness(layers: Sequence[Layer], name: str) -> str:
    """How near the layer comes that is furthest from a rule, in units of chance."""
    rule = RULES[name]
    gaps = [(_gap(rule, layer), _chance(rule, layer)) for layer in layers]
    gap, chance = max(gaps, key=lambda pair: abs(pair[0]) / pair[1])
    return f"{100 * gap:+.2g}% at most, chance allows {percent(chance)}%"


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


def _tells(layer: Layer) -> bool:
    return layer.weight.size >= _FEWEST


def matches(layer: Layer) -> tuple[str, ...]:
    """The rules that a layer agrees with, in the order of the registry; none of weights with a mean, or constant."""
    if layer.judged.mean or not layer.judged.variance:
        return ()
    return tuple(rule.name for rule in _rules() if _agrees(rule, layer))


def _rules() -> Iterator[Initializer]:
    """Those that need no number: a normal of some std is no rule to be recognised, nor is a primitive."""
    for rule in RULES.values():
        fixed = not rule.needs_fan or rule.name in ("sparse", "variance_scaling")
        if not fixed and rule.distribution.gaussian_limit:
            yield rule


def _agrees(rule: Initializer, layer: Layer) -> bool:
    found = layer.judged
    if rule.distribution.orthogonal != found.orthogonal or abs(_gap(rule, layer)) > _chance(rule, layer):
        return False
    return (found.orthogonal or _is_shape(rule.distribution, layer)) and _has_bias(rule, layer)


def _gap(rule: Initializer, layer: Layer) -> float:
    """Measured variance over that of the rule, less 1."""
    return layer.judged.variance / rule.variance(*_fans(layer)) - 1


def _fans(layer: Layer) -> tuple[int, int]:
    fan_in, fan_out = layer.weight.shape
    return fan_in, fan_out


def _chance(rule: Initializer, layer: Layer) -> float:
    """5 SD of the relative variance, `sqrt((E[w^4]/E[w^2]^2 - 1)/entries)`; rounding alone if orthonormal."""
    if rule.distribution.orthogonal:
        return _ROUNDING
    return SDS * math.sqrt((rule.distribution.fourth(layer.weight.shape[0])[0] - 1) / layer.weight.size)


def _is_shape(distribution: Distribution, layer: Layer) -> bool:
    """The kurtosis lies within 5 SD of that of the distribution."""
    expected = distribution.fourth(layer.weight.shape[0])[0]
    return abs(layer.judged.kurtosis - expected) <= SDS * _kurtosis_sd(distribution) / math.sqrt(layer.weight.size)


@lru_cache(maxsize=16)
def _kurtosis_sd(distribution: Distribution) -> float:
    """SD of the kurtosis k of one entry, so to say: of N it is that of `u^4 - 2 k u^2 + k` over `sqrt(N)`.

    The error of the variance is among it; taken from a sample of the distribution itself.
    """
    squares = distribution.sample(np.random.default_rng(0), (_SAMPLE, 1), np.float64) ** 2
    kurtosis = float(np.mean(squares * squares))
    return float(np.std(squares * squares - 2 * kurtosis * squares + kurtosis))


def _has_bias(rule: Initializer, layer: Layer) -> bool:
    """Zeros, or entries of the variance that comes with the rule."""
    if rule.bias is None or layer.bias is None:
        return rule.bias is None and layer.bias is None
    squares = np.asarray(layer.bias, float) ** 2 / rule.bias.variance(*_fans(layer))
    fourth = rule.bias.distribution.fourth(len(layer.weight))[0]
    return abs(float(np.mean(squares)) - 1) <= SDS * math.sqrt((fourth - 1) / len(squares))
