"""Norms and skips as a cure: what theory forecasts of the same experiment with other surroundings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from initprobe.config import ProbeConfig
from initprobe.grammar import Spec
from initprobe.meanfield.samples import InputMoments
from initprobe.remedy import CUSTOMARY_ROOM, Forecast, Net, command_line, customary, plain_fix
from initprobe.theory import no_theory, wired_theory

_PLAIN: dict[str, Any] = {
    name: ProbeConfig.model_fields[name].default for name in ("norm", "residual", "branch_scale", "zero_init_last")
}
# Of no variance that any candidate has.
_PLACEHOLDER = "zeros"
# Simplest first. The weaker branch is for activations whose mean would add up over the layers.
_SURROUNDINGS: tuple[dict[str, Any], ...] = (
    {"norm": "layer"},
    {"residual": True, "branch_scale": "1/sqrt(2L)"},
    {"norm": "layer", "residual": True, "branch_scale": "1/sqrt(2L)"},
    {"residual": True, "branch_scale": "1/L"},
)


def fix_for(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> str | None:
    """A runnable `initprobe run` line, or None where theory knows nothing that keeps the signal.

    Other weights first; then other weights in a plain net; then norms and skips.
    """
    if not _is_typed(config):
        return None
    config = _drawn(config)
    if not config.is_plain and (line := _first_held(_kept(config), sizes, inputs)):
        return line
    return plain_fix(_with(config, {}), sizes, inputs, config) or _first_held(_rewired(config), sizes, inputs)


def apart_for(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> str | None:
    """A line under which different inputs stay different, for a net that is sound but for that; None for none."""
    if not _is_typed(config):
        return None
    config = _drawn(config)
    same = {"init": config.init, "bias_init": config.bias_init}
    fitted = config.initializer.fit is not None  # which takes a plain net
    skipped = [around for around in _SURROUNDINGS if around.get("residual") and not fitted]
    candidates = (_with(config, around | same) for around in skipped)
    return _first_held(candidates, sizes, inputs) or _first_held(_rewired(config), sizes, inputs)


def _is_typed(config: ProbeConfig) -> bool:
    """A record from Python has no name to type."""
    named = isinstance(config.init, Spec) or config.weights is not None
    return named and isinstance(config.act, Spec)


def _drawn(config: ProbeConfig) -> ProbeConfig:
    """The same experiment with drawn weights in place of those of a file, to be replaced by others in turn."""
    network = config.network
    if network is None:
        return config
    features, *widths = network.sizes
    level = len(set(widths)) == 1
    shape: dict[str, Any] = {"layers": len(widths), "width": widths[0]} if level else {"widths": tuple(widths)}
    if config.noise is not None and features != widths[0]:
        shape["input_width"] = features
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    return ProbeConfig(**(fields | {"weights": None, "init": _PLACEHOLDER} | shape))


def _with(config: ProbeConfig, changes: dict[str, Any]) -> ProbeConfig:
    """The same experiment, plain but for these changes."""
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    return ProbeConfig(**(fields | _PLAIN | changes))


def _kept(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """Customary weights in the same surroundings."""
    around = {"norm": config.norm, "residual": config.residual, "branch_scale": config.branch_scale}
    return (_with(config, around | weights) for weights in _weights(config))


def _rewired(config: ProbeConfig) -> Iterator[ProbeConfig]:
    return (_with(config, around | weights) for around in _SURROUNDINGS for weights in _weights(config))


def _weights(config: ProbeConfig) -> list[dict[str, Any]]:
    return [{"init": init, "bias_init": None} for init in customary(config.activation)]


def _first_held(candidates: Iterator[ProbeConfig], sizes: Sequence[int], inputs: InputMoments) -> str | None:
    return next((command_line(one) for one in candidates if _holds(one, sizes, inputs)), None)


def _holds(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> bool:
    """The verdict would find nothing, nor inputs that become one."""
    if no_theory(config):
        return False
    forecast, cosines = _forecast(config, sizes, inputs)
    collapsed = 1 - config.thresholds.indistinct
    return forecast.holds(CUSTOMARY_ROOM) and not cosines[0] < collapsed < max(cosines)


def _forecast(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> tuple[Forecast, list[float]]:
    """The forecast of one net, and the cosine of two inputs at each of its layers."""
    net = Net.of(config, sizes, inputs)
    batch = config.batch or len(inputs.mean_squares) // (config.draws * config.batches)
    with np.errstate(all="ignore"):
        layers = wired_theory(config, sizes, inputs, batch)
        output, gradient, weight = (
            np.log10([[getattr(layer, f"{name}_variance") for layer in layers]])
            for name in ("output", "output_gradient", "weight_gradient")
        )
    # These maps have groups of samples of their own, in each layer others.
    lengths, shares = [layer.state.variance[None] for layer in layers], [layer.state.shares for layer in layers]
    forecast = Forecast(net, output, gradient, weight, lengths, np.zeros(1), shares)
    return forecast, [layer.correlation for layer in layers]
