"""The typical draw of an experiment, beside the mean over draws that the other predictions are about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from initprobe.arrays import finite
from initprobe.config.probe_config import DEFAULT_BATCH, ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.typical import LengthLogs, length_logs, lost_by_batch
from initprobe.prediction.predict import NetworkPrediction, predict_network
from initprobe.prediction.rules import rules_of
from initprobe.results.summary import TypicalDraw

# Few draws: one in twenty may lose more than a factor of 100.
FEW = 0.05
# A prediction is the same for every seed of the measurement.
_SEED = 0
# Above this probability of a loss, the typical draw is lost.
HALF = 0.5


def typical_draw(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, prediction: NetworkPrediction | None
) -> TypicalDraw | None:
    """What a typical draw keeps of the signal.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        prediction: at infinite width.

    Returns:
        None for weights from a file, which are one draw; with a norm or skips, which hold the length; and without a
        prediction.
    """
    if prediction is None or not config.is_plain or config.network is not None:
        return None
    states = [layer.state for layer in prediction.layers]
    with np.errstate(all="ignore"):
        outputs = [float(state.average(state.moments.square)) for state in states]
        squares = [float(np.mean(inputs.mean_squares)), *outputs]
        spreads = [noise.output for noise in prediction.spreads]
        rules = rules_of(config, sizes)
        logs = length_logs(config.activation, rules, squares, spreads, _SEED)
        if logs is None:
            return None
        batch = None
        if logs.lost.max() > FEW:  # few draws lose one input, and fewer a batch
            samples = config.batch or DEFAULT_BATCH
            batch = lost_by_batch(config.activation, rules, squares, samples, inputs.cosine, _SEED)
    lost = logs.lost if batch is None else np.minimum(logs.lost, batch)
    return _record(replace(logs, lost=lost), prediction.layers[-1].output_variance)


def _record(logs: LengthLogs, variance: float) -> TypicalDraw | None:
    mean, lost = float(logs.mean[-1]), np.flatnonzero(logs.lost > HALF)
    if not math.isfinite(mean):
        return None
    return TypicalDraw(
        output_variance=finite(variance * math.exp(mean)),
        log10_mean=mean / math.log(10),
        log10_sd=float(logs.sd[-1]) / math.log(10),
        loss_probability=min(max(float(logs.lost[-1]), 0.0), 1.0),
        layer=int(lost[0]) + 1 if len(lost) else None,
    )


def loss_probability(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> float | None:
    """The probability that a draw of an experiment loses its signal; None where `typical_draw` is None.

    Args:
        config: the experiment.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
    """
    drawn = typical_draw(config, sizes, inputs, predict_network(config, sizes, inputs, len(inputs.mean_squares)))
    return None if drawn is None else drawn.loss_probability
