"""The weights that suit an activation at a depth, by theory.

Two gains follow from a principle. At a stable edge of chaos, `chi_1 = 1` keeps the gradient and the length map settles
(Schoenholz et al. 2017, arXiv:1611.01232). The level gain keeps Var(h) from layer 1 on. If neither holds at this depth,
the choice is a compromise, as in Glorot & Bengio 2010, AISTATS 9:249. It is the gain with the smallest largest trend of
Var(h), Var(dL/dh) and Var(dL/dW).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.config.thresholds import Thresholds
from initprobe.formatting import factor, factor_of, fixed, percent
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.moments import lookup
from initprobe.meanfield.phase import critical_line
from initprobe.meanfield.roots import root
from initprobe.prediction.forecast import COMMON_SHARE, LAST_RESORT_SHARE, Network, most_level_gain
from initprobe.results.recommendation import Goal
from initprobe.studies.frameworks import Weights, weights_of

# Range and number of the grid points, in log gain, between which a root is bracketed.
_REACH, _POINTS = math.log(8), 33
# Limits that no network fails by, for when its predictions are wanted at all layers.
_PATIENT = Thresholds(unstable=1e300, grave_decades=30)
# Trends and factors are compared after rounding to this many decimals, so that rounding errors do not decide.
_PLACES = 9
# A q at which phi is its tangent up to rounding. Below this spread of slopes a network is linear.
_TINY, _LINEAR = 1e-40, 1e-9
# Accuracy of logs of moments.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Choice:
    """The chosen weights and the reasons.

    Attributes:
        weights: the choice.
        reasons: sentences.
        holds: whether all variances are predicted to stay level at this depth.
        reach: if not, the largest number of layers at which they do.
    """

    weights: Weights
    reasons: tuple[str, ...]
    holds: bool = True
    reach: int | None = None


def _forward(net: Network) -> Choice:
    """The weights that keep Var(h)."""
    gain = _level_gain(net.activation)
    row = gain_row(net.activation)
    if gain is None:
        settles = (
            "E[phi(z)^2] = 1/gain^2 where z has variance 1, so Var(h) settles there; its distance shrinks to "
            f"{percent(row.slope)}% per layer"
        )
        return _judged(net, weights_of(row.forward, _slope(net)), settles)
    return _judged(net, weights_of(gain, _slope(net)), _level_words(net, gain))


def _level_words(net: Network, gain: float) -> str:
    at_gain = lookup(net.activation, gain**2)
    slope = float(at_gain.growth / at_gain.square)
    chi = round(gain**2 * float(at_gain.slope_square), _PLACES)
    level = f"E[phi(z)^2] = 1 where z has variance {gain**2:.4g}, so Var(h) is level from layer 1 on"
    slopes = f"The length map has slope {fixed(slope, 3)} there, and Var(dL/dh) changes by {factor(chi)} per layer"
    return f"{level}. {slopes}"


def _backward(net: Network) -> Choice:
    """The weights that keep Var(dL/dh)."""
    gain = _gradient_gain(net)
    words = "the factors fan_out Var(W) E[phi'^2] of all layers multiply to 1, so Var(dL/dh) is the same at both ends"
    return _judged(net, weights_of(gain, _slope(net), "fan_out"), words)


def _judged(net: Network, weights: Weights, why: str) -> Choice:
    """The choice of these weights, with the depth to which they hold if that is less than this depth."""

    def holds(layers: int) -> bool:
        return _at_depth(net, layers).scaled(weights.gain).holds(LAST_RESORT_SHARE)

    if holds(net.layers):
        return Choice(weights, (why,))
    return Choice(weights, (why, _obstacle(net, weights.gain)), holds=False, reach=_reach(net, holds))


def _balanced(net: Network) -> Choice:
    """The weights that keep signal and gradient, at this depth or at the largest depth at which some do."""
    choice = _balanced_at_this_depth(net)
    if choice is not None:
        return choice
    reach = _reach(net, lambda layers: _balanced_at_this_depth(_at_depth(net, layers)) is not None)
    shallow = _balanced_at_this_depth(_at_depth(net, reach))
    assert shallow is not None  # one layer always holds
    best = most_level_gain(replace(net, limits=_PATIENT)) or shallow.weights.gain
    return replace(shallow, reasons=(_obstacle(net, best),), holds=False, reach=reach)


def _balanced_at_this_depth(net: Network) -> Choice | None:
    """The best of the principled weights that hold at this depth, else the best compromise; None if none holds."""
    deep = _at_depth(net, max(net.layers, 2))  # a single layer has no trend
    holding = [
        (round(deep.scaled(choice.weights.gain).trends[0], _PLACES), choice)
        for choice in _principled(net)
        if net.scaled(choice.weights.gain).holds(COMMON_SHARE)
    ]
    if holding:
        return min(holding, key=lambda pair: pair[0])[1]
    return _compromise(net) if net.layers > 1 else _forward(net)


def _compromise(net: Network) -> Choice | None:
    """The weights with the smallest largest trend; None if they do not hold either."""
    gain = most_level_gain(net)
    if gain is None or not (forecast := net.scaled(gain)).holds(LAST_RESORT_SHARE):
        return None
    words = (
        "no gain keeps Var(h), Var(dL/dh) and Var(dL/dW) all level; with this one, no trend exceeds "
        f"{factor_of(forecast.trends[0])} over {net.layers} layers"
    )
    return Choice(weights_of(gain, _slope(net)), (words,))


def _principled(net: Network) -> Iterator[Choice]:
    """The weights that follow from a principle: at a stable edge of chaos, and with the level gain."""
    point = critical_line(net.activation, 0.0)
    if point is not None and point.stable:
        edge = weights_of(point.sigma_w, _slope(net), unit="xavier")
        words = "at equal widths this is the edge of chaos: chi_1 = 1 keeps the gradient, and the length map is stable"
        yield Choice(edge, (words, *_sampler_words(net.activation, edge, point.q)))
    gain = _level_gain(net.activation)
    if gain is not None:
        yield Choice(weights_of(gain, _slope(net)), (_level_words(net, gain),))


def _sampler_words(activation: Activation, weights: Weights, q: float) -> Iterator[str]:
    """Names orthogonal weights where the network is linear at its critical point: all singular values then stay 1."""
    spread = float(lookup(activation, q if q > 0 else _TINY).slope_kurtosis) - 1
    if abs(spread) < _LINEAR:
        name = "orthogonal" if weights.gain == 1 else f"orthogonal:gain={weights.gain:g}"
        yield f"{name} has the same variance and keeps the Jacobian's singular values equal: better in deep networks"


def choose(net: Network, goal: Goal) -> Choice:
    """The weights that best serve a goal, for a network of equal widths.

    Args:
        net: its activation, sizes and input.
        goal: `forward` for Var(h), `backward` for Var(dL/dh), `balanced` for both and Var(dL/dW).
    """
    return {"forward": _forward, "backward": _backward, "balanced": _balanced}[goal](net)


def _slope(net: Network) -> float:
    """The slope of a leaky ReLU on the negative side; 0 for other activations."""
    return net.activation.params.get("slope", 0.0)


def _at_depth(net: Network, layers: int) -> Network:
    """The same network with another number of layers."""
    return replace(net, sizes=net.sizes[:1] * (layers + 1))


def _reach(net: Network, holds: Callable[[int], bool]) -> int:
    """The largest number of layers, below the network's, for which `holds`; 0 for none. Deeper ones must not hold."""
    low, high = 0, net.layers
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _obstacle(net: Network, gain: float) -> str:
    """Why a gain does not hold at the depth of the network."""
    forecast = replace(net, limits=_PATIENT).scaled(gain)
    steepest = float(forecast.steepest[0])
    growth = (net.layers - 1) * math.log10(steepest) if steepest > 0 else -math.inf
    if growth >= math.log10(net.limits.unstable):
        return (
            f"the length map is steeper than 1: d log q_l / d log q_(l-1) reaches {fixed(steepest, 3)}. A "
            f"deviation in scale grows {factor_of(growth)} over {net.layers} layers, so no constant gain holds"
        )
    if not forecast.trends[0] < LAST_RESORT_SHARE * net.limits.trend_decades:
        profiles = {"Var(h)": forecast.output, "Var(dL/dh)": forecast.gradient, "Var(dL/dW)": forecast.weight_gradient}
        changes = [f"{name} changes {_change(profile[0])}" for name, profile in profiles.items()]
        return f"with gain {gain:.4g}, {', '.join(changes)} from layer 1 to {net.layers}"
    return f"gain {gain:.4g} keeps the variances, but saturates {percent(forecast.saturated())}% of the units"


def _change(profile: Array) -> str:
    """Change of a variance from the first layer to the last; `profile` holds log10 variances, `(layers,)`."""
    decades = float(profile[-1] - profile[0])
    if not math.isfinite(decades):
        return "beyond the float range"
    return factor_of(decades)


def _level_gain(activation: Activation) -> float | None:
    """The gain g with `E[phi^2] = 1` at `q = g^2`, where inputs of mean square 1 start; None if there is none."""

    def excess(gains: Array) -> Array:
        return np.asarray(np.log(lookup(activation, gains**2).square))

    return _root(excess, gain_row(activation).forward)


def _gradient_gain(net: Network) -> float:
    """The gain under which Var(dL/dh) is the same at the first layer as at the last."""
    start = gain_row(net.activation).backward
    patient = replace(net, limits=_PATIENT)
    if net.layers == 1:
        return start
    return _root(lambda gains: patient.scaled(gains).gradient[:, 0], start) or start


def _root(f: Callable[[Array], Array], start: float) -> float | None:
    """The root of `f` nearest to `start` in log x. None where `f` does not change sign between start/8 and 8 start."""
    x = start * np.exp(np.linspace(-_REACH, _REACH, _POINTS))
    values = f(x)
    if abs(values[_POINTS // 2]) <= _ROUNDING:
        return start
    changes = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) <= 0)
    if not len(changes):
        return None
    nearest = min(changes, key=lambda i: abs(math.log(x[i] * x[i + 1] / start**2)))
    return root(lambda at: float(f(np.array([at]))[0]), x[nearest], x[nearest + 1])
