"""Units and layers that are dead, saturated, equal, cut off from the loss, or copies of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import percent, short
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case, Cure, Observation, gathered

_MOST_NAMES = 4
_PASSING = ("part", "other", "cat")
_LARGEST_GAIN = 2.0  # torch's calculate_gain gives at most 5/3, for tanh: 21% of |tanh| is then above .97
_PART_BY_WEIGHT = 0.5  # of the limit: half as many saturated outputs are enough where W is drawn beyond every rule
_READERS = ("layer", "recurrence", "attention", "norm")
_FAR = 4  # standard deviations of what W makes
_ALL_BUT_A_FEW = 0.95  # of the units off: what is left of 64 are three, which chance has left
_FEWEST_ENTRIES = 16  # of a weight whose equality to another is no chance


def units(case: Case) -> Iterator[Observation]:
    """What each layer's units do."""
    seen: set[str] = set()
    for layer in case.layers:
        found = _zero(case, layer) or _dead(case, layer)
        # What comes after a dead layer is 0 because of it, unless its own bias sees to that.
        own = not seen or ("dead-layer" in seen and _killed(case, layer) > case.limits.killed)
        if found is not None and (own or (found.rule not in seen and "dead-layer" not in seen)):
            yield found
            seen.add(found.rule)
    yield from gathered(one for layer in case.layers if (one := _saturated(case, layer)) is not None)
    if "dead-layer" not in seen:
        yield from _no_gradient(case)
    yield from gathered(_equal_units(case))
    yield from _copies(case)


def _zero(case: Case, layer: Layer) -> Observation | None:
    """A layer whose output is exactly 0, though what it was given is not."""
    op = layer.op
    if op.output is None or op.output.sketch.peak != 0 or op.output.sketch.nonfinite or case.is_explained(layer):
        return None
    if layer.z.sketch.peak or op.weight is None or op.given is None or not op.given.sketch.peak:
        return None
    if op.weight.sketch.peak:
        return None  # underflow, which has its own rule
    made = op.leaf is None and any(bool(case.parameters[name].detach().any()) for name in op.names)
    if made and any(case.is_zero(name) for name in op.names):
        return None  # a gain of 0 that learns
    cause = "W is multiplied by a constant that is 0" if made else "every weight is 0, and nothing sets them in motion"
    return Observation(
        "dead-layer",
        "error",
        layer.number,
        f"every output of {layer.label or 'the model'} is exactly 0",
        cause,
        layer.label,
        () if made else fix_lines.for_layers(case, [layer]),
        "the factor is in the model's code" if made else "",
    )


def _dead(case: Case, layer: Layer) -> Observation | None:
    act = layer.activation
    if act is None or not act.dead:
        return None
    share = sum(act.dead) / len(act.dead)
    if share == 1 and case.is_explained(layer):
        return None
    if not share > case.limits.dead and not _killed(case, layer) > case.limits.killed:
        return None
    whole = share >= _ALL_BUT_A_FEW
    off = f"{percent(share)}% of the units are off for every input"
    evidence = "every unit's branch is off, and learns nothing" if share == 1 else off
    cause, cure = _bias_or_weight(case, layer)
    return Observation(
        "dead-layer" if whole else "dead-units",
        "error" if whole else "warning",
        layer.number,
        f"{evidence}; z has mean {short(layer.z.mean)}, std {short(layer.z.variance**0.5)}",
        cause,
        layer.label,
        cure,
    )


def _killed(case: Case, layer: Layer) -> float:
    """Share of the units that their own bias switches off."""
    bias, given = case.bias_of(layer), layer.op.given
    if bias is None or given is None or layer.norm is not None or not layer.own_scale > 0:
        return 0.0
    spread = max(layer.own_scale * given.square, 1 / layer.op.fans[0]) ** 0.5  # customary biases are within the latter
    return float((case.parameters[bias].detach() < -_FAR * spread).double().mean())


def _saturated(case: Case, layer: Layer) -> Observation | None:
    """Most outputs on the flat ends. A read-out and a gate may be there."""
    act = layer.activation
    if act is None or act.activation is None or act.activation.saturation is None or layer.head:
        return None
    signal = act.signal
    share = act.saturated / layer.h.sketch.total if layer.h.sketch.total else 0.0
    most = case.limits.saturated * (_PART_BY_WEIGHT if layer.own_scale > _LARGEST_GAIN**2 and layer.norm is None else 1)
    if not share > most or signal is None:
        return None
    if not (_feeds_layers(signal) or any(op.kind == "sum" for op in signal.consumers)):
        return None
    cause, cure = _bias_or_weight(case, layer)
    return Observation(
        "saturated",
        "warning",
        layer.number,
        f"{percent(share)}% of the outputs are saturated; {_scale_words(layer)}z has mean {short(layer.z.mean)}, "
        f"std {short(layer.z.variance**0.5)}",
        cause,
        layer.label,
        cure,
    )


def _scale_words(layer: Layer) -> str:
    """`1024 x 0.072^2 = 5.3: ` where the weights are drawn beyond every rule in use."""
    weight = layer.op.weight
    if weight is None or layer.norm is not None or not layer.own_scale > _LARGEST_GAIN**2:
        return ""
    return f"{layer.op.fans[0]} x {weight.square**0.5:.2g}^2 = {layer.own_scale:.2g}, "


def _feeds_layers(signal: Signal, depth: int = 6) -> bool:
    """Whether a layer is given the signal. A factor of other signals, as a step size, may be flat."""
    return any(
        (op.kind in _READERS and not _is_outer(op))
        or (depth > 0 and (op.kind in _PASSING or _is_outer(op)) and op.signal and _feeds_layers(op.signal, depth - 1))
        for op in signal.consumers
    )


def _is_outer(op: Operation) -> bool:
    """An einsum that sums over nothing: each entry times each parameter, as the steps and rates of a Mamba."""
    return op.kind == "layer" and op.name == "einsum" and op.fans[0] == 1


def _bias_or_weight(case: Case, layer: Layer) -> tuple[str, tuple[Cure, ...]]:
    """What carries z to where it is: a norm's weight, a bias, or W; with what may heal it."""
    bias = case.bias_of(layer)
    chain = next((chain for chain in case.structure.chains if layer in chain), [layer])
    weight = fix_lines.for_layers(case, [layer]) if layer.norm is None else ()
    if len(chain) > 1 and not any(one.norm for one in chain):
        weight += fix_lines.for_layers(case, chain)
    norm = layer.norm.leaf if layer.norm is not None else None
    by_norm = (fix_lines.ones([norm]),) if norm is not None else ()
    shifted = abs(layer.z.mean) > layer.z.variance**0.5
    if bias is not None and shifted:
        return f"{path(bias)} carries z there, and not W", (fix_lines.zeros(bias), *by_norm, *weight)
    cause = "the weights carry z too far" if layer.z.variance > 1 else "z is not centred"
    return cause, (*by_norm, *weight, *((fix_lines.zeros(bias),) if bias is not None else ()))


def _no_gradient(case: Case) -> Iterator[Observation]:
    """The last layer whose weight learns nothing: on the way back it is the first."""
    absent = [layer for layer in case.layers if _gradient(case, layer) is None and _learns(case, layer)]
    still = [
        layer
        for layer in case.layers
        if _gradient(case, layer) is False and _learns(case, layer) and not case.is_explained(layer)
    ]
    useless = [layer for layer in absent if id(layer.signal) not in case.used]
    absent = [layer for layer in absent if id(layer.signal) in case.used]
    if useless:
        yield Observation(
            "no-gradient",
            "info",
            useless[0].number,
            f"the output of {useless[0].label} is not used, so it will not learn",
            "nothing that the model gives, or that the loss is made of, depends on it",
            useless[0].label,
        )
    found = absent or still
    if found:
        what = "dL/dW is absent, though W asks for it" if absent else "every entry of dL/dW is 0"
        others = f", as in {len(found) - 1} more of {len(case.layers)} layers" if len(found) > 1 else ""
        yield Observation(
            "no-gradient",
            "error",
            found[-1].number,
            f"{what}{others}",
            "nothing comes back from the output to this weight, so it will never learn",
            found[-1].label,
            no_fix="what cuts it off is in the model's code or in the loss",
        )


def _learns(case: Case, layer: Layer) -> bool:
    held = [case.parameters[name] for name in layer.op.names if name in case.parameters]
    return any(one.requires_grad and one.ndim > 1 for one in held)


def _gradient(case: Case, layer: Layer) -> bool | None:
    """Whether anything comes back to its weight; None where nothing is connected."""
    seen = [case.moved.get(name) for name in layer.op.names if case.parameters[name].ndim > 1]
    return True if any(seen) else False if any(one is False for one in seen) else None


def _equal_units(case: Case) -> Iterator[Observation]:
    import torch

    for layer in case.layers:
        rows = _unit_rows(case, layer)
        if rows is None or case.is_explained(layer):
            continue
        distinct = len(torch.unique(rows))
        if distinct * 2 > len(rows):
            continue
        weight = layer.op.weight
        same = weight is not None and weight.variance == 0
        words = f"every weight is {short(weight.mean)}, so " if same and weight else ""
        count = "one" if distinct == 1 else str(distinct)
        yield Observation(
            "symmetric",
            "error" if distinct == 1 else "warning",
            layer.number,
            f"{words}{len(rows)} units are {count}",
            "units of equal weights get equal gradients and stay equal for ever, whatever the data",
            layer.label,
            fix_lines.for_layers(case, [layer]),
        )


def _unit_rows(case: Case, layer: Layer) -> Any:
    """A number for each unit of a layer that is equal for equal units alone, `(units,)`; None where that is no fault.

    Units that see other channels, as in depthwise convolutions, may be equal.
    """
    import torch

    op, parameter = layer.op, case.parameters.get(layer.op.leaf or "")
    if parameter is None or parameter.ndim < 2 or layer.is_embedding or op.kind == "recurrence":
        return None
    weight = parameter.detach()
    if op.name.startswith("conv_transpose"):
        weight = weight.transpose(0, 1)
    elif op.name in ("matmul", "mm", "addmm") and op.fans[0] == weight.shape[-2] and weight.ndim == 2:
        weight = weight.T
    elif op.name != "linear" and not op.name.startswith("conv"):
        return None
    if len(weight) < 2 or (op.name.startswith("conv") and weight.shape[1] == 1):
        return None
    flat = weight.reshape(len(weight), -1)
    if _ends_differ(flat[:2, 0].tolist(), flat[-2:, 0].tolist()):  # as nearly always
        return None
    if not bool((flat[1] == flat[0]).all() | (flat[-1] == flat[0]).all() | (flat[-1] == flat[-2]).all()):
        return None
    flat = flat.double()
    key = flat @ torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(0)).double().to(flat)
    bias = case.bias_of(layer)
    if bias is not None and case.parameters[bias].numel() == len(key):
        key = key + torch.e * case.parameters[bias].detach().double()
    return key


def _ends_differ(first: Sequence[float], last: Sequence[float]) -> bool:
    """Of two numbers at each end, the neighbours and the outermost differ."""
    return first[0] != first[1] and last[0] != last[1] and first[0] != last[1]


def _copies(case: Case) -> Iterator[Observation]:
    """Weights that equal those of another layer entry by entry, though both were drawn."""

    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, op in _weights(case).items():
        weight = case.parameters[name].detach()
        if weight.numel() >= _FEWEST_ENTRIES:
            sample = weight.reshape(-1)[:: max(weight.numel() // 64, 1)].tolist()
            groups.setdefault((tuple(weight.shape), tuple(sample), op), []).append(name)
    drawn = [names for (_, sample, _), names in groups.items() if len(set(sample)) >= len(sample) // 2]
    # Others are constant, or mostly zeros.
    same = [names for names in drawn if len(names) > 1 and _equal(case, names)]
    if not same:
        return
    copies = [name for names in same for name in names[1:]]
    first, original = copies[0], same[0][0]
    owner = next((layer for layer in case.layers if layer.op.leaf == first), case.layers[0])
    yield Observation(
        "copied-layers",
        "warning",
        owner.number,
        f"{len(copies)} weights equal others entry by entry: {_words(copies)} those of {_original(copies, original)}",
        "copies of one layer, as copy.deepcopy makes them, start from the same weights",
        _block(first) if len(copies) > len({_block(name) for name in copies}) and _block(first) else _holder(first),
        (_redrawn(copies),),
    )


def _words(copies: Sequence[str]) -> str:
    holders = list(dict.fromkeys(_holder(name) for name in copies))
    blocks = list(dict.fromkeys(_block(name) for name in copies))
    shown = blocks if all(blocks) and len(blocks) < len(holders) else holders
    more = len(shown) - _MOST_NAMES
    if more > 0:
        return f"{', '.join(shown[:_MOST_NAMES])} .. {shown[-1]} ({len(shown)} in all) equal"
    return f"{', '.join(shown)} equal"


def _original(copies: Sequence[str], original: str) -> str:
    whole = len(copies) > len({_block(name) for name in copies})
    return _block(original) if whole and _block(original) else _holder(original)


def _holder(name: str) -> str:
    return name.removesuffix(".weight")


def _block(name: str) -> str:
    """`layers.1` of `layers.1.linear1.weight`; empty without a number."""
    parts = name.split(".")
    place = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    return "" if place is None else ".".join(parts[: place + 1])


def _redrawn(copies: Sequence[str]) -> Cure:
    """The copies drawn anew, each with the spread that it has."""
    blocks = list(dict.fromkeys(_block(name) for name in copies))
    if all(blocks) and len(copies) > len(blocks):
        body = "[nn.init.normal_(p, std=float(p.detach().std())) for p in {}.parameters() if p.ndim > 1]"
        return Cure(fix_lines.over(body, [path(block) for block in blocks]), tuple(f"{block}." for block in blocks))
    line = fix_lines.over(
        "nn.init.normal_({0}, std=float({0}.detach().std()))".replace("{0}", "{}"), [*map(path, copies)]
    )
    return Cure(line, tuple(copies))


def _weights(case: Case) -> dict[str, str]:
    """Parameters that are weights of products, with the name of the function."""
    return {layer.op.leaf: layer.op.name for layer in case.layers if layer.op.leaf and layer.op.weight}


def _equal(case: Case, names: Sequence[str]) -> bool:
    import torch

    first, *others = (case.parameters[name].detach() for name in names)
    return all(torch.equal(first, other) for other in others)


RULES = (
    RuleText(
        name="no-gradient",
        meaning="nothing comes back from the output to this weight, so it will never learn",
        measurement="a layer whose dL/dW is 0 everywhere, or absent though asked for",
        remedy="no detach, no_grad or product with 0 between the layer and the loss, and a loss that depends on it",
        reference="PyTorch documentation, autograd mechanics",
    ),
    RuleText(
        name="copied-layers",
        meaning="layers that start from the same weights, as copy.deepcopy makes them",
        measurement="weights of one shape that are equal entry by entry; matrices alone",
        remedy="draw each copy anew",
        reference="Goodfellow et al. 2016, Deep Learning, section 8.4",
    ),
)
