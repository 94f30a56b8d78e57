"""Rules that a parameter may have been drawn by, the likeliest first. Start reading in `candidates`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from initprobe.contract.parameter import Parameter
from initprobe.contract.rules import TORCH_DEFAULT, read_rule
from initprobe.contract.statistics import CUT_STD, Moments, kurtosis
from initprobe.errors import ConfigError
from initprobe.spec import parse_number

# A mean this many standard errors from 0 is not by chance.
_APART = 4.5
# A round number is near up to this many standard errors. The limit is small because there are many such numbers.
_ROUND_NEAR = 2.5
# An extreme is further from its bound than this times the range over n in one of 20,000 cases: e^-10.
_MISSED = 10
# How much rarer people choose some rules than others, as log odds. The rules are a number divided by the root of the
# depth, and fan_out. Then comes a std of a uniform distribution, whose bounds people give. The last one is a
# distribution of another shape than the entries seem to have. Few entries cannot tell.
_RARE, _FAN_OUT, _STD_OF_UNIFORM, _OTHER_SHAPE = math.log(10), math.log(3), math.log(5), math.log(20)
# The variance of a measured std, relative to it, is 1 over n times this: 4 / (kurtosis - 1).
_PRECISION = {"normal": 2.0, "uniform": 5.0, "truncated_normal": 2.9}
# The kurtosis of a uniform distribution is 9/5, of a normal one 3; between them lies a cut normal.
_UNIFORM_BELOW, _NORMAL_FROM = 2.05, 2.7
_ORTHOGONAL = 1e-4
# Rules with a scale of their own that people choose; others have the same distribution under another name.
_NAMED = (
    TORCH_DEFAULT, "xavier_normal", "xavier_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform",
)  # fmt: skip
_BY_FAN_OUT = ("he_normal:mode=fan_out", "he_uniform:mode=fan_out")


def candidates(family: Sequence[Parameter], measured: Mapping[str, Moments], blocks: int) -> Iterator[str]:
    """Texts of rules: constants and orthogonal matrices, then those whose std is near, by their likelihood.

    Args:
        family: parameters that are thought to share a rule.
        measured: by name, the moments of each.
        blocks: the number of repeated blocks of the model.
    """
    first, own = family[0], measured[family[0].name]
    if own.low == own.high:
        yield {0.0: "zeros", 1.0: "ones"}.get(own.low, f"constant:value={own.low:.8g}")
        return
    gain = _orthogonal_gain(first)
    if gain is not None:
        yield "orthogonal" if abs(gain - 1) < _ORTHOGONAL else f"orthogonal:gain={gain:.6g}"
    if abs(own.mean) > _APART * own.std / math.sqrt(first.count):
        yield from _off_centre(family, measured, blocks)
    else:
        yield from _centred(family, measured, blocks)


def pooled(family: Sequence[Parameter], measured: Mapping[str, Moments]) -> tuple[float, float]:
    """The std of all entries, each about the mean of its own tensor, and its relative standard error if normal.

    Args:
        family: parameters with equal roles.
        measured: mean and variance of each tensor, by the name of the parameter.
    """
    count = sum(parameter.count for parameter in family)
    squares = sum(parameter.count * measured[parameter.name].std ** 2 for parameter in family)
    return math.sqrt(squares / count), 1 / math.sqrt(2 * count)


def shape_of(parameter: Parameter, own: Moments) -> str:
    """`normal`, `uniform` or `truncated_normal`, by the kurtosis of the entries.

    Args:
        parameter: with its entries.
        own: mean and variance of these entries.
    """
    peak = kurtosis(parameter.values, own)
    if peak < _UNIFORM_BELOW:
        return "uniform"
    return "normal" if peak >= _NORMAL_FROM else "truncated_normal"


def _orthogonal_gain(parameter: Parameter) -> float | None:
    """The gain of a matrix whose first two rows, or columns where they are fewer, are orthogonal and equally long."""
    if parameter.values.ndim < 2 or min(parameter.values.shape) < 2:
        return None
    matrix = parameter.values.reshape(len(parameter.values), -1)
    rows = np.asarray(matrix[:2] if matrix.shape[0] <= matrix.shape[1] else matrix[:, :2].T, np.float64)
    products = rows @ rows.T
    is_orthogonal = abs(products[0, 1]) < _ORTHOGONAL * products[0, 0]
    is_equal = abs(products[1, 1] - products[0, 0]) < _ORTHOGONAL * products[0, 0]
    return math.sqrt(products[0, 0]) if is_orthogonal and is_equal else None


def _centred(family: Sequence[Parameter], measured: Mapping[str, Moments], blocks: int) -> Iterator[str]:
    """Rules of mean 0. Two digits come last: there are 90 such numbers, so that one of them is always near."""
    shape = shape_of(family[0], measured[family[0].name])
    prior = dict.fromkeys(_NAMED, 0.0) | dict.fromkeys(_BY_FAN_OUT, _FAN_OUT)
    prior[TORCH_DEFAULT] = -_RARE if family[0].torch_fan_in else 0.0
    last: list[str] = []
    for form, factor, rarity in _forms(shape):
        *simple, precise = _round_numbers(family, measured, factor, blocks)
        prior |= {form.format(number): rarity + _RARE * ("sqrt" in number) for number in simple if number}
        last += [form.format(precise)] if precise else []
    scores = {text: _score(text, family, measured, shape) for text in prior}
    near = [text for text in prior if math.isfinite(scores[text])]
    yield from sorted(near, key=lambda text: scores[text] + prior[text])
    yield from last


def _forms(shape: str) -> list[tuple[str, float, float]]:
    """How a rule with a number is written, the number for a std of 1, and how rare it is."""
    if shape == "uniform":
        return [("uniform:limit={}", math.sqrt(3), 0.0), ("uniform:std={}", 1.0, _STD_OF_UNIFORM)]
    return [(f"{shape}:std={{}}", 1 / CUT_STD if shape == "truncated_normal" else 1.0, 0.0)]


def _off_centre(family: Sequence[Parameter], measured: Mapping[str, Moments], blocks: int) -> Iterator[str]:
    """Rules of another mean."""
    own = measured[family[0].name]
    shape = shape_of(family[0], own)
    if shape == "uniform":
        yield from _bounds(family, measured)
        return
    ((form, factor, _),) = _forms(shape)
    numbers = filter(None, _round_numbers(family, measured, factor, blocks))
    yield from (f"{form.format(number)},mean={own.mean:.2g}" for number in numbers)


def _bounds(family: Sequence[Parameter], measured: Mapping[str, Moments]) -> Iterator[str]:
    """Bounds of one or two digits near the extremes. The largest of n entries misses a bound by 1/n of the range."""
    low, high = min(measured[each.name].low for each in family), max(measured[each.name].high for each in family)
    room = _MISSED * (high - low) / sum(parameter.count for parameter in family)
    for digits in (1, 2):
        lower, upper = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if low - room <= float(lower) <= low and high <= float(upper) <= high + room:
            yield f"uniform:low={lower},high={upper}"


def _score(text: str, family: Sequence[Parameter], measured: Mapping[str, Moments], shape: str) -> float:
    """Minus the log likelihood of each std under a rule, up to a constant. Infinite where there is no such rule."""
    rule = read_rule(text)
    assert rule.initializer is not None
    try:
        meant = [rule.scale(parameter)[1] for parameter in family]
    except ConfigError:
        return math.inf
    squares = (
        _PRECISION[shape] * parameter.count * (measured[parameter.name].std / std - 1) ** 2
        for parameter, std in zip(family, meant, strict=True)
    )
    return sum(squares) / 2 + _OTHER_SHAPE * (rule.initializer.distribution.name != shape)


def _round_numbers(
    family: Sequence[Parameter], measured: Mapping[str, Moments], factor: float, blocks: int
) -> list[str | None]:
    """Numbers that people choose near a std times a factor: one digit, one digit over `sqrt(2 blocks)`, two digits.

    None stands for one that is not near.
    """
    std, error = pooled(family, measured)
    target, root = std * factor, math.sqrt(2 * blocks)
    texts = [f"{float(f'{target:.0e}'):g}", f"{float(f'{target * root:.0e}'):g}/sqrt({2 * blocks})"]
    texts.append(f"{float(f'{target:.1e}'):g}")
    return [text if abs(parse_number(text) / target - 1) <= _ROUND_NEAR * error else None for text in texts]
