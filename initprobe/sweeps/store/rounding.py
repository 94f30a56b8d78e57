"""How far rounding alone may move the variances of a run, from one processor to another.

Processors round products differently in the last bits. A chaotic net multiplies such a difference from layer to layer,
up to another sample of the same distribution. How much it grows is measured: the variance of a random gradient on its
way back is the mean squared singular value of the Jacobian on the way forward.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.results.layers import LayerStats, TensorStats
from initprobe.results.run import ProbeResult

Array = npt.NDArray[np.float64]

# The chance that two samples of one distribution are called different: that of 5 standard deviations, on one side.
_CHANCE = 2.9e-7
_MOST_SDS = 5 * math.sqrt(2)  # each of the two strays
_FORWARD = ("preactivation", "output")
_BACKWARD = ("preactivation_gradient", "output_gradient", "weight_gradient")
# Of a dtype: how far the next number is from 1, and the log of its smallest number, by which what is below its normal
# range is rounded.
_EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_SUBNORMAL = {name: power * math.log(2) for name, power in
              {"float32": -149, "float64": -1074, "float16": -24, "bfloat16": -133}.items()}  # fmt: skip
# The largest exponent of a float.
_MOST_LOG = 700.0


@dataclass(frozen=True)
class Allowance:
    """How far rounding may move the numbers of each layer, first to last; infinite where it decides them.

    Attributes:
        by_number: the changes, by the name of the number: as a share of a variance, or of a histogram's rms.
    """

    by_number: Mapping[str, tuple[float, ...]]

    def of(self, number: str, layer: int) -> float:
        """Of one number of a layer, counted from 1; 0 for weights, which the seed alone decides, and for theory."""
        changes = self.by_number.get(number)
        return changes[layer - 1] if changes else 0.0


NONE = Allowance({})


def allowance(result: ProbeResult) -> Allowance:
    """What rounding may do to a run, as a bound.

    A product is off by some `eps` of its own size, or by the smallest number of its dtype. Of the mean square of an
    error in `z_k`, `n_k Var(dL/dz_k) / (n_l Var(dL/dz_l))` times as much reaches layer l. Entries that change by d
    times their standard deviation move the log of their variance by at most `2 d + d^2` (Cauchy-Schwarz). Slopes change
    as z does on the scale of the activation, 1, and at a kink by the share of entries that cross it.

    No change is larger than two independent samples of the same distribution are apart: by 5 standard deviations of
    their difference, as predicted for h, else as measured between draws, by Student's t of so many.
    """
    forward, backward = _relative_changes(result)
    relative = dict.fromkeys(_FORWARD, forward) | dict.fromkeys(_BACKWARD, backward)
    return Allowance(
        {f"{name}.variance": _of_variance(result, name, change) for name, change in relative.items()}
        | {f"{name}.histogram": _of_histogram(result, name, change) for name, change in relative.items()}
    )


def _relative_changes(result: ProbeResult) -> tuple[Array, Array]:
    """Rms change of the entries of z and of the gradients of each layer, as a share of their rms."""
    eps = _EPS[_dtype(result)]
    size = np.array([_log_square(layer) for layer in result.layers])
    delta = np.array([_log_of(layer.preactivation_gradient.variance_log10) for layer in result.layers])
    carried = np.log([layer.fan_out for layer in result.layers]) + delta
    with np.errstate(all="ignore"):
        own = 2 * np.logaddexp(math.log(eps) + size / 2, _SUBNORMAL[_dtype(result)])
        log_change = np.logaddexp.accumulate(own + carried) - carried
        log_change = np.where(np.isfinite(log_change), log_change, own)  # nothing passes on what comes back as 0
        relative = np.exp(np.clip((log_change - size) / 2, -_MOST_LOG, _MOST_LOG / 2))
    relative = np.where(size > -np.inf, relative, 0.0)
    crossing = 2 * relative if _has_kinks(result) else 0.0
    slopes = 4 * np.exp(np.minimum(log_change, _MOST_LOG / 2)) + crossing
    return relative, np.sqrt(np.cumsum(slopes[::-1])[::-1])


def _dtype(result: ProbeResult) -> str:
    """The precision of the run; that of nearly all where the config names none that is known."""
    name = result.config.get("dtype")
    return name if isinstance(name, str) and name in _EPS else "float32"


def _has_kinks(result: ProbeResult) -> bool:
    """Of the activation; one that is not built in may have some."""
    name = str(result.config.get("act", "")).partition(":")[0]
    return name not in ACTIVATIONS or bool(ACTIVATIONS[name].kinks)


def _log_square(layer: LayerStats) -> float:
    rms = layer.preactivation.rms
    return 2 * math.log(rms) if rms else -math.inf


def _log_of(log10: float | None) -> float:
    return -math.inf if log10 is None else log10 * math.log(10)


def _of_variance(result: ProbeResult, tensor: str, relative: Array) -> tuple[float, ...]:
    of_std = relative * [_rms_over_std(layer.tensor(tensor)) for layer in result.layers]
    bounds = np.minimum(2 * of_std + of_std**2, _between_samples(result, tensor))
    return _where_known(result, tensor, np.expm1(np.minimum(bounds, _MOST_LOG)))


def _of_histogram(result: ProbeResult, tensor: str, relative: Array) -> tuple[float, ...]:
    """A distribution moves by no more than its entries; as a sample it is of as many numbers as units and draws."""
    units = np.array([layer.fan_out for layer in result.layers]) * _draws(result)
    apart = np.maximum(_between_samples(result, tensor), _MOST_SDS / np.sqrt(units))
    return _where_known(result, tensor, np.minimum(relative, apart))


def _where_known(result: ProbeResult, tensor: str, changes: Array) -> tuple[float, ...]:
    """The changes, infinite where a tensor was lost, or is hardly more than the smallest number of its dtype."""
    least = 4 * math.exp(_SUBNORMAL[_dtype(result)])
    sizes = [layer.tensor(tensor).rms for layer in result.layers]
    pairs = zip(sizes, changes.tolist(), strict=True)
    return tuple(math.inf if size is None or 0 < size < least else change for size, change in pairs)


def _rms_over_std(stats: TensorStats) -> float:
    """At least 1; where all entries are nearly equal, rounding moves their variance more than their size."""
    return stats.rms / stats.std if stats.rms and stats.std else 1.0


def _between_samples(result: ProbeResult, tensor: str) -> float:
    """How far the log variances of two samples may lie apart; infinite where nothing tells."""
    predicted = [layer.theory.output_spread for layer in result.layers if layer.theory is not None]
    if tensor == "output" and None not in predicted and predicted:
        return _MOST_SDS * max(spread for spread in predicted if spread is not None)
    squares = [_log_variance(layer.tensor(tensor).variance_by_draw) for layer in result.layers]
    known = [square for square in squares if square is not None]
    if not known:
        return math.inf
    # Of all layers together, which are one sample: few draws tell little.
    return -math.sqrt(2 * statistics.fmean(known)) * float(stdtrit(_draws(result) - 1, _CHANCE))


def _draws(result: ProbeResult) -> int:
    return len(result.layers[0].output.variance_by_draw)


def _log_variance(by_draw: Sequence[float | None]) -> float | None:
    """Variance of the mean of the logs over draws; None for fewer than two that are known."""
    logs = [math.log(value) for value in by_draw if value]
    return statistics.variance(logs) / len(logs) if len(logs) > 1 else None
