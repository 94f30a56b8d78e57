"""A model in words: title, setting, notes, and what could not be seen."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch

from initprobe.formatting import listed, percent, short
from initprobe.probe.describe import shape_words
from initprobe.results.summary import Description
from initprobe.torch.inventory import Inventory
from initprobe.torch.layer_stats import LayerRecords, layer_kind
from initprobe.torch.operations import Recorder
from initprobe.torch.structure import Layer
from initprobe.torch.verdict.case import Case


def describe(parts: Inventory, setting: str, layers: Sequence[Layer], records: LayerRecords) -> Description:
    """The words for a model that was measured.

    Args:
        parts: the modules and parameters of the model.
        setting: how it was measured, of `setting_words`.
        layers: its layers.
        records: the statistics of tensors.

    Returns:
        Title, weights, setting, shape and file name.
    """
    name, count = type(parts.model).__name__, len(layers)
    scales = [layer.op.fans[0] * rms**2 for layer in layers if (rms := records.rms(layer.op.weight)) is not None]
    low, high = _bounds(layers)
    weights = f"W as found, fan_in x E[W^2] = {_span(scales)}" if scales else "W as found"
    return Description(
        title=f"{name}, {count} layer{'s' if count > 1 else ''}",
        weights=weights,
        setting=setting,
        shape=_shape(parts, layers),
        slug=re.sub(r"[^A-Za-z0-9.-]+", "-", f"torch-{name}-{count}").strip("-.")[:120],
        output_low=low,
        output_high=high,
    )


def _span(values: Sequence[float]) -> str:
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low} .. {high}"


def _shape(parts: Inventory, layers: Sequence[Layer]) -> str:
    count = sum(parameter.numel() for parameter in parts.parameters.values())
    words = f"{count:,} parameters"
    is_chained = all(layer.op.fans[1] == following.op.fans[0] for layer, following in pairwise(layers))
    is_dense = all(layer_kind(layer) == "linear" for layer in layers)
    sizes = [layers[0].op.fans[0], *(layer.op.fans[1] for layer in layers)]
    return f"{shape_words(sizes)} | {words}" if is_chained and is_dense else words


def _bounds(layers: Sequence[Layer]) -> tuple[float | None, float | None]:
    """The range of the activation, where every layer has the same bounded one."""
    acts = [layer.activation.activation if layer.activation else None for layer in layers]
    bounds = {act.bounds if act else None for act in acts}
    only = bounds.pop() if len(bounds) == 1 else None
    low, high = only or (float("-inf"), float("inf"))
    return (low if low > float("-inf") else None, high if high < float("inf") else None)


def setting_words(model: Any, given: str, draws: int, seed: int) -> str:
    """How it was measured: input, mode, draws, dtype and device.

    Args:
        model: the module.
        given: the input, in words.
        draws: how many.
        seed: of the draws.
    """
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


def notes(case: Case) -> Iterator[str]:
    """Sentences on the loss, tied and frozen weights, and what could not be seen."""
    if case.loss is not None:
        yield f"loss at the start: {case.loss:.4g}{_chance(case)}"
    tied = _tied(case.inventory)
    if tied:
        yield f"one parameter under several names: {listed(tied)}"
    frozen = [name for name, parameter in case.parameters.items() if not parameter.requires_grad]
    if frozen:
        entries = sum(case.parameters[name].numel() for name in frozen)
        every = sum(parameter.numel() for parameter in case.parameters.values())
        yield f"frozen, {percent(entries / every)}% of the parameters (requires_grad=False): {listed(frozen)}"
    if case.changed.written:
        yield f"forward writes to {listed(case.changed.written)}, so a call may change the model"
    if case.changed.replaced:
        yield f"forward puts other tensors in place of {listed(case.changed.replaced)}; those are not judged"
    if not case.differentiated:
        yield "no path leads back from the output to a parameter that learns, so there are no gradients"


def _chance(case: Case) -> str:
    """The loss of a model that knows nothing of a sample, where the loss is one of classes."""
    classes = max((op.facts.get("classes", 0.0) for op in case.operations if op.kind == "loss"), default=0.0)
    return f", chance ln {classes:.0f} = {math.log(classes):.4g}" if classes > 1 else ""


def _tied(parts: Inventory) -> list[str]:
    names: dict[int, list[str]] = {}
    for name, parameter in parts.all_parameters.items():
        names.setdefault(id(parameter), []).append(name)
    return [" = ".join(group) for group in names.values() if len(group) > 1]


def no_layers(recorder: Recorder) -> str:
    """Why there is nothing to judge."""
    uses = [f"{name} ({', '.join(sorted(roles))})" for name, roles in recorder.roles.items()]
    if uses:
        return f"{listed(uses)}: not judged; the model multiplies its input with no real weights"
    return "the model uses no weights on its input, so it has no layer to judge"


def torch_version() -> str:
    """The version of torch, with what it was built for."""
    return str(torch.__version__)
