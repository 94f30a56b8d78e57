"""From a recorded model to the settings of its weights. Start reading in `planned`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from initprobe.engine.threads import checked_threads, workers
from initprobe.errors import ConfigError
from initprobe.torch import descriptions
from initprobe.torch.arguments import Arguments, Loss, check, copied, limits_of, parts_of
from initprobe.torch.graph import Operation
from initprobe.torch.init_centring import Centring, centring_of
from initprobe.torch.init_layers import Share, branch_ends, scale_of, shares_of
from initprobe.torch.init_recurrences import recurrence_settings
from initprobe.torch.init_settings import Setting, setting, whole_name
from initprobe.torch.parametrized import takes_values
from initprobe.torch.passes import recorded
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer, Structure, structure_of

_ZERO = "nn.init.zeros_({})"
_ONE = "nn.init.ones_({})"
_INSIDE = ".parametrizations."
_CENTRING = ("critical", "lsuv")  # the methods whose biases take out the mean that sigmoids give
# The effective weight of a norm that computes (1 + w), beside w itself.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Observed:
    """A recorded model.

    Attributes:
        arguments: the model and its input.
        structure: layers, branches and streams.
        used: what each parameter was used for, by its name.
    """

    arguments: Arguments
    structure: Structure
    used: Mapping[str, frozenset[str]]

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by its first name."""
        return self.arguments.parts.parameters

    @cached_property
    def shares(self) -> Mapping[int, Share]:
        """By id of a signal in a residual branch, its part in making the branch small."""
        return shares_of(self.structure)

    @cached_property
    def centring(self) -> Centring:
        """How the layers around sigmoids are set, so that the biases take out the mean."""
        return centring_of(self.structure.layers)

    @cached_property
    def ends(self) -> set[int]:
        """Ids of the signals that end a residual branch."""
        return {id(end) for join in self.structure.joins for end in branch_ends(join)}

    @cached_property
    def padding(self) -> Mapping[int, int]:
        """By id of the weight of an embedding, its row for the padding."""
        modules = self.arguments.parts.modules.values()
        tables = [module for module in modules if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
        return {id(table.weight): table.padding_idx for table in tables if table.padding_idx is not None}

    def is_zero(self, name: str) -> bool:
        """Whether all entries of a parameter are 0."""
        return not bool(self.parameters[name].detach().any())


def observe(model: nn.Module, x: Any, loss: Loss | None = None, seed: int = 0) -> Observed:
    """Record one pass of a model, forward and back.

    Args:
        model: the model; it is left unchanged.
        x: its input.
        loss: of the output; None for a gradient of N(0, 1) entries.
        seed: of everything random.

    Returns:
        The layers, their places and the parameters.

    Raises:
        ConfigError: the model cannot be recorded, or has no layer.
    """
    arguments = Arguments(parts_of(model), x, loss, 1, None, seed, limits_of(None, None))
    check(arguments)
    with workers(checked_threads(None)) as pool:
        again = Arguments(arguments.parts, copied(arguments.parts, x), loss, 1, None, seed, arguments.limits)
        recorder, _ = recorded(again, pool)
    structure = structure_of(recorder.operations)
    if not structure.layers:
        raise ConfigError(descriptions.no_layers(recorder))
    return Observed(arguments, structure, recorder.roles)


def planned(observed: Observed, method: str) -> list[Setting]:
    """One setting per weight that theory knows; every other parameter is left out.

    Args:
        observed: the recorded model.
        method: `critical`, `forward`, `balanced` or `lsuv`.

    Returns:
        The settings in the order of the model.
    """
    settings: dict[str, Setting] = {}
    for layer in _summing_first(observed.structure.layers):
        for made in _of_layer(observed, layer, method):
            settings.setdefault(made.name, made)
    for op in observed.structure.operations:
        for made in _of_norm(observed, op):
            settings.setdefault(made.name, made)
    names = list(observed.parameters)
    order = {whole_name(name, names): place for place, name in reversed(list(enumerate(names)))}
    return sorted(settings.values(), key=lambda made: order.get(made.name, len(order)))


def _summing_first(layers: Sequence[Layer]) -> list[Layer]:
    """A weight that is also an embedding has the scale of the layer that sums over it."""
    return sorted(layers, key=lambda layer: layer.is_embedding)


def _of_layer(observed: Observed, layer: Layer, method: str) -> Iterator[Setting]:
    if layer.op.kind == "recurrence":
        yield from recurrence_settings(layer.op, observed.parameters)
        return
    if method in _CENTRING and id(layer) in observed.centring.biases:
        yield observed.centring.biases[id(layer)]
    yield from _biases(observed, layer)
    if layer.is_embedding:
        yield from _embedding(observed, layer)
        return
    if id(layer.signal) in observed.ends and layer.op.leaf is not None and observed.is_zero(layer.op.leaf):
        yield setting(layer.op.leaf, _ZERO, "ends a residual branch, and starts at 0 on purpose")
        return
    scale = scale_of(layer, method, observed.shares.get(id(layer.signal)))
    if method in _CENTRING:
        scale = observed.centring.applied(layer, scale)
    yield from _weight(observed, layer, scale.std, scale.reason)


def _embedding(observed: Observed, layer: Layer) -> Iterator[Setting]:
    """Rows of mean square 1; where several embeddings are summed, together."""
    name = layer.op.leaf
    if name is None:
        return
    joined = next((op for op in layer.signal.consumers if op.kind == "sum"), None)
    summed = 0 if joined is None else sum(signal.op.name.startswith("embedding") for signal in joined.inputs)
    std = 1 / math.sqrt(max(summed, 1))
    reason = "an embedding" + (f", 1 of {summed} that are summed" if summed > 1 else "") + ": mean square 1"
    yield _drawn(observed, name, std, reason)


def _drawn(observed: Observed, name: str, std: float, reason: str) -> Setting:
    """A parameter drawn from a normal distribution, but for the row of the padding where it is an embedding."""
    call = f"nn.init.normal_({{}}, std={std:.4g})"
    padding = observed.padding.get(id(observed.parameters[name]))
    if padding is not None:
        call, reason = f"{call}\nnn.init.zeros_({{}}[{padding}])", f"{reason}; 0 in the row of the padding"
    return setting(name, call, reason, std)


def _weight(observed: Observed, layer: Layer, std: float, reason: str) -> Iterator[Setting]:
    """The setting of a weight that is a parameter, or is computed from parameters."""
    if layer.op.leaf is not None:
        yield _drawn(observed, layer.op.leaf, std, reason)
        return
    names = sorted(layer.op.names)
    inner = next((name for name in names if _INSIDE in f".{name}"), None)
    if inner is not None:
        whole = whole_name(inner, names)
        if takes_values(observed.arguments.model, whole):
            yield _parametrized(whole, std, reason)
        return
    direction = next((name for name in names if name.endswith("_v") and f"{name[:-2]}_g" in names), None)
    if direction is not None:
        yield from _normed(observed, direction, std, reason)
        return
    matrices = [name for name in names if observed.parameters[name].ndim > 1]
    if len(matrices) == 1:
        yield _computed(observed, layer, matrices[0], std, reason)


def _parametrized(name: str, std: float, reason: str) -> Setting:
    """Assigned to the module, whose parametrization then finds its own parameters."""
    holder, _, own = name.rpartition(".")
    call = f"{{}}.{own} = nn.init.normal_(torch.empty_like({{}}.{own}), std={std:.4g})"
    return Setting(name, call, path(holder), f"{reason}; through the parametrization", std)


def _normed(observed: Observed, direction: str, std: float, reason: str) -> Iterator[Setting]:
    """The two parts of an old weight norm: `v` drawn, `g` its norm, so that the weight is `v`."""
    stem = direction[:-2]
    length = observed.parameters[f"{stem}_g"]
    kept = [axis for axis, size in enumerate(length.shape) if size > 1]
    dim = kept[0] if len(kept) == 1 else 0 if length.numel() > 1 else -1
    holder, _, own = stem.rpartition(".")
    drawn = f"nn.init.normal_({{}}.{own}_v, std={std:.4g})"
    norm = f"{{}}.{own}_g.copy_(torch.norm_except_dim({{}}.{own}_v, 2, {dim}))"
    target = path(holder) if holder else "model"
    yield Setting(stem, f"{drawn}\n{norm}", target, f"{reason}; weight norm: v drawn, g its length", std)


def _computed(observed: Observed, layer: Layer, name: str, std: float, reason: str) -> Setting:
    """A weight that the model's code makes of one matrix, such as `w * scale`: the matrix, by the same factor."""
    made = math.sqrt(layer.op.weight.square) if layer.op.weight is not None else math.nan
    held = math.sqrt(float(observed.parameters[name].detach().double().square().mean()))
    factor = made / held if held > 0 else math.nan
    if math.isfinite(factor) and factor > 0 and abs(factor - 1) > _ROUNDING:
        return setting(
            name, f"nn.init.normal_({{}}, std={std / factor:.4g})", f"{reason}; the code scales it by {factor:.3g}"
        )
    return setting(name, f"nn.init.normal_({{}}, std={std:.4g})", reason, std)


def _biases(observed: Observed, layer: Layer) -> Iterator[Setting]:
    """Biases of the layer at 0, unless a softplus reads them: that is a time step with its own range."""
    act = layer.activation
    if act is not None and act.name == "softplus":
        return
    steps = [layer.op, *(step for step in layer.signal.steps if step.kind == "shift")]
    for op in steps:
        for name in sorted(op.names):
            is_bias = "bias" in name.rpartition(".")[2] and observed.parameters[name].ndim == 1
            if is_bias and name != layer.op.leaf and _INSIDE not in f".{name}":
                yield setting(name, _ZERO, "biases start at 0")


def _of_norm(observed: Observed, op: Operation) -> Iterator[Setting]:
    """Weight 1 and bias 0 of a norm. 0 where it computes (1 + w), or where it ends a branch that starts at 0."""
    if op.kind != "norm" and op.name != "batch_norm":
        return
    steps = op.signal.steps if op.signal is not None and op.kind == "norm" else []
    scales = [step for step in steps if step.kind == "scale" and step.names][:1]
    shifts = [step for step in steps if step.kind == "shift" and step.names][:1]
    for used in (op, *scales, *shifts):
        weight = used.leaf if used.kind != "shift" else None
        for name in sorted(used.names):
            if "bias" in name.rpartition(".")[2]:
                yield setting(name, _ZERO, "biases start at 0")
            elif name == weight:
                yield _norm_weight(observed, op, name)
            elif used.kind != "shift" and _is_beside_one(observed, used, name):
                yield setting(name, _ZERO, "the norm computes (1 + w), so w starts at 0")


def _norm_weight(observed: Observed, op: Operation, name: str) -> Setting:
    if op.signal is not None and id(op.signal) in observed.ends and observed.is_zero(name):
        return setting(name, _ZERO, "ends a residual branch, and starts at 0 on purpose")
    return setting(name, _ONE, "weights of norms start at 1")


def _is_beside_one(observed: Observed, used: Operation, name: str) -> bool:
    """Whether the norm multiplies by 1 + w."""
    if used.weight is None or len(used.names) > 2:
        return False
    held = observed.parameters[name].detach().double()
    expected = float((1 + held).square().mean())
    return held.ndim == 1 and abs(used.weight.square - expected) <= _ROUNDING * max(expected, 1e-30)
