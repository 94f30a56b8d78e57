"""From the records of the engine to the statistics of a result, with the status of every tensor."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import complete_mean, finite, log10_mean, mean
from initprobe.engine.layer_record import LayerRecord
from initprobe.engine.moments import Moments
from initprobe.engine.quantiles import PERCENTS, distributions
from initprobe.engine.sketch import Sketch
from initprobe.initializers.fit_settings import Autoencoder, Fit
from initprobe.results.base import TENSOR_SYMBOLS, Histogram, Status, worst
from initprobe.results.layers import Fitting, LayerStats, OutputStats, TensorStats

if TYPE_CHECKING:
    from initprobe.engine.fitted import Fitted

Sources = Sequence[tuple[Sketch, Status]]


def summarise(
    records: Sequence[LayerRecord],
    sizes: Sequence[int],
    activation: Activation,
    wirings: Sequence[Wiring],
    silent: bool = False,
) -> tuple[LayerStats, ...]:
    """The statistics of all layers.

    Args:
        records: of each layer, over all draws.
        sizes: features of the input, then units of each layer.
        activation: of the network.
        wirings: of each layer.
        silent: every entry of the input is 0, so zeros are true at layer 1.
    """
    statuses = _forward_statuses(records, activation, wirings, silent)
    _add_backward_statuses(statuses, records, activation, wirings, silent)
    measured = map(_Measured, records, statuses, _tensors(records, statuses), pairwise(sizes))
    return tuple(
        _layer(number, layer, wiring, wiring.acting(activation))
        for number, (layer, wiring) in enumerate(zip(measured, wirings, strict=True), start=1)
    )


class _Measured(NamedTuple):
    """One layer: its record, the status and the statistics of each tensor by name, and `(fan_in, fan_out)`."""

    record: LayerRecord
    statuses: Mapping[str, Status]
    tensors: Mapping[str, TensorStats]
    fans: tuple[int, int]


def _tensors(records: Sequence[LayerRecord], statuses: Sequence[dict[str, Status]]) -> list[dict[str, TensorStats]]:
    """The statistics of every tensor of every layer, computed together."""
    sketches = [getattr(record, name) for record, status in zip(records, statuses, strict=True) for name in status]
    stats = iter(all_stats(sketches, [status for by_name in statuses for status in by_name.values()]))
    return [{name: next(stats) for name in status} for status in statuses]


def with_fitting(
    fit: Fit | None, layers: Sequence[LayerStats], fitted: Sequence[Sequence[Fitted]]
) -> tuple[LayerStats, ...]:
    """The layers with what fitting reports, averaged over draws; unchanged without a fit.

    Args:
        fit: how the layers were fitted, or None.
        layers: the statistics so far.
        fitted: the reports of each draw, layer by layer.
    """
    if fit is None:
        return tuple(layers)
    quantity = "reconstruction loss" if isinstance(fit, Autoencoder) else f"variance of {TENSOR_SYMBOLS[fit.of]}"
    return tuple(
        layer.model_copy(update={"fitting": _fitting(quantity, draws)})
        for layer, draws in zip(layers, zip(*fitted, strict=True), strict=True)
    )


def _fitting(quantity: str, draws: Sequence[Fitted]) -> Fitting:
    baselines = [fitted.baseline for fitted in draws if fitted.baseline is not None]
    converged = [fitted.converged for fitted in draws if fitted.converged is not None]
    return Fitting(
        quantity=quantity,
        before=finite(mean([fitted.before for fitted in draws])),
        after=finite(mean([fitted.after for fitted in draws])),
        baseline=finite(mean(baselines)) if baselines else None,
        iterations=statistics.fmean(fitted.iterations for fitted in draws),
        converged=all(converged) if converged else None,
    )


def _forward_statuses(
    records: Sequence[LayerRecord], activation: Activation, wirings: Sequence[Wiring], silent: bool
) -> list[dict[str, Status]]:
    """The status of W, z and h of every layer, judged by the tensors that each was computed from.

    A norm subtracts what all its entries share, so a z of 0 may be true.
    """
    statuses: list[dict[str, Status]] = []
    below: Sources = []
    stream: Sources = []
    for index, (record, wiring) in enumerate(zip(records, wirings, strict=True)):
        zero, phi = wiring.norm is not None or (silent and not index), wiring.acting(activation)
        stream = below if wiring.opens else stream
        weight = (record.weight, _status(record.weight, []))
        z = (record.preactivation, _status(record.preactivation, [*below, weight], zero_is_true=zero))
        sources = [z] if wiring.skip is None else [z, *stream]
        h = (record.output, _status(record.output, sources, zero_is_true=_all_dead(record, phi), affine=False))
        statuses.append({"weight": weight[1], "preactivation": z[1], "output": h[1]})
        below = [h]
    return statuses


def _add_backward_statuses(
    statuses: Sequence[dict[str, Status]],
    records: Sequence[LayerRecord],
    activation: Activation,
    wirings: Sequence[Wiring],
    silent: bool,
) -> None:
    """Add the status of dL/dh, dL/dz and dL/dW of every layer. Behind a norm a gradient of 0 may be true."""
    above: Sources = []
    around: Sources = []
    for index in reversed(range(len(records))):
        record, status, wiring = records[index], statuses[index], wirings[index]
        normed = any(next_wiring.norm is not None for next_wiring in wirings[index + 1 : index + 2])
        g = (record.output_gradient, _status(record.output_gradient, above, zero_is_true=normed))
        around = [g] if wiring.skip is not None else around
        flat = _all_flat(record, wiring.acting(activation)) or wiring.skip == 0
        z, gradient = (record.preactivation, status["preactivation"]), record.preactivation_gradient
        delta = (gradient, _status(gradient, [g, z], zero_is_true=flat))
        h = [(records[index - 1].output, statuses[index - 1]["output"])] if index else []
        cancels = wiring.norm is not None or (silent and not index)
        whole = _status(record.weight_gradient, [*h, delta], zero_is_true=cancels)
        status |= {"output_gradient": g[1], "preactivation_gradient": delta[1], "weight_gradient": whole}
        above = [*around, delta] if wiring.opens else [delta, (record.weight, status["weight"])]


def _all_dead(record: LayerRecord, activation: Activation) -> bool:
    return activation.dead_below is not None and record.preactivation.high <= activation.dead_below


def _all_flat(record: LayerRecord, activation: Activation) -> bool:
    """Whether every output is saturated, or 0 below a threshold like that of ReLU."""
    off = 0 if activation.dead_below is None else record.output.zeros
    return _all_dead(record, activation) or record.saturated + off >= record.output.total > 0


def _status(sketch: Sketch, sources: Sources, zero_is_true: bool = False, affine: bool = True) -> Status:
    """The status of a tensor, given the tensors that it was computed from.

    A sum that leaves the range ends as infinity or as NaN. Which of them depends on the order of its terms, and so on
    the processor. So the place decides, not the value. An affine map of finite numbers whose result is not finite has
    `overflow`. So has the activation's output. All that is computed from those is `nonfinite`. That holds
    even where a comparison (slope of ReLU) or flat end (tanh) hides it.

    Zeros are an `underflow` where no source is zero, or where a source is itself lost. They are true where a source is
    truly zero.

    Args:
        sketch: of the tensor.
        sources: sketch and status of what it was computed from.
        zero_is_true: zeros may be true for another reason.
        affine: False for a map entry by entry.
    """
    beyond = [status for source, status in sources if source.nonfinite or status == "nonfinite"]
    if beyond:
        return "nonfinite" if affine or "nonfinite" in beyond else "overflow"
    if sketch.nonfinite:
        return "overflow"
    if sketch.huge or sketch.faint:
        return "overflow" if sketch.huge else "underflow"
    if sketch.peak > 0:
        return "underflow" if sketch.peak < np.finfo(sketch.dtype).tiny else "ok"
    lost = any(status == "underflow" for _, status in sources)
    vanished = bool(sources) and not zero_is_true and all(source.peak > 0 for source, _ in sources)
    return "underflow" if lost or vanished else "ok"


def is_lost(sketch: Sketch, status: Status) -> bool:
    """True if no number of a tensor can be reported.

    Args:
        sketch, status: of the tensor, and whether the dtype held it.
    """
    beyond = status == "nonfinite" or (status == "overflow" and not sketch.huge)
    return beyond or bool(sketch.nonfinite) or (status == "underflow" and sketch.is_zero)


def _layer(number: int, layer: _Measured, wiring: Wiring, activation: Activation) -> LayerStats:
    """The statistics of one layer; `activation` is its own, the identity at the end of a branch of several layers."""
    weight, gradient = layer.tensors["weight"].rms, layer.tensors["weight_gradient"].rms
    output = _output_stats(layer.record, layer.tensors["output"], activation)
    return LayerStats(
        layer=number,
        fan_in=layer.fans[0],
        fan_out=layer.fans[1],
        status=worst(iter(layer.statuses.values())),
        correlation=complete_mean(layer.record.correlations),
        gradient_to_weight_ratio=gradient / weight if weight and gradient is not None else None,
        inside_branch=wiring.inside,
        **{**layer.tensors, "output": output},
    )


def _output_stats(record: LayerRecord, stats: TensorStats, activation: Activation) -> OutputStats:
    lost = is_lost(record.output, stats.status)
    return OutputStats(
        **dict(stats),
        saturated_fraction=None if activation.saturation is None or lost else record.saturated / record.output.total,
        dead_fraction=None if activation.dead_below is None or lost else statistics.fmean(record.dead_fractions),
    )


def all_stats(sketches: Sequence[Sketch], statuses: Sequence[Status]) -> list[TensorStats]:
    """The statistics of tensors, given their status; null where the dtype lost them.

    Args:
        sketches: of the tensors.
        statuses: whether the dtype held each tensor.
    """
    lost = [is_lost(sketch, status) for sketch, status in zip(sketches, statuses, strict=True)]
    moments = [
        no_moments(len(sketch.by_draw)) if gone else moments_of(sketch.by_draw)
        for sketch, gone in zip(sketches, lost, strict=True)
    ]
    shaped = [not (gone or sketch.faint or sketch.huge) for sketch, gone in zip(sketches, lost, strict=True)]
    shapes = iter(
        shapes_of(
            [s for s, has in zip(sketches, shaped, strict=True) if has],
            [m["rms"] for m, has in zip(moments, shaped, strict=True) if has],
        )
    )
    return [
        TensorStats(
            **own,
            **(next(shapes) if has else NO_SHAPE),
            status=status,
            nonfinite_count=sketch.nonfinite if gone else 0,
        )
        for sketch, status, own, gone, has in zip(sketches, statuses, moments, lost, shaped, strict=True)
    ]


def rms_of(sketch: Sketch, status: Status) -> float | None:
    """The root mean square of a tensor, as `all_stats` gives it.

    Args:
        sketch, status: of the tensor, and whether the dtype held it.
    """
    return None if is_lost(sketch, status) else _rms(sketch.by_draw)


def _rms(by_draw: Sequence[Moments]) -> float | None:
    square = mean([draw.mean_square for draw in by_draw])
    return _representable(math.sqrt(square), max(abs(draw.mean) + draw.squares for draw in by_draw))


def no_moments(draws: int) -> dict[str, Any]:
    """The fields of `moments_of` for a tensor that was lost."""
    names = ("mean", "variance", "variance_sd", "variance_log10", "std", "rms")
    return dict.fromkeys(names, None) | {"variance_by_draw": (None,) * draws}


NO_SHAPE: dict[str, Any] = dict.fromkeys(
    ("min", "max", "percentiles", "zero_fraction", "near_zero_fraction", "histogram")
) | {"coverage": 0.0}


def moments_of(by_draw: Sequence[Moments]) -> dict[str, Any]:
    """Averages over draws, as fields of `TensorStats`."""
    if len(by_draw) == 1:
        return _moments_of_one(by_draw[0])
    by_draw_variance = [_representable(m.variance, m.squares) for m in by_draw]
    variances = [v for v in by_draw_variance if v is not None]
    complete = len(variances) == len(by_draw)
    variance = mean(variances) if complete else None
    return {
        "mean": finite(mean([m.true_mean for m in by_draw])),
        "variance": variance,
        "variance_sd": statistics.stdev(variances) if complete and len(variances) > 1 else None,
        "variance_log10": finite(log10_mean([m.log10_variance for m in by_draw])),
        "variance_by_draw": tuple(by_draw_variance),
        "std": None if variance is None else math.sqrt(variance),
        "rms": _rms(by_draw),
    }


def _moments_of_one(draw: Moments) -> dict[str, Any]:
    """The same for one draw, in fewer steps."""
    variance, log10 = _representable(draw.variance, draw.squares), draw.log10_variance
    return {
        "mean": finite(draw.true_mean + 0.0),  # never -0, as in a sum
        "variance": variance,
        "variance_sd": None,
        "variance_log10": finite(log10),
        "variance_by_draw": (variance,),
        "std": None if variance is None else math.sqrt(variance),
        "rms": _representable(math.sqrt(draw.mean_square), abs(draw.mean) + draw.squares),
    }


def _representable(value: float, evidence: float) -> float | None:
    """`value`; None where it is infinite, or where it is 0 and `evidence` is not."""
    return None if math.isinf(value) or (value == 0 and evidence > 0) else value


_PERCENT_NAMES = [f"p{p}" for p in PERCENTS]


def shapes_of(sketches: Sequence[Sketch], sizes: Sequence[float | None]) -> Iterator[dict[str, Any]]:
    """What is measured over all draws together, as fields of `TensorStats`.

    Args:
        sketches: of the tensors.
        sizes: their rms; None where it has none.
    """
    each = distributions(sketches, [math.nan if size is None else size for size in sizes])
    for sketch, size, own in zip(sketches, sizes, each, strict=True):
        yield {
            "min": sketch.low,
            "max": sketch.high,
            "percentiles": dict(zip(_PERCENT_NAMES, own.percentiles.tolist(), strict=True)),
            "zero_fraction": sketch.zeros / own.total,
            "near_zero_fraction": None if size is None else own.near_zero,
            # Not validated: checking 200 counts of our own would cost more than all else here.
            "histogram": Histogram.model_construct(low=sketch.low, high=sketch.high, counts=tuple(own.counts.tolist())),
            "coverage": own.total / sum(draw.count for draw in sketch.by_draw),
        }
