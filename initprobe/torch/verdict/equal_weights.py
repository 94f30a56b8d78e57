"""Weights that are equal although each was drawn: units of one layer, and copies of layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Fix, Observation, gathered

_MOST_NAMES = 4
_FEWEST_ENTRIES = 16  # of a weight whose equality to another is no chance
_PROBED_ENTRIES = 64


def _equal_units(case: Case) -> Iterator[Observation]:
    yield from gathered(_each_layer_of_equal_units(case))


def _each_layer_of_equal_units(case: Case) -> Iterator[Observation]:
    equal = list(_layers_of_equal_units(case))
    every = [layer for layer, _, _ in equal]  # where one is left, the finding stays
    for layer, units, distinct in equal:
        weight = layer.op.weight
        constant = f"every weight is {short(weight.mean)}, so " if weight and weight.variance == 0 else ""
        yield Observation(
            "symmetric",
            "error" if distinct == 1 else "warning",
            layer.number,
            f"{constant}{units} units are {'one' if distinct == 1 else distinct}",
            MEANING,
            layer.label,
            fix_lines.for_layers(case, every),
        )


def _layers_of_equal_units(case: Case) -> Iterator[tuple[Layer, int, int]]:
    """Each layer of which half the units or more equal others: the layer, its units, and how many differ."""
    import torch

    for layer in case.layers:
        keys = _unit_keys(case, layer)
        if keys is None or case.is_explained(layer):
            continue
        distinct = len(torch.unique(keys))
        if distinct * 2 <= len(keys):
            yield layer, len(keys), distinct


def _unit_keys(case: Case, layer: Layer) -> Any:
    """A number for each unit, equal for equal units only: a tensor of shape `(units,)`.

    None for layers whose units may be equal. Those of depthwise convolutions are given different channels.
    """
    import torch

    weight = _by_unit(case, layer)
    if weight is None or len(weight) < 2:
        return None
    if _ends_differ(weight):  # as nearly always
        return None
    flat = weight.reshape(len(weight), -1)
    if not bool((flat[1] == flat[0]).all() | (flat[-1] == flat[0]).all() | (flat[-1] == flat[-2]).all()):
        return None
    flat = flat.double()
    keys = flat @ torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(0)).double().to(flat)
    bias = case.bias_of(layer)
    if bias is not None and case.parameters[bias].numel() == len(keys):
        keys = keys + torch.e * case.parameters[bias].detach().double()
    return keys


def _ends_differ(weight: Any) -> bool:
    """Whether the first entries of the two units at each end differ: the neighbours, and the outermost."""
    place: tuple[Any, ...] = ([0, 1, -2, -1], *([0] * (weight.ndim - 1)))
    first, second, one_before, last = _quickly_indexed(weight)[place].tolist()
    return bool(first != second and one_before != last and first != last)


def _quickly_indexed(weight: Any) -> Any:
    """The same entries as an array where NumPy can hold them. It takes an entry in a quarter of the time."""
    from initprobe.torch.measure import is_shared

    return weight.numpy() if is_shared(weight) else weight


def _by_unit(case: Case, layer: Layer) -> Any:
    """The weight with units along its first axis; None where the layout is not known."""
    op, parameter = layer.op, case.parameters.get(layer.op.leaf or "")
    if parameter is None or parameter.ndim < 2 or layer.is_embedding or op.kind == "recurrence":
        return None
    weight = parameter.detach()
    if op.name.startswith("conv"):
        weight = weight.transpose(0, 1) if op.name.startswith("conv_transpose") else weight
        return None if weight.shape[1] == 1 else weight
    if op.name in ("matmul", "mm", "addmm") and op.fans[0] == weight.shape[-2] and weight.ndim == 2:
        return weight.T
    return weight if op.name == "linear" else None


def _copies(case: Case) -> Iterator[Observation]:
    """Weights that equal those of another layer entry by entry."""
    groups = _equal_groups(case)
    if not groups:
        return
    copies = [name for names in groups for name in names[1:]]
    first, original = copies[0], groups[0][0]
    owner = next((layer for layer in case.layers if layer.op.leaf == first), case.layers[0])
    yield Observation(
        "copied-layers",
        "warning",
        owner.number,
        f"{len(copies)} weights equal others entry by entry: {_names(copies)} those of {_holder(original, copies)}",
        "copies of one layer, as copy.deepcopy makes them, start from the same weights",
        _holder(first, copies),
        (_redrawn(copies),),
    )


def _equal_groups(case: Case) -> list[list[str]]:
    """Names of weights that are equal, group by group; without constant ones and those that are mostly 0."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, kind in _alike(case).items():
        groups.setdefault((*kind, _sample(case.parameters[name].detach())), []).append(name)
    samples = [(sample, names) for (*_, sample), names in groups.items() if len(names) > 1]
    return [names for sample, names in samples if len(set(sample)) >= len(sample) // 2 and _are_equal(case, names)]


def _alike(case: Case) -> dict[str, tuple[Any, ...]]:
    """Weights that share shape, function, and peak if that is known, with another; by name, with what they share."""
    kinds = {
        name: (case.parameters[name].shape, function, case.peaks.get(name))
        for name, function in _weights(case).items()
        if case.parameters[name].numel() >= _FEWEST_ENTRIES
    }
    counts = Counter(kinds.values())
    return {name: kind for name, kind in kinds.items() if counts[kind] > 1}


def _sample(weight: Any) -> tuple[float, ...]:
    """Some of its entries."""
    flat = _quickly_indexed(weight).reshape(-1)
    return tuple(flat[:: max(weight.numel() // _PROBED_ENTRIES, 1)].tolist())


def _weights(case: Case) -> dict[str, str]:
    """For each parameter that is the weight of a product, the function that is called with it."""
    return {layer.op.leaf: layer.op.name for layer in case.layers if layer.op.leaf and layer.op.weight}


def _are_equal(case: Case, names: Sequence[str]) -> bool:
    import torch

    first, *others = (case.parameters[name].detach() for name in names)
    return all(torch.equal(first, other) for other in others)


def _names(copies: Sequence[str]) -> str:
    modules = list(dict.fromkeys(_module(name) for name in copies))
    blocks = list(dict.fromkeys(_block(name) for name in copies))
    shown = blocks if all(blocks) and len(blocks) < len(modules) else modules
    if len(shown) > _MOST_NAMES:
        return f"{', '.join(shown[:_MOST_NAMES])} .. {shown[-1]} ({len(shown)} in all) equal"
    return f"{', '.join(shown)} equal"


def _holder(name: str, copies: Sequence[str]) -> str:
    """The block of a weight where whole blocks are copied, else its module."""
    is_whole = len(copies) > len({_block(copy) for copy in copies})
    return (_block(name) if is_whole else "") or _module(name)


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _block(name: str) -> str:
    """`layers.1` of `layers.1.linear1.weight`; empty without a number."""
    parts = name.split(".")
    place = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    return "" if place is None else ".".join(parts[: place + 1])


def _redrawn(copies: Sequence[str]) -> Fix:
    """The copies drawn again, each with its own spread."""
    blocks = list(dict.fromkeys(_block(name) for name in copies))
    if all(blocks) and len(copies) > len(blocks):
        body = "[nn.init.normal_(p, std=float(p.detach().std())) for p in {}.parameters() if p.ndim > 1]"
        return Fix(fix_lines.over(body, [path(block) for block in blocks]), tuple(f"{block}." for block in blocks))
    line = fix_lines.over("nn.init.normal_({}, std=float({}.detach().std()))", [*map(path, copies)])
    return Fix(line, tuple(copies))


RULES = (
    ModelRule(_equal_units, names=("symmetric",), causes=("symmetric",)),
    ModelRule(
        _copies,
        texts=(
            RuleText(
                name="copied-layers",
                meaning="layers that start from the same weights, as copy.deepcopy makes them",
                measurement="weights of one shape that are equal entry by entry; matrices only",
                remedy="draw each copy again",
                reference="Goodfellow et al. 2016, Deep Learning, section 8.4",
            ),
        ),
        causes=("copied-layers",),
    ),
)
