"""Normalised and residual networks at infinite width: computed once for a prediction, a spread and a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from initprobe.activations.skips import Wiring, wirings
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.predict import LayerTheory
from initprobe.prediction.rules import rules_of

if TYPE_CHECKING:
    from initprobe.meanfield.norm_and_skip_gradients import LayerGradients, LayerPass


class AtInfiniteWidth(NamedTuple):
    """A normalised or residual network at infinite width.

    Attributes:
        rules: of the layers.
        wirings: norm and skip of each layer.
        batch: number of samples in one batch.
        passes: the forward pass of each layer.
        gradients: of each layer.
        layers: the prediction for each layer; weight gradients are those of one sample.
    """

    rules: list[Layer]
    wirings: list[Wiring]
    batch: int
    passes: list[LayerPass]
    gradients: list[LayerGradients]
    layers: tuple[LayerTheory, ...]


def norm_and_skip_theory(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, batch: int
) -> AtInfiniteWidth:
    """The forward passes and the prediction for every layer of a normalised or residual network.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        batch: number of samples in one batch.
    """
    from initprobe.meanfield.norm_and_skip import forward_passes, gradients_of, theory_of

    wirings_here, rules = surrounded(config, sizes)
    with np.errstate(all="ignore"):
        passes = forward_passes(config.activation, rules, wirings_here, inputs, batch)
        gradients = gradients_of(rules, wirings_here, passes, batch)
        layers = theory_of(wirings_here, passes, gradients)
        return AtInfiniteWidth(rules, wirings_here, batch, passes, gradients, layers)


def surrounded(
    config: ProbeConfig, sizes: Sequence[int], *, with_means: bool = False
) -> tuple[list[Wiring], list[Layer]]:
    """The norm and skip of every layer, and its rules, with weights of 0 where a branch starts at 0.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
        with_means: whether means of weights are kept, as for drawn networks.
    """
    around, of_config = wirings(config, sizes), rules_of(config, sizes)
    if not with_means:
        of_config = [replace(layer_rule, weight_mean=0.0) for layer_rule in of_config]
    rules = [
        replace(layer_rule, weight_variance=0.0, weight_mean=0.0) if wiring.zero else layer_rule
        for layer_rule, wiring in zip(of_config, around, strict=True)
    ]
    return around, rules
