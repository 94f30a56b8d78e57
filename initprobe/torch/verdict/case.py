"""What the rules look at: a recorded model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from initprobe.config.thresholds import ModelThresholds
from initprobe.results.formats import FormatStats
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.structure import Layer, Structure
from initprobe.torch.verdict.zero_starts import ZeroStarts

if TYPE_CHECKING:
    from initprobe.torch.inventory import Inventory
    from initprobe.torch.layer_stats import LayerRecords
    from initprobe.torch.lost_numbers import LostNumber
    from initprobe.torch.operations import Recorder
    from initprobe.torch.passes import Changed


@dataclass
class Case:
    """A recorded model.

    Attributes:
        inventory: the model, its modules and its parameters.
        recorder: all operations, and what each parameter was used for.
        structure: layers, chains and streams.
        limits: thresholds of the verdict.
        moved: by name of a parameter, whether an entry of its gradient is not 0. None for a parameter without gradient.
        differentiated: whether there was a backward pass.
        void: by name of a module, which of its parameters holds NaN or infinities.
        changed: parameters that the model's own code changes on the way forward.
        peaks: by name, the largest magnitude in each small parameter.
        records: statuses and statistics of tensors.
        loss: the loss at the start; None without one.
        training: whether the model was in training mode.
        dtype: of the parameters, as `float32`; None for a model without any.
        formats: what small formats would lose.
        lost: the call that makes the first NaN or infinity on the way forward; None without one.
        tries_fixes: lines that may fix a finding are tried; otherwise none are written.
    """

    inventory: Inventory
    recorder: Recorder
    structure: Structure
    limits: ModelThresholds
    moved: Mapping[str, bool | None]
    differentiated: bool
    void: Mapping[str, str]
    changed: Changed
    peaks: Mapping[str, float]
    records: LayerRecords
    loss: float | None = None
    training: bool = True
    dtype: str | None = None
    formats: tuple[FormatStats, ...] = ()
    lost: LostNumber | None = None
    tries_fixes: bool = True

    @property
    def layers(self) -> list[Layer]:
        """The layers, first to last."""
        return self.structure.layers

    @property
    def operations(self) -> Sequence[Operation]:
        """Every operation, in order."""
        return self.structure.operations

    @cached_property
    def lines(self) -> dict[tuple[int, float, bool], tuple[str, str]]:
        """Lines that draw a layer's weight again. Keys: the layer, the std, and whether a name is used."""
        return {}

    @property
    def model(self) -> Any:
        """The model."""
        return self.inventory.model

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by its first name."""
        return self.inventory.parameters

    @property
    def modules(self) -> dict[str, Any]:
        """Every module by its name; the name of the model itself is empty."""
        return self.inventory.modules

    @cached_property
    def zero_starts(self) -> ZeroStarts:
        """The parameters that are 0 at the start, and what training sets in motion."""
        return ZeroStarts(self.operations, self.parameters, self.moved, self.peaks)

    def layer_of(self, op: Operation) -> int:
        """The number of the layer that an operation belongs to, or that came last before it."""
        return max(bisect_right(self._starts, op.number), 1)

    @cached_property
    def _starts(self) -> list[int]:
        return [layer.op.number for layer in self.layers]

    def bias_of(self, layer: Layer) -> str | None:
        """The name of the bias of a layer, or of the norm that z comes from."""
        ops = [layer.op, *layer.signal.steps]
        if layer.norm is not None and layer.norm.signal is not None:
            ops = [*ops, layer.norm, *layer.norm.signal.steps]
        for op in reversed(ops):
            if op.names and op.kind in ("layer", "shift", "norm", "scale"):
                biases = [name for name in op.names if "bias" in name.rpartition(".")[2] and name != layer.op.leaf]
                if biases:
                    return biases[-1]
        return None

    @cached_property
    def used(self) -> set[int]:
        """Ids of signals that the output or the loss is made of."""
        ends = [
            *self.recorder.results,
            *(signal for op in self.operations if op.kind == "loss" for signal in op.inputs),
        ]
        reached: set[int] = set()
        while ends:
            signal = ends.pop()
            if id(signal) not in reached:
                reached.add(id(signal))
                ends += signal.inputs
        return reached

    def is_explained(self, layer: Layer) -> bool:
        """Whether what is 0 at a layer is so only until a parameter of 0 has moved."""
        return self.zero_starts.explains(layer.signal) or bool(layer.op.names & self.zero_starts.opened)


def module_of(op: Operation) -> str:
    """The name of the module that an operation was called in, without the number of the call."""
    return op.module.partition("#")[0]


def back_path(signal: Signal, kinds: Sequence[str]) -> Iterator[Signal]:
    """The signal, and those it was made of by operations of these kinds with one input each.

    Args:
        signal: where to start.
        kinds: of operations.
    """
    yield signal
    while signal.op.kind in kinds and len(signal.inputs) == 1:
        signal = signal.inputs[0]
        yield signal
