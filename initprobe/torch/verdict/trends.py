"""Trends: what multiplies from layer to layer of a chain, or from block to block of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.formatting import power, short
from initprobe.results.base import Severity
from initprobe.torch.structure import Join, Layer
from initprobe.torch.verdict.case import Case, Cure, Observation, Trend, decades, sustained
from initprobe.torch.verdict.fix_lines import for_layers, is_spectral, scaled

if TYPE_CHECKING:
    from initprobe.torch.measure import Track

_LEAST = 4  # steps from which a steady change is a trend
_SHORT_BRANCH = 5  # layers of a branch from which it is judged as a chain; shorter ones by what they add
_OUTPUT, _GRADIENT = "output", "gradient"
_SYMBOLS = {_OUTPUT: "mean square of h", _GRADIENT: "squared norm of dL/dh per sample"}
_BUILT_IN = "a smaller initial scale of the branches, or a norm in each, has to be built in"
_CAUSES = {
    "vanishing-output": "the weights are too small for this activation, so the signal shrinks by a factor at every",
    "exploding-output": "the weights are too large for this activation, so the signal grows by a factor at every",
    "vanishing-gradient": "what comes back shrinks by a factor at every",
    "exploding-gradient": "what comes back grows by a factor at every",
}


@dataclass(frozen=True)
class Way:
    """A profile of logs along layers or blocks, in the order of the model.

    Attributes:
        tensor: `output` or `gradient`.
        places: log10 at each place; the step from one to the next is by the layer or block at the latter.
        numbers: of the layer at each place.
        modules: name of the layer or block at each place.
        layers: the layers that decide it; none for a stream.
        least: decades that are worth a word.
        unit: what a step is.
        chain: what the way is a part of.
    """

    tensor: str
    places: Sequence[float]
    numbers: Sequence[int]
    modules: Sequence[str]
    layers: Sequence[Layer]
    least: float
    unit: str = "layer"
    chain: object = None


def trends(case: Case) -> Iterator[Observation]:
    """Chains and streams whose signal or gradient changes by a factor at every step; and one layer that explodes."""
    found = [(way, seen) for way in _ways(case) for sign in (-1, 1) if (seen := _judged(case, way, sign)) is not None]
    for way, seen in found:
        # One line for all that is wrong with a chain, which its other findings share.
        chain = {layer for other, _ in found if other.layers and other.chain is way.chain for layer in other.layers}
        guilty = {one for other, trend in found if other.chain is way.chain for one in _at_fault(other, trend)}
        yield _told(case, way, seen, sorted(chain & guilty, key=lambda layer: layer.number))
    yield from _single(case)


def _ways(case: Case) -> Iterator[Way]:
    limits = case.limits
    for chain in case.structure.chains:
        if chain[0].beside and len(chain) < _SHORT_BRANCH:
            continue
        for part in _plain_parts(chain):
            yield from _of_chain(part, limits.chain_decades)
        if any(layer.reset for layer in chain[1:]):
            yield from (way for way in _of_chain(chain, limits.normed_decades) if way.tensor == _GRADIENT)
    for stream in case.structure.streams:
        normed = any(join.normed for join in stream)
        yield from _of_stream(case, stream, limits.normed_decades if normed else limits.stream_decades)


def _plain_parts(chain: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Runs of layers without a norm between them."""
    part = [chain[0]]
    for layer in chain[1:]:
        if layer.reset:
            yield part
            part = []
        part.append(layer)
    yield part


def _of_chain(chain: Sequence[Layer], least: float) -> Iterator[Way]:
    """The input of the chain first; a head's output belongs to no trend, nor does the gradient that starts there."""
    inner = [layer for layer in chain if not layer.is_readout and not layer.is_embedding]
    if len(inner) < 2:
        return
    given = inner[0].op.given
    squares = [decades(given.square) if given else math.nan, *(decades(layer.h.square) for layer in inner)]
    numbers, labels = [layer.number for layer in inner], [layer.label for layer in inner]
    yield Way(_OUTPUT, squares, [numbers[0], *numbers], [labels[0], *labels], inner, least, chain=chain)
    norms = [_norm(layer.h) for layer in inner]
    yield Way(_GRADIENT, norms, numbers, labels, inner, least, chain=chain)


def _norm(track: Track) -> float:
    """log10 of the squared norm of the gradient, all samples together: positions may differ from layer to layer."""
    gradient = track.gradient
    return math.nan if gradient is None else decades(gradient.square * gradient.entries)


def _of_stream(case: Case, stream: Sequence[Join], least: float) -> Iterator[Way]:
    if len(stream) < 3:
        return
    ops = [join.op for join in stream]
    numbers, modules = [case.layer_of(op) for op in ops], [op.module for op in ops]
    squares = [decades(op.output.square) if op.output else math.nan for op in ops]
    norms = [_norm(op.output) if op.output else math.nan for op in ops]
    yield Way(_OUTPUT, squares, numbers, modules, [], case.limits.stream_decades, "block", stream)
    yield Way(_GRADIENT, norms, numbers, modules, [], least, "block", stream)


def _judged(case: Case, way: Way, sign: int) -> Trend | None:
    """A change of this sign on the signal's way; gradients travel the other way."""
    along = sign if way.tensor == _OUTPUT else -sign
    found = sustained(way.places, along, _LEAST)
    if found is not None and abs(found.decades) >= way.least:
        return found
    short_part = sustained(way.places, along, 2) if way.layers and way.least == case.limits.chain_decades else None
    if short_part is not None and abs(short_part.decades) >= case.limits.step_decades * short_part.steps:
        return short_part
    return None


def _at_fault(way: Way, found: Trend) -> list[Layer]:
    """The layers of the part; what comes back through layer k is seen at the output of layer k - 1."""
    first = found.start + (way.tensor == _OUTPUT)
    return [layer for layer in way.layers if way.numbers[first] <= layer.number <= way.numbers[found.end]]


def _told(case: Case, way: Way, found: Trend, guilty: Sequence[Layer]) -> Observation:
    falls = found.decades < 0 if way.tensor == _OUTPUT else found.decades > 0
    rule = f"{'vanishing' if falls else 'exploding'}-{way.tensor}"
    first = found.start + 1  # the step to a place is by the layer there
    start, end = way.places[found.start], way.places[found.end]
    rate = 10 ** (found.rate if way.tensor == _OUTPUT else -found.rate)
    verb = f"keeps {short(100 * rate)}%" if rate < 1 else f"multiplies by {short(rate)}"
    word = _SYMBOLS[way.tensor]
    course = (
        f"{_value(start)} to {_value(end)} over {found.steps} {way.unit}s"
        if way.tensor == _OUTPUT
        else f"{_value(end)} to {_value(start)} on its way back over {found.steps} {way.unit}s"
    )
    what = f"each {way.unit} {verb} {'of ' if rate < 1 else ''}the {word}"
    layers = [layer for layer in way.layers if way.numbers[first] <= layer.number <= way.numbers[found.end]]
    reason = "" if layers else "every branch adds in proportion to the stream, "
    return Observation(
        rule=rule,
        severity=_gravity(case, found.decades, way.least),
        layer=way.numbers[first],
        evidence=f"{_arithmetic(layers)}{what} ({course}, {_span(way, first, found.end)})",
        cause=f"{reason}{_CAUSES[rule]} {way.unit}",
        module=way.modules[first],
        cures=for_layers(case, guilty) if layers else _of_branches(case, way, rule),
        no_fix=_spectral(layers) if layers else _BUILT_IN,
    )


def _of_branches(case: Case, way: Way, rule: str) -> tuple[Cure, ...]:
    """The last weight of every branch divided by the root of their number, which makes them add as much as one."""
    if not rule.startswith("exploding") or not isinstance(way.chain, list):
        return ()
    leaves = [name for join in way.chain for name in _last_weights(join)]
    return (scaled(leaves, 1 / math.sqrt(len(leaves))),) if leaves else ()


def _last_weights(join: Join) -> list[str]:
    """The weights of the layers that end the branch."""
    inside = {id(one) for one in join.branch}
    ends = [one.op for one in join.op.inputs if id(one) in inside and one.op.kind == "layer" and one.op.leaf]
    return [op.leaf for op in ends if op.leaf is not None]


def _spectral(layers: Sequence[Layer]) -> str:
    return "spectral norm undoes any scale of W" if any(map(is_spectral, layers)) else ""


def _span(way: Way, first: int, last: int) -> str:
    return f"{way.unit} {way.modules[first]} to {way.modules[last]}" if way.modules[first] else "the model"


def _value(log: float) -> str:
    return short(10**log) if abs(log) < 300 else power(log)


def _arithmetic(layers: Sequence[Layer]) -> str:
    """`500 x 0.01^2 = 0.05: `, the number that decides it, of a layer in the middle."""
    if not layers:
        return ""
    layer = layers[len(layers) // 2]
    if layer.op.weight is None:
        return ""
    return f"{layer.op.fans[0]} x {math.sqrt(layer.op.weight.square):.2g}^2 = {layer.own_scale:.2g}: "


def _gravity(case: Case, moved: float, least: float) -> Severity:
    grave = case.limits.grave_decades * least / case.limits.chain_decades
    return "error" if abs(moved) >= grave else "warning"


def _single(case: Case) -> Iterator[Observation]:
    """A layer whose weights alone multiply the mean square by a thousand."""
    for layer in case.layers:
        scale, given = layer.own_scale, layer.op.given
        plain = layer.op.kind == "layer" and layer.norm is None and not (layer.is_embedding or layer.beside)
        if plain and given is not None and not layer.head and not case.is_explained(layer):
            yield from _lost(case, layer, given)
        if not plain or given is None or not scale >= case.limits.single:
            continue
        if given.square > 0 and layer.z.square > case.limits.single**0.5 * given.square:
            yield Observation(
                rule="exploding-output",
                severity="error" if scale >= 10 ** (case.limits.grave_decades - 0.5) else "warning",
                layer=layer.number,
                evidence=f"{_arithmetic([layer])}mean square {short(given.square)} becomes {short(layer.z.square)}",
                cause="the weights of this layer are too large",
                module=layer.label,
                cures=for_layers(case, [layer]),
                alone=True,
            )


def _lost(case: Case, layer: Layer, given: Track) -> Iterator[Observation]:
    """One layer that all but ends the signal, without units that are off."""
    kept = layer.h.square / given.square if given.square > 0 else 1.0
    if 0 < kept < case.limits.lost and not (layer.activation and any(layer.activation.dead)):
        yield Observation(
            rule="vanishing-output",
            severity="warning",
            layer=layer.number,
            evidence=f"{_arithmetic([layer])}mean square {short(given.square)} becomes {short(layer.h.square)}",
            cause="this layer, or the stored statistics of its batch norm, all but ends the signal",
            module=layer.label,
            cures=for_layers(case, [layer]),
            alone=True,
        )
