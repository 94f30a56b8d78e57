"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from initprobe.arithmetic import arithmetic, told_span
from initprobe.averages import mean
from initprobe.numbers import factor, factor_of, fixed, percent, power, short
from initprobe.registry import Registry
from initprobe.results import Finding, LayerStats, ModuleStats, ProbeResult, Severity
from initprobe.thresholds import Thresholds
from initprobe.wiring import branches

TensorProfile = list[tuple[int, float]]


@dataclass(frozen=True)
class Observation:
    """What a rule saw: the layer where it begins, the numbers in words, how severe they are, and why if not as ever.

    `module` is at fault where it is another one than that which holds the layer's weights.
    """

    layer: int
    evidence: str
    severity: Severity
    cause: str = ""
    module: str | None = None


Look = Callable[[ProbeResult, Thresholds], Observation | None]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        name: stable id.
        meaning: what it is, in a sentence.
        measurement: which numbers it looks at.
        remedy: what helps.
        reference: where it is from.
        look: a result to what was seen, or None.
    """

    name: str
    meaning: str
    measurement: str
    remedy: str
    reference: str
    look: Look

    @property
    def aliases(self) -> tuple[str, ...]:
        """A rule has one name."""
        return ()

    @property
    def make(self) -> None:
        """A rule has no parameters."""


def diagnose(
    result: ProbeResult,
    fix: Callable[[], str | None] = lambda: None,
    thresholds: Thresholds | None = None,
    *,
    apart: Callable[[], str | None] = lambda: None,
) -> ProbeResult:
    """The result with its findings, most severe first, then an odd layer, then by the layer where they begin.

    `fix` finds a command line that has none of them; it is asked at most once, and only if something is wrong. `apart`
    finds one under which inputs stay different, asked if nothing else is to be said.
    """
    limits = thresholds or Thresholds()
    seen = [(rule, saw) for rule in RULES.values() if (saw := rule.look(result, limits)) is not None]
    if any(rule.name == _VOID for rule, _ in seen):  # every other number was computed from it
        seen = [(rule, saw) for rule, saw in seen if rule.name == _VOID]
    healthy = all(saw.severity == "info" for _, saw in seen)
    remedy = None if healthy else fix()
    found = [_finding(result, rule, saw, None if saw.severity == "info" else remedy) for rule, saw in seen]
    if healthy:
        found = [one.model_copy(update={"fix": apart()}) if one.rule == "rank-collapse" else one for one in found]
    return result.model_copy(update={"healthy": healthy, "diagnosis": tuple(sorted(found, key=place_of))})


# Rules that name the first layer at which something holds, whatever the other layers are like; and those that name one
# layer or module of several, each for itself. All others speak of the whole net.
FROM_LAYER_ON = ("saturated", "dead-units", "dead-layer", "symmetric", "heavy-tailed-gradient")
LAYER_BY_LAYER = ("no-gradient", "odd-layer", "void-parameter")


def elsewhere(
    result: ProbeResult, finding: Finding, spared: Callable[[int | None, str | None], bool], thresholds: Thresholds
) -> Finding | None:
    """What the finding's rule sees beside the layers and modules that are `spared`, by number and name."""
    void = result.config.get("void")
    names = {name: words for name, words in void.items() if not spared(None, name)} if isinstance(void, dict) else {}
    left = result.model_copy(
        update={
            "layers": tuple(one for one in result.layers if not spared(one.layer, one.name)),
            "modules": tuple(one for one in result.modules if not spared(one.layer, one.name)),
            # Where branches end shows in the whole net alone.
            "config": result.config | {_ADDED: list(_added(result))} | ({"void": names} if names or void else {}),
        }
    )
    saw = RULES[finding.rule].look(left, thresholds) if left.layers else None
    return None if saw is None else _finding(result, RULES[finding.rule], saw, finding.fix)


SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
_VOID = "void-parameter"
_ADDED = "added"  # in the config of a part of a result
# Powers of ten beyond this are said by their logarithm: a float holds few more.
_FLOAT_DECADES = 300


def place_of(finding: Finding) -> tuple[int, bool, int]:
    """Most severe first; of equal ones, one layer drawn wrongly, which is the cause of what else is seen; by layer."""
    return -SEVERITIES.index(finding.severity), finding.rule != "odd-layer", finding.layer


def _finding(result: ProbeResult, rule: Rule, saw: Observation, remedy: str | None) -> Finding:
    return Finding(
        rule=rule.name,
        name=rule.name.replace("-", " "),
        severity=saw.severity,
        layer=saw.layer,
        evidence=saw.evidence,
        cause=saw.cause or rule.meaning,
        fix=remedy,
        module=saw.module or result.layers[saw.layer - 1].name,
    )


@dataclass(frozen=True)
class Trend:
    """How log10 of a variance moves with depth.

    Attributes:
        change: decades from the first layer to the last.
        steady: decades a layer in the half of the net that moves less, 0 if the halves disagree in sign: what is left
            of a power law at depth, and all of an exponential.
        steps: layers between the two ends.
    """

    change: float
    steady: float
    steps: int

    @property
    def decades(self) -> float:
        """Decades that the steady rate makes over the whole depth."""
        return self.steady * self.steps


def trend(profile: Sequence[float]) -> Trend:
    """The trend of some log10 variances, first layer to last."""
    steps = len(profile) - 1
    if steps < 1:
        return Trend(0.0, 0.0, 0)
    middle = max(steps // 2, 1)
    early = (profile[middle] - profile[0]) / middle
    late = (profile[-1] - profile[middle]) / (steps - middle) if steps > middle else early
    steady = math.copysign(min(abs(early), abs(late)), early) if early * late > 0 else 0.0
    return Trend(profile[-1] - profile[0], steady, steps)


def _profile(result: ProbeResult, tensor: str) -> TensorProfile:
    """Layer and log10 variance, where it is known.

    What is inside of a branch is judged by what the branch adds. The read-out of a user's own model is left out:
    by having fewer units it takes a factor from the gradient once, at any depth. So are layers beside another: from one
    head to the next there is no way that a signal takes.
    """
    beside = _names(result, "beside")
    layers = [layer for layer in result.stream if layer.name not in beside]
    layers = layers[:-1] if layers[-1:] == list(result.layers[-1:]) and _has_readout(result) else layers
    known = ((layer.layer, layer.tensor(tensor).variance_log10) for layer in layers)
    return [(layer, value) for layer, value in known if value is not None]


def _names(result: ProbeResult, key: str) -> Collection[str | None]:
    """Layers that the probe of somebody's own model names under a key of its configuration."""
    named = result.config.get(key)
    return [str(name) for name in named] if isinstance(named, list) else []


def _has_readout(result: ProbeResult) -> bool:
    last = result.layers[-1]
    return last.name is not None and last.activation is None and last.fan_out < last.fan_in


def _chance(result: ProbeResult, tensor: str, limits: Thresholds) -> float:
    """Decades that chance may move a variance of this net, as predicted."""
    names = ("output_spread", "output_gradient_spread") if tensor == "weight_gradient" else (f"{tensor}_spread",)
    spreads = [math.hypot(*(getattr(layer.theory, name, None) or 0.0 for name in names)) for layer in result.layers]
    return limits.spread_sds * max(spreads, default=0.0) / math.log(10)


def _trending(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> tuple[Trend, TensorProfile] | None:
    """The trend of a tensor's variance on the signal's way, if it is steady, beyond chance, and of this sign."""
    profile = _profile(result, tensor)
    moved = trend([value for _, value in profile])
    if tensor != "output":  # gradients travel the other way
        moved = Trend(-moved.change, -moved.steady, moved.steps)
    least = limits.trend_decades + _chance(result, tensor, limits)
    return (moved, profile) if sign * moved.decades >= least else None


def _gravity(decades: float, limits: Thresholds) -> Severity:
    return "error" if abs(decades) >= limits.grave_decades else "warning"


def _per_layer(rate: float, symbol: str, steps: str) -> str:
    if rate < 0:
        return f"{steps} keeps {_variance(rate + 2)}% of the variance of {symbol}"
    return f"{steps} multiplies the variance of {symbol} by {_variance(rate)}"


def _steps(profile: TensorProfile, span: tuple[int, int], step: str) -> str:
    """`each layer`, or `each of layers 2 to 4` where the rate is that of a part of the profile."""
    start, end = span
    if (start, end) == (0, len(profile) - 1):
        return f"each {step}"
    first, last = profile[start][0] + 1, profile[end][0]
    if first >= last:
        return f"layer {last}"
    return f"each of layers {first} to {last}" if step == "layer" else f"each {step} of layers {first} to {last}"


def _norm(result: ProbeResult) -> str:
    return str(result.config.get("norm", "none"))


def _is_residual(result: ProbeResult) -> bool:
    return bool(result.config.get("residual"))


def _added(result: ProbeResult) -> Collection[int]:
    """The layers at whose end a branch is added to what it was given."""
    block, known = result.config.get("block", 1), result.config.get(_ADDED)
    if isinstance(known, list):
        return [layer for layer in known if isinstance(layer, int)]
    if not _is_residual(result) or not isinstance(block, int):
        return []
    sizes = [result.layers[0].fan_in, *(layer.fan_out for layer in result.layers)]
    return [branch[-1] + 1 for branch in branches(sizes, block)]


def _is_plain(result: ProbeResult) -> bool:
    """Products and activations, one after the other, and nothing else between them."""
    return _norm(result) == "none" and not _is_residual(result) and _is_chain(result)


def _is_chain(result: ProbeResult) -> bool:
    """Every layer takes what the layer before it gave; of a model of somebody's own the probe has to say so."""
    return bool(result.config.get("chain", True))


def _is_dense_chain(result: ProbeResult) -> bool:
    """A chain whose every entry is a unit's: no position shares weights with another, none is pooled away."""
    return _is_chain(result) and all(layer.kind in (None, "linear") for layer in result.layers)


def _variance(log10: float) -> str:
    return short(10**log10) if abs(log10) < _FLOAT_DECADES else power(log10)


def _output_trend(sign: int) -> Look:
    return lambda result, limits: _trend_seen(result, "output", sign, limits)


def _gradient_trend(sign: int) -> Look:
    """dL/dh, or else dL/dW, which also depends on h: where that has a trend of its own, dL/dW only repeats it."""

    def look(result: ProbeResult, limits: Thresholds) -> Observation | None:
        seen = _trend_seen(result, "output_gradient", sign, limits)
        # A convolution's dL/dW is a sum over positions, of which there are fewer from layer to layer.
        if seen or not _is_dense_chain(result) or any(_trending(result, "output", way, limits) for way in (-1, 1)):
            return seen
        return None if _cancels(result) else _trend_seen(result, "weight_gradient", sign, limits)

    return look


def _cancels(result: ProbeResult) -> bool:
    """The terms of dL/dW cancel in some layer: what is left of their sum is 0, or rounding, and has no trend.

    A norm makes dL/dy orthogonal to y. Where all units are equal, y is a multiple of every input of the layer.
    """
    return any(layer.weight_gradient.rms == 0 for layer in result.layers) or (
        _norm(result) != "none" and any(layer.weight.variance == 0 for layer in result.layers)
    )


_TREND_SYMBOLS = {"output": "h", "output_gradient": "dL/dh", "weight_gradient": "dL/dW"}


def _trend_seen(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> Observation | None:
    found = _trending(result, tensor, sign, limits)
    if found is None:
        return None
    moved, profile = found
    (first, a), (last, b) = profile[0], profile[-1]
    course = f"{_variance(a)} at layer {first}, {_variance(b)} at layer {last}"
    step = "layer" if len(result.stream) == len(result.layers) else "branch"
    start, end = told_span([value for _, value in profile])
    rate = math.copysign((profile[end][1] - profile[start][1]) / (end - start), sign)
    product = arithmetic(result, tensor, profile, rate) if _is_plain(result) else ""
    steps = _steps(profile, (start, end), step)
    evidence = f"{product}{_per_layer(rate, _TREND_SYMBOLS[tensor], steps)} ({course})"
    cause = _cause_of_wiring(result, tensor)
    return Observation(first if tensor == "output" else last, evidence, _gravity(moved.change, limits), cause)


def _cause_of_wiring(result: ProbeResult, tensor: str) -> str:
    """Why a variance moves in a net that is not plain, where weights alone do not decide it."""
    if _is_residual(result):
        return f"every branch adds to the variance of {_TREND_SYMBOLS[tensor]}, in proportion to branch_scale^2"
    if _norm(result) != "none" and tensor != "output":
        return (
            f"{_norm(result)} norm divides gradients by the standard deviation of h W, which the slopes of the "
            "activation do not make up for, whatever the weights"
        )
    return ""


def _first(
    result: ProbeResult, holds: Callable[[LayerStats], bool], words: Callable[[LayerStats], str], severity: Severity
) -> Observation | None:
    """An observation of the first layer where something holds."""
    layer = next((layer for layer in result.layers if holds(layer)), None)
    return None if layer is None else Observation(layer.layer, words(layer), severity)


def _saturated(result: ProbeResult, limits: Thresholds) -> Observation | None:
    return _first(
        result,
        lambda layer: (layer.output.saturated_fraction or 0) > limits.saturated,
        lambda layer: f"{percent(layer.output.saturated_fraction)}% of the outputs are saturated",
        "warning",
    )


def _dead_units(result: ProbeResult, limits: Thresholds) -> Observation | None:
    return _first(
        result,
        lambda layer: limits.dead < (layer.output.dead_fraction or 0) < 1,
        lambda layer: f"{percent(layer.output.dead_fraction)}% of the units are off for every input",
        "warning",
    )


def _dead_layer(result: ProbeResult, limits: Thresholds) -> Observation | None:
    return _first(
        result,
        lambda layer: (
            (layer.output.zero_fraction == 1 or layer.output.dead_fraction == 1)
            and not _will_move(layer)
            and (_is_chain(result) or layer.preactivation.zero_fraction != 1)  # a branch may start at 0
        ),
        lambda layer: (
            "every output is 0" if layer.output.zero_fraction == 1 else "every unit's branch is off, and learns nothing"
        ),
        "error",
    )


def _will_move(layer: LayerStats) -> bool:
    """Weights that somebody set to 0, as in the last layer of a branch, and that the first step changes."""
    return layer.name is not None and layer.weight.rms == 0 and bool(layer.weight_gradient.rms)


def _no_gradient(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """Judged in somebody's own model, and the last such layer named: on the way back it is the first.

    Nothing is said where a layer is dead, which is why. Zeros above a weight that is 0 on purpose end with the first
    step.
    """
    if not result.modules or _dead_layer(result, limits):
        return None
    cut = _names(result, "cut_off")
    absent = [layer for layer in result.layers if layer.name in cut]
    still = [] if _has_gate(result) else [layer for layer in result.layers if _is_still(layer)]
    if not (absent or still):
        return None
    what, found = ("dL/dW is absent, though W asks for it", absent) if absent else ("every entry of dL/dW is 0", still)
    others = f", as in {len(found) - 1} more of {len(result.layers)} layers" if len(found) > 1 else ""
    return Observation(found[-1].layer, f"{what}{others}", "error")


def _is_still(layer: LayerStats) -> bool:
    return layer.weight_gradient.rms == 0 and layer.weight_gradient.status == "ok"


def _has_gate(result: ProbeResult) -> bool:
    """A weight that somebody set to 0, as the last of a branch, and that the first step opens."""
    opening = (one for one in result.modules if one.weight is not None and one.weight.rms == 0)
    return bool(result.config.get("gated")) or any(one.weight_gradient and one.weight_gradient.rms for one in opening)


def _void(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """The probe of somebody's own model names modules whose parameters hold no numbers, with what is wrong."""
    named = result.config.get("void")
    if not isinstance(named, dict) or not named:
        return None
    module, words = next(iter(named.items()))
    layer = next((one.layer for one in result.layers if one.name == module), 1)
    others = f"; {len(named) - 1} more like it" if len(named) > 1 else ""
    return Observation(layer, f"{words}{others}: whatever is computed from it is void", "error", module=module or None)


def _symmetric(result: ProbeResult, limits: Thresholds) -> Observation | None:
    added = _added(result)
    return _first(
        result,
        # What a skip adds tells units apart.
        lambda layer: (
            layer.weight.variance == 0 and layer.fan_out > 1 and layer.layer not in added and not _will_move(layer)
        ),
        lambda layer: f"every weight is {short(layer.weight.mean)}, so {layer.fan_out} units are one",
        "error",
    )


def _rank_collapse(result: ProbeResult, limits: Thresholds) -> Observation | None:
    def words(layer: LayerStats) -> str:
        cosine, second = layer.correlation or 0.0, (layer.preactivation.rms or 0.0) ** 2
        last = stream[-1]
        name = "the last layer" if last is result.layers[-1] else f"layer {last.layer}"
        end = "" if last is layer or last.correlation is None else f", {last.correlation:.4f} at {name}"
        return f"cosine {cosine:.3f} between two inputs{end}; q(1 - c) = {short(second * (1 - cosine))}"

    stream = result.fed_by_stream
    fed = {layer.layer for layer in stream}
    started, ends = (layer.correlation or 0.0 for layer in (stream[0], stream[-1]))
    if not _is_chain(result) and ends <= 1 - limits.indistinct:
        return None  # a branch in which inputs look alike says nothing of what goes round it
    return _first(
        result,
        lambda layer: (
            layer.correlation is not None and layer.correlation > 1 - limits.indistinct > started and layer.layer in fed
        ),
        words,
        "info",
    )


def _chaotic(result: ProbeResult, limits: Thresholds) -> Observation | None:
    known = [layer.correlation for layer in result.fed_by_stream if layer.correlation is not None]
    if not _is_chain(result) or len(known) < 2 or known[0] < 0.3 or known[-1] > limits.decorrelated * known[0]:
        return None
    evidence = f"the cosine between two inputs falls from {known[0]:.2f} at layer 1 to {known[-1]:.2f} at the last"
    return Observation(1, evidence, "warning")


def _tail(layer: LayerStats) -> float:
    """rms over median of |dL/dz|, for a distribution symmetric about 0; 0 where units may be off."""
    stats, unseen = layer.preactivation_gradient, layer.name is not None and layer.activation is None
    if unseen or layer.output.dead_fraction is not None or not stats.percentiles or not stats.rms:
        return 0.0
    median = (stats.percentiles.p75 - stats.percentiles.p25) / 2
    return stats.rms / median if median > 0 else math.inf


def _heavy_tailed(result: ProbeResult, limits: Thresholds) -> Observation | None:
    def words(layer: LayerStats) -> str:
        ratio = _tail(layer)
        median = (
            "the median of |dL/dz| is 0" if math.isinf(ratio) else f"rms of dL/dz is {short(ratio)} times its median"
        )
        return f"{median}: few entries carry all of it"

    if not _is_dense_chain(result):
        return None  # a pooling, a skipped position or a function between two layers makes zeros of its own
    return _first(result, lambda layer: _tail(layer) > limits.tail, words, "warning")


def _status(*statuses: str) -> Look:
    def look(result: ProbeResult, limits: Thresholds) -> Observation | None:
        forward = [layer.layer for layer in result.layers if _any_status(layer, _FORWARD, statuses)]
        back = [layer.layer for layer in result.layers if _any_status(layer, _BACKWARD, statuses)]
        if forward:
            return Observation(forward[0], "on the way forward; what is computed from it is void", "error")
        return Observation(back[-1], _lost_back(result.layers[back[-1] - 1]), "error") if back else None

    return look


def _lost_back(layer: LayerStats) -> str:
    """A gradient can be carried in another unit, which training does not do."""
    carried = layer.output_gradient.variance_log10 is not None
    rest = "training would lose it; its variance is known in another unit" if carried else "what follows is void"
    return f"on the way back; {rest}"


_FORWARD = ("weight", "preactivation", "output")
_BACKWARD = ("output_gradient", "preactivation_gradient", "weight_gradient")


def _any_status(layer: LayerStats, tensors: Sequence[str], statuses: Sequence[str]) -> bool:
    return any(layer.tensor(tensor).status in statuses for tensor in tensors)


def _unstable_gain(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """The steepest slope counts, not their product: a net that has slipped is where the map is level again."""
    slopes = {layer.layer: layer.theory.length_slope for layer in result.layers if layer.theory}
    known = {layer: slope for layer, slope in slopes.items() if slope is not None}
    steepest = max(known, key=lambda layer: known[layer], default=0)
    if not known or not known[steepest] > 0:
        return None
    growth = len(known) * math.log10(known[steepest])
    if growth < math.log10(limits.unstable):
        return None
    slips = any(_trending(result, tensor, way, limits) for tensor in ("output", "output_gradient") for way in (-1, 1))
    evidence = (
        f"length-map slope {fixed(known[steepest], 3)} at layer {steepest}: to the {len(known)}th power, "
        f"deviations in scale grow {factor_of(growth)}"
    )
    return Observation(steepest, evidence, "warning" if slips else "info")


def _scales(result: ProbeResult, side: Callable[[LayerStats], int]) -> list[float]:
    """`fan x Var(W)` of every layer, by `side` fan_in or fan_out; empty where one is not known, 0 or infinite."""
    scales = [side(layer) * (layer.weight.variance or 0.0) for layer in result.layers]
    return scales if all(0 < scale < math.inf for scale in scales) else []


def _fan_mismatch(result: ProbeResult, limits: Thresholds) -> Observation | None:
    if not _is_plain(result):
        return None  # a norm divides by the scale, and a skip goes round it
    inward, outward = _scales(result, lambda layer: layer.fan_in), _scales(result, lambda layer: layer.fan_out)
    if not inward or max(outward) > (1 + 2 * limits.recognised) * min(outward):
        return None
    ratio = max(inward) / min(inward)
    if ratio < limits.mismatch:
        return None
    typical = statistics.median(inward)
    layer = max(result.layers, key=lambda layer: abs(math.log(inward[layer.layer - 1]) - math.log(typical)))
    evidence = (
        f"fan_out x Var(W) = {short(outward[0])} everywhere, but what the signal meets, fan_in x Var(W), is "
        f"{short(inward[layer.layer - 1])} at layer {layer.layer} ({layer.fan_in} -> {layer.fan_out})"
    )
    return Observation(layer.layer, evidence, "warning" if math.log10(ratio) >= limits.trend_decades else "info")


# fan_in Var(W) of the rules that everybody uses, and for what they were made.
_CUSTOMARY = {
    "torch.nn.Linear's": 1 / 3,
    "Xavier's or LeCun's, for tanh and linear nets": 1.0,
    "He's, for ReLU nets": 2.0,
}


def _customary(scale: float, tolerance: float) -> str | None:
    """Whose rule has this `fan_in Var(W)`; `tolerance` is of its log."""
    return next((name for name, at in _CUSTOMARY.items() if abs(math.log(scale / at)) <= tolerance), None)


def _wrong_initializer(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """A signal that decays or grows by exactly the factor between two customary rules."""
    scales = _scales(result, lambda layer: layer.fan_in)
    if not _is_plain(result) or not scales or max(scales) > (1 + 2 * limits.recognised) * min(scales):
        return None
    scale, tensors = mean(scales), ("output", "output_gradient")
    found = [(t, seen) for t in tensors for way in (-1, 1) if (seen := _trending(result, t, way, limits))]
    if not found:
        return None
    tensor, (moved, _) = found[0]
    if abs(moved.steady) > _FLOAT_DECADES:
        return None  # no customary rule is that far from another
    needed = scale / 10**moved.steady
    chance = _chance(result, tensor, limits) * math.log(10) / moved.steps
    used, fitting = _customary(scale, limits.recognised), _customary(needed, limits.recognised + chance)
    if used is None or fitting in (None, used):
        return None
    evidence = f"fan_in x Var(W) = {scale:.2g} is {used}; this net needs {needed:.2g}: {fitting}"
    return Observation(1, evidence, "warning")


@dataclass(frozen=True)
class _Weights:
    """A module's weights, or in a net of `run` a layer's: whose, how large, and between how many units."""

    name: str | None
    layer: int
    rms: float
    fan_in: int
    fan_out: int

    @property
    def scales(self) -> tuple[float, ...]:
        """What initializers hold constant: `sqrt(fan_in E[W^2])` first, then by fan_out, then as it is."""
        return math.sqrt(self.fan_in) * self.rms, math.sqrt(self.fan_out) * self.rms, self.rms


def _all_weights(result: ProbeResult) -> list[_Weights]:
    """Every module's weights by name, or every layer's where they were given, unless they are all 0.

    Weights that `run` draws by one rule are not asked about.
    """
    if result.config.get("weights"):
        return [
            _Weights(None, one.layer, one.weight.rms, one.fan_in, one.fan_out)
            for one in result.layers
            if one.weight.rms
        ]
    found = {
        one.name: _Weights(one.name, _layer_of(result, one), one.weight.rms, one.fan_in, one.fan_out or 1)
        for one in result.modules
        if one.fan_in is not None and one.weight is not None and one.weight.rms
    }
    return list(found.values())


def _odd_layer(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """The weights furthest from the others; smaller ones are often so on purpose, and a norm undoes it.

    Given weights of nets of `run` were drawn by a rule that nobody knows, so they have to be odd by every rule.
    """
    every = _all_weights(result)
    if len(every) < 3:
        return None
    odd = max(every, key=lambda one: abs(math.log(_ratios(one, every)[0])))
    ratios = _ratios(odd, every) if odd.name is None else _ratios(odd, every)[:1]
    if not (min(ratios) > limits.odd or max(ratios) < 1 / limits.odd**2):
        return None
    ratio, what = ratios[0], "layers" if odd.name is None else "modules"
    evidence = (
        f"sqrt({odd.fan_in} x E[W^2]) = {short(odd.scales[0])} where the median of {len(every)} {what} is "
        f"{short(odd.scales[0] / ratio)}: {factor(ratio)}"
    )
    undone = _is_normalised(result, odd)
    harmless = undone or (ratio < 1 and not _is_chain(result))
    severity: Severity = "info" if harmless else _gravity(2 * math.log10(ratio), limits)
    cause = "the norm after it makes up for that, though not for the learning rate that it needs" if undone else ""
    return Observation(odd.layer, evidence, severity, cause, odd.name)


def _ratios(one: _Weights, every: Sequence[_Weights]) -> list[float]:
    """A layer's scales over the median of all."""
    medians = [statistics.median(scales) for scales in zip(*(other.scales for other in every), strict=True)]
    return [scale / median for scale, median in zip(one.scales, medians, strict=True)]


def _is_normalised(result: ProbeResult, odd: _Weights) -> bool:
    if odd.name is None:
        return _norm(result) != "none"
    own = [one for one in result.modules if one.layer is not None and one.layer == _own_layer(result, odd.name)]
    return any(one.kind == "normalisation" for one in own)


def _own_layer(result: ProbeResult, name: str) -> int | None:
    return next(one.layer for one in reversed(result.modules) if one.name == name)


def _layer_of(result: ProbeResult, module: ModuleStats) -> int:
    """The layer a module is a part of, else the last that came before it, else the first."""
    before = result.modules[: result.modules.index(module) + 1]
    return module.layer or next((one.layer for one in reversed(before) if one.layer), 1)


_GLOROT = "Glorot & Bengio 2010, AISTATS 9:249"
_DEEP_INFORMATION = "Schoenholz et al. 2017, arXiv:1611.01232"

RULES: Registry[Rule] = Registry(
    "rule",
    [
        Rule(
            name="vanishing-output",
            meaning="the weights are too small for this activation, so the signal shrinks by a factor at every layer",
            measurement="log variance of h over depth: steady rate times depth, beyond the predicted spread",
            remedy="larger weights: the forward gain of the activation",
            reference=_GLOROT,
            look=_output_trend(-1),
        ),
        Rule(
            name="exploding-output",
            meaning="the weights are too large for this activation, so the signal grows by a factor at every layer",
            measurement="log variance of h over depth: steady rate times depth, beyond the predicted spread",
            remedy="smaller weights: the forward gain of the activation; in a residual net --branch-scale 1/sqrt(2L)",
            reference="He et al. 2015, arXiv:1502.01852",
            look=_output_trend(1),
        ),
        Rule(
            name="vanishing-gradient",
            meaning="width x Var(W) times the mean squared slope is below 1, so the gradient shrinks on its way back",
            measurement="log variance of dL/dh, else dL/dW, over depth: steady rate times depth, beyond chance",
            remedy="larger weights, or an activation with a larger slope where its inputs are",
            reference=_GLOROT,
            look=_gradient_trend(-1),
        ),
        Rule(
            name="exploding-gradient",
            meaning="width x Var(W) times the mean squared slope is above 1, so the gradient grows on its way back",
            measurement="log variance of dL/dh, else dL/dW, over depth: steady rate times depth, beyond chance",
            remedy="smaller weights; in a residual net --branch-scale 1/sqrt(2L)",
            reference=_DEEP_INFORMATION,
            look=_gradient_trend(1),
        ),
        Rule(
            name="saturated",
            meaning="most units sit on the flat ends of the activation",
            measurement="share of outputs whose slope is below 5.9% of the largest (tanh beyond 0.97)",
            remedy="smaller weights or biases",
            reference="CS231n 2017, lecture 6",
            look=_saturated,
        ),
        Rule(
            name="dead-units",
            meaning="most units are off for every input and will not learn",
            measurement="share of units at exactly 0 for every sample of every batch",
            remedy="no negative biases, smaller steps, or an activation with a slope on the negative side",
            reference="Lu et al. 2019, arXiv:1903.06733",
            look=_dead_units,
        ),
        Rule(
            name="dead-layer",
            meaning="a whole layer is 0, so nothing passes, forward or back",
            measurement="a layer whose outputs are all exactly 0",
            remedy="random weights, no large negative biases; --block 2 for branches that --zero-init-last shuts",
            reference="Lu et al. 2019, arXiv:1903.06733",
            look=_dead_layer,
        ),
        Rule(
            name="no-gradient",
            meaning="nothing comes back from the output to this weight, so it will never learn",
            measurement="a layer whose dL/dW is 0 everywhere, or absent though asked for; not judged in nets of `run`",
            remedy="no detach, no_grad or product with 0 between the layer and the loss, and a loss that depends on it",
            reference="PyTorch documentation, autograd mechanics",
            look=_no_gradient,
        ),
        Rule(
            name=_VOID,
            meaning="one NaN or infinity in a parameter makes all that is computed from it NaN",
            measurement="every entry of every parameter and buffer; not judged in nets of `run`",
            remedy="a checkpoint from before the parameter was lost, or the parameter drawn anew",
            reference="IEEE 754-2019",
            look=_void,
        ),
        Rule(
            name="symmetric",
            meaning="identical units get identical gradients and stay identical for ever, whatever the data",
            measurement="a layer whose weights are all equal",
            remedy="random weights",
            reference="Goodfellow et al. 2016, Deep Learning, section 8.4",
            look=_symmetric,
        ),
        Rule(
            name="rank-collapse",
            meaning="different inputs become indistinguishable, which the variance does not show",
            measurement="mean cosine c between two inputs' z, and q(1 - c), the part of z's mean square that differs",
            remedy="no plain initializer of a ReLU-like net avoids it; weak residual branches do, --branch-scale 1/L",
            reference="Poole et al. 2016, arXiv:1606.05340",
            look=_rank_collapse,
        ),
        Rule(
            name="chaotic",
            meaning="like inputs become unlike, so what one example teaches says nothing of its neighbour",
            measurement="mean cosine between two inputs' z, first layer against last",
            remedy="smaller weights: the edge of chaos",
            reference=_DEEP_INFORMATION,
            look=_chaotic,
        ),
        Rule(
            name="heavy-tailed-gradient",
            meaning="a few units carry the whole gradient while the typical one gets next to none",
            measurement="rms of dL/dz over the median of its magnitude",
            remedy="smaller weights: saturated forward, such a net explodes backward",
            reference="Hanin & Nica 2020, arXiv:1812.05994",
            look=_heavy_tailed,
        ),
        Rule(
            name="unstable-gain",
            meaning="the length map is steeper than 1 here, so no constant gain holds the scale at depth",
            measurement="largest predicted d log q_l / d log q_(l-1), to the power of the depth",
            remedy="--norm layer or --residual; a gain only moves the depth at which it slips",
            reference="Poole et al. 2016, arXiv:1606.05340; Hayou et al. 2019, arXiv:1902.06853",
            look=_unstable_gain,
        ),
        Rule(
            name="fan-mismatch",
            meaning="the weights are scaled by the units they lead to, not by the units they sum over",
            measurement="fan_out Var(W) the same in every layer while fan_in Var(W) varies",
            remedy="mode=fan_in; fan_out keeps the gradient's variance instead",
            reference="He et al. 2015, arXiv:1502.01852",
            look=_fan_mismatch,
        ),
        Rule(
            name="odd-layer",
            meaning="one layer's weights are drawn on another scale than all others, which is mostly a mistake",
            measurement="sqrt(fan_in E[W^2]) of a module, or of a layer of --weights, against the median",
            remedy="the initializer of the other layers",
            reference=_GLOROT,
            look=_odd_layer,
        ),
        Rule(
            name="wrong-initializer",
            meaning="these weights are a customary rule's, but of one made for another activation",
            measurement="fan_in Var(W) against the factor that the signal meets at every layer",
            remedy="the rule made for this activation",
            reference="He et al. 2015, arXiv:1502.01852",
            look=_wrong_initializer,
        ),
        Rule(
            name="underflow",
            meaning="numbers fell below the normal range of the dtype",
            measurement="the status of each tensor",
            remedy="weights that keep the variance; --dtype float64 only moves the layer where it begins",
            reference="IEEE 754-2019",
            look=_status("underflow"),
        ),
        Rule(
            name="overflow",
            meaning="numbers grew beyond the dtype and became infinite, then NaN",
            measurement="the status of each tensor",
            remedy="weights that keep the variance; --dtype float64 only moves the layer where it begins",
            reference="IEEE 754-2019",
            look=_status("overflow", "nonfinite"),
        ),
    ],
)
