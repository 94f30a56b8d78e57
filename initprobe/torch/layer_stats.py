"""From tracks to the records of a result: the statistics of layers and modules, with what became of each tensor."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from initprobe.arrays import complete_mean
from initprobe.probe.summarise import all_stats
from initprobe.results.base import ModuleKind, Status, worst
from initprobe.results.layers import LayerStats, ModuleStats, OutputStats, TensorStats
from initprobe.torch import module_kinds
from initprobe.torch.measure import Track
from initprobe.torch.modules import ModuleCall
from initprobe.torch.operations import Recorder
from initprobe.torch.structure import Layer


class Teller:
    """Works out the statistics of all tensors of a result together, each once."""

    def __init__(self, recorder: Recorder, layers: Sequence[Layer], draws: int) -> None:
        self._draws, self._recorder = draws, recorder
        self._layers = {layer.op.module: layer for layer in reversed(layers)}
        parts = [(op.module, layer) for layer in reversed(layers) for op in (layer.activation, layer.norm) if op]
        self._parts = dict(parts)
        self._held = dict(recorder.model.named_modules())
        statuses = _statuses(recorder)
        wanted = _wanted(recorder.modules.calls, layers)
        whole = [track for track in wanted if track.draws == draws]
        told = all_stats([track.sketch for track in whole], [statuses[track] for track in whole])
        self._told = dict(zip(whole, told, strict=True))

    def stats(self, track: Track | None) -> TensorStats | None:
        """The statistics of a tensor; None for none, or one that was not there in every draw."""
        return None if track is None else self._told.get(track)

    def layer(self, layer: Layer) -> LayerStats:
        """The record of a layer."""
        absent, op = _absent(self._draws), layer.op
        weight = self.stats(op.weight) or absent
        gradient = self.stats(op.weight.gradient if op.weight else None) or absent
        tensors = {
            "weight": weight,
            "preactivation": self.stats(layer.z) or absent,
            "preactivation_gradient": self.stats(layer.z.gradient) or absent,
            "output_gradient": self.stats(layer.h.gradient) or absent,
            "weight_gradient": gradient,
        }
        output = self._output(layer)
        return LayerStats(
            layer=layer.number,
            fan_in=op.fans[0],
            fan_out=op.fans[1],
            status=worst(one.status for one in (output, *tensors.values())),
            correlation=complete_mean(layer.z.correlations),
            gradient_to_weight_ratio=gradient.rms / weight.rms if weight.rms and gradient.rms is not None else None,
            output=output,
            name=layer.label,
            kind=layer_kind(layer),
            activation=self._class(layer),
            **tensors,
        )

    def _class(self, layer: Layer) -> str | None:
        """The class of the module that made h, or the function that did."""
        if layer.activation is None:
            return None
        module = self._held.get(layer.activation.module.partition("#")[0])
        is_one = module is not None and module_kinds.kind_of(module) == "activation"
        return type(module).__name__ if is_one else layer.activation.name

    def _output(self, layer: Layer) -> OutputStats:
        stats, act = self.stats(layer.h) or _absent(self._draws), layer.activation
        known = act.activation if act else None
        if act is None or known is None or stats.mean is None:
            return OutputStats(**dict(stats), saturated_fraction=None, dead_fraction=None)
        return OutputStats(
            **dict(stats),
            saturated_fraction=act.saturated / layer.h.sketch.total if known.saturation else None,
            dead_fraction=statistics.fmean(act.dead) if act.dead else None,
        )

    def module(self, call: ModuleCall) -> ModuleStats:
        """The record of a call of a module."""
        given, made = self._known(call.inputs), self._known(call.outputs)
        layer = self._layers.get(call.label)
        owner = layer or self._parts.get(call.label)
        weight = self.stats(self._weight(call))
        gradient = self.stats(getattr(self._weight(call), "gradient", None))
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
            kind=module_kinds.kind_of(call.module),
            type=type(call.module).__name__,
            layer=owner.number if owner else None,
            fan_in=layer.op.fans[0] if layer else None,
            fan_out=layer.op.fans[1] if layer else None,
            status=worst(one.status for one in there if one is not None),
            weight=weight,
            weight_gradient=gradient,
            **told,
        )

    def _weight(self, call: ModuleCall) -> Track | None:
        layer = self._layers.get(call.label)
        if layer is not None:
            return layer.op.weight
        return self._recorder.parameters.get(f"{call.name}.weight".lstrip("."))

    def _known(self, tracks: Sequence[Track]) -> list[Track]:
        return [track for track in tracks if self.stats(track) is not None]

    def _all(self, tracks: Iterable[Track | None]) -> tuple[Any, ...]:
        return tuple(self.stats(track) for track in tracks)


def layer_kind(layer: Layer) -> ModuleKind:
    """What kind of product a layer is."""
    name = layer.op.name
    if layer.op.kind == "recurrence":
        return "recurrence"
    if layer.is_embedding:
        return "embedding"
    return "convolution" if name.startswith("conv") else "linear"


def _wanted(calls: Sequence[ModuleCall], layers: Sequence[Layer]) -> list[Track]:
    """Every track that a record shows, each once."""
    shown = [track for layer in layers for track in (layer.op.weight, layer.z, layer.h) if track is not None]
    shown += [track for call in calls for track in (*call.inputs, *call.outputs)]
    shown += [track.gradient for track in shown if track.gradient is not None]
    return list(dict.fromkeys(shown))


def _absent(draws: int) -> TensorStats:
    """What stands for a tensor that does not exist, such as the gradient of a frozen weight."""
    names = set(TensorStats.model_fields) - {"status", "variance_by_draw", "nonfinite_count", "coverage"}
    return TensorStats(
        **dict.fromkeys(names), status="ok", variance_by_draw=(None,) * draws, nonfinite_count=0, coverage=0.0
    )


def _statuses(recorder: Recorder) -> dict[Track, Status]:
    """What became of every tensor, in the order in which they came to be."""
    found = {track: _status(track) for track in recorder.parameters.values()}
    makers = {op.output: op for op in recorder.operations if op.kind == "layer" and op.output is not None}
    found |= _course(recorder.tracks, makers)
    back = [track.gradient for track in reversed(recorder.tracks) if track.gradient is not None]
    back += [track.gradient for track in recorder.parameters.values() if track.gradient is not None]
    return found | _course(back, {})


def _course(way: Sequence[Track], makers: Mapping[Track, Any]) -> dict[Track, Status]:
    """The statuses of tensors on the way from the first to the last."""
    found: dict[Track, Status] = {}
    before: set[Status] = set()
    last: Status = "ok"
    for track in way:
        lost = last == "underflow" or _is_lost(track, makers.get(track))
        last = found[track] = _status(track, before, lost)
        before.add(last)
    return found


def _is_lost(track: Track, op: Any) -> bool:
    """The product of a weight and an input, neither of them 0, is 0."""
    if op is None or op.weight is None or op.given is None or track.sketch.peak != 0:
        return False
    return bool(op.given.sketch.peak > 0 and op.weight.sketch.peak > 0)


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
