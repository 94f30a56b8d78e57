"""One layer that explodes or almost ends the signal, or a signal that is lost step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initprobe.formatting import short
from initprobe.results.base import Severity
from initprobe.torch.graph import Operation
from initprobe.torch.structure import Layer
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.fix_lines import for_layers
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Observation
from initprobe.torch.verdict.trends import arithmetic

if TYPE_CHECKING:
    from initprobe.torch.measure import Track


def _single_layers(case: Case) -> Iterator[Observation]:
    """Layers that alone multiply the mean square by a thousand, or almost end the signal."""
    for layer in case.layers:
        is_plain = layer.op.kind == "layer" and layer.norm is None and not (layer.is_embedding or layer.beside)
        given = layer.op.given
        if not is_plain or given is None:
            continue
        if _is_lost(case, layer, given):
            yield _lost(case, layer, given)
        is_large = layer.own_scale >= case.limits.single
        if is_large and given.square > 0 and layer.z.square > case.limits.single**0.5 * given.square:
            yield _exploding(case, layer, given)


def _is_lost(case: Case, layer: Layer, given: Track) -> bool:
    """Whether one layer almost ends the signal, although none of its units is off."""
    act = layer.activation
    if layer.head or case.is_explained(layer) or (act and (any(act.dead) or _is_gate(act))):
        return False
    kept = layer.h.square / given.square if given.square > 0 else 1.0
    return 0 < kept < case.limits.lost


def _is_gate(act: Operation) -> bool:
    """Whether it multiplies another signal; a gate that is shut has its own rule."""
    return act.signal is not None and any(op.kind == "gate" for op in act.signal.consumers)


def _lost(case: Case, layer: Layer, given: Track) -> Observation:
    cause = "this layer, or the stored statistics of its batch norm, almost ends the signal"
    return _single(case, layer, "vanishing-output", "warning", cause, given, layer.h)


def _exploding(case: Case, layer: Layer, given: Track) -> Observation:
    is_grave = layer.own_scale >= 10 ** (case.limits.grave_decades - 0.5)
    cause = "the weights of this layer are too large"
    return _single(case, layer, "exploding-output", "error" if is_grave else "warning", cause, given, layer.z)


def _single(
    case: Case, layer: Layer, rule: str, severity: Severity, cause: str, given: Track, made: Track
) -> Observation:
    return Observation(
        rule=rule,
        severity=severity,
        layer=layer.number,
        evidence=f"{arithmetic([layer])}mean square {short(given.square)} becomes {short(made.square)}",
        cause=cause,
        module=layer.label,
        fixes=for_layers(case, [layer]),
        alone=True,
    )


def _lost_on_the_way(case: Case) -> Iterator[Observation]:
    """A read-out that almost no signal reaches, in a model without norms, though no chain or stream loses so much."""
    if any(op.kind == "norm" for op in case.operations):
        return
    first, last = case.layers[0], case.layers[-1]
    start, end = first.h if first.is_embedding else first.op.given, last.op.given
    if not last.is_readout or start is None or end is None or case.is_explained(last):
        return
    kept = end.square / start.square if start.square > 0 else 1.0
    if 0 < kept < case.limits.lost:
        yield Observation(
            rule="vanishing-output",
            severity="warning",
            layer=last.number,
            evidence=f"mean square {short(start.square)} at the start, {short(end.square)} before {last.label}",
            cause="the signal shrinks over several parts of the model, none of which alone ends it",
            module=last.label,
            no_fix="several parts share the decay; see the mean square of h at each layer",
            is_last_resort=True,
        )


RULES = (
    ModelRule(_single_layers, names=("vanishing-output", "exploding-output"), is_trend=True),
    ModelRule(_lost_on_the_way, names=("vanishing-output",), is_trend=True),
)
