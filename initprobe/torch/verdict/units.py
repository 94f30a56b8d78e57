"""Units that are dead or saturated."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.diagnosis.units import most_saturated
from initprobe.formatting import percent, short
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Fix, Observation, gathered

DEAD, DEAD_UNITS = "dead-layer", "dead-units"
# Where a layer is dead, these are its consequences.
_FOLLOWS = ("no-gradient", "underflow", "rank-collapse")
_READERS = ("layer", "recurrence", "attention", "norm")
_PASSING = ("part", "other", "cat")
_DEEPEST = 6  # operations between an activation and the layer that is given it
_FAR = 4  # standard deviations of what W makes
_ALL_BUT_A_FEW = 0.95  # of the units off: of 64 units three are left, by chance
_LARGEST_GAIN = 2.0  # torch's calculate_gain gives at most 5/3, for tanh: 21% of |tanh| is then above 0.97
_PART_BY_WEIGHT = 0.5  # of the limit: half as many saturated outputs are enough where W is drawn beyond every rule


def _dead(case: Case) -> Iterator[Observation]:
    """Dead layers and dead units. What follows a dead layer is 0 because of it, unless its own bias kills it."""
    named: set[str] = set()
    for layer in case.layers:
        observation = _zero_layer(case, layer) or _units_off(case, layer)
        if observation is None:
            continue
        is_own = not named or (DEAD in named and _killed(case, layer) > case.limits.killed)
        if is_own or not named & {observation.rule, DEAD}:
            yield observation
            named.add(observation.rule)


def _zero_layer(case: Case, layer: Layer) -> Observation | None:
    """A layer whose output is exactly 0, although its input is not."""
    op = layer.op
    if op.output is None or op.output.peak != 0 or op.output.nonfinite or case.is_explained(layer):
        return None
    if layer.z.peak or op.weight is None or op.given is None or not op.given.peak:
        return None
    if op.weight.peak:
        return None  # underflow, which has its own rule
    is_product = op.leaf is None and any(bool(case.parameters[name].detach().any()) for name in op.names)
    if is_product and any(case.zero_starts.is_zero(name) for name in op.names):
        return None  # a gain of 0 that learns
    cause = "W is multiplied by a constant that is 0" if is_product else "every weight is 0, and no gradient moves it"
    return Observation(
        DEAD,
        "error",
        layer.number,
        f"every output of {layer.label or 'the model'} is exactly 0",
        cause,
        layer.label,
        () if is_product else fix_lines.for_layers(case, _zero_layers(case)),
        "the factor is in the model's code" if is_product else "",
        hides=_FOLLOWS,
    )


def _zero_layers(case: Case) -> list[Layer]:
    """Every layer whose weight is 0 though nothing sets it in motion: behind one of them the next shows."""
    zero = (layer for layer in case.layers if layer.op.weight is not None and layer.op.weight.peak == 0)
    return [layer for layer in zero if layer.op.leaf is not None and not case.is_explained(layer)]


def _units_off(case: Case, layer: Layer) -> Observation | None:
    act = layer.activation
    if act is None or not act.dead:
        return None
    share = sum(act.dead) / len(act.dead)
    if share == 1 and case.is_explained(layer):
        return None
    if not share > case.limits.dead and not _killed(case, layer) > case.limits.killed:
        return None
    is_whole = share >= _ALL_BUT_A_FEW
    off = f"{percent(share)}% of the units are off for every input"
    evidence = "every unit is off for every input, and learns nothing" if share == 1 else off
    cause, fixes = _bias_or_weight(case, layer)
    return Observation(
        DEAD if is_whole else DEAD_UNITS,
        "error" if is_whole else "warning",
        layer.number,
        f"{evidence}; z has mean {short(layer.z.mean)}, std {short(layer.z.variance**0.5)}",
        cause,
        layer.label,
        fixes,
        hides=_FOLLOWS if is_whole else (),
    )


def _killed(case: Case, layer: Layer) -> float:
    """The share of the units that their own bias switches off."""
    bias, given = case.bias_of(layer), layer.op.given
    if bias is None or given is None or layer.norm is not None or not layer.own_scale > 0:
        return 0.0
    # Customary biases are within 1 / sqrt(fan_in).
    spread = max(layer.own_scale * given.square, 1 / layer.op.fans[0]) ** 0.5
    if case.peaks.get(bias, math.inf) <= _FAR * spread:
        return 0.0  # as nearly always
    return float((case.parameters[bias].detach() < -_FAR * spread).double().mean())


def _saturated(case: Case) -> Iterator[Observation]:
    """Layers most of whose outputs are on the flat ends of the activation."""
    for layer in case.layers:
        observation = _saturated_layer(case, layer)
        if observation is not None:
            yield observation


def _saturated_layer(case: Case, layer: Layer) -> Observation | None:
    """The observation of one layer. A read-out and a gate may be saturated."""
    act = layer.activation
    if act is None or act.activation is None or act.activation.saturation is None or layer.head or act.signal is None:
        return None
    share = act.saturated / layer.h.total if layer.h.total else 0.0
    limit = case.limits.saturated * (_PART_BY_WEIGHT if _is_beyond_rules(layer) else 1)
    if not share > most_saturated(act.activation, limit):
        return None
    if not (_feeds_layers(act.signal) or any(op.kind == "sum" for op in act.signal.consumers)):
        return None
    cause, fixes = _bias_or_weight(case, layer)
    return Observation(
        "saturated",
        "warning",
        layer.number,
        f"{percent(share)}% of the outputs are saturated; {_scale_words(layer)}z has mean {short(layer.z.mean)}, "
        f"std {short(layer.z.variance**0.5)}",
        cause,
        layer.label,
        fixes,
    )


def _is_beyond_rules(layer: Layer) -> bool:
    """Whether the weights are drawn larger than by every rule in use, and no norm makes up for it."""
    return layer.norm is None and layer.own_scale > _LARGEST_GAIN**2


def _scale_words(layer: Layer) -> str:
    """`1024 x 0.072^2 = 5.3, ` where the weights are drawn larger than by every rule in use."""
    if layer.op.weight is None or not _is_beyond_rules(layer):
        return ""
    return f"{layer.op.fans[0]} x {layer.op.weight.square**0.5:.2g}^2 = {layer.own_scale:.2g}, "


def _feeds_layers(signal: Signal, depth: int = _DEEPEST) -> bool:
    """Whether a layer is given the signal. A factor of other signals, such as a step size, may be flat."""
    return any(
        (op.kind in _READERS and not _is_outer(op))
        or (depth > 0 and (op.kind in _PASSING or _is_outer(op)) and op.signal and _feeds_layers(op.signal, depth - 1))
        for op in signal.consumers
    )


def _is_outer(op: Operation) -> bool:
    """Whether it is an einsum that sums over nothing: each entry times each parameter, as in a Mamba's steps."""
    return op.kind == "layer" and op.name == "einsum" and op.fans[0] == 1


def _bias_or_weight(case: Case, layer: Layer) -> tuple[str, tuple[Fix, ...]]:
    """What carries z so far: the weight of a norm, a bias, or W; with what may fix it."""
    if layer.norm is not None and layer.z.variance == 0:
        return f"{layer.norm.name} gives the same for every input, as a norm over one entry does", ()
    bias = case.bias_of(layer)
    chain = next((chain for chain in case.structure.chains if layer in chain), [layer])
    weight = fix_lines.for_layers(case, [layer]) if layer.norm is None else ()
    if len(chain) > 1 and not any(other.norm for other in chain):
        weight += fix_lines.for_layers(case, chain)
    norm = layer.norm.leaf if layer.norm is not None else None
    by_norm = (fix_lines.ones([norm]),) if norm is not None else ()
    is_shifted = abs(layer.z.mean) > layer.z.variance**0.5
    if bias is not None and is_shifted:
        return f"{path(bias)} carries z there, and not W", (fix_lines.zeros(bias), *by_norm, *weight)
    cause = "the weights carry z too far" if layer.z.variance > 1 else "z is not centred"
    return cause, (*by_norm, *weight, *((fix_lines.zeros(bias),) if bias is not None else ()))


def _saturated_once(case: Case) -> Iterator[Observation]:
    yield from gathered(_saturated(case))


RULES = (
    ModelRule(_dead, names=(DEAD, DEAD_UNITS), causes=(DEAD,)),
    ModelRule(_saturated_once, names=("saturated",)),
)
