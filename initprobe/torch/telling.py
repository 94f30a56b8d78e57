"""From tracks to the records of a result: the statistics of layers and modules, with what became of each tensor."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from initprobe.results import LayerStats, ModuleStats, OutputStats, Status, TensorStats, worst
from initprobe.summary import all_stats
from initprobe.torch.grouping import Layer
from initprobe.torch.kinds import fans
from initprobe.torch.measure import Track
from initprobe.torch.watch import Call, Watch


class Teller:
    """Works out statistics once for each tensor, however many modules it belongs to, and all of them together."""

    def __init__(self, watch: Watch, draws: int) -> None:
        self._draws = draws
        statuses = _statuses(watch)
        whole = [track for track in statuses if track.draws == draws]
        told = all_stats([track.sketch for track in whole], [statuses[track] for track in whole])
        self._told = dict(zip(whole, told, strict=True))

    def stats(self, track: Track | None) -> TensorStats | None:
        """The statistics of a tensor; None for none, or one that was not there in every draw."""
        return None if track is None else self._told.get(track)

    def layer(self, number: int, layer: Layer) -> LayerStats:
        """The record of a layer."""
        call, absent = layer.call, _absent(self._draws)
        fan_in, fan_out = fans(call.module) or (1, 1)
        weight = self.stats(call.weight) or absent
        gradient = self.stats(call.weight.gradient if call.weight else None) or absent
        tensors = {
            "weight": weight,
            "preactivation": self.stats(layer.z) or absent,
            "preactivation_gradient": self.stats(layer.z.gradient) or absent,
            "output_gradient": self.stats(layer.h.gradient) or absent,
            "weight_gradient": gradient,
        }
        output = self._output(layer)
        return LayerStats(
            layer=number,
            fan_in=fan_in,
            fan_out=fan_out,
            status=worst(one.status for one in (output, *tensors.values())),
            correlation=_mean_or_none(layer.z.correlations),
            gradient_to_weight_ratio=gradient.rms / weight.rms if weight.rms and gradient.rms is not None else None,
            output=output,
            name=call.label,
            kind=call.kind,
            activation=type(layer.activation.module).__name__ if layer.activation else None,
            **tensors,
        )

    def _output(self, layer: Layer) -> OutputStats:
        stats, act = self.stats(layer.h) or _absent(self._draws), layer.activation
        known = act.activation if act else None
        if act is None or known is None or stats.mean is None:
            return OutputStats(**dict(stats), saturated_fraction=None, dead_fraction=None)
        return OutputStats(
            **dict(stats),
            saturated_fraction=act.saturated / layer.h.sketch.total if known.saturation else None,
            dead_fraction=statistics.fmean(act.dead_fractions) if act.dead_fractions else None,
        )

    def module(self, call: Call, layer: int | None) -> ModuleStats:
        """The record of a call; `layer` is the one it is a part of."""
        sizes = fans(call.module)
        given, made = self._known(call.inputs), self._known(call.outputs)
        weight, gradient = self.stats(call.weight), self.stats(call.weight.gradient if call.weight else None)
        told = {
            "inputs": self._all(given),
            "outputs": self._all(made),
            "input_gradients": self._all(track.gradient for track in given),
            "output_gradients": self._all(track.gradient for track in made),
        }
        there = [weight, gradient, *(one for group in told.values() for one in group)]
        return ModuleStats(
            name=call.name,
            call=call.number,
            kind=call.kind,
            type=type(call.module).__name__,
            layer=layer,
            fan_in=sizes[0] if sizes else None,
            fan_out=sizes[1] if sizes else None,
            status=worst(one.status for one in there if one is not None),
            weight=weight,
            weight_gradient=gradient,
            **told,
        )

    def _known(self, tracks: Sequence[Track]) -> list[Track]:
        return [track for track in tracks if self.stats(track) is not None]

    def _all(self, tracks: Iterable[Track | None]) -> tuple[Any, ...]:
        return tuple(self.stats(track) for track in tracks)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _absent(draws: int) -> TensorStats:
    """What stands for a tensor that does not exist, such as the gradient of a frozen weight."""
    names = set(TensorStats.model_fields) - {"status", "variance_by_draw", "nonfinite_count", "coverage"}
    return TensorStats(
        **dict.fromkeys(names), status="ok", variance_by_draw=(None,) * draws, nonfinite_count=0, coverage=0.0
    )


def _statuses(watch: Watch) -> dict[Track, Status]:
    """What became of every tensor, in the order in which they came to be."""
    found: dict[Track, Status] = {}
    calls = [*watch.calls, *watch.uncalled]
    for call in calls:
        if call.weight is not None:
            found[call.weight] = _status(call.weight)
    forward = _unique([*(track for call in calls for track in (*call.inputs, *call.outputs)), *watch.results])
    makers = {track: call for call in calls if call.is_layer for track in call.outputs}
    found |= _course(forward, makers)
    back = [track.gradient for track in reversed(forward) if track.gradient is not None]
    back += [call.weight.gradient for call in reversed(calls) if call.weight and call.weight.gradient]
    return found | _course(back, {})


def _course(way: Sequence[Track], makers: Mapping[Track, Call]) -> dict[Track, Status]:
    """The statuses of tensors on the way from the first to the last."""
    found: dict[Track, Status] = {}
    before: set[Status] = set()
    last: Status = "ok"
    for track in way:
        lost = last == "underflow" or _is_lost(track, makers)
        last = found[track] = _status(track, before, lost)
        before.add(last)
    return found


def _unique(tracks: Iterable[Track]) -> list[Track]:
    """Each once, by number."""
    return sorted(set(tracks), key=lambda track: track.number)


def _is_lost(track: Track, makers: Mapping[Track, Call]) -> bool:
    """The product of a weight and an input, neither of them 0, is 0."""
    call = makers.get(track)
    if call is None or not call.inputs or call.weight is None or track.sketch.peak != 0:
        return False
    return call.inputs[0].sketch.peak > 0 and call.weight.sketch.peak > 0


def _status(track: Track, before: Collection[Status] = (), lost: bool = False) -> Status:
    """Judged against the tensor's own dtype, however it was counted.

    `before` is what became of the tensors on the way to it, and `lost` says that zeros are no true ones.
    """
    sketch = track.sketch
    if sketch.nonfinite:
        begins_here = sketch.infinite and not {"overflow", "nonfinite"} & set(before)
        return "overflow" if begins_here else "nonfinite"
    if sketch.peak > 0:
        return "underflow" if sketch.peak < track.tiny else "ok"
    return "underflow" if lost else "ok"
