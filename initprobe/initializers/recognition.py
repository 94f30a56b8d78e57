"""Which known rules may have drawn the weights of a network: by their variance, kurtosis and biases."""

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

# With fewer weights the variance is uncertain by a half (5 SD, if normal), too much to distinguish rules.
_FEWEST = 200
# Relative error that float32 leaves in the variance of an orthonormal matrix.
_ROUNDING = 1e-5
_SAMPLE = 200_000


def recognised(network: Network) -> str:
    """The rules with which all layers, or groups of neighbouring layers, agree, in words."""
    large = [layer for layer in network.layers if _is_large(layer)]
    if not large:
        return f"too few weights to tell the rule (fewer than {_FEWEST} per layer)"
    agreeing = [matches(layer) for layer in large]
    common = [name for name in agreeing[0] if all(name in names for names in agreeing)]
    if common:
        return f"variance {variance_words(RULES[common[0]])}: {', '.join(common)} ({_nearness(large, common[0])})"
    numbered = enumerate(network.layers, start=1)
    return "; ".join(_run_words(list(run)) for _, run in groupby(numbered, key=lambda pair: _layer_words(pair[1])))


def _run_words(run: Sequence[tuple[int, Layer]]) -> str:
    """Neighbouring layers that agree with the same rules, in words."""
    first, last = run[0][0], run[-1][0]
    which = f"layer {first}" if first == last else f"layers {first}-{last}"
    scales = [layer.weight.shape[0] * layer.judged.variance for _, layer in run]
    low, high = f"{min(scales):.3g}", f"{max(scales):.3g}"
    return f"{which}: {_layer_words(run[0][1])} (fan_in x Var(W) = {low if low == high else f'{low} .. {high}'})"


def _layer_words(layer: Layer) -> str:
    if not _is_large(layer):
        return "too few weights to tell"
    names = matches(layer)
    return f"variance {variance_words(RULES[names[0]])}, {', '.join(names)}" if names else "no known rule"


def _nearness(layers: Sequence[Layer], name: str) -> str:
    """The largest gap of a layer from a rule, and the gap that chance allows."""
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
    """A variance rule as a formula, such as `1/(3 fan_in)`; the rule's own text if it has no such form."""
    for fan, size in _FANS.items():
        scales = [rule.variance(*fans) * size(*fans) for fans in ((3, 5), (7, 4))]
        if math.isclose(*scales, rel_tol=1e-9):
            scale = Fraction(scales[0]).limit_denominator(1000)
            return f"{scale.numerator}/{fan if scale.denominator == 1 else f'({scale.denominator} {fan})'}"
    return rule.formula


def _is_large(layer: Layer) -> bool:
    return layer.weight.size >= _FEWEST


def matches(layer: Layer) -> tuple[str, ...]:
    """The rules with which a layer agrees, in the order of the registry.

    Constant weights, and weights with a mean, agree with none.
    """
    if layer.judged.mean or not layer.judged.variance:
        return ()
    return tuple(rule.name for rule in _rules() if _agrees(rule, layer))


def _rules() -> Iterator[Initializer]:
    """The rules that fix the variance by themselves: not `normal`, whose std is given, nor `variance_scaling`."""
    for rule in RULES.values():
        fixed = not rule.needs_fan or rule.name in ("sparse", "variance_scaling")
        if not fixed and rule.distribution.gaussian_limit:
            yield rule


def _agrees(rule: Initializer, layer: Layer) -> bool:
    judged = layer.judged
    if rule.distribution.orthogonal != judged.orthogonal or abs(_gap(rule, layer)) > _chance(rule, layer):
        return False
    return (judged.orthogonal or _is_shape(rule.distribution, layer)) and _has_bias(rule, layer)


def _gap(rule: Initializer, layer: Layer) -> float:
    """Measured variance over the variance of the rule, minus 1."""
    return layer.judged.variance / rule.variance(*_fans(layer)) - 1


def _fans(layer: Layer) -> tuple[int, int]:
    fan_in, fan_out = layer.weight.shape
    return fan_in, fan_out


def _chance(rule: Initializer, layer: Layer) -> float:
    """5 SD of the relative variance, `sqrt((E[w^4]/E[w^2]^2 - 1)/entries)`; the rounding error if orthonormal."""
    if rule.distribution.orthogonal:
        return _ROUNDING
    return SDS * math.sqrt((rule.distribution.fourth(layer.weight.shape[0])[0] - 1) / layer.weight.size)


def _is_shape(distribution: Distribution, layer: Layer) -> bool:
    """Whether the kurtosis lies within 5 SD of that of the distribution."""
    expected = distribution.fourth(layer.weight.shape[0])[0]
    return abs(layer.judged.kurtosis - expected) <= SDS * _kurtosis_sd(distribution) / math.sqrt(layer.weight.size)


@lru_cache(maxsize=16)
def _kurtosis_sd(distribution: Distribution) -> float:
    """SD over `1/sqrt(N)` of the kurtosis of N entries, from a sample; the error of the variance is included."""
    squares = distribution.sample(np.random.default_rng(0), (_SAMPLE, 1), np.float64) ** 2
    kurtosis = float(np.mean(squares * squares))
    return float(np.std(squares * squares - 2 * kurtosis * squares + kurtosis))


def _has_bias(rule: Initializer, layer: Layer) -> bool:
    """Whether the biases are zeros, or have the variance that the rule gives them."""
    if rule.bias is None or layer.bias is None:
        return rule.bias is None and layer.bias is None
    squares = np.asarray(layer.bias, float) ** 2 / rule.bias.variance(*_fans(layer))
    fourth = rule.bias.distribution.fourth(len(layer.weight))[0]
    return abs(float(np.mean(squares)) - 1) <= SDS * math.sqrt((fourth - 1) / len(squares))
