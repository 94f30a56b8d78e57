"""A function call with its arguments, and what it does to signals."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from initprobe.torch import module_kinds
from initprobe.torch.graph import Signal, Value

_NO_NAMES: frozenset[str] = frozenset()
_DIVISIONS_AND_PRODUCTS = frozenset(
    ("mul", "multiply", "div", "divide", "true_divide", "truediv", "rdiv", "rtruediv", "addcdiv")
)


class Call:
    """A function call: its arguments, and what the tensors among them stand for.

    Attributes:
        name: plain name of the function.
        args: positional arguments.
        kwargs: keyword arguments.
        tensors: the tensors among the arguments, in order.
        values: the value of each of these tensors.
        signals: the signals among the values, each once.
        names: the parameters that the values without a signal are made of.
        first: the first value that has a signal; None without one.
    """

    __slots__ = ("args", "first", "kwargs", "name", "names", "signals", "tensors", "values")

    def __init__(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Any], values: list[Value]
    ) -> None:
        self.name, self.args, self.kwargs, self.tensors, self.values = name, args, kwargs, tensors, values
        self.signals: list[Signal] = []
        self.names, self.first = _NO_NAMES, None
        for value in values:
            if value.signal is None:
                self.names = self.names | value.names if self.names else value.names
                continue
            self.first = self.first or value
            if value.signal not in self.signals:
                self.signals.append(value.signal)

    @property
    def rest(self) -> tuple[Any, ...]:
        """The arguments after the first."""
        return self.args[1:]

    @property
    def role(self) -> str | None:
        """What its parameters are used for, where the kind of the operation does not say it."""
        return "embedding" if self.name in ("embedding", "embedding_bag") else None

    def weight(self) -> tuple[Any, Value] | None:
        """The weight and its value: the largest tensor made of parameters; of a recurrence the first matrix."""
        if not self.names:
            return None
        held = [(t, v) for t, v in zip(self.tensors, self.values, strict=True) if v.signal is None and v.names]
        if self.name in module_kinds.RECURRENCES:
            return next((pair for pair in held if pair[0].ndim > 1), None)
        if is_product_with_weight(self.name) or self.name == "bilinear":
            matrices = [pair for pair in held if pair[0].ndim > 1]
            return matrices[-1] if matrices else held[-1]
        if self.name in module_kinds.NORMS:
            given = self.kwargs.get("weight", self._norm_weight())
            return next((pair for pair in held if pair[0] is given), None)
        return max(held, key=lambda pair: pair[0].numel())

    def _norm_weight(self) -> Any:
        place = {"batch_norm": 3, "instance_norm": 3}.get(self.name, 2)
        return self.args[place] if len(self.args) > place else None

    def eps(self) -> float | None:
        """The eps of a norm, as the function is given it or sets it by default."""
        place = {"layer_norm": 4, "batch_norm": 7, "group_norm": 4, "instance_norm": 7, "rms_norm": 3}.get(self.name)
        given = self.kwargs.get("eps", self.args[place] if place and len(self.args) > place else None)
        if given is None and self.name == "rms_norm":
            return float(torch.finfo(self.tensors[0].dtype).eps)
        return float(given) if isinstance(given, float | int) else None

    def training(self) -> bool:
        """Whether a norm normalises by the statistics of its input; a batch norm may use stored ones instead."""
        if self.name != "batch_norm":
            return True
        return bool(self.kwargs.get("training", self.args[5] if len(self.args) > 5 else False))

    def loss(self, tensor: Any) -> dict[str, float]:
        """The value of a loss, and the number of classes where it has any."""
        logits = self.tensors[0]
        classes = logits.shape[1 if logits.ndim > 1 else 0] if self.name in ("cross_entropy", "nll_loss") else 0
        return {"value": float(tensor.detach().double().mean()), "classes": float(classes)}

    def is_reduced(self) -> bool:
        """Its output has fewer entries than the signal, because a mean or the like is taken now or was before."""
        if self.name in module_kinds.REDUCTIONS:
            return True
        return self.first is not None and all(value.reduced for value in self.values if value.signal is not None)


@lru_cache(maxsize=1024)
def is_product_with_weight(name: str) -> bool:
    """Whether the function takes a weight as its second tensor: `linear` and convolutions."""
    return name == "linear" or name.startswith("conv")


def kind_of_call(call: Call) -> tuple[str, list[Signal]]:
    """The kind of the operation, and the signals that it makes another signal of or is a step of."""
    group, signals = group_of(call.name), call.signals
    if not signals and not _makes_a_signal(call.name):
        return "parameters", []
    if group == "product":
        return _product(call)
    if call.name == "batch_norm" and not call.training():
        return "scale", signals  # by stored statistics, whatever its input
    if group == "same":
        return ("same", signals) if len(signals) == 1 else ("other", signals)
    if group == "join":
        return _join(signals)
    if group in ("binary", "power") and len(call.tensors) > 1:
        return _binary(call)
    if group == "power":
        return "activation", signals
    if group == "binary":  # with a number
        return "same", signals
    return group, signals


@lru_cache(maxsize=1024)
def _makes_a_signal(name: str) -> bool:
    """Whether the function makes a signal of something that is none, such as token ids."""
    return is_product_with_weight(name) or name == "embedding" or name in module_kinds.RECURRENCES


@lru_cache(maxsize=1024)
def group_of(name: str) -> str:
    """The group of a function: a kind of operation, or one whose kind depends on the arguments."""
    return next((group for names, group in _GROUPS if name in names), "other")


_GROUPS: tuple[tuple[frozenset[str], str], ...] = (
    (module_kinds.PRODUCTS, "product"),
    (module_kinds.NORMS, "norm"),
    (module_kinds.SOFTMAXES, "softmax"),
    (module_kinds.ATTENTION, "attention"),
    (module_kinds.RECURRENCES, "recurrence"),
    (module_kinds.POOLS, "pool"),
    (module_kinds.LOSSES, "loss"),
    (module_kinds.VIEWS, "view"),
    (module_kinds.SAME | module_kinds.REDUCTIONS, "same"),
    (module_kinds.PARTS, "part"),
    (module_kinds.JOINS | {"setitem"}, "join"),
    (module_kinds.BINARY & module_kinds.CURVED, "power"),
    (module_kinds.BINARY, "binary"),
    (module_kinds.CURVED, "activation"),
)


def _product(call: Call) -> tuple[str, list[Signal]]:
    signals, values = call.signals, call.values
    if call.name == "embedding" and not signals:
        return "parameters", []
    if is_product_with_weight(call.name) and len(values) > 1 and values[1].signal is not None:
        return "product", signals  # the weight depends on the input, as with styles
    if call.names and (len(signals) <= 1 or call.name in ("bilinear", "addmm", "baddbmm", "addbmm", "einsum")):
        return "layer", signals
    return ("product", signals) if len(signals) > 1 or _is_twice(call) else ("same", signals)


def _is_twice(call: Call) -> bool:
    """Several tensors among the arguments are values of signals."""
    return sum(value.signal is not None for value in call.values) > 1


def _join(signals: list[Signal]) -> tuple[str, list[Signal]]:
    """Parts of one signal that are joined again are that signal."""
    wholes = list(dict.fromkeys(signal.parent or signal for signal in signals))
    if len(signals) > 1 and len(wholes) == 1:
        return "other", wholes
    return ("cat", signals) if len(signals) > 1 else ("same", signals)


def _binary(call: Call) -> tuple[str, list[Signal]]:
    """Sums and products of signals, parameters and constants."""
    signals = call.signals
    is_factor = call.name in _DIVISIONS_AND_PRODUCTS
    if len(signals) > 1:
        if call.name in ("where", "maximum", "minimum"):
            return "other", signals
        return ("gate" if is_factor else "sum"), signals
    if _is_twice(call):
        reduced = [value.reduced for value in call.values if value.signal is not None]
        return ("norm" if is_factor and any(reduced) and not all(reduced) else "activation"), signals
    if call.names:
        return ("scale" if is_factor else "shift"), signals
    return "same", signals


@lru_cache(maxsize=32)
def opened(function: Any) -> Callable[..., Any]:
    """The same function in torch's own Python code. It does not ask for overrides, so the calls in it are seen."""
    code = {**function.__globals__, "has_torch_function": lambda *_: False}
    return types.FunctionType(function.__code__, code, function.__name__, function.__defaults__, function.__closure__)
