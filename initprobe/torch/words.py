"""A model in words: title, setting, and what could not be seen."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from initprobe.describe import shape_words
from initprobe.numbers import short
from initprobe.results import Description, LayerStats
from initprobe.torch.grouping import Layer
from initprobe.torch.kinds import SOFTMAXES
from initprobe.torch.watch import Call, Watch

THEORY_NOTE = "none: what an infinitely wide net would do is known of the nets of `initprobe run`, not of this model"
_MOST_NAMES = 4


def describe(model: Any, setting: str, layers: Sequence[Layer], told: Sequence[LayerStats]) -> Description:
    """The words for a model that was measured."""
    name, count = type(model).__name__, len(layers)
    scales = [layer.fan_in * layer.weight.rms**2 for layer in told if layer.weight.rms is not None]
    low, high = _bounds(layers)
    weights = f"W as found, fan_in x E[W^2] = {_span(scales)}" if scales else "W as found"
    return Description(
        title=f"{name}, {count} layer{'s' if count > 1 else ''}",
        weights=weights,
        setting=setting,
        shape=_shape(model, told),
        slug=re.sub(r"[^A-Za-z0-9.-]+", "-", f"torch-{name}-{count}").strip("-.")[:120],
        output_low=low,
        output_high=high,
    )


def _span(values: Sequence[float]) -> str:
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low} .. {high}"


def _shape(model: Any, told: Sequence[LayerStats]) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    words = f"{count:,} parameters"
    chained = all(one.fan_out == other.fan_in for one, other in pairwise(told))
    dense = all(layer.kind == "linear" for layer in told)
    sizes = [told[0].fan_in, *(layer.fan_out for layer in told)]
    return f"{shape_words(sizes)} | {words}" if chained and dense else words


def _bounds(layers: Sequence[Layer]) -> tuple[float | None, float | None]:
    """The range of the activation, where every layer has the same bounded one."""
    acts = [layer.activation.activation if layer.activation else None for layer in layers]
    bounds = {act.bounds if act else None for act in acts}
    only = bounds.pop() if len(bounds) == 1 else None
    low, high = only or (float("-inf"), float("inf"))
    return (low if low > float("-inf") else None, high if high < float("inf") else None)


def setting_words(model: Any, given: str, draws: int, seed: int) -> str:
    """How it was measured: input, mode, draws, dtype and device."""
    parameter = next(model.parameters(), None)
    mode = "training" if model.training else "evaluation"
    where = "" if parameter is None else f", {dtype_name(parameter.dtype)} on {parameter.device}"
    return f"input {given}, {mode} mode{where}, {draws} draw{'s' if draws > 1 else ''}, seed {seed}"


def dtype_name(dtype: Any) -> str:
    """`float32` of `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def input_words(given: Sequence[Any]) -> str:
    """The shapes of the tensors that the model was given: `64 x 784`."""
    return ", ".join(" x ".join(map(str, tensor.shape)) or "1 number" for tensor in given)


@dataclass(frozen=True)
class Course:
    """How one draw went.

    Attributes:
        differentiated: there was a way back.
        loss: where one was given.
        gated: a parameter of the model's own is 0 and the first step changes it.
        void: what is wrong with parameters that hold no numbers, by the name of their module.
    """

    differentiated: bool
    loss: float | None
    gated: bool = False
    void: Mapping[str, str] = field(default_factory=dict)


def notes(layers: Sequence[Layer], watch: Watch, courses: Sequence[Course]) -> Iterator[str]:
    """The loss, what could not be seen, and what to do."""
    losses = [course.loss for course in courses if course.loss is not None]
    if losses:
        yield f"loss at the start: {statistics.fmean(losses):.4g}"
    unseen = [_called(layer.call) for layer in layers if layer.unseen and not _meets_softmax(layer, watch.calls)]
    if unseen:
        yield (
            f"no activation module follows {listed(unseen)}: h there is what the next module is given. Functional "
            "calls (F.relu, x + y) are not seen; torch.fx can make modules of activations: --trace, or traced(model)"
        )
    if held := unjudged(watch.calls):
        yield f"not judged: {listed(held)}"
    if watch.uncalled:
        names = [call.name for call in watch.uncalled]
        yield f"never called as a module, so only the weights are known: {listed(names)}"
    if not all(course.differentiated for course in courses):
        yield "no way leads back from the output to what asks for a gradient, so there are none"


def _called(call: Call) -> str:
    """A module's name; that of its class for a model that is one module."""
    return call.label or type(call.module).__name__


def _meets_softmax(layer: Layer, calls: Sequence[Call]) -> bool:
    """What makes h of z is a module, though none that works entry by entry: no tracing shows more."""
    makers = (call for call in calls if layer.h in call.outputs)
    return any(layer.z in call.inputs and isinstance(call.module, SOFTMAXES) for call in makers)


def unjudged(calls: Sequence[Call]) -> list[str]:
    """Modules that hold weights and are no layers, as recurrences, embeddings and products of complex numbers are."""
    held = [
        call
        for call in calls
        if not call.is_layer and call.kind != "normalisation" and call.kind != "activation"
        if any(parameter.ndim > 1 for parameter in call.module.parameters())
    ]
    return list(dict.fromkeys(f"{call.name or 'the model'} ({type(call.module).__name__})" for call in held))


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown, more = ", ".join(names[:_MOST_NAMES]), len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def torch_version() -> str:
    """As torch says it, with what it was built for."""
    return str(torch.__version__)
