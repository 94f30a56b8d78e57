"""From tracks to the records of a result: the statistics of layers and modules, with the status of each tensor."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from initprobe.arrays import complete_mean
from initprobe.engine.sketch import Sketch
from initprobe.probe.pending_stats import PendingStats
from initprobe.probe.rounding import Place
from initprobe.probe.tensor_stats import all_stats, rms_of
from initprobe.results.base import ModuleKind, Status, worst
from initprobe.results.layers import LayerStats, ModuleStats, OutputStats, TensorStats
from initprobe.results.model_theory import ModelTheory
from initprobe.torch import module_kinds
from initprobe.torch.inventory import Inventory
from initprobe.torch.layer_facts import layer_facts
from initprobe.torch.measure import Track
from initprobe.torch.modules import ModuleCall
from initprobe.torch.operations import Recorder
from initprobe.torch.structure import Layer, Structure
from initprobe.torch.theory.columns import theory_of


class LayerRecords:
    """Makes the records of layers and modules when they are asked for; it keeps no tensor and no module.

    Histograms and percentiles of thousands of tensors cost as much as all measurements. A verdict needs none, a table
    few.
    """

    def __init__(self, recorder: Recorder, held: Inventory, structure: Structure, draws: int) -> None:
        layers = structure.layers
        self._facts = dict(layer_facts(structure))
        self._structure, self._trace = structure, recorder.trace
        self._draws, self._layers, self._modules = draws, layers, recorder.modules
        self._tracks = recorder.tracks
        self._parameters = recorder.parameters
        self._statuses = _statuses(recorder)
        self._places: dict[Track, int] = {}
        self._stats: dict[Track, TensorStats] = {}
        self._activation_classes = dict(_activation_classes(held, layers))

    def add_steps(self, moved: Mapping[str, Mapping[str, float | None]]) -> None:
        """Add how far one step moves each layer, by label."""
        for layer in self._layers:
            self._facts[layer.number] = {**self._facts.get(layer.number, {}), **moved.get(layer.label, {})}

    @cached_property
    def theory(self) -> Mapping[int, ModelTheory]:
        """What theory predicts, by the number of the layer."""
        return theory_of(self._structure, self._trace)

    @cached_property
    def _calls(self) -> list[ModuleCall]:
        return self._modules.calls

    def layers(self) -> tuple[LayerStats, ...]:
        """The records of all layers, first to last."""
        return tuple(map(self._layer, self._layers))

    def modules(self) -> tuple[ModuleStats, ...]:
        """The records of all calls of leaf modules, in order."""
        first_layers = {layer.op.module: layer for layer in reversed(self._layers)}
        parts = [(op.module, layer) for layer in reversed(self._layers) for op in (layer.activation, layer.norm) if op]
        owners = dict(parts) | first_layers
        return tuple(self._module(call, first_layers.get(call.label), owners.get(call.label)) for call in self._calls)

    def status(self, track: Track | None) -> Status:
        """The status of a tensor; `ok` without a track, or if the tensor was not there in every draw."""
        return self._statuses[track] if track is not None and track.draws == self._draws else "ok"

    def has(self, statuses: Collection[str]) -> bool:
        """Whether any tensor has one of these statuses."""
        return any(status in statuses for status in set(self._statuses.values()))

    def rms(self, track: Track | None) -> float | None:
        """The root mean square of a tensor, as in its statistics; None where these have none."""
        if track is None or track.draws != self._draws:
            return None
        return rms_of(track, self._statuses[track])

    def stats_of(self, tracks: Sequence[Track | None]) -> list[TensorStats | None]:
        """The statistics of some tensors; None without a track, or if the tensor was not there in every draw.

        They are not those of the records: the last digits depend on which tensors are worked out together.
        """
        by_track = self._worked_out(track for track in tracks if track is not None)
        return [None if track is None else by_track.get(track) for track in tracks]

    def _whole(self, tracks: Iterable[Track]) -> list[Track]:
        """Each track once, of those that were there in every draw."""
        return [track for track in dict.fromkeys(tracks) if track.draws == self._draws]

    def _worked_out(self, tracks: Iterable[Track]) -> dict[Track, TensorStats]:
        whole = self._whole(tracks)
        stats = all_stats(whole, [self._statuses[track] for track in whole])
        return dict(zip(whole, stats, strict=True))

    @cached_property
    def _pending(self) -> PendingStats:
        """The statistics of all tensors that records show; a table shows the histograms of a few."""
        tracks = [track for layer in self._layers for track in (layer.op.weight, layer.z, layer.h) if track is not None]
        tracks += [self._tracks[number] for call in self._calls for number in (*call.inputs, *call.outputs)]
        tracks += [track.gradient for track in tracks if track.gradient is not None]
        whole = self._whole(tracks)
        self._places = {track: place for place, track in enumerate(whole)}
        return PendingStats(whole, [self._statuses[track] for track in whole])

    def _of(self, track: Track | None) -> TensorStats | None:
        if track is None:
            return None
        stats = self._stats.get(track)
        if stats is None:
            every = self._pending
            if track not in self._places:
                return None
            stats = self._stats[track] = every.stats(self._places[track])
        return stats

    def _layer(self, layer: Layer) -> LayerStats:
        absent, op = _absent(self._draws), layer.op
        weight = self._of(op.weight) or absent
        gradient = self._of(op.weight.gradient if op.weight else None) or absent
        tensors = {
            "weight": weight,
            "preactivation": self._of(layer.z) or absent,
            "preactivation_gradient": self._of(layer.z.gradient) or absent,
            "output_gradient": self._of(layer.h.gradient) or absent,
            "weight_gradient": gradient,
        }
        output = self._output(layer)
        return LayerStats(
            layer=layer.number,
            fan_in=op.fans[0],
            fan_out=op.fans[1],
            status=worst(stats.status for stats in (output, *tensors.values())),
            correlation=complete_mean(layer.z.correlations),
            gradient_to_weight_ratio=gradient.rms / weight.rms if weight.rms and gradient.rms is not None else None,
            output=output,
            name=layer.label,
            kind=layer_kind(layer),
            activation=self._activation_classes.get(layer.number),
            model_theory=self.theory.get(layer.number),
            **tensors,
            **self._facts.get(layer.number, {}),
        )

    def _output(self, layer: Layer) -> OutputStats:
        stats, act = self._of(layer.h), layer.activation
        record = act.activation if act else None
        saturated = dead = None
        if act is not None and record is not None and stats is not None and stats.mean is not None:
            saturated = act.saturated / layer.h.total if record.saturation else None
            dead = statistics.fmean(act.dead) if act.dead else None
        if stats is None:
            return OutputStats(**dict(_absent(self._draws)), saturated_fraction=saturated, dead_fraction=dead)
        return self._pending.output(self._places[layer.h], saturated, dead)

    def _module(self, call: ModuleCall, layer: Layer | None, owner: Layer | None) -> ModuleStats:
        """The record of a call. It computes a product of `layer`, and is a part of `owner`."""
        given, made = self._complete(call.inputs), self._complete(call.outputs)
        track = layer.op.weight if layer is not None else self._parameters.get(f"{call.name}.weight".lstrip("."))
        weight = self._of(track)
        gradient = self._of(None if track is None else track.gradient)
        tensors = {
            "inputs": self._each(given),
            "outputs": self._each(made),
            "input_gradients": self._each(track.gradient for track in given),
            "output_gradients": self._each(track.gradient for track in made),
        }
        shown = [weight, gradient, *(stats for group in tensors.values() for stats in group)]
        return ModuleStats(
            name=call.name,
            call=call.number,
            kind=call.kind,
            type=call.type,
            layer=owner.number if owner else None,
            fan_in=layer.op.fans[0] if layer else None,
            fan_out=layer.op.fans[1] if layer else None,
            status=worst(stats.status for stats in shown if stats is not None),
            weight=weight,
            weight_gradient=gradient,
            **tensors,
        )

    def _complete(self, numbers: Sequence[int]) -> list[Track]:
        tracks = [self._tracks[number] for number in numbers]
        return [track for track in tracks if track.draws == self._draws]

    def _each(self, tracks: Iterable[Track | None]) -> tuple[Any, ...]:
        return tuple(map(self._of, tracks))


def _activation_classes(held: Inventory, layers: Sequence[Layer]) -> Iterable[tuple[int, str]]:
    """By layer number: the class of the module that made h, or the function if no module did."""
    for layer in layers:
        if layer.activation is not None:
            module = held.modules.get(layer.activation.module.partition("#")[0])
            is_module = module is not None and module_kinds.kind_of(module) == "activation"
            yield layer.number, type(module).__name__ if is_module else layer.activation.name


def sketches_of(layer: Layer) -> dict[str, Sketch]:
    """The sketches of a layer's tensors by name; missing tensors are left out."""
    forward = {"weight": layer.op.weight, "preactivation": layer.z, "output": layer.h}
    back = {f"{name}_gradient": track.gradient for name, track in forward.items() if track is not None}
    return {name: track for name, track in (forward | back).items() if track is not None}


def operation_places(recorder: Recorder, layers: Sequence[Layer]) -> Iterator[Place]:
    """Outputs of operations that belong to no layer, and their gradients, as `probe.rounding` takes them.

    Args:
        recorder: of the passes.
        layers: whose tensors are left out.
    """
    held = {id(track) for layer in layers for track in (layer.op.weight, layer.z, layer.h)}
    starts = [layer.op.number for layer in layers]
    for op in recorder.operations:
        if op.output is None or id(op.output) in held:
            continue
        held.add(id(op.output))
        name, number = f"{op.module}: {op.name}" if op.module else op.name, max(bisect_right(starts, op.number), 1)
        yield Place(number, "output", op.output, name)
        if op.output.gradient is not None:
            yield Place(number, "output_gradient", op.output.gradient, name)


def layer_kind(layer: Layer) -> ModuleKind:
    """What kind of product a layer is."""
    if layer.op.kind == "recurrence":
        return "recurrence"
    if layer.is_embedding:
        return "embedding"
    return "convolution" if layer.op.name.startswith("conv") else "linear"


def _absent(draws: int) -> TensorStats:
    """What stands for a tensor that does not exist, such as the gradient of a frozen weight."""
    names = set(TensorStats.model_fields) - {"status", "variance_by_draw", "nonfinite_count", "coverage"}
    return TensorStats(
        **dict.fromkeys(names), status="ok", variance_by_draw=(None,) * draws, nonfinite_count=0, coverage=0.0
    )


def _statuses(recorder: Recorder) -> dict[Track, Status]:
    """The status of every tensor: forward in the order in which tensors are made, and back in reverse."""
    parameters = recorder.parameters.values()
    makers = {op.output: op for op in recorder.operations if op.kind == "layer" and op.output is not None}
    back = [track.gradient for track in (*reversed(recorder.tracks), *parameters) if track.gradient is not None]
    return {track: _status(track) for track in parameters} | _along(recorder.tracks, makers) | _along(back, {})


def _along(tracks: Sequence[Track], makers: Mapping[Track, Any]) -> dict[Track, Status]:
    """The statuses of tensors that follow one another; `makers` are the products that made some of them."""
    statuses: dict[Track, Status] = {}
    before: set[Status] = set()
    last: Status = "ok"
    for track in tracks:
        lost = last == "underflow" or _is_lost(track, makers.get(track))
        last = statuses[track] = _status(track, before, lost)
        before.add(last)
    return statuses


def _is_lost(track: Track, op: Any) -> bool:
    """The product of a weight and an input is 0, though neither of these is."""
    if op is None or op.weight is None or op.given is None or track.peak != 0:
        return False
    return bool(op.given.peak > 0 and op.weight.peak > 0)


def _status(track: Track, before: Collection[Status] = (), lost: bool = False) -> Status:
    """The status of a tensor by the range of its own dtype.

    Args:
        track: statistics of the tensor.
        before: statuses of the tensors before it.
        lost: zeros are an underflow and no true zeros.
    """
    if track.nonfinite:
        begins_here = track.infinite and not {"overflow", "nonfinite"} & set(before)
        return "overflow" if begins_here else "nonfinite"
    peak = track.peak
    if peak > 0:
        return "underflow" if peak < track.tiny else "ok"
    return "underflow" if lost else "ok"
