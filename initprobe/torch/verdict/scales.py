"""Scales: a layer unlike its siblings, norms, and the input."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import factor, short
from initprobe.results.base import Severity
from initprobe.results.summary import Place
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case, Cure, Observation, back_path

Families = dict[tuple[str, tuple[int, int]], list[Layer]]
_FEWEST = 3  # siblings, the layer itself among them, that are a scale
_DEFAULT_EPS = 1e-5


def scales(case: Case) -> Iterator[Observation]:
    """What is drawn, set or fed on another scale than all else."""
    odd = _odd(case)
    if odd is not None:
        yield odd
    yield from _norm_weights(case)
    yield from _eps(case)
    yield from _inactive(case)
    yield from _input(case)


def _size(layer: Layer) -> float:
    return math.sqrt(layer.own_scale)


def _odd(case: Case) -> Observation | None:
    """The layer furthest from its siblings, or without any from all layers; smaller ones are often so on purpose."""
    every = [layer for layer in _each_weight(case) if layer.own_scale > 0]
    if len(every) < _FEWEST:
        return None
    families: Families = {}
    for layer in every:
        families.setdefault((layer.role, layer.op.fans), []).append(layer)
    middle = _Median(every)
    medians = {key: _Median(family) for key, family in families.items() if len(family) >= _FEWEST}
    found = [(layer, *_ratio(case, layer, families, medians, middle)) for layer in every]
    odd = [one for one in found if one[1] > one[2] or one[1] < 1 / case.limits.odd**2]
    if not odd:
        return None
    layer, ratio, _, siblings = max(odd, key=lambda one: abs(math.log(one[1])))
    if ratio < 1 and not siblings:
        return None
    return _odd_words(case, layer, ratio, siblings or every, bool(siblings))


def _each_weight(case: Case) -> list[Layer]:
    """Layers by their weights, each once; what is looked up has no scale, and a recurrence one of its own."""
    found: dict[str, Layer] = {}
    for layer in case.layers:
        if layer.op.kind == "layer" and not layer.is_embedding:
            found.setdefault(layer.op.leaf or layer.label, layer)
    return list(found.values())


class _Median:
    """The median size of some layers but one, for each of them in turn."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._sizes = sorted(map(_size, layers))

    def without(self, layer: Layer) -> float:
        """The median of the others."""
        place, count = bisect_left(self._sizes, _size(layer)), len(self._sizes) - 1
        low, high = (count - 1) // 2, count // 2
        picked = [self._sizes[k + (k >= place)] for k in (low, high)]
        return sum(picked) / 2


def _ratio(
    case: Case,
    layer: Layer,
    families: Families,
    medians: Mapping[tuple[str, tuple[int, int]], _Median],
    middle: _Median,
) -> tuple[float, float, list[Layer]]:
    """Its scale over the median of its siblings, the limit of that, and the siblings."""
    key = layer.role, layer.op.fans
    if key in medians:
        return _size(layer) / medians[key].without(layer), case.limits.odd, families[key]
    limit = case.limits.odd_head if layer.head else case.limits.odd_alone
    return _size(layer) / middle.without(layer), limit, []


def _odd_words(case: Case, layer: Layer, ratio: float, group: Sequence[Layer], siblings: bool) -> Observation:
    fan_in = layer.op.fans[0]
    typical = _size(layer) / ratio
    undone = layer.norm is not None
    severity: Severity = "info" if undone else "warning" if abs(2 * math.log10(ratio)) < 4 else "error"
    harmless = ratio < 1 and (layer.beside or layer.head)
    std = typical / math.sqrt(fan_in)
    exact = fix_lines.for_layers(case, [layer], [std])
    plain = () if siblings else fix_lines.for_layers(case, [layer])
    return Observation(
        "odd-layer",
        "info" if harmless else severity,
        layer.number,
        f"sqrt({fan_in} x E[W^2]) = {short(_size(layer))} where the median of {len(group) - 1} "
        f"{'siblings' if siblings else 'other layers'} is {short(typical)}: {factor(ratio)}",
        "the norm after it makes up for that, though not for the learning rate that it needs"
        if undone
        else "one layer's weights are drawn on another scale than the same layer of other blocks",
        layer.label,
        (*plain, *exact),
    )


def _norms(case: Case) -> Iterator[tuple[Operation, str, float]]:
    """Norms with their weight: the parameter, and its root mean square."""
    seen: set[str] = set()
    for op in case.operations:
        if op.kind != "norm" or op.signal is None:
            continue
        leaf, track = op.leaf, op.weight
        if track is None and op.output is not None and 0.5 < op.output.square < 2 and op.signal.scales:
            step = op.signal.scales[0]
            leaf, track = step.leaf or min(step.names, default=None), step.weight
        if leaf is not None and track is not None and leaf not in seen:
            seen.add(leaf)
            yield op, leaf, math.sqrt(track.square)


def _norm_weights(case: Case) -> Iterator[Observation]:
    odd = []
    for op, name, size in _norms(case):
        ends = op.signal is not None and _ends(op.signal)
        if size > case.limits.odd_norm or (size < 1 / case.limits.odd_norm and not ends):
            odd.append((op, name, size))
    if not odd:
        return
    names = [name for _, name, _ in odd]
    odd.sort(key=lambda entry: (entry[2] != 0, -abs(math.log(entry[2])) if entry[2] else 0))
    op, name, size = odd[0]
    dead = size == 0 and not case.moved.get(name)
    others = f"; {len(odd) - 1} more like it" if len(odd) > 1 else ""
    first, *further = (_norm_place(case, *entry) for entry in odd)
    yield Observation(
        "norm-weight",
        "error" if dead else "warning",
        first.layer,
        f"{first.evidence}{others}",
        "a norm decides the scale of what follows it: "
        + ("it passes nothing on" if size == 0 else "every layer after it is given this one"),
        first.module,
        tuple(_ones(case, names)),
        shuts=size == 0,
        elsewhere=tuple(further),
    )


def _norm_place(case: Case, op: Operation, name: str, size: float) -> Place:
    holder = name.rpartition(".")[0] if name.endswith(".weight") else name
    evidence = f"the weight of {path(holder)} has root mean square {short(size)}, where norms are made with 1"
    return Place(layer=case.layer_of(op), module=holder, evidence=evidence)


def _ends(signal: Signal, depth: int = 6) -> bool:
    """A sum or a product with another signal takes it, possibly in another arrangement or in part."""
    return any(
        op.kind in ("sum", "gate")
        or (depth > 0 and op.kind in ("part", "other", "cat") and op.signal is not None and _ends(op.signal, depth - 1))
        for op in signal.consumers
    )


def _ones(case: Case, names: Sequence[str]) -> Iterator[Cure]:
    plain = [name for name in names if name.endswith("weight") or "." not in name]
    if plain:
        yield fix_lines.ones(plain)


def _eps(case: Case) -> Iterator[Observation]:
    decided = [(op, spread) for op in case.operations if (spread := _spread_below_eps(case, op)) is not None]
    if not decided:
        return
    decided.sort(key=lambda entry: -(entry[0].eps or 0) / entry[1])
    spreads = {_module(op): (op, spread) for op, spread in reversed(decided)}  # of each module the smallest
    modules = list(dict.fromkeys(_module(op) for op, _ in decided))
    held = case.held.modules
    settable = [name for name in held if name in modules and hasattr(held[name], "eps")]
    line = fix_lines.over(f"{{}}.eps = {_DEFAULT_EPS:g}", [path(name) for name in settable]) if settable else ""
    first, *further = (_eps_place(case, *spreads[name]) for name in modules)
    others = f"; {len(modules) - 1} more like it" if len(modules) > 1 else ""
    yield Observation(
        "norm-eps",
        "warning",
        first.layer,
        f"{first.evidence}{others}",
        "eps decides the scale in place of the input, so the norm does not normalize",
        first.module,
        (Cure(line),) if line else (),
        elsewhere=tuple(further),
    )


def _spread_below_eps(case: Case, op: Operation) -> float | None:
    """What a norm divides by, squared, where eps is far above it; None for every other operation."""
    if op.kind != "norm" or op.eps is None or op.given is None or not op.training or op.name == "normalize":
        return None
    spread = op.given.square if op.name == "rms_norm" else op.given.variance
    decides = spread > 1e-30 and op.eps > case.limits.norm_depth * spread and not _is_looked_up(op)
    return spread if decides else None


def _module(op: Operation) -> str:
    return op.module.partition("#")[0]


def _eps_place(case: Case, op: Operation, spread: float) -> Place:
    evidence = f"eps {op.eps:g} against a variance of {short(spread)} of its input"
    return Place(layer=case.layer_of(op), module=_module(op), evidence=evidence)


def _is_looked_up(op: Operation) -> bool:
    """Its input comes straight from an embedding, which is drawn small on purpose (RWKV) and learns at once."""
    return len(op.inputs) == 1 and op.inputs[0].op.name in ("embedding", "embedding_bag")


def _inactive(case: Case) -> Iterator[Observation]:
    """Batch norms in evaluation mode whose statistics nobody has taken yet."""
    names = [name for name, module in case.held.modules.items() if _is_fresh(module)]
    if names:
        yield Observation(
            "fresh-batch-norm",
            "info",
            1,
            f"{len(names)} batch norms in evaluation mode have mean 0 and variance 1, the first {path(names[0])}",
            "they have seen no batch, so they change nothing",
            names[0],
            (Cure("model.train()"),),
        )


def _is_fresh(module: object) -> bool:
    counted = getattr(module, "num_batches_tracked", None)
    mean, variance = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    if counted is None or mean is None or variance is None or getattr(module, "training", True):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


def _input(case: Case) -> Iterator[Observation]:
    """What a first layer is given as it is, far from mean 0 and variance 1."""
    for layer in case.layers:
        if len(layer.op.inputs) != 1 or layer.op.kind != "layer" or layer.is_embedding:
            continue
        *_, source = back_path(layer.op.inputs[0], ("part",))
        given = source.op.output
        if source.op.kind != "input" or given is None or not given.square > case.limits.input_rms**2:
            continue
        mean, std = given.mean, given.variance**0.5
        yield Observation(
            "input-scale",
            "warning",
            layer.number,
            f"the input has mean {short(mean)} and std {short(std)}",
            "it is not standardized; initializers are made for mean 0 and variance 1",
            layer.label,
            (Cure(f"x = (x - {mean:.4g}) / {std:.4g}", standardize=(mean, std)),) if std > 0 else (),
        )
        return


RULES = (
    RuleText(
        name="norm-weight",
        meaning="a norm decides the scale of what follows it, and its weight is 0 or far from 1",
        measurement="root mean square of the weight of a norm; zeros at the end of a residual branch are on purpose",
        remedy="nn.init.ones_ of the weight",
        reference="Ioffe & Szegedy 2015, arXiv:1502.03167",
    ),
    RuleText(
        name="norm-eps",
        meaning="eps decides the scale in place of the input, so the norm does not normalize",
        measurement="eps of a norm beside the variance of its input",
        remedy="a smaller eps, or a larger input",
        reference="Ba et al. 2016, arXiv:1607.06450",
    ),
    RuleText(
        name="fresh-batch-norm",
        meaning="a batch norm in evaluation mode that has seen no batch has mean 0 and variance 1, and changes nothing",
        measurement="running statistics as they are made",
        remedy="model.train()",
        reference="PyTorch documentation, BatchNorm2d",
    ),
    RuleText(
        name="input-scale",
        meaning="the input is not standardized, and initializers are made for mean 0 and variance 1",
        measurement="root mean square of an input that a layer is given as it is",
        remedy="subtract the mean of the data and divide by its standard deviation",
        reference="LeCun et al. 1998, Efficient BackProp",
    ),
)
