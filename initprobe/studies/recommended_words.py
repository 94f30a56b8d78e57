"""What `recommend` says: the answer in a sentence, or why there is none."""

from __future__ import annotations

from initprobe.config.probe_config import ProbeConfig
from initprobe.formatting import counted, percent, short
from initprobe.results.recommendation import Goal
from initprobe.results.run import ProbeResult
from initprobe.studies.choice import Choice

_KEPT = {"forward": "Var(h)", "backward": "Var(dL/dh)"}


def summary_of(config: ProbeConfig, depth: int, goal: Goal, choice: Choice, result: ProbeResult) -> str:
    """The recommendation in a sentence.

    Args:
        config: what was measured.
        depth: layers of the network that the weights are for.
        goal: what to keep level.
        choice: the weights.
        result: the measurement.
    """
    if is_too_deep(result):
        return _too_deep_words(config, result)
    weights, net = f"{choice.weights.name} weights and zero biases", _net_words(config, depth)
    if goal != "balanced" and config.is_plain:
        rest = "" if choice.holds or choice.reach is None else f"; {_reach_words(choice)}"
        return f"{weights} keep {_KEPT[goal]} of {net} level{rest}"
    if result.healthy:
        margin = "" if choice.holds else ", by a narrow margin"
        return f"{weights} keep signal and gradient of {net}{margin}"
    if choice.holds:
        return f"no weights keep signal and gradient of {net}: {weights} do in theory, but not when measured"
    best = f"; {weights} do up to {counted(choice.reach, 'layer')}" if choice.reach and choice.reach > 1 else ""
    which = "plain" if config.is_plain else "common"
    return f"no {which} weights keep signal and gradient of {net}{best}"


def _net_words(config: ProbeConfig, depth: int) -> str:
    """`relu over 40 layers with layer norm and branches of scale 1/L`."""
    norm = [f"{config.norm} norm"] if config.norm != "none" else []
    parts = norm + ([f"branches of scale {config.branch_scale}"] if config.residual else [])
    around = f" with {' and '.join(parts)}" if parts else ""
    return f"{config.activation.name} over {counted(depth, 'layer')}{around}"


def _reach_words(choice: Choice) -> str:
    """Up to which depth weights chosen for one goal keep both."""
    if choice.reach:
        return f"signal and gradient both survive up to {counted(choice.reach, 'layer')}"
    return "signal and gradient survive together at no depth"


def is_too_deep(result: ProbeResult) -> bool:
    """Whether the verdict calls the measured network too deep for its width."""
    return any(finding.rule == "too-deep" for finding in result.diagnosis)


def _too_deep_words(config: ProbeConfig, result: ProbeResult) -> str:
    """Why no weights help a net that is too deep for its width."""
    widest, layers = max(config.layer_widths), counted(len(result.layers), "layer")
    verb = "is" if len(result.layers) == 1 else "are"
    lost = result.typical.loss_probability if result.typical is not None else None
    share = f": {percent(lost)}% of the draws lose more than a factor of 100" if lost is not None else ""
    return f"{layers} {verb} too deep for width {widest}{share}"


def branch_line(config: ProbeConfig) -> str | None:
    """The line of a forward pass that adds a branch; None without branches.

    Args:
        config: what was measured.
    """
    if not config.residual:
        return None
    norm = "norm(layer(h))" if config.norm != "none" else "layer(h)"
    scale = "" if config.branch_factor == 1 else f"{config.branch_factor:.5g} * "
    level = len(set(config.nominal_sizes)) == 1
    where = "" if level else "  # where layer keeps the width"
    return f"h = h + {scale}act({norm}){where}"


def formula_of(config: ProbeConfig, choice: Choice, fan_in: int, fan_out: int) -> str:
    """The distribution of a weight, with its standard deviation at one layer.

    Args:
        config: the recommended network.
        choice: its weights.
        fan_in: inputs of the layer.
        fan_out: its units.
    """
    where = f"width {fan_in}" if fan_in == fan_out else f"{fan_in} -> {fan_out}"
    std = short(config.initializer.std(fan_in, fan_out))
    kind = "W orthogonal, entries of" if choice.weights.rule == "orthogonal" else "W ~ N(0,"
    end = "" if choice.weights.rule == "orthogonal" else ")"
    return f"{kind} variance {choice.weights.variance}{end}, std {std} at {where}; b = 0"
