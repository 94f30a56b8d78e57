"""A recorder that keeps the tensors of a pass. They are compared with those of a pass after some steps of training.

It measures root mean squares only, which takes a small part of the time of all statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from initprobe.torch.call_kinds import Call
from initprobe.torch.graph import Operation, Signal, Value
from initprobe.torch.measure import SmallTensors, Track, is_measured
from initprobe.torch.operations import Recorder
from initprobe.torch.theory.trace import Trace

_FACTORS = frozenset(("mul", "multiply", "div", "divide", "true_divide", "truediv"))
_MASKED = -1e4  # attention logits up to this are masked
_ROUNDING = 32.0  # changes of so many units of rounding are none
_FLOAT = np.dtype(np.float32)
_FLOAT32 = torch.finfo(torch.float32).eps


@dataclass(eq=False, slots=True)
class Size(Track):
    """The root mean square of a tensor, in place of all statistics.

    Attributes:
        rms: over all entries.
        gradient_rms: of the gradient of the loss with respect to it; None without one.
    """

    rms: float = 0.0
    gradient_rms: float | None = None

    @classmethod
    def of(cls, tensor: Any, number: int, small: SmallTensors) -> Size:
        """Measure a tensor.

        Args:
            tensor, number: the tensor, and its number in the order of the pass.
            small: of the recorder; not used.
        """
        return cls(_FLOAT, number=number, shape=tuple(tensor.shape), small=small, rms=rms(tensor))

    def __call__(self, gradient: Any) -> None:
        """Measure the gradient; a fused operation may leave it undefined, None."""
        if gradient is not None:
            self.gradient_rms = rms(gradient)

    @property
    def square(self) -> float:
        """Mean square of the entries."""
        return self.rms**2

    @property
    def draws(self) -> int:
        """A pass is one draw."""
        return 1


def rms(tensor: Any) -> float:
    """The root mean square of all entries; NaN of an empty tensor."""
    entries = tensor.detach()
    entries = entries.to_dense() if entries.layout is not torch.strided else entries
    dtype = torch.float64 if entries.dtype == torch.float64 else torch.float32
    norm = float(torch.linalg.vector_norm(entries, dtype=dtype))
    return norm / math.sqrt(entries.numel()) if entries.numel() else math.nan


def gap(now: Any, before: Any) -> float:
    """The root mean square of a difference; 0 where it is no more than rounding.

    Args:
        now, before: tensors of equal shape.
    """
    change = rms(now.detach() - before)
    return 0.0 if change <= _rounding(before.dtype) * rms(before) else change


def _rounding(dtype: Any) -> float:
    """The part of a signal that rounding may change: sqrt(d e) for float32 sums of error d, rounded by e."""
    unit = float(torch.finfo(dtype).eps)
    return _ROUNDING * unit if unit <= _FLOAT32 else math.sqrt(_ROUNDING * _FLOAT32 * unit)


class _NoTrace(Trace):
    """Keeps nothing: sizes need no theory of a whole graph."""

    def given(self, tensor: Any, value: Value) -> None:
        """Nothing is noted of an input."""

    def add(self, call: Call, kind: str, made: Any, value: Value, output: int = 0) -> None:
        """Nothing is noted of a call."""

    def unseen(self, made: Any, value: Value) -> None:
        """Nothing is noted of a tensor that no public call made."""

    def finish(self, values: list[Value]) -> None:
        """Nothing was noted."""


class SizeRecorder(Recorder):
    """Records one pass, which has the operations of the pass before.

    Attributes:
        kept: tensors by the number of their track.
        given: the input of each layer's product, by the number of the operation.
        attention: logits of attention by the number of the operation; masked entries are 0.
        factors: products with numbers, by the number of the operation whose signal is multiplied.
        changes: of the tensors that the pass before kept.
        given_changes: the same of the inputs of products.
        attention_changes: the same of attention logits.
    """

    def __init__(self, model: Any, before: SizeRecorder | None = None) -> None:
        super().__init__(model, None)  # type: ignore[arg-type]  # which measures in threads; nothing here does
        self.trace = _NoTrace()
        self.before = before
        self.kept: dict[int, Any] = {}
        self.given: dict[int, Any] = {}
        self.attention: dict[int, Any] = {}
        self.attention_share: dict[int, float] = {}
        self.factors: dict[int, float] = {}
        self.changes: dict[int, float] = {}
        self.given_changes: dict[int, float] = {}
        self.attention_changes: dict[int, float] = {}

    def keep_only(self, numbers: set[int]) -> None:
        """Drop all kept tensors but these."""
        self.kept = {number: tensor for number, tensor in self.kept.items() if number in numbers}

    def parameter(self, name: str) -> Track | None:
        """The root mean square of a parameter."""
        tensor = self._held[name]
        if not is_measured(tensor):
            return None
        if name not in self.parameters:
            self.parameters[name] = Size.of(tensor, -1, self._small)
        return self.parameters[name]

    def _track(self, tensor: Any, cosines: bool = False) -> Track:
        number = self._track_place
        self._track_place += 1
        size = Size.of(tensor, number, self._small)
        self.tracks.append(size)
        if tensor.requires_grad:
            handle = tensor.register_hook(size)
            if tensor.is_leaf:
                self._handles.append(handle)
        if self.before is None:
            self.kept[number] = tensor.detach().clone()
        elif (kept := self.before.kept.get(number)) is not None and kept.shape == tensor.shape:
            self.changes[number] = gap(tensor, kept)
        return size

    def _value(self, call: Call, kind: str, inputs: list[Signal], tensor: Any, number: int) -> Value:
        value: Value = super()._value(call, kind, inputs, tensor, number)
        if kind == "same" and call.name in _FACTORS and value.signal is not None:
            operation = value.signal.op.number
            self.factors[operation] = self.factors.get(operation, 1.0) * _factor(call)
        return value

    def _look(self, op: Operation, call: Call, tensor: Any) -> None:
        """Keep the input of a product and the logits of attention, or compare them with those of the pass before."""
        if op.kind == "layer":
            self._look_at_layer(op, call)
        elif op.kind == "softmax":
            self._look_at_logits(op, call.tensors[0].detach())
        elif op.kind == "attention":
            self._look_at_logits(op, _fused_logits(call))
        elif op.kind == "activation":
            super()._look(op, call, tensor)

    def _look_at_layer(self, op: Operation, call: Call) -> None:
        signals = [t for t, v in zip(call.tensors, call.values, strict=True) if v.signal is not None]
        given = next((tensor for tensor in signals if is_measured(tensor)), None)
        if self.before is None:
            if given is not None:
                self.given[op.number] = given.detach().clone()
            return
        before = self.before.given.get(op.number)
        if given is not None and before is not None and before.shape == given.shape:
            self.given_changes[op.number] = gap(given, before)

    def _look_at_logits(self, op: Operation, logits: Any) -> None:
        is_open = torch.isfinite(logits) & (logits > _MASKED)
        share = math.sqrt(float(is_open.double().mean()))
        logits = logits.masked_fill(~is_open, 0.0)
        if self.before is None:
            self.attention[op.number], self.attention_share[op.number] = logits.clone(), share
        elif (kept := self.before.attention.get(op.number)) is not None and share:
            self.attention_changes[op.number] = gap(logits, kept) / share


def _factor(call: Call) -> float:
    """The number by which a call multiplies a signal; 1 for a tensor."""
    numbers = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, int | float)]
    if len(numbers) != 1 or not numbers[0]:
        return 1.0
    is_product = call.name in ("mul", "multiply")
    return abs(float(numbers[0])) if is_product else abs(1 / numbers[0])


def _fused_logits(call: Call) -> Any:
    """The logits of fused attention, without its mask."""
    query, key = (tensor.detach() for tensor in call.tensors[:2])
    if query.ndim == 4 and key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = call.kwargs.get("scale") or 1 / math.sqrt(query.shape[-1])
    return query @ key.transpose(-1, -2) * scale
