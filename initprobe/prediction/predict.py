"""The prediction that stands beside each measurement: the config's own variance rules through the mean-field maps."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from initprobe.arrays import finite
from initprobe.blocks.skips import wirings
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.finite_width import UNKNOWN, LayerSpread, Spread, spread
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import State, layer_batches
from initprobe.meanfield.moments import histograms
from initprobe.meanfield.norm_and_skip import predict_norm_and_skip
from initprobe.meanfield.predict import LayerTheory, predict
from initprobe.prediction.rules import no_theory, rules_of
from initprobe.results.base import TENSORS, Histogram
from initprobe.results.layers import LayerStats
from initprobe.results.layers import LayerTheory as Prediction


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
    return predict_norm_and_skip(config.activation, known, around, inputs, batch)


def _prediction(
    config: ProbeConfig, layer: LayerStats, theory: LayerTheory, noise: LayerSpread, shares: tuple[float, ...] | None
) -> Prediction:
    return Prediction(
        **{
            name: _number(getattr(theory, name), zero_is_true=config.zero_init_last or config.branch_factor == 0)
            for name in (f"{tensor}_variance" for tensor in TENSORS if tensor != "weight")
        },
        correlation=finite(theory.correlation),
        output_spread=finite(noise.output.averaged(config.draws).sd),
        output_gradient_spread=finite(noise.output_gradient.averaged(config.draws).sd),
        length_slope=finite(theory.length_slope),
        z=_z(layer, theory.output_variance, noise.output),
        output_shares=shares,
    )


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
    return finite(gap / (noise.sd / math.sqrt(len(measured))))


def _shares(
    config: ProbeConfig, measured: Sequence[Histogram | None], states: Sequence[State]
) -> list[tuple[float, ...] | None]:
    """The predicted distribution of each layer's h in the bins of its measured histogram; None without bins."""
    found: list[tuple[float, ...] | None] = [None] * len(states)
    known = {index: one for index, one in enumerate(measured) if one is not None and one.low != one.high}
    indices = iter(known)
    for run in layer_batches([states[index] for index in known]):
        places = list(itertools.islice(indices, len(run)))
        low, high, bins = zip(*((known[i].low, known[i].high, len(known[i].counts)) for i in places), strict=True)
        q, mean, weights = (np.array([getattr(one, name) for one in run]) for name in ("variance", "mean", "shares"))
        shares = histograms(config.activation, q, np.linspace(low, high, bins[0] + 1, axis=1), mean, weights)
        for index, row in zip(places, shares, strict=True):
            found[index] = tuple(row.clip(0, 1).tolist()) if np.isfinite(row).all() else None
    return found
