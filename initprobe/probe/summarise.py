"""From the records of the engine to the statistics of a result, with the status of every tensor."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import complete_mean, finite, mean
from initprobe.engine.layer_record import TENSORS, LayerRecord
from initprobe.engine.sketch import Sketch
from initprobe.initializers.fit_settings import Autoencoder, Fit
from initprobe.probe.pending_stats import PendingStats
from initprobe.probe.tensor_stats import is_lost
from initprobe.results.base import TENSOR_SYMBOLS, Status, worst
from initprobe.results.layers import Fitting, LayerStats, TensorStats
from initprobe.results.pending import completed

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
    activations = [wiring.acting(activation) for wiring in wirings]
    measured = map(_Measured, records, statuses, _tensors(records, statuses, activations), pairwise(sizes))
    return tuple(map(_layer, count(1), measured, wirings))


class _Measured(NamedTuple):
    """One layer: its record, the status and the statistics of each tensor by name, and `(fan_in, fan_out)`."""

    record: LayerRecord
    statuses: Mapping[str, Status]
    tensors: Mapping[str, TensorStats]
    fans: tuple[int, int]


def _tensors(
    records: Sequence[LayerRecord], statuses: Sequence[Mapping[str, Status]], activations: Sequence[Activation]
) -> Iterator[dict[str, TensorStats]]:
    """The statistics of every tensor of every layer. Histograms and percentiles wait until one of that name is read."""
    stats = {
        name: PendingStats([getattr(record, name) for record in records], [status[name] for status in statuses])
        for name in TENSORS
    }
    for index, (record, status, phi) in enumerate(zip(records, statuses, activations, strict=True)):
        tensors = {name: own.stats(index) for name, own in stats.items() if name != "output"}
        yield tensors | {"output": stats["output"].output(index, *_flat_shares(record, status["output"], phi))}


def settle(layers: Sequence[LayerStats]) -> None:
    """Work out what waits to be read in the tensors of layers, so that their counts are let go of."""
    for layer in layers:
        for name in TENSORS:
            completed(layer.tensor(name))


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


def _flat_shares(record: LayerRecord, status: Status, activation: Activation) -> tuple[float | None, float | None]:
    """The shares of saturated entries and of dead units; None where the activation has none, or the output is lost."""
    lost = is_lost(record.output, status)
    return (
        None if activation.saturation is None or lost else record.saturated / record.output.total,
        None if activation.dead_below is None or lost else statistics.fmean(record.dead_fractions),
    )


def _layer(number: int, layer: _Measured, wiring: Wiring) -> LayerStats:
    weight, gradient = layer.tensors["weight"].rms, layer.tensors["weight_gradient"].rms
    return LayerStats(
        layer=number,
        fan_in=layer.fans[0],
        fan_out=layer.fans[1],
        status=worst(iter(layer.statuses.values())),
        correlation=complete_mean(layer.record.correlations),
        gradient_to_weight_ratio=gradient / weight if weight and gradient is not None else None,
        inside_branch=wiring.inside,
        **layer.tensors,
    )
