"""Norms, skips and other weights as a cure: what theory forecasts of the same experiment with some options changed.

A fix keeps every option that was given, the weights apart, where there is one that does. Candidates come in the order
of how much they change, and the first that theory expects to hold is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from initprobe.blocks.skips import PLAIN, branches, wirings
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.predict import LayerTheory, predict
from initprobe.prediction.predict import wired_theory
from initprobe.prediction.rules import no_theory, rules_of
from initprobe.remedies.command_line import command_line
from initprobe.remedies.forecast import CUSTOMARY_ROOM, Forecast, Net
from initprobe.remedies.plain import customary, level_gains, plain_fix
from initprobe.spec import Spec

_PLAIN: dict[str, Any] = {
    name: ProbeConfig.model_fields[name].default
    for name in ("norm", "residual", "block", "branch_scale", "zero_init_last")
}
# Of no variance that any candidate has.
_PLACEHOLDER = "zeros"
# The weaker is for activations whose mean would add up over the layers.
_SCALES = ("1/sqrt(2L)", "1/L")
# What is added to a net that has neither, simplest first.
_ADDED: tuple[dict[str, Any], ...] = (
    {"norm": "layer"},
    {"residual": True, "branch_scale": _SCALES[0]},
    {"norm": "layer", "residual": True, "branch_scale": _SCALES[0]},
    {"residual": True, "branch_scale": _SCALES[1]},
)


def fix_for(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> str | None:
    """A runnable `initprobe run` line, or None where theory knows nothing that keeps the signal.

    With every option but the weights kept; then with zero biases; then without norm and skips.
    """
    if not _is_typed(config):
        return None
    if config.network is not None and (line := _first_held(_softer(config), sizes, inputs)):
        return line
    config = _drawn(config)
    bare = _changed(config, bias_init=None)
    kept = [config, bare] if isinstance(config.bias_init, Spec) else [bare]
    for one in kept:
        if line := _kept(one, config, sizes, inputs):
            return line
    if config.is_plain:
        return None
    plain = _changed(bare, **_PLAIN)
    return plain_fix(plain, sizes, inputs, config) or _first_held(_grown(plain), sizes, inputs)


def _kept(config: ProbeConfig, sick: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> str | None:
    """A line that keeps norm, skips and biases, or adds to them."""
    if not config.is_plain:
        return _first_held(chain(_softer_first(config), _grown(config)), sizes, inputs)
    if config.bias_init is None and (line := plain_fix(config, sizes, inputs, sick)):
        return line
    others = _reweighted(config, level_gains(config.activation)) if config.bias_init is not None else []
    return _first_held(chain(others, _grown(config)), sizes, inputs)


def _softer_first(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """Weaker branches first, but after other weights where a scale was given; then both."""
    softer = list(_softer(config))
    given = config.branch_scale != _PLAIN["branch_scale"]
    yield from [] if given else softer
    yield from _reweighted(config)
    yield from softer if given else []
    for one in softer:
        yield from _reweighted(one)


def _softer(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same residual net with weaker branches, or for one that starts with branches of 0, with such as learn."""
    if config.zero_init_last and config.block == 1 and len(config.layer_widths) % 2 == 0:
        yield _changed(config, block=2)
    for scale in _SCALES if config.residual else ():
        softer = _changed(config, branch_scale=scale)
        if abs(softer.branch_factor) < abs(config.branch_factor):
            yield softer


def _grown(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """With a norm or skips that it has not, under its own weights if it has one of the two, and customary ones."""
    for added in _ADDED:
        if (config.norm != "none" and "norm" in added) or (config.residual and "residual" in added):
            continue
        yield from [] if config.is_plain else [_changed(config, **added)]
        # At once, for weights that are fitted to the data take no norm and no skips.
        yield from (_changed(config, init=init, **added) for init in customary(config.activation))


def apart_for(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> str | None:
    """A line under which different inputs stay different, for a net that is sound but for that; None for none."""
    if not _is_typed(config):
        return None
    config = _drawn(config)
    fitted = config.initializer.fit is not None  # which takes a plain net
    skipped = [] if fitted else [*_softer(config), *_skipped(config)]
    rest = chain(_grown(config), _grown(_changed(config, bias_init=None)))
    plain = _changed(config, bias_init=None, **_PLAIN)
    return _first_held(chain(skipped, rest, _grown(plain)), sizes, inputs)


def _skipped(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same weights with skips round them."""
    for added in _ADDED:
        if added.get("residual") and not config.residual and not (config.norm != "none" and "norm" in added):
            yield _changed(config, **added)


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


def _changed(config: ProbeConfig, **changes: Any) -> ProbeConfig:
    """The same experiment but for these changes."""
    fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
    return ProbeConfig(**(fields | changes))


def _reweighted(config: ProbeConfig, more: Iterable[str] = ()) -> Iterator[ProbeConfig]:
    """Customary weights, and those that are named, in the same surroundings and with the same biases."""
    return (_changed(config, init=init) for init in (*customary(config.activation), *more))


def _first_held(candidates: Iterable[ProbeConfig], sizes: Sequence[int], inputs: InputMoments) -> str | None:
    return next((command_line(one) for one in candidates if _holds(one, sizes, inputs)), None)


def _holds(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> bool:
    """The verdict would find nothing, nor, where norm and skips can be chosen, inputs that become one."""
    if no_theory(config, sizes) or (config.residual and not branches(sizes, config.block)):
        return False
    with np.errstate(all="ignore"):
        layers = _theory(config, sizes, inputs)
        steepest = np.nanmax([0.0, *(layer.length_slope for layer in layers)])
        if steepest ** (len(layers) - 1) >= config.thresholds.unstable:
            return False
        forecast, cosines = _forecast(config, sizes, inputs, layers)
    collapsed = 1 - config.thresholds.indistinct
    apart = config.is_plain or not cosines[0] < collapsed < max(cosines)
    return apart and forecast.holds(CUSTOMARY_ROOM)


def _theory(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> tuple[LayerTheory, ...]:
    """What theory says of each layer; weight gradients are of one sample."""
    if config.is_plain:
        return predict(config.activation, rules_of(config, sizes), inputs, 1)
    batch = config.batch or len(inputs.mean_squares) // (config.draws * config.batches)
    return wired_theory(config, sizes, inputs, batch)


def _forecast(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, layers: Sequence[LayerTheory]
) -> tuple[Forecast, list[float]]:
    """The forecast of one net, and the cosine of two inputs at each of its layers that is given the signal itself."""
    around = wirings(config, sizes)
    stream = [layer for layer, wiring in zip(layers, around, strict=True) if not wiring.inside]
    # Behind a scale of 0, which is what learns first, dL/dW is 0.
    last = "weight_gradient" if config.branch_factor else "output_gradient"
    output, gradient, weight = (
        np.log10([[getattr(layer, f"{name}_variance") for layer in stream]])
        for name in ("output", "output_gradient", last)
    )
    # These maps have groups of samples of their own, in each layer others.
    acting = [
        layer.state
        for layer, wiring in zip(layers, around, strict=True)
        if wiring.acting(config.activation) is config.activation
    ]
    lengths, shares = [state.variance[None] for state in acting], [state.shares for state in acting]
    before = (PLAIN, *around)
    cosines = [layer.correlation for layer, below in zip(layers, before, strict=False) if not below.inside]
    net = Net.of(config, sizes, inputs)
    return Forecast(net, output, gradient, weight, lengths, np.zeros(1), shares), cosines
