"""Rules for what multiplies along a chain of layers or a stream of blocks, and for one layer that explodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.formatting import short, short_of
from initprobe.results.base import Severity
from initprobe.torch.structure import Join, Layer
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.fix_lines import for_layers, is_spectral, scaled
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Fix, Observation
from initprobe.torch.verdict.profiles import Trend, decades, sustained

if TYPE_CHECKING:
    from initprobe.torch.measure import Track

_LEAST = 4  # steps from which a steady change is a trend
_SHORT_BRANCH = 5  # layers of a branch from which it is judged as a chain; shorter ones by what they add
_SEVERE = 1.5  # times what published nets lose is an error
_UNIFORM_SDS = 5  # by which the variance of so many entries may differ by chance
_OUTPUT, _GRADIENT = "output", "gradient"
_SYMBOLS = {_OUTPUT: "mean square of h", _GRADIENT: "squared norm of dL/dh per sample"}
_FACTORS = {_OUTPUT: "E[phi^2]/q", _GRADIENT: "E[phi'^2]"}
_SILENT = 0.002  # decades of a factor that vanishes in the digits of the others
_BUILT_IN = "give the branches a smaller initial scale, or a norm each, in the model's code"
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
        places: log to base 10 at each place. The step to a place is by the layer or block there.
        numbers: of the layer at each place.
        modules: name of the layer or block at each place.
        layers: the layers that decide the profile; none for a stream.
        least: decades from which a change counts.
        unit: what a step is: a layer or a block.
        whole: the chain or the stream that it is a part of.
    """

    tensor: str
    places: Sequence[float]
    numbers: Sequence[int]
    modules: Sequence[str]
    layers: Sequence[Layer]
    least: float
    unit: str = "layer"
    whole: object = None


def _trends(case: Case) -> Iterator[Observation]:
    """Chains and streams whose signal or gradient changes by a factor at every step."""
    pairs = [(way, trend) for way in _ways(case) for sign in (-1, 1) if (trend := _trend(case, way, sign)) is not None]
    for way, trend in pairs:
        # One line for everything that is wrong with a chain: its observations share it.
        same = [(other, change) for other, change in pairs if other.whole is way.whole]
        chain = {layer for other, _ in same for layer in other.layers}
        at_fault = {layer for other, change in same for layer in _at_fault(other, change)}
        at_fault |= {layer for layer in chain if _is_void(layer)}
        yield _observation(case, way, trend, sorted(chain & at_fault, key=lambda layer: layer.number))


def _is_void(layer: Layer) -> bool:
    """Whether the signal or the gradient is lost here, so that it shows no rate."""
    tracks = [track for track in (layer.h, layer.h.gradient) if track is not None]
    return not all(track.square > 0 for track in tracks)


def _ways(case: Case) -> Iterator[Way]:
    limits = case.limits
    for chain in case.structure.chains:
        if chain[0].beside and len(chain) < _SHORT_BRANCH:
            continue
        for part in _plain_parts(chain):
            yield from _of_chain(part, limits.chain_decades)
        if any(layer.reset for layer in chain[1:]):
            yield from (way for way in _of_chain(chain, limits.normed_decades) if way.tensor == _GRADIENT)
    yield from _within_recurrences(case)
    for stream in case.structure.streams:
        is_normed = any(join.normed for join in stream)
        yield from _of_stream(case, stream, limits.normed_decades if is_normed else limits.stream_decades)


def _within_recurrences(case: Case) -> Iterator[Way]:
    """The gradient through the layers of each deep recurrence."""
    for layer in case.layers:
        facts, modules, places = layer.op.facts, list[str](), list[float]()
        while (value := facts.get(f"back_l{len(places)}")) is not None:
            modules.append(f"{layer.label}.weight_ih_l{len(places)}".lstrip("."))
            places.append(decades(value))
        if places:
            numbers = [layer.number] * len(places)
            yield Way(_GRADIENT, places, numbers, modules, [layer], case.limits.chain_decades, whole=layer)


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
    """The input of the chain first. A head's output belongs to no trend, nor does the gradient that starts there."""
    inner = [layer for layer in chain if not layer.is_readout and not layer.is_embedding]
    if len(inner) < 2:
        return
    given = inner[0].op.given
    squares = [decades(given.square) if given else math.nan, *(decades(layer.h.square) for layer in inner)]
    numbers, labels = [layer.number for layer in inner], [layer.label for layer in inner]
    yield Way(_OUTPUT, squares, [numbers[0], *numbers], [labels[0], *labels], inner, least, whole=chain)
    norms = [_gradient_norm(layer.h) for layer in inner]
    yield Way(_GRADIENT, norms, numbers, labels, inner, least, whole=chain)


def _gradient_norm(track: Track) -> float:
    """The log of the squared norm of the gradient over all samples: layers may differ in their number of positions."""
    gradient = track.gradient
    return math.nan if gradient is None else decades(gradient.square * gradient.entries)


def _of_stream(case: Case, stream: Sequence[Join], least: float) -> Iterator[Way]:
    if len(stream) < 3:
        return
    ops = [join.op for join in stream]
    numbers, modules = [case.layer_of(op) for op in ops], [op.module for op in ops]
    squares = [decades(op.output.square) if op.output else math.nan for op in ops]
    norms = [_gradient_norm(op.output) if op.output else math.nan for op in ops]
    yield Way(_OUTPUT, squares, numbers, modules, [], case.limits.stream_decades, "block", stream)
    yield Way(_GRADIENT, norms, numbers, modules, [], least, "block", stream)


def _trend(case: Case, way: Way, sign: int) -> Trend | None:
    """A change of this sign in the direction of travel. Gradients travel back."""
    along = sign if way.tensor == _OUTPUT else -sign
    trend = sustained(way.places, along, _LEAST, way.least)
    if trend is not None:
        return None if _is_by_biases(case, way, trend) else trend
    is_plain_chain = way.layers and way.least == case.limits.chain_decades
    short_part = sustained(way.places, along, 2, 2 * case.limits.step_decades) if is_plain_chain else None
    if short_part is not None and abs(short_part.decades) >= case.limits.step_decades * short_part.steps:
        return None if _is_by_biases(case, way, short_part) else short_part
    return None


def _is_by_biases(case: Case, way: Way, trend: Trend) -> bool:
    """Whether the output grows because biases, and not weights, lift a small signal."""
    if way.tensor != _OUTPUT or trend.decades < 0:
        return False
    layers = _at_fault(way, trend)
    lifted = [layer for layer in layers if _is_lifted(case, layer)]
    return 2 * len(lifted) >= len(layers) > 0


def _is_lifted(case: Case, layer: Layer) -> bool:
    """Whether most of the mean square of z is that of the bias."""
    name, half = case.bias_of(layer) or "", layer.z.square / 2
    if name not in case.parameters or case.peaks.get(name, math.inf) ** 2 <= half:  # as nearly always
        return False
    return float(case.parameters[name].detach().double().square().mean()) > half


def _at_fault(way: Way, trend: Trend) -> list[Layer]:
    """The layers of the part. What comes back through layer k appears at the output of layer k - 1."""
    return _between(way, trend.start + (way.tensor == _OUTPUT), trend.end)


def _between(way: Way, first: int, last: int) -> list[Layer]:
    return [layer for layer in way.layers if way.numbers[first] <= layer.number <= way.numbers[last]]


def _observation(case: Case, way: Way, trend: Trend, at_fault: Sequence[Layer]) -> Observation:
    falls = trend.decades < 0 if way.tensor == _OUTPUT else trend.decades > 0
    rule = f"{'vanishing' if falls else 'exploding'}-{way.tensor}"
    first = trend.start + 1  # the step to a place is by the layer there
    layers = _between(way, first, trend.end)
    product = arithmetic(layers, way.tensor, _logged(way, trend))
    reason = "" if layers else "every branch adds in proportion to the stream, "
    return Observation(
        rule=rule,
        severity=_severity(case, way, trend.decades),
        layer=way.numbers[first],
        evidence=f"{product}{_rate(way, trend)} ({_course(way, trend)}, {_span(way, first, trend.end)})",
        cause=f"{reason}{_CAUSES[rule]} {way.unit}",
        module=way.modules[first],
        fixes=_redrawn(case, at_fault) if layers else _of_branches(way, rule),
        no_fix=_no_fix(layers) if layers else _BUILT_IN,
    )


def _logged(way: Way, trend: Trend) -> float:
    """Decades per step in the direction of travel."""
    return trend.rate if way.tensor == _OUTPUT else -trend.rate


def _rate(way: Way, trend: Trend) -> str:
    """`each layer keeps 17% of the mean square of h`."""
    rate = 10 ** _logged(way, trend)
    change = f"keeps {short(100 * rate)}% of" if rate < 1 else f"multiplies by {short(rate)}"
    return f"each {way.unit} {change} the {_SYMBOLS[way.tensor]}"


def _course(way: Way, trend: Trend) -> str:
    """`0.603 to 1.7e-8 over 10 layers`."""
    start, end = short_of(way.places[trend.start]), short_of(way.places[trend.end])
    if way.tensor == _OUTPUT:
        return f"{start} to {end} over {trend.steps} {way.unit}s"
    return f"{end} to {start} on its way back over {trend.steps} {way.unit}s"


def _of_branches(way: Way, rule: str) -> tuple[Fix, ...]:
    """The last weight of every branch divided by the root of their number: together they add as much as one."""
    if not rule.startswith("exploding") or not isinstance(way.whole, list):
        return ()
    leaves = [name for join in way.whole for name in _last_weights(join)]
    return (scaled(leaves, 1 / math.sqrt(len(leaves))),) if leaves else ()


def _last_weights(join: Join) -> list[str]:
    """The weights of the layers that end the branch."""
    inside = {id(signal) for signal in join.branch}
    ends = [signal.op for signal in join.op.inputs if id(signal) in inside and signal.op.kind == "layer"]
    return [op.leaf for op in ends if op.leaf]


def _redrawn(case: Case, layers: Sequence[Layer]) -> tuple[Fix, ...]:
    """Lines that draw the weights of layers again, with those on parallel paths; none for recurrences."""
    every = [each for layer in layers for each in (layer, *layer.parallel)]
    return () if any(layer.op.kind == "recurrence" for layer in every) else for_layers(case, every)


def _no_fix(layers: Sequence[Layer]) -> str:
    if any(layer.op.kind == "recurrence" for layer in layers):
        return "give the recurrences residual connections or norms: four in a row work, eight do not (arXiv:1609.08144)"
    if any(op.kind == "softmax" for layer in layers for op in layer.signal.consumers):
        return "put an activation in place of each softmax between layers: it divides the signal by the number of units"
    return "spectral norm undoes any scale of W" if any(map(is_spectral, layers)) else ""


def _span(way: Way, first: int, last: int) -> str:
    return f"{way.unit} {way.modules[first]} to {way.modules[last]}" if way.modules[first] else "the model"


def arithmetic(layers: Sequence[Layer], tensor: str = "", rate: float = 0.0) -> str:
    """`500 x 0.01^2 x 0.5 (E[phi'^2]) = 0.025: `, the numbers that decide the trend, of the layer in the middle.

    Args:
        layers: of the trend; without any, there is no product.
        tensor: `output` or `gradient`, for the factor of the activation; empty for that of the weights alone.
        rate: decades per layer. The factor of the activation is shown where it brings the product closer to this.

    Returns:
        The product, with a colon behind it.
    """
    if not layers:
        return ""
    layer = layers[len(layers) // 2]
    if layer.op.weight is None or layer.op.kind == "recurrence":
        return ""
    weights, own = f"{layer.op.fans[0]} x {math.sqrt(layer.op.weight.square):.2g}^2", decades(layer.own_scale)
    of_activation = _of_activations(layers, tensor)
    if abs(of_activation) < _SILENT or abs(own + of_activation - rate) >= abs(own - rate):
        return f"{weights} = {layer.own_scale:.2g}: "
    factor = f"{10**of_activation:.2g} ({_FACTORS[tensor]})"
    return f"{weights} x {factor} = {10 ** (own + of_activation):.2g}: "


def _of_activations(layers: Sequence[Layer], tensor: str) -> float:
    """Decades that the activations of layers add to a mean square, measured and averaged; 0 where it is not known."""
    if tensor not in _FACTORS or any(layer.activation is None or layer.norm is not None for layer in layers):
        return 0.0
    pairs = [(layer.h, layer.z) if tensor == _OUTPUT else (layer.z.gradient, layer.h.gradient) for layer in layers]
    steps = [decades(above.square) - decades(below.square) for above, below in pairs if above and below]
    finite = [step for step in steps if math.isfinite(step)]
    return sum(finite) / len(finite) if finite else 0.0


def _severity(case: Case, way: Way, change: float) -> Severity:
    """By the decades of the change."""
    severe = case.limits.grave_decades * way.least / case.limits.chain_decades
    allowed = _published_decades(case, way.layers) if way.least == case.limits.chain_decades else 0.0
    if abs(change) < allowed:
        return "info"
    return "error" if abs(change) >= max(severe, _SEVERE * allowed) else "warning"


def _published_decades(case: Case, layers: Sequence[Layer]) -> float:
    """What published nets drawn in this way lose; 0 where a layer is drawn in another way."""
    least = math.inf if layers else 0.0
    for layer in layers:
        if least:  # a layer with 0 decides, mostly the first
            least = min(least, _published_draw(case, layer))
    return least


def _published_draw(case: Case, layer: Layer) -> float:
    if is_spectral(layer):
        return case.limits.spectral_decades
    return case.limits.torch_draw_decades if _is_drawn_by_torch(case, layer) else 0.0


def _is_drawn_by_torch(case: Case, layer: Layer) -> bool:
    """Whether weight and bias have the spread and the bounds of `U(-1/sqrt(fan_in), 1/sqrt(fan_in))`."""
    weight, bias = case.parameters.get(layer.op.leaf or ""), case.parameters.get(case.bias_of(layer) or "")
    track = layer.op.weight
    if weight is None or bias is None or track is None or layer.op.kind != "layer" or weight.ndim < 2:
        return False
    fan_in = math.prod(weight.shape[1:])
    spread = _UNIFORM_SDS * math.sqrt(0.8 / weight.numel())  # of its variance about that of a uniform distribution
    bound = 1.0001 / math.sqrt(fan_in)
    is_within = track.peak <= bound and float(bias.detach().abs().max()) <= bound
    return is_within and abs(3 * fan_in * track.square - 1) < spread and bool(bias.detach().any())


RULES = (ModelRule(_trends, names=tuple(_CAUSES), is_trend=True),)
