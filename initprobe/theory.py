"""The prediction that stands beside each measurement: the config's own variance rules through the mean-field maps."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from initprobe.averages import mean as average
from initprobe.config import ProbeConfig
from initprobe.initializers import NORMAL, Distribution
from initprobe.meanfield.maps import Layer, LayerTheory, State, predict, runs
from initprobe.meanfield.moments import histograms
from initprobe.meanfield.quadrature import Array
from initprobe.meanfield.samples import InputMoments, gauss_rule
from initprobe.meanfield.spread import UNKNOWN, LayerSpread, Spread, spread
from initprobe.meanfield.wired import predict_wired
from initprobe.own_init import OwnInitializer
from initprobe.results import TENSORS, Histogram, LayerStats
from initprobe.results import LayerTheory as Prediction
from initprobe.weights import Layer as Given
from initprobe.wiring import wirings

_PAIR_STATISTICS = ("cosine", "cosine_variance", "kurtosis", "cokurtosis")
# Biases that are not normal: nodes in each half of their distribution, more where phi may bend between them.
_BASE_NODES, _NODES_PER_STD, _MOST_NODES = 3.0, 3.0, 16
_GIVEN_NODES = 12
_QUANTILES, _BISECTIONS = 2000, 60


def no_theory(config: ProbeConfig, sizes: Sequence[int]) -> str | None:
    """Why mean-field theory says nothing about these weights, in words; None where it does.

    `sizes` are the input's features and the units of each layer.
    """
    init = config.initializer
    if isinstance(init, OwnInitializer) and (fault := _own_fault(init, sizes)):
        return f"no mean-field prediction: {fault}"
    if config.network is not None and config.network.fault is not None:
        return f"no mean-field prediction: {config.network.fault}"
    if init.fit is not None:
        return f"no mean-field prediction: {init.name} weights depend on the data"
    if not config.is_plain and any(one.weight_mean for one in rules_of(config, sizes)):
        return (
            f"no mean-field prediction: {init.name} weights have a mean, and of normalised and residual nets theory "
            "knows those without"
        )
    if init.distribution.gaussian_limit:
        return None
    return (
        f"no mean-field prediction: {init.name} weights do not make a wide layer's pre-activations Gaussian and "
        "independent from unit to unit"
    )


def _own_fault(init: OwnInitializer, sizes: Sequence[int]) -> str | None:
    """Which layers' weights do not look independent, and why; None where all do."""
    for fans in dict.fromkeys(itertools.pairwise(sizes)):
        if fault := init.law(*fans).fault:
            return f"{init.name} at {fans[0]} -> {fans[1]} does not look independent: {fault}"
    return None


@dataclass(frozen=True)
class Foresight:
    """What theory says of each layer before anything is measured but the input.

    Attributes:
        layers: the infinitely wide ones.
        spreads: how far those of this width stray from them; unknown in normalised and residual nets.
    """

    layers: Sequence[LayerTheory]
    spreads: Sequence[LayerSpread]


def foresee(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, samples: int) -> Foresight | None:
    """Predict every layer of a net on inputs like these, `samples` of them in a draw; None where theory is silent.

    `sizes` are the input's features and the units of each layer.
    """
    if no_theory(config, sizes):
        return None
    with np.errstate(all="ignore"):  # a prediction may leave the float range as a measurement may
        if not config.is_plain:
            return _foresee_wired(config, sizes, inputs, samples)
        rules = rules_of(config, sizes)
        found = predict(config.activation, rules, inputs, samples)
        return Foresight(found, spread(config.activation, rules, [theory.state for theory in found], samples))


def _foresee_wired(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, samples: int) -> Foresight:
    """The same for normalised and residual nets, whose finite-width spread is not derived."""
    found = [
        replace(theory, weight_gradient_variance=samples * theory.weight_gradient_variance)
        for theory in wired_theory(config, sizes, inputs, samples // config.batches)
    ]
    return Foresight(found, [UNKNOWN] * len(found))


def with_theory(
    config: ProbeConfig, layers: Sequence[LayerStats], foresight: Foresight | None
) -> tuple[LayerStats, ...]:
    """The layers, each with what was foreseen of it."""
    if foresight is None:
        return tuple(layers)
    sizes = (layers[0].fan_in, *(layer.fan_out for layer in layers))
    # After a skip h is a sum of branches, and of no distribution that z alone decides.
    measured = [
        layer.output.histogram if by.skip is None else None
        for layer, by in zip(layers, wirings(config, sizes), strict=True)
    ]
    with np.errstate(all="ignore"):
        shares = _shares(config, measured, [theory.state for theory in foresight.layers])
        seen = zip(layers, foresight.layers, foresight.spreads, shares, strict=True)
        return tuple(
            layer.model_copy(update={"theory": _prediction(config, layer, theory, noise, found)})
            for layer, theory, noise, found in seen
        )


def wired_theory(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, batch: int
) -> tuple[LayerTheory, ...]:
    """What theory says of each layer of a normalised or residual net; weight gradients are of one sample."""
    around = wirings(config, sizes)
    rules = rules_of(config, sizes)
    known = [replace(one, weight_variance=0.0) if by.zero else one for one, by in zip(rules, around, strict=True)]
    return predict_wired(config.activation, known, around, inputs, batch)


def pooled(inputs: Sequence[InputMoments]) -> InputMoments:
    """The moments of all draws' inputs together; pairs are of one draw."""
    return InputMoments(
        np.concatenate([one.mean_squares for one in inputs]),
        np.concatenate([one.means for one in inputs]),
        *(average([getattr(one, name) for one in inputs]) for name in _PAIR_STATISTICS),
    )


def bias_nodes(distribution: Distribution, std: float) -> tuple[tuple[float, float], ...]:
    """Shares and places, in standard deviations, of biases to average over; none where they are normal or constant."""
    if std == 0 or distribution.cdf in (None, NORMAL.cdf):
        return ()
    return _nodes(distribution, min(math.ceil(_BASE_NODES + _NODES_PER_STD * std), _MOST_NODES))


@lru_cache
def _nodes(distribution: Distribution, count: int) -> tuple[tuple[float, float], ...]:
    """A Gauss rule below the median and one above it, since phi may bend there; variance 1 whatever the rounding."""
    found = [gauss_rule(half, count) for half in np.split(_quantiles(distribution), 2)]
    shares, places = (np.concatenate(both) for both in zip(*found, strict=True))
    shares = shares / shares.sum()
    places = places - shares @ places
    return tuple(zip(shares.tolist(), (places / math.sqrt(shares @ places**2)).tolist(), strict=True))


def _quantiles(distribution: Distribution) -> Array:
    """Evenly likely quantiles, by bisection of the distribution function."""
    assert distribution.cdf is not None
    wanted = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    # By Chebyshev's inequality no quantile of a unit variance lies farther out.
    low, high = np.full(_QUANTILES, -math.sqrt(2 * _QUANTILES)), np.full(_QUANTILES, math.sqrt(2 * _QUANTILES))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = distribution.cdf(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def rules_of(config: ProbeConfig, sizes: Sequence[int]) -> list[Layer]:
    """What theory needs to know of every layer; `sizes` are the input's features and the layers' widths."""
    if config.network is not None:
        return [_measured_rule(layer) for layer in config.network.layers]
    return [rule(config, fans) for fans in itertools.pairwise(sizes)]


def _measured_rule(layer: Given) -> Layer:
    """Of weights from a file: the mean, variance and fourth moment that they have, and their very biases.

    The spread is that of drawn weights, a little wider than that of these, whose variance is known.
    """
    found, bias = layer.judged, np.zeros(1) if layer.bias is None else layer.bias.astype(float)
    mean, variance = float(bias.mean()), float(bias.var())
    return Layer(
        n_in=layer.weight.shape[0],
        n_out=layer.weight.shape[1],
        weight_variance=found.variance,
        weight_mean=found.mean,
        bias_variance=variance,
        bias_mean=mean,
        orthogonal=found.orthogonal,
        kurtosis=found.kurtosis,
        bias_nodes=_given_nodes((bias - mean) / math.sqrt(variance)) if variance else (),
    )


def _given_nodes(places: Array) -> tuple[tuple[float, float], ...]:
    """The Gauss rule of the biases at hand."""
    shares, nodes = gauss_rule(places, _GIVEN_NODES)
    return tuple(zip(shares.tolist(), nodes.tolist(), strict=True))


def rule(config: ProbeConfig, fans: tuple[int, int]) -> Layer:
    """What theory needs to know of a `fans = (fan_in, fan_out)` layer, from the rules its weights are sampled by."""
    init, bias = config.initializer, config.bias_initializer
    bias_variance = bias.variance(*fans)
    mean, orthogonal, (kurtosis, kinship) = init.mean, init.distribution.orthogonal, init.distribution.fourth(fans[0])
    if isinstance(init, OwnInitializer):
        law = init.law(*fans)
        mean, orthogonal, kurtosis = law.mean, law.orthogonal, law.kurtosis
    return Layer(
        *fans,
        weight_variance=init.variance(*fans),
        weight_mean=mean,
        bias_variance=bias_variance,
        bias_mean=bias.mean,
        orthogonal=orthogonal,
        kurtosis=kurtosis,
        kinship=kinship,
        bias_nodes=bias_nodes(bias.distribution, math.sqrt(bias_variance)),
    )


def _prediction(
    config: ProbeConfig, layer: LayerStats, theory: LayerTheory, noise: LayerSpread, shares: tuple[float, ...] | None
) -> Prediction:
    return Prediction(
        **{
            name: _number(getattr(theory, name), zero_is_true=config.zero_init_last or config.branch_factor == 0)
            for name in (f"{tensor}_variance" for tensor in TENSORS if tensor != "weight")
        },
        correlation=_finite(theory.correlation),
        output_spread=_finite(noise.output.averaged(config.draws).sd),
        output_gradient_spread=_finite(noise.output_gradient.averaged(config.draws).sd),
        length_slope=_finite(theory.length_slope),
        z=_z(layer, theory.output_variance, noise.output),
        output_shares=shares,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(variance: float, zero_is_true: bool) -> float | None:
    """A variance, or None where it left the float range; one of 0 may be that of a branch that starts at 0."""
    return float(variance) if math.isfinite(variance) and (variance > 0 or (zero_is_true and variance == 0)) else None


def _z(layer: LayerStats, predicted: float, noise: Spread) -> float | None:
    """Mean log of the draws' variances against its expectation, in standard deviations of that mean.

    In the log, since a measured variance is log-normal: its mean log lies below the log of its mean.
    """
    measured = [v for v in layer.output.variance_by_draw if v is not None and v > 0]
    complete = len(measured) == len(layer.output.variance_by_draw)
    if not complete or layer.output.status != "ok" or not predicted > 0 or not noise.sd > 0:
        return None
    gap = statistics.fmean(map(math.log, measured)) - math.log(predicted) - noise.log_mean
    return _finite(gap / (noise.sd / math.sqrt(len(measured))))


def _shares(
    config: ProbeConfig, measured: Sequence[Histogram | None], states: Sequence[State]
) -> list[tuple[float, ...] | None]:
    """The predicted distribution of each layer's h in the bins of its measured histogram; None without bins."""
    found: list[tuple[float, ...] | None] = [None] * len(states)
    known = {index: one for index, one in enumerate(measured) if one is not None and one.low != one.high}
    indices = iter(known)
    for run in runs([states[index] for index in known]):
        places = list(itertools.islice(indices, len(run)))
        low, high, bins = zip(*((known[i].low, known[i].high, len(known[i].counts)) for i in places), strict=True)
        q, mean, weights = (np.array([getattr(one, name) for one in run]) for name in ("variance", "mean", "shares"))
        shares = histograms(config.activation, q, np.linspace(low, high, bins[0] + 1, axis=1), mean, weights)
        for index, row in zip(places, shares, strict=True):
            found[index] = tuple(row.clip(0, 1).tolist()) if np.isfinite(row).all() else None
    return found
