"""The line of PyTorch that mends a finding, with the layer by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from initprobe.activations import Activation
from initprobe.meanfield.gain import gain_row
from initprobe.results import Finding, LayerStats, ProbeResult
from initprobe.thresholds import Thresholds
from initprobe.torch.grouping import Layer
from initprobe.torch.kinds import fans, path, weight_name
from initprobe.torch.watch import Call, Watch

# Rules that speak of the weights of every layer from one on, and those that speak of one.
_OF_ALL = (
    "vanishing-output", "exploding-output", "vanishing-gradient", "exploding-gradient", "wrong-initializer",
    "fan-mismatch", "chaotic",
)  # fmt: skip
_OF_ONE = ("odd-layer", "symmetric", "dead-layer", "dead-units", "saturated", "heavy-tailed-gradient")
_OF_UNITS = ("dead-units", "dead-layer")
_OF_SCALE = ("saturated", "heavy-tailed-gradient")
_LOSSES = ("underflow", "overflow")
_ODD_NORM = 3.0  # norms are made with weights of 1, and training hardly triples the largest
# Xavier is at the edge of chaos for those whose slope is 1 at 0; LeCun is what self-normalizing nets are made for.
_LINES: Mapping[str, str] = {
    "relu": 'nn.init.kaiming_normal_({}, nonlinearity="relu")',
    "tanh": "nn.init.xavier_normal_({})",
    "softsign": "nn.init.xavier_normal_({})",
    "selu": 'nn.init.kaiming_normal_({}, nonlinearity="linear")',
    "linear": 'nn.init.kaiming_normal_({}, nonlinearity="linear")',
}


def with_fixes(result: ProbeResult, layers: Sequence[Layer], watch: Watch) -> ProbeResult:
    """The result whose findings have their line, where one helps."""
    found = [one.model_copy(update={"fix": _fix(one, result, layers, watch)}) for one in result.diagnosis]
    return result.model_copy(update={"diagnosis": tuple(found)})


def _fix(finding: Finding, result: ProbeResult, layers: Sequence[Layer], watch: Watch) -> str | None:
    inner = {call.name: call for call in watch.uncalled}
    if finding.severity == "info":
        return None
    if finding.module is not None and finding.module in inner and finding.rule in _OF_ONE:
        return _line(inner[finding.module], _act_of(None, None))
    stats, layer = result.layers[finding.layer - 1], layers[finding.layer - 1]
    norms = [call for call in watch.calls if call.kind == "normalisation"]
    if finding.rule in _OF_ALL:
        return _for_norms(norms) if norms else _for_all(finding, result, layers)
    if finding.rule in _LOSSES:
        return _for_loss(finding, result, layers, norms)
    if finding.rule in _OF_UNITS and (holder := _blamed_for_bias(layer, stats)):
        return f"nn.init.zeros_({path(holder.name)}.bias)"
    if finding.rule in _OF_SCALE and layer.norm is not None:
        return _for_norms([layer.norm])
    if finding.rule in _OF_SCALE and not _are_served(result, layers):
        return None
    return _line(layer.call, _act_of(layer, stats)) if finding.rule in _OF_ONE else None


def _for_norms(norms: Sequence[Call]) -> str | None:
    """The line for the norm whose weights are furthest from 1, as the weights before a norm change nothing."""
    scales = [(call.weight.sketch.peak, call) for call in norms if call.weight is not None and call.weight.sketch.peak]
    furthest, call = max(scales, key=lambda one: abs(math.log(one[0])), default=(1.0, None))
    if call is None or 1 / _ODD_NORM < furthest < _ODD_NORM:
        return None
    return f"nn.init.ones_({path(call.name)}.weight)"


def _for_all(finding: Finding, result: ProbeResult, layers: Sequence[Layer]) -> str | None:
    """The line for a layer, and how many are to follow it.

    None in a net whose skips decide it, and for activations that are not known or that no gain serves at depth.
    """
    if not result.config.get("chain") and not all(layer.unseen or layer.activation for layer in layers[:-1]):
        return None
    if not _are_served(result, layers):
        return None
    place = finding.layer - 1 if finding.rule.endswith("output") else 0
    chosen = layers[place]
    line = _line(chosen.call, _act_of(chosen, result.layers[place]))
    rest = len(layers) - 1
    return f"{line}, and so for the other {rest} layers" if rest else line


def _are_served(result: ProbeResult, layers: Sequence[Layer]) -> bool:
    return all(_is_served(layer, stats, len(layers)) for layer, stats in zip(layers, result.layers, strict=True))


def _is_served(layer: Layer, stats: LayerStats, depth: int) -> bool:
    """Theory has it that the forward gain of this activation keeps signal and gradient over so many layers."""
    act = _act_of(layer, stats)
    if isinstance(act, str):
        return act == "relu" or (layer.activation is None and not layer.unseen)
    if act.name in _LINES:
        return True
    gain, limits = gain_row(act), Thresholds()
    drifts, slips = depth * abs(math.log10(gain.chi_1)), depth * math.log10(max(gain.slope, 1))
    return drifts < limits.trend_decades and slips < math.log10(limits.unstable)


def _for_loss(finding: Finding, result: ProbeResult, layers: Sequence[Layer], norms: Sequence[Call]) -> str | None:
    """Half precision mostly gives out for its few exponents; else the weights are at fault."""
    dtype = str(result.config.get("dtype"))
    if dtype == "float16":
        return "model.to(torch.bfloat16)"
    trends = [one for one in result.diagnosis if one.rule in _OF_ALL or one.rule == "odd-layer"]
    if trends:
        return None  # whose line mends this too
    if norms:
        return _for_norms(norms)
    layer = layers[finding.layer - 1]
    return _line(layer.call, _act_of(layer, result.layers[finding.layer - 1]))


def _blamed_for_bias(layer: Layer, stats: LayerStats) -> Call | None:
    """What gives z, if its mean is far below 0 beside its spread, which weights without a mean do not make."""
    z, holder = stats.preactivation, layer.norm or layer.call
    is_low = z.mean is not None and z.std is not None and z.mean < -z.std
    return holder if is_low and getattr(holder.module, "bias", None) is not None else None


def _act_of(layer: Layer | None, stats: LayerStats | None) -> Activation | str:
    """Our record of the layer's activation; `relu` or `linear` for what only the numbers tell."""
    act = layer.activation if layer else None
    if act is not None and act.activation is not None:
        return act.activation
    is_rectified = layer and layer.unseen and stats and stats.output.min == 0 and stats.output.zero_fraction
    return "relu" if is_rectified else "linear"


def _line(call: Call, activation: Activation | str) -> str:
    """The initializer that keeps this activation's variance; by its forward gain where torch has no name for it."""
    name = activation if isinstance(activation, str) else activation.name
    weight = f"{path(call.name)}.{weight_name(call.module)}"
    if name in _LINES:
        return _LINES[name].format(weight)
    assert not isinstance(activation, str)
    if name == "leaky_relu":
        slope = activation.params["slope"]
        return f'nn.init.kaiming_normal_({weight}, a={slope:g}, nonlinearity="leaky_relu")'
    fan_in = (fans(call.module) or (1, 1))[0]
    return f"nn.init.normal_({weight}, std={gain_row(activation).forward / math.sqrt(fan_in):.4g})"
