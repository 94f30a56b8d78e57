"""A model in words: title, setting, and what could not be seen."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from initprobe.formatting import short
from initprobe.probe.describe import shape_words
from initprobe.results.summary import Description
from initprobe.torch.inventory import Inventory
from initprobe.torch.layer_stats import LayerRecords, layer_kind
from initprobe.torch.operations import Recorder
from initprobe.torch.structure import Layer
from initprobe.torch.verdict.case import Case

THEORY_NOTE = "none: what an infinitely wide net would do is known of the nets of `initprobe run`, not of this model"
_MOST_NAMES = 4


def describe(held: Inventory, setting: str, layers: Sequence[Layer], records: LayerRecords) -> Description:
    """The words for a model that was measured."""
    name, count = type(held.model).__name__, len(layers)
    scales = [layer.op.fans[0] * rms**2 for layer in layers if (rms := records.rms(layer.op.weight)) is not None]
    low, high = _bounds(layers)
    weights = f"W as found, fan_in x E[W^2] = {_span(scales)}" if scales else "W as found"
    return Description(
        title=f"{name}, {count} layer{'s' if count > 1 else ''}",
        weights=weights,
        setting=setting,
        shape=_shape(held, layers),
        slug=re.sub(r"[^A-Za-z0-9.-]+", "-", f"torch-{name}-{count}").strip("-.")[:120],
        output_low=low,
        output_high=high,
    )


def _span(values: Sequence[float]) -> str:
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low} .. {high}"


def _shape(held: Inventory, layers: Sequence[Layer]) -> str:
    count = sum(parameter.numel() for parameter in held.parameters.values())
    words = f"{count:,} parameters"
    chained = all(layer.op.fans[1] == following.op.fans[0] for layer, following in pairwise(layers))
    dense = all(layer_kind(layer) == "linear" for layer in layers)
    sizes = [layers[0].op.fans[0], *(layer.op.fans[1] for layer in layers)]
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
        moved: whether the gradient of a parameter is anything but 0, by name; None without one.
        void: what is wrong with parameters that hold no numbers, by the name of their module.
    """

    differentiated: bool
    loss: float | None
    moved: Mapping[str, bool | None] = field(default_factory=dict)
    void: Mapping[str, str] = field(default_factory=dict)


def notes(case: Case) -> Iterator[str]:
    """The loss, tied weights, and what could not be seen."""
    if case.loss is not None:
        yield f"loss at the start: {case.loss:.4g}{_chance(case)}"
    tied = _tied(case.held)
    if tied:
        yield f"one parameter under several names: {listed(tied)}"
    if not case.differentiated:
        yield "no way leads back from the output to what asks for a gradient, so there are none"


def _chance(case: Case) -> str:
    """What knowing nothing of a sample costs, where the loss tells classes apart."""
    classes = max((op.facts.get("classes", 0.0) for op in case.operations if op.kind == "loss"), default=0.0)
    return f", chance ln {classes:.0f} = {math.log(classes):.4g}" if classes > 1 else ""


def _tied(held: Inventory) -> list[str]:
    names: dict[int, list[str]] = {}
    for name, parameter in held.all_parameters:
        names.setdefault(id(parameter), []).append(name)
    return [" = ".join(group) for group in names.values() if len(group) > 1]


def no_layers(recorder: Recorder) -> str:
    """Why there is nothing to judge."""
    held = [f"{name} ({', '.join(sorted(roles))})" for name, roles in recorder.roles.items()]
    if held:
        return f"{listed(held)}: not judged; no product of real weights with the input was seen"
    return "the model uses no weights on its input, so there is no layer to speak of"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown, more = ", ".join(names[:_MOST_NAMES]), len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def torch_version() -> str:
    """As torch says it, with what it was built for."""
    return str(torch.__version__)
