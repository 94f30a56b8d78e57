"""What happened between the first layer and the last, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from initprobe.formatting import counted, factor, factor_of, fixed, percent, short
from initprobe.reports.model_theory_words import model_theory_words
from initprobe.reports.narrative_training import start_words, step_words, training_words
from initprobe.reports.refused_words import refused_words
from initprobe.results.layers import Fitting, LayerStats, PackedWeight, TensorStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import DepthScale

SYMBOLS = {
    "weight": "weight W",
    "preactivation": "pre-activation z",
    "output": "output h",
    "preactivation_gradient": "pre-activation gradient dL/dz",
    "output_gradient": "output gradient dL/dh",
    "weight_gradient": "weight gradient dL/dW",
}
_PACKED = ("q", "k", "v")
# A depth scale above this many times the depth of the net counts as level.
_LEVEL = 10
# Below this share of its prediction, or above the inverse, a measurement is compared by a factor.
_FACTOR_BEYOND = 0.1
# A factor of uncertainty that is worth a line.
_WORTH_SAYING = 1.05
_LOST_WORDS = {
    "underflow": "underflow, values below the normal range of the dtype,",
    "overflow": "overflow, values too large for the dtype,",
    "nonfinite": "no number, computed from values too large for the dtype,",
}


def course(result: ProbeResult) -> Iterator[tuple[str, str]]:
    """Yield a label and a sentence for each part of the summary that applies."""
    sentences: dict[str, str | Sequence[str] | None] = {
        "drawn by": result.description.rules,
        "output": _output_words(result),
        "gradient": _gradient_words(result),
        "weights": _weight_gradient_words(result),
        "sampled": _sample_words(result),
        "inputs": _correlation_words(result),
        "branches": _branch_words(result),
        "gates": _gate_words(result),
        "q, k, v": _packed_words(result),
        "depth": _depth_words(result),
        "theory": result.theory_note or model_theory_words(result) or _theory_words(result),
        "lost": _lost_words(result),
        "fitted": _fitting_words(result),
        "loss": start_words(result),
        "one step": step_words(result),
        "trained": training_words(result),
    }
    for label, words in sentences.items():
        lines = [words] if isinstance(words, str) else words or ()
        yield from ((label, line) for line in lines if line)
    yield from (("note", words) for words in result.notes)


def _journey(tensor: str, layers: Sequence[LayerStats]) -> str | None:
    """The variance of a tensor at both ends of the given layers, with the factor in all and per layer."""
    ends = [
        (layer.layer, layer.tensor(tensor).variance, layer.tensor(tensor).variance_log10)
        for layer in layers
        if layer.tensor(tensor).variance_log10 is not None
    ]
    if len(ends) < 2:
        return None
    (first, start, a), (last, end, b) = ends[0], ends[-1]
    change, steps = (b or 0.0) - (a or 0.0), abs(last - first)
    in_all = factor_of(change)
    per_layer = f", {factor_of(change / steps)} per layer" if steps > 1 else ""
    return f"{short(start, a)} -> {short(end, b)} from layer {first} to {last}: {in_all}{per_layer}"


def _output_words(result: ProbeResult) -> str | None:
    journey = _journey("output", result.stream)
    return journey and f"var h {journey}"


def _gradient_words(result: ProbeResult) -> str | None:
    journey = _journey("output_gradient", result.stream[::-1])
    return journey and f"var dL/dh {journey}"


def _weight_gradient_words(result: ProbeResult) -> str | None:
    layers = [
        layer for layer in result.layers if layer.weight_gradient.variance is not None and not has_one_weight(layer)
    ]
    if len(layers) < 2:
        return None
    logs = [_log10(layer.weight_gradient) for layer in layers]
    if max(logs) == -math.inf:
        return "var dL/dW is 0 in every layer"
    low, high = layers[int(np.argmin(logs))], layers[int(np.argmax(logs))]
    ratio = max(logs) - min(logs)
    times = "" if math.isinf(ratio) else f", {factor_of(ratio)}"
    return f"var dL/dW {_lowest(low)} (layer {low.layer}) to {_lowest(high)} (layer {high.layer}){times}"


def has_one_weight(layer: LayerStats) -> bool:
    """Whether the layer has a single weight, so that a variance over weights is 0 and says nothing."""
    return layer.kind in (None, "linear") and layer.fan_in == layer.fan_out == 1


def _sample_words(result: ProbeResult) -> str | None:
    """The layers whose dL/dW was sampled by rows, which a PyTorch model has none of."""
    if result.is_of_model:
        return None
    sampled = [layer for layer in result.layers if 0 < layer.weight_gradient.coverage < 1]
    if not sampled:
        return None
    shares = sorted({percent(layer.weight_gradient.coverage) for layer in sampled})
    layers = "" if len(sampled) == len(result.layers) else f" of {len(sampled)} layers"
    return f"percentiles, extremes and histogram of dL/dW{layers} by {shares[0]}% of its rows (--full-weight-gradient)"


def _log10(stats: TensorStats) -> float:
    """log10 of the variance; -inf for none."""
    return -math.inf if stats.variance_log10 is None else stats.variance_log10


def _lowest(layer: LayerStats) -> str:
    return short(layer.weight_gradient.variance, layer.weight_gradient.variance_log10)


def _correlation_words(result: ProbeResult) -> str | None:
    cosines = [(layer.layer, cosine(layer.correlation)) for layer in result.layers if layer.correlation is not None]
    if not cosines:
        return None
    (first, before), (last, after) = cosines[0], cosines[-1]
    return f"cosine of two inputs' z {before} -> {after} from layer {first} to {last}"


def _branch_words(result: ProbeResult) -> str | None:
    """What the branches add, in units of the stream's rms."""
    ratios = [(layer.branch_ratio, layer) for layer in result.layers if layer.branch_ratio is not None]
    if not ratios:
        return None
    ends = [pick(ratios, key=lambda entry: entry[0]) for pick in (max, min)]
    words = [f"{short(ratio)} (layer {layer.layer})" for ratio, layer in ends]
    span = words[0] if ends[0][0] == ends[1][0] else " to ".join(words)
    return f"{counted(len(ratios), 'branch', 'branches')} added, rms(branch) / rms(stream) {span}"


def _gate_words(result: ProbeResult) -> str | None:
    """Each gate of the recurrence of shortest memory, and the smallest and largest mean of the other gates."""
    gated = [(layer, layer.gates) for layer in result.layers if layer.gates is not None]
    parts = []
    recurrent = [(layer, gates) for layer, gates in gated if gates.memory_steps is not None]
    if recurrent:
        layer, gates = min(recurrent, key=lambda entry: entry[1].memory_steps or math.inf)
        names = ("input", "forget", "output", "reset", "update")
        means = [f"{name} {short(getattr(gates, name))}" for name in names if getattr(gates, name) is not None]
        parts.append(f"{', '.join(means)} (layer {layer.layer}): memory of {short(gates.memory_steps)} steps")
    products = [(gates.product, layer) for layer, gates in gated if gates.product is not None]
    if products:
        ends = [pick(products, key=lambda entry: entry[0]) for pick in (min, max)]
        words = [f"{short(mean)} (layer {layer.layer})" for mean, layer in ends]
        parts.append(f"mean {words[0] if len(products) == 1 else ' to '.join(words)}")
    return "; ".join(parts) or None


def _packed_words(result: ProbeResult) -> str | None:
    """The parts of the packed weight in which they differ most."""
    packed = [(layer, layer.packed) for layer in result.layers if layer.packed is not None]
    if not packed:
        return None
    layer, parts = max(packed, key=lambda entry: _largest_ratio(_of_parts(entry[1], "weight_variance")))
    weight, made = (_of_parts(parts, f"{name}_variance") for name in ("weight", "preactivation"))
    names = ", ".join(name for name in _PACKED if getattr(parts, name) is not None)
    most = f", of {len(packed)} the one in which they differ most" if len(packed) > 1 else ""
    listed = [", ".join(short(value) for value in values) for values in (weight, made)]
    which = "" if names == ", ".join(_PACKED) else f"{names}: "
    return f"{which}var W {listed[0]}; var z {listed[1]} (layer {layer.layer}{most})"


def _of_parts(packed: PackedWeight, name: str) -> list[float | None]:
    return [getattr(part, name) for each in _PACKED if (part := getattr(packed, each)) is not None]


def _largest_ratio(values: Sequence[float | None]) -> float:
    """Largest over smallest; 1 where one of them is not known."""
    plain = [value for value in values if value is not None]
    return max(plain) / min(plain) if len(plain) == len(values) and min(plain) > 0 else 1.0


def _depth_words(result: ProbeResult) -> str | None:
    """The number of layers over which the gradient, and the cosine's distance from its limit, change by e."""
    scales = result.depth_scales
    if scales is None:
        return None
    named = {"gradient": scales.gradient, "cosine": scales.correlation}
    reach = _LEVEL * len(result.layers)
    parts = [f"{name} {words}" for name, scale in named.items() if scale and (words := _scale_words(scale, reach))]
    return f"layers per e-fold (theory): {', '.join(parts)}" if parts else None


def _scale_words(scale: DepthScale, reach: float) -> str | None:
    """`8.3 (8.4)`; None for a quantity that is level at such depths."""
    if scale.measured is None or scale.predicted is None or max(abs(scale.measured), abs(scale.predicted)) > reach:
        return None
    return f"{short(scale.measured)} ({short(scale.predicted)})"


def _theory_words(result: ProbeResult) -> list[str]:
    """The largest disagreements with theory, forward and backward, in SDs of chance: a line for each."""
    words = [_furthest(result, "output", "z", "var h"), _furthest(result, "output_gradient", "gradient_z", "var dL/dh")]
    words += [refused_words(result), *_uncertain_words(result), _underived_words(result)]
    return [line for line in words if line] or [line for line in [_bare_theory_words(result)] if line]


def _uncertain_words(result: ProbeResult) -> list[str]:
    """How far predictions may be off, where lengths or means of h are unstable."""
    theories = [layer.theory for layer in result.layers if layer.theory is not None]
    by_tensor = {
        "var h": [each.output_uncertainty or 1.0 for each in theories if each.z is None and each.output_variance],
        "dL/dh": [
            each.gradient_uncertainty or 1.0
            for each in theories
            if each.gradient_z is None and each.output_gradient_variance
        ],
    }
    return [
        f"lengths or means of h are unstable: predictions of {symbol} hold within {factor(max(factors))}"
        for symbol, factors in by_tensor.items()
        if max(factors, default=1.0) > 1
    ]


def _underived_words(result: ProbeResult) -> str | None:
    """The error of theory of norms and skips beside chance, which the SDs above contain."""
    theories = [layer.theory for layer in result.layers if layer.theory is not None]
    factors = [theory.gradient_uncertainty or 1.0 for theory in theories if theory.gradient_z is not None]
    largest = max(factors, default=1.0)
    said = f"the SDs contain {factor(largest)} for the error of the predicted dL/dh"
    return said if largest > _WORTH_SAYING else None


def _furthest(result: ProbeResult, tensor: str, distance: str, symbol: str) -> str | None:
    """The layer at which a tensor's variance is furthest from its prediction; None without a predicted spread."""
    # The gradient of the last layer is given.
    layers = result.layers[:-1] if tensor == "output_gradient" else result.layers
    gaps = [
        (abs(z), layer)
        for layer in layers
        if layer.theory is not None and (z := getattr(layer.theory, distance)) is not None
    ]
    if not gaps:
        return None
    worst, layer = max(gaps, key=lambda gap: gap[0])
    variance, predicted = layer.tensor(tensor).variance, getattr(layer.theory, f"{tensor}_variance")
    if not variance or not predicted:
        return None
    gap = _gap_words(variance, predicted)
    return f"{symbol} within {fixed(worst, 1)} SD of the prediction (furthest: layer {layer.layer}, {gap})"


def _gap_words(measured: float, predicted: float) -> str:
    """A disagreement in percent, or as a factor where it is large."""
    if _FACTOR_BEYOND * predicted < measured < predicted / _FACTOR_BEYOND:
        return f"{100 * (measured / predicted - 1):+.1f}%"
    return factor_of(math.log10(measured) - math.log10(predicted))


def _bare_theory_words(result: ProbeResult) -> str | None:
    """The largest disagreement where theory predicts no spread at finite width."""
    if any(layer.theory is None or layer.theory.output_spread is not None for layer in result.layers):
        return None
    gaps = [
        (layer.output.variance, layer.theory.output_variance, layer.layer)
        for layer in result.layers
        if layer.output.variance and layer.theory and layer.theory.output_variance
    ]
    if not gaps:
        return None
    variance, predicted, number = max(gaps, key=lambda gap: abs(math.log(gap[0]) - math.log(gap[1])))
    gap = _gap_words(variance, predicted)
    return f"var h within {gap} of the prediction (layer {number}); theory gives no spread at this width"


def _lost_words(result: ProbeResult) -> str | None:
    """Where numbers first left the range of the dtype, forward and backward."""
    if result.facts is not None and result.facts.void:
        return None  # a parameter was NaN or infinite to begin with, in any dtype
    forward = _first_lost(result.layers, ("weight", "preactivation", "output"))
    backward = _first_lost(result.layers[::-1], ("output_gradient", "preactivation_gradient", "weight_gradient"))
    words = [f"{way}: {text}" for way, text in (("forward", forward), ("back", backward)) if text]
    further = "a wider dtype" if result.is_of_model else "--dtype float64"
    return "; ".join(words) + f" ({further} reaches further)" if words else None


def _first_lost(layers: Sequence[LayerStats], tensors: Sequence[str]) -> str | None:
    for layer in layers:
        for tensor in tensors:
            status = layer.tensor(tensor).status
            if status != "ok":
                return f"{_LOST_WORDS[status]} from {SYMBOLS[tensor]} of layer {layer.layer} on"
    return None


def _fitting_words(result: ProbeResult) -> str | None:
    """The effect of fitting at both ends of the net, and the layers that did not converge."""
    fitted = [(layer.layer, layer.fitting) for layer in result.layers if layer.fitting is not None]
    if not fitted:
        return None
    (first, a), (last, b) = fitted[0], fitted[-1]
    ends = f"{_fit_words(a)} at layer {first}" + (f", {_fit_words(b)} at layer {last}" if last != first else "")
    short_of = [layer for layer, fitting in fitted if fitting.converged is False]
    if not short_of:
        return f"{a.quantity} {ends}"
    where = f"layer {short_of[0]}" if len(short_of) == 1 else f"{len(short_of)} layers, the first {short_of[0]}"
    return f"{a.quantity} {ends}; NOT converged in {where}"


def _fit_words(fitting: Fitting) -> str:
    baseline = "" if fitting.baseline is None else f" (the best constant: {short(fitting.baseline)})"
    steps = f" in {fitting.iterations:g} step{'' if fitting.iterations == 1 else 's'}"
    return f"{short(fitting.before)} -> {short(fitting.after)}{steps}{baseline}"


def cosine(value: float) -> str:
    """A cosine with two digits, `0.56` or `1.00`."""
    return f"{value:.2f}".replace("-0.00", "0.00")
