"""The typical draw of an experiment, beside the mean over draws that the other predictions are about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from initprobe.activations.skips import branches, wirings
from initprobe.arrays import finite
from initprobe.config.arguments import ConfigFields
from initprobe.config.probe_config import DEFAULT_BATCH, ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.typical import LengthLogs, length_logs, logs_with_skips, lost_by_batch
from initprobe.prediction.infinite_width import AtInfiniteWidth
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

    With layers between branches, only those are judged: a branch adds to its input, and loses less than they do.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        prediction: at infinite width.

    Returns:
        None for weights from a file, which are one draw, and without a prediction.
    """
    if prediction is None or config.network is not None:
        return None
    variance = prediction.layers[-1].output_variance
    if not _is_judged(config, sizes):
        held = _logs_with_skips(config, sizes, inputs, prediction)
        return None if held is None else _record(held, (), variance)
    numbers: Sequence[int] = range(1, len(sizes))
    if config.residual:
        numbers = _between_branches(sizes, config.block)
        config, sizes = _plain(config, sizes, numbers)
        prediction = predict_network(config, sizes, inputs, len(inputs.mean_squares))
        if prediction is None:
            return None
    logs = _logs(config, sizes, inputs, prediction)
    return None if logs is None else _record(logs, numbers, variance)


def _is_judged(config: ProbeConfig, sizes: Sequence[int]) -> bool:
    """Whether some layer has neither a norm nor a skip around it."""
    if config.norm != "none":
        return False
    return not config.residual or len(_between_branches(sizes, config.block)) > 0


def _between_branches(sizes: Sequence[int], block: int) -> Sequence[int]:
    """The layers of a residual network that no skip bridges, counted from 1."""
    bridged = {layer for branch in branches(sizes, block) for layer in branch}
    return [layer + 1 for layer in range(len(sizes) - 1) if layer not in bridged]


def _plain(config: ProbeConfig, sizes: Sequence[int], numbers: Sequence[int]) -> tuple[ProbeConfig, tuple[int, ...]]:
    """The plain network of some layers of a residual one, and its sizes; a branch does not change the width."""
    widths = tuple(sizes[number] for number in numbers)
    around = {"residual": False, "block": 1, "branch_scale": 1.0, "zero_init_last": False}
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    shape = {"layers": None, "width": None, "widths": widths or None, "input_width": sizes[0]}
    if config.noise is None:
        del shape["input_width"]
    return ProbeConfig(**cast(ConfigFields, fields | around | shape)), (sizes[0], *widths)


def _logs(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, prediction: NetworkPrediction
) -> LengthLogs | None:
    """How the lengths of the signal in draws of a plain network differ; None where that is not known."""
    states = [layer.state for layer in prediction.layers]
    with np.errstate(all="ignore"):
        outputs = [float(state.average(state.moments.square)) for state in states]
        squares = [float(np.mean(inputs.mean_squares)), *outputs]
        spreads = [noise.output for noise in prediction.spreads]
        rules = rules_of(config, sizes)
        logs = length_logs(config.activation, rules, squares, spreads, _SEED)
        if logs is None or logs.lost.max() <= FEW:
            return logs
        # Few draws lose one input, and fewer a batch.
        samples = config.batch or DEFAULT_BATCH
        batch = lost_by_batch(config.activation, rules, squares, samples, inputs.cosine, _SEED)
    return logs if batch is None else logs._replace(lost=np.minimum(logs.lost, batch))


def _logs_with_skips(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, prediction: NetworkPrediction
) -> LengthLogs | None:
    """How lengths of the signal differ between draws, where each layer has a norm or a skip."""
    with np.errstate(all="ignore"):
        outputs = [layer.output_variance + layer.output_mean * layer.output_mean for layer in prediction.layers]
        squares = [float(np.mean(inputs.mean_squares)), *outputs]
        spreads = [noise.output for noise in prediction.spreads]
        around, rules = wirings(config, sizes), rules_of(config, sizes)
        return logs_with_skips(config.activation, rules, around, squares, spreads, _SEED)


def _record(logs: LengthLogs, numbers: Sequence[int], variance: float) -> TypicalDraw | None:
    """The record of these logs. `numbers` are the layers that may be lost: none where skips or norms hold lengths."""
    mean, lost = float(logs.mean[-1]), np.flatnonzero(logs.lost[: len(numbers)] > HALF)
    if not math.isfinite(mean):
        return None
    return TypicalDraw(
        output_variance=finite(variance * math.exp(mean)),
        log10_mean=mean / math.log(10),
        log10_sd=float(logs.sd[-1]) / math.log(10),
        loss_probability=min(max(float(logs.lost[-1]), 0.0), 1.0),
        layer=numbers[int(lost[0])] if len(lost) else None,
    )


def loss_probability(
    config: ProbeConfig,
    sizes: Sequence[int],
    inputs: InputMoments,
    at_infinite_width: AtInfiniteWidth | None = None,
) -> float | None:
    """The probability that a draw of an experiment loses its signal; None where `typical_draw` is None.

    It judges candidates for a fix, of which there are many. So no networks are drawn for it.

    Args:
        config: the experiment.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        at_infinite_width: of a normalised or residual network, if it is known.
    """
    prediction = predict_network(
        config, sizes, inputs, len(inputs.mean_squares), drawing=False, at_infinite_width=at_infinite_width
    )
    drawn = typical_draw(config, sizes, inputs, prediction)
    return None if drawn is None else drawn.loss_probability
