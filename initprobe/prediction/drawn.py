"""Drawn networks in place of a series in 1/width, where that is too short for a normalised network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from initprobe.activations.skips import Wiring
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.drawn_batches import DrawnNetworks, Estimate, drawn_networks, plan_of
from initprobe.meanfield.finite_width import NO_SPREAD, LayerSpread, Spread
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.predict import LayerTheory

# Chosen: the largest possible errors, in logs, of a series in 1/width, for outputs and dL/dh. The first is where
# drawing is short. That of dL/dW may be larger.
_MOST_IF_SHORT, _MOST, _MORE_OF_WEIGHTS = math.log(1.05), math.log(1.1), math.log(1.04)
# Chosen: the largest depth/width at which the first order may be enough. The second is for skips and layer norm: below
# it, the first order agrees better with 200 experiments than drawn networks do.
_DEEPEST, _DEEPEST_ROUND_SKIPS = 0.15, 1.0
# Chosen: the least SD of outputs over that to first order. A few saturated units may be in none of the drawn networks.
_RARE = 0.5
# SDs of logs below this are rounding of float32: nothing varies over networks.
_ROUNDING = 1e-6
# First order in 1/width fails in residual networks with layers narrower than this.
_NARROW = 16


def are_drawn(
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    spreads: Sequence[LayerSpread],
    inputs: InputMoments,
    batch: int,
) -> bool:
    """Whether the first order in 1/width is not enough for a network with norms or skips.

    Args:
        layers: first to last.
        wirings: norm and skip of each.
        spreads: of the measured variances, to first order.
        inputs: moments of the samples.
        batch: samples in one batch.
    """
    is_narrow, depth = min(layer.n_out for layer in layers) < _NARROW, math.fsum(1 / layer.n_out for layer in layers)
    if all(wiring.norm is None for wiring in wirings):
        return is_narrow
    if any(wiring.skip is not None for wiring in wirings) and not any(wiring.by_batch for wiring in wirings):
        return is_narrow or depth > _DEEPEST_ROUND_SKIPS
    if depth > _DEEPEST:
        return True
    plan = plan_of(layers, wirings, inputs, batch)
    most = _MOST_IF_SHORT if plan is not None and plan.is_short else _MOST
    return not all(
        max(each.underived_output, each.underived_gradient) <= most and each.underived_weight <= most + _MORE_OF_WEIGHTS
        for each in spreads
    )


def with_drawn_networks(
    config: ProbeConfig,
    rules: Sequence[Layer],
    wirings: Sequence[Wiring],
    inputs: InputMoments,
    samples: int,
    theory: Sequence[LayerTheory],
    spreads: Sequence[LayerSpread],
) -> tuple[list[LayerTheory], list[LayerSpread]] | None:
    """The prediction for every layer by drawn networks, with its spread; None where none can be drawn.

    Args:
        config: of the run.
        rules: of the layers, with the means of their weights.
        wirings: norm and skip of each.
        inputs: moments of the samples.
        samples: number of samples per draw.
        theory: by a series, for what drawn networks do not predict.
        spreads: likewise.
    """
    drawn = drawn_networks(config.activation, rules, wirings, inputs, samples // config.batches)
    if drawn is None:
        return None
    last = len(theory) - 1
    pairs = [
        (_replaced(theory[k], drawn, k, samples, is_last=k == last), _spread(spreads[k], drawn, k, is_last=k == last))
        for k in range(len(theory))
    ]
    return [layer for layer, _ in pairs], [spread for _, spread in pairs]


def _replaced(theory: LayerTheory, drawn: DrawnNetworks, number: int, samples: int, is_last: bool) -> LayerTheory:
    """The prediction for one layer. The last gradient is given."""
    output, preactivation, gradient, delta, weight = (
        float(_exp(each.log_of_mean[number]))
        for each in (
            drawn.output,
            drawn.preactivation,
            drawn.output_gradient,
            drawn.preactivation_gradient,
            drawn.weight_gradient,
        )
    )
    return replace(
        theory,
        preactivation_variance=preactivation,
        output_variance=output,
        correlation=float(drawn.correlation[number]),
        output_gradient_variance=theory.output_gradient_variance if is_last else gradient,
        preactivation_gradient_variance=delta,
        weight_gradient_variance=samples * weight,
    )


def _exp(log: float) -> float:
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf


def _spread(spread: LayerSpread, drawn: DrawnNetworks, number: int, is_last: bool) -> LayerSpread:
    """The spread at one layer, with the error of the mean over drawn networks."""

    def of(estimate: Estimate) -> Spread:
        sd = float(estimate.sd[number])
        return Spread(0.0 if sd < _ROUNDING else sd, 0.0)

    is_bounded = number >= drawn.last_unbounded
    return LayerSpread(
        preactivation=of(drawn.preactivation),
        output=Spread(max(of(drawn.output).sd, _RARE * np.nan_to_num(spread.output.sd)), 0.0),
        output_gradient=spread.output_gradient if is_last else of(drawn.output_gradient) if is_bounded else NO_SPREAD,
        preactivation_gradient=of(drawn.preactivation_gradient),
        weight_gradient=of(drawn.weight_gradient),
        underived_output=float(drawn.output.error[number]),
        underived_gradient=0.0 if is_last else _error(drawn.output_gradient, number, is_known=is_bounded),
        # The gradient of a layer's weights has passed its own norm.
        underived_weight=_error(drawn.weight_gradient, number, is_known=number > drawn.last_unbounded),
    )


def _error(estimate: Estimate, number: int, is_known: bool) -> float:
    return float(estimate.error[number]) if is_known else math.inf
