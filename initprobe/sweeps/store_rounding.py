"""How much rounding alone may change the variances of a run between two processors.

Processors round products differently in the last bits. A chaotic net multiplies such a difference from layer to layer.
In the end the result is another sample of the same distribution. The growth is measured. Backward, the variance of a
random gradient is the mean squared singular value of the forward Jacobian.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.arrays import Array
from initprobe.results.base import BACKWARD_TENSORS
from initprobe.results.layers import LayerStats, TensorStats
from initprobe.results.run import ProbeResult

# The chance that two samples of one distribution are called different: that of 5 standard deviations, on one side.
_CHANCE = 2.9e-7
_MAX_SDS = 5 * math.sqrt(2)  # of a difference of two samples
_FORWARD = ("preactivation", "output")
# By dtype: the distance from 1 to the next number, and the log of the smallest number above 0. Below the normal range,
# numbers are rounded to a multiple of the latter.
_EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_SUBNORMAL = {name: power * math.log(2) for name, power in
              {"float32": -149, "float64": -1074, "float16": -24, "bfloat16": -133}.items()}  # fmt: skip
# The exponential of this is still a float.
_MAX_LOG = 700.0


@dataclass(frozen=True)
class Allowance:
    """How much rounding may change the numbers of each layer.

    Attributes:
        by_number: the largest changes from the first layer to the last, by the name of the number. They are relative to
            the variance, or to the rms of the histogram. Infinite where rounding decides the number.
    """

    by_number: Mapping[str, tuple[float, ...]]

    def of(self, number: str, layer: int) -> float:
        """The largest change of one number.

        Args:
            number: its name.
            layer: from 1.

        Returns:
            The relative change; 0 for weights, which the seed decides, and for theory.
        """
        changes = self.by_number.get(number)
        return changes[layer - 1] if changes else 0.0


NONE = Allowance({})


def allowance(result: ProbeResult) -> Allowance:
    """Bounds on the changes of a run by rounding.

    A product is wrong by some `eps` of its size, or by the smallest number of its dtype. An error in `z_k` reaches
    layer l with its mean square multiplied by `n_k Var(dL/dz_k) / (n_l Var(dL/dz_l))`. Entries that change by d times
    their standard deviation change the log of their variance by at most `2 d + d^2` (Cauchy-Schwarz). Slopes change as
    z does on the scale of the activation, 1. At a kink they also change by the share of entries that cross it.

    No change is larger than the difference of two independent samples of the same distribution. Its bound is 5 standard
    deviations: of the prediction for h, else as measured between draws, by Student's t for that many draws.
    """
    forward, backward = _relative_changes(result)
    relative = dict.fromkeys(_FORWARD, forward) | dict.fromkeys(BACKWARD_TENSORS, backward)
    return Allowance(
        {f"{name}.variance": _of_variance(result, name, change) for name, change in relative.items()}
        | {f"{name}.histogram": _of_histogram(result, name, change) for name, change in relative.items()}
    )


def _relative_changes(result: ProbeResult) -> tuple[Array, Array]:
    """The rms changes of the entries of z and of the gradients, per layer, relative to their rms."""
    eps = _EPS[_dtype(result)]
    size = np.array([_log_square(layer) for layer in result.layers])
    delta = np.array([_log_of(layer.preactivation_gradient.variance_log10) for layer in result.layers])
    carried = np.log([layer.fan_out for layer in result.layers]) + delta
    with np.errstate(all="ignore"):
        own = 2 * np.logaddexp(math.log(eps) + size / 2, _SUBNORMAL[_dtype(result)])
        log_change = np.logaddexp.accumulate(own + carried) - carried
        log_change = np.where(np.isfinite(log_change), log_change, own)  # a gradient of 0 carries no error
        relative = np.exp(np.clip((log_change - size) / 2, -_MAX_LOG, _MAX_LOG / 2))
    relative = np.where(size > -np.inf, relative, 0.0)
    crossing = 2 * relative if _has_kinks(result) else 0.0
    slopes = 4 * np.exp(np.minimum(log_change, _MAX_LOG / 2)) + crossing
    return relative, np.sqrt(np.cumsum(slopes[::-1])[::-1])


def _dtype(result: ProbeResult) -> str:
    """The dtype of the run; float32 where the config names no known dtype."""
    name = result.config.get("dtype")
    return name if isinstance(name, str) and name in _EPS else "float32"


def _has_kinks(result: ProbeResult) -> bool:
    """Whether the activation may have kinks; a user's own may."""
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
    return _where_known(result, tensor, np.expm1(np.minimum(bounds, _MAX_LOG)))


def _of_histogram(result: ProbeResult, tensor: str, relative: Array) -> tuple[float, ...]:
    """A distribution changes by no more than its entries. As a sample it has as many numbers as units times draws."""
    units = np.array([layer.fan_out for layer in result.layers]) * _draws(result)
    apart = np.maximum(_between_samples(result, tensor), _MAX_SDS / np.sqrt(units))
    return _where_known(result, tensor, np.minimum(relative, apart))


def _where_known(result: ProbeResult, tensor: str, changes: Array) -> tuple[float, ...]:
    """The changes; infinite where a tensor was lost or is near the smallest number of its dtype."""
    least = 4 * math.exp(_SUBNORMAL[_dtype(result)])
    sizes = [layer.tensor(tensor).rms for layer in result.layers]
    pairs = zip(sizes, changes.tolist(), strict=True)
    return tuple(math.inf if size is None or 0 < size < least else change for size, change in pairs)


def _rms_over_std(stats: TensorStats) -> float:
    """At least 1. Where all entries are nearly equal, rounding changes their variance more than their size."""
    return stats.rms / stats.std if stats.rms and stats.std else 1.0


def _between_samples(result: ProbeResult, tensor: str) -> float:
    """The largest difference of the log variances of two samples; infinite where it is unknown."""
    predicted = [layer.theory.output_spread for layer in result.layers if layer.theory is not None]
    if tensor == "output" and None not in predicted and predicted:
        return _MAX_SDS * max(spread for spread in predicted if spread is not None)
    by_layer = [_log_variance(layer.tensor(tensor).variance_by_draw) for layer in result.layers]
    variances = [variance for variance in by_layer if variance is not None]
    if not variances:
        return math.inf
    # The mean over the layers, which are one sample together: the variance of few draws is not precise.
    return -math.sqrt(2 * statistics.fmean(variances)) * float(stdtrit(_draws(result) - 1, _CHANCE))


def _draws(result: ProbeResult) -> int:
    return len(result.layers[0].output.variance_by_draw)


def _log_variance(by_draw: Sequence[float | None]) -> float | None:
    """The variance of the mean of the logs over draws; None for fewer than two positive values."""
    logs = [math.log(value) for value in by_draw if value]
    return statistics.variance(logs) / len(logs) if len(logs) > 1 else None
