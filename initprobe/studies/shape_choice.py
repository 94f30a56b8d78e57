"""Weights for a shape: widths that differ, a norm, or residual branches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from initprobe.config.probe_config import ProbeConfig
from initprobe.formatting import factor_of
from initprobe.meanfield.input_moments import InputMoments
from initprobe.prediction.fix_norm_and_skip import holds
from initprobe.prediction.fix_plain import changed
from initprobe.prediction.forecast import COMMON_SHARE, LAST_RESORT_SHARE, Forecast, Network, most_level_gain
from initprobe.prediction.typical import FEW, loss_probability
from initprobe.results.recommendation import Goal
from initprobe.studies.choice import Choice, choose
from initprobe.studies.frameworks import Weights, weights_of

# Branch scales, strongest first.
_SCALES: tuple[float | str, ...] = (1.0, "1/sqrt(2L)", "1/L")


def choose_for_shape(config: ProbeConfig, depth: int, goal: Goal) -> tuple[ProbeConfig, Choice]:
    """The weights for a shape, and the experiment that measures them.

    Args:
        config: an experiment of this shape, with any weights.
        depth: layers of the network; a single layer may be one of many.
        goal: what to keep level in a plain network.
    """
    widths, sizes = config.layer_widths, config.nominal_sizes
    if not config.is_plain:
        return _around(config, sizes)
    if len(widths) > 1 and len(set(sizes)) > 1 and goal == "balanced":
        choice = _for_widths(config, sizes)
    else:
        choice = choose(Network.of(config, (widths[0],) * (depth + 1), InputMoments.noise()), goal)
    return changed(config, init=choice.weights.name), choice


def orthogonal_instead(config: ProbeConfig, gain: float) -> tuple[ProbeConfig, Choice] | None:
    """Orthogonal weights for a plain network that is too deep for independent ones; None where they lose it too.

    Args:
        config: the network with independent weights.
        gain: its gain, which orthogonal weights keep.
    """
    weights = Weights(gain, rule="orthogonal")
    candidate = changed(config, init=weights.name)
    sizes = config.nominal_sizes
    lost = loss_probability(candidate, sizes, InputMoments.noise()) if len(set(sizes)) == 1 else None
    if lost is None or lost > FEW or not holds(candidate, sizes, InputMoments.noise()):
        return None
    words = "orthogonal weights keep the length of the signal at this width, which independent weights lose"
    return candidate, Choice(weights, (words,))


def _common(slope: float) -> tuple[Weights, ...]:
    """Weights in common use, as they suit a leaky ReLU of this slope, or any other activation."""
    return weights_of(1.0, unit="xavier"), weights_of(math.sqrt(2 / (1 + slope**2)), slope), weights_of(1.0)


def _slope(config: ProbeConfig) -> float:
    return config.activation.params.get("slope", 0.0)


def _for_widths(config: ProbeConfig, sizes: tuple[int, ...]) -> Choice:
    """The first of the weights that suit the activation, else those with the smallest largest trend."""
    network = Network.of(config, sizes, InputMoments.noise())
    level = choose(replace(network, sizes=sizes[1:2] * len(sizes)), "balanced").weights
    gain = most_level_gain(network)
    tuned = [] if gain is None else [weights_of(gain, _slope(config))]
    forecasts = {each: _forecast(config, network, each) for each in (level, *_common(_slope(config)), *tuned)}
    smallest = min(forecasts, key=lambda each: forecasts[each].trends[0])
    best = next((each for each, forecast in forecasts.items() if forecast.holds(COMMON_SHARE)), smallest)
    trend = forecasts[best].trends[0]
    course = f"is {factor_of(trend)}" if math.isfinite(trend) else "leaves the float range"
    words = f"the largest trend of Var(h), Var(dL/dh) and Var(dL/dW) at these widths {course}"
    return Choice(best, (words,), holds=forecasts[best].holds(LAST_RESORT_SHARE))


def _forecast(config: ProbeConfig, network: Network, weights: Weights) -> Forecast:
    return network.forecast(network.variances(changed(config, init=weights.name).initializer))


def _around(config: ProbeConfig, sizes: tuple[int, ...]) -> tuple[ProbeConfig, Choice]:
    """Common weights, and the largest branch scale under which they are predicted to hold."""
    for candidate, weights in _candidates(config):
        if holds(candidate, sizes, InputMoments.noise()):
            return candidate, Choice(weights, ("h, dL/dh and dL/dW are predicted to stay level",))
    candidate, weights = next(_candidates(config))
    reason = "h, dL/dh and dL/dW are not predicted to stay level with any common weights"
    return candidate, Choice(weights, (reason,), holds=False)


def _candidates(config: ProbeConfig) -> Iterator[tuple[ProbeConfig, Weights]]:
    """The experiment with each branch scale and common weights."""
    for scale in _SCALES if config.residual else (1.0,):
        for weights in _common(_slope(config)):
            yield changed(config, init=weights.name, branch_scale=scale), weights
