"""A function with its arguments, and what a call does to signals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from initprobe.torch import module_kinds
from initprobe.torch.graph import OperationKind, Signal, Value


@dataclass
class Call:
    """A function with its arguments, and what the tensors among them are."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Any]
    values: list[Value]

    @cached_property
    def signals(self) -> list[Signal]:
        """The signals among its arguments, each once."""
        return list(dict.fromkeys(one.signal for one in self.values if one.signal is not None))

    @cached_property
    def names(self) -> frozenset[str]:
        """The parameters among its arguments."""
        return frozenset().union(*(one.names for one in self.values if one.signal is None))

    @property
    def rest(self) -> tuple[Any, ...]:
        """The arguments after the first."""
        return self.args[1:]

    @property
    def role(self) -> str | None:
        """What its parameters are for, where the kind of the operation does not say."""
        return "embedding" if self.name in ("embedding", "embedding_bag") else None

    def weight(self) -> tuple[Any, Value] | None:
        """The largest tensor that is made of parameters; of the recurrences the first."""
        held = [(t, v) for t, v in zip(self.tensors, self.values, strict=True) if v.signal is None and v.names]
        if self.name in module_kinds.RECURRENCES or not held:
            return next((one for one in held if one[0].ndim > 1), None)
        if self.name in ("linear", "bilinear") or self.name.startswith("conv"):
            named = [one for one in held if one[0].ndim > 1]
            return named[-1] if named else held[-1]
        if self.name in module_kinds.NORMS:
            given = self.kwargs.get("weight", self._norm_weight())
            return next((one for one in held if one[0] is given), None)
        return max(held, key=lambda one: one[0].numel())

    def _norm_weight(self) -> Any:
        place = {"batch_norm": 3, "instance_norm": 3}.get(self.name, 2)
        return self.args[place] if len(self.args) > place else None

    def eps(self) -> float | None:
        """Of a norm, as the function takes it."""
        place = {"layer_norm": 4, "batch_norm": 7, "group_norm": 4, "instance_norm": 7, "rms_norm": 3}.get(self.name)
        given = self.kwargs.get("eps", self.args[place] if place and len(self.args) > place else None)
        if given is None and self.name == "rms_norm":
            return float(torch.finfo(self.tensors[0].dtype).eps)
        return float(given) if isinstance(given, float | int) else None

    def training(self) -> bool:
        """Whether a batch norm takes the statistics of the batch; any other norm those of what it is given."""
        if self.name != "batch_norm":
            return True
        return bool(self.kwargs.get("training", self.args[5] if len(self.args) > 5 else False))

    def loss(self, tensor: Any) -> dict[str, float]:
        """The value of a loss, and of how many classes it tells apart."""
        logits = self.tensors[0]
        classes = logits.shape[1 if logits.ndim > 1 else 0] if self.name in ("cross_entropy", "nll_loss") else 0
        return {"value": float(tensor.detach().double().mean()), "classes": float(classes)}


def version_of(tensor: Any) -> int:
    """How often a tensor has been written to."""
    return int(tensor._version)


def kind_of_call(call: Call) -> tuple[str, list[Signal]]:
    """What a call does to signals, and which of them it makes another of."""
    name, signals = call.name, call.signals
    if not signals and not (
        name in ("linear", "embedding") or name.startswith("conv") or name in module_kinds.RECURRENCES
    ):
        return "parameters", []
    if name in module_kinds.PRODUCTS:
        return _product(call)
    if name == "batch_norm" and not call.training():
        return "scale", signals  # by the statistics that it has stored, whatever it is given
    for names, kind in _KINDS:
        if name in names:
            return kind, signals
    if name in module_kinds.VIEWS:
        return "view", signals
    if name in module_kinds.SAME or name in module_kinds.REDUCTIONS:
        return ("same", signals) if len(signals) == 1 else ("other", signals)
    if name in module_kinds.PARTS:
        return "part", signals
    if name in module_kinds.JOINS or name == "setitem":
        return _join(signals)
    if name in module_kinds.BINARY and len(call.tensors) > 1:
        return _binary(call)
    if name in module_kinds.CURVED:
        return "activation", signals
    if name in module_kinds.BINARY:  # with a number
        return "same", signals
    return "other", signals


_KINDS: tuple[tuple[frozenset[str], OperationKind], ...] = (
    (module_kinds.NORMS, "norm"),
    (module_kinds.SOFTMAXES, "softmax"),
    (module_kinds.ATTENTION, "attention"),
    (module_kinds.RECURRENCES, "recurrence"),
    (module_kinds.POOLS, "pool"),
    (module_kinds.LOSSES, "loss"),
)


def _product(call: Call) -> tuple[str, list[Signal]]:
    weights = [one for one in call.values if one.signal is None and one.names]
    if call.name == "embedding" and not call.signals:
        return "parameters", []
    fixed = call.name == "linear" or call.name.startswith("conv")
    if fixed and len(call.values) > 1 and call.values[1].signal is not None:
        return "product", call.signals  # the weight is made of a signal, as of a style
    if weights and (len(call.signals) <= 1 or call.name in ("bilinear",)):
        return "layer", call.signals
    if weights and call.name in ("addmm", "baddbmm", "addbmm", "einsum"):
        return "layer", call.signals
    return ("product", call.signals) if len(call.signals) > 1 or _same_twice(call) else ("same", call.signals)


def _same_twice(call: Call) -> bool:
    return sum(one.signal is not None for one in call.values) > 1


def _join(signals: list[Signal]) -> tuple[str, list[Signal]]:
    """Parts of one signal that are put together again are that signal."""
    wholes = list(dict.fromkeys(one.parent or one for one in signals))
    if len(signals) > 1 and len(wholes) == 1:
        return "other", wholes
    return ("cat", signals) if len(signals) > 1 else ("same", signals)


def _binary(call: Call) -> tuple[str, list[Signal]]:
    """Sums and products of signals, parameters and constants."""
    signals = call.signals
    factor = call.name in ("mul", "multiply", "div", "divide", "true_divide", "truediv", "rdiv", "rtruediv", "addcdiv")
    if len(signals) == 1 and _same_twice(call):
        reduced = [one.reduced for one in call.values if one.signal is not None]
        return ("norm" if factor and any(reduced) and not all(reduced) else "activation"), signals
    if len(signals) == 1:
        if call.names:
            return ("scale" if factor else "shift"), signals
        return "same", signals
    if call.name in ("where", "maximum", "minimum"):
        return "other", signals
    return ("gate" if factor else "sum"), signals


def is_reduced(call: Call, tensor: Any) -> bool:
    """Made of fewer numbers than the signal has, by a mean or the like, now or before."""
    given = [(t, one) for t, one in zip(call.tensors, call.values, strict=True) if one.signal is not None]
    if call.name in module_kinds.REDUCTIONS:
        return True
    return bool(given) and all(one.reduced for _, one in given)
