"""An experiment in words: its title, its headings and its setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import branches
from initprobe.arrays import finite
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.record import Initializer
from initprobe.probe.names import slug
from initprobe.results.summary import Description
from initprobe.spec import Spec, Value

if TYPE_CHECKING:
    from initprobe.initializers.weight_files import Network

_SPELLED = {"lecun": "LeCun", "lsuv": "LSUV"}  # names that are not written with one capital


def describe(config: ProbeConfig, sizes: Sequence[int], batch: int) -> Description:
    """The words for an experiment.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
    """
    low, high = config.activation.bounds
    widths = sizes[1:]
    count = f"{len(widths)} layer{'s' if len(widths) > 1 else ''}"
    span = f"of {widths[0]:,}" if len(set(widths)) == 1 else f"{widths[0]:,} .. {widths[-1]:,}"
    init = f"Weights {config.weights.name}" if config.weights else _words(config.initializer.name, config.init)
    act = _words(config.activation.name, config.act, capital=False)
    if config.residual:
        low, high = -math.inf, math.inf  # a sum of branches has no bounds
    return Description(
        title=f"{init} + {act}{_surroundings(config)}, {count} {span}",
        weights=_weights(config, sizes) + _branches(config, sizes) + _difference(config.activation),
        setting=_setting(config, batch),
        shape=shape_words(sizes),
        slug=slug(config, sizes),
        rules=None if config.network is None else _recognised(config.network),
        output_low=finite(low),
        output_high=finite(high),
    )


def _difference(activation: Activation) -> str:
    """How the slope is computed where the activation has no formula for it."""
    return "; phi' by central difference" if activation.slope_noise else ""


def _surroundings(config: ProbeConfig) -> str:
    """` + layer norm, residual`; empty for a plain network."""
    norm = "" if config.norm == "none" else f" + {config.norm} norm"
    if not config.residual:
        return norm
    return f"{norm} + residual" + (f" blocks of {config.block}" if config.block > 1 else "")


def _branches(config: ProbeConfig, sizes: Sequence[int]) -> str:
    """The formula of a residual branch, and how many branches have a skip if not all do."""
    if not config.residual:
        return ""
    scale, block, layers = config.branch_factor, config.block, len(sizes) - 1
    text = f"; h + {'' if scale == 1 else f'{scale:.3g} '}{_branch(block)}"
    if scale == 0:
        text += ", its scale learned in training"
    if config.zero_init_last:
        text += f" from W{'' if block == 1 else block} = 0"
    with_skip, of, whole = len(branches(sizes, block)), layers // block, "layers" if block == 1 else "blocks"
    return text if with_skip == of else f"{text} in {with_skip} of {of} {whole}, where widths agree"


def _branch(block: int) -> str:
    """The branch: `phi(z)`, or for two layers `z2, z2 = phi(h W1) W2`."""
    if block == 1:
        return "phi(z)"
    inner = "phi(h W1)" if block == 2 else "phi(phi(h W1) W2)" if block == 3 else "phi(.. phi(h W1) ..)"
    return f"z{block}, z{block} = {inner} W{block}"


def _words(name: str, spec: Spec | Initializer | Activation | None, capital: bool = True) -> str:
    text = name if ":" in name else name.replace("_", " ")  # a `module:name` stays as it was typed
    text = _capital(text) if capital and ":" not in name else text
    params = [f"{key} {_value(value)}" for key, value in spec.params.items()] if isinstance(spec, Spec) else []
    return f"{text} ({', '.join(params)})" if params else text


def _capital(text: str) -> str:
    """The name of an initializer at the start of a title."""
    first, _, rest = text.partition(" ")
    return " ".join(filter(None, [_SPELLED.get(first, first[0].upper() + first[1:]), rest]))


def _value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def _weights(config: ProbeConfig, sizes: Sequence[int]) -> str:
    """The distribution of the weights of the first layer, and of the biases unless they are 0."""
    if config.network is not None:
        return _given_weights(config.network)
    init, fans = config.initializer, (sizes[0], sizes[1])
    where = "" if len(set(sizes)) == 1 else " at layer 1"
    text = f"W ~ {init.describe(*fans)}{where}, fan_in x Var(W) = {fans[0] * init.variance(*fans):.3g}"
    if init.fit is not None:
        text += f", then fitted to the data by {init.name}"
    bias = config.bias_initializer
    return f"{text}; b ~ {bias.describe(*fans)}" if bias.mean or bias.variance(*fans) else text


def _recognised(network: Network) -> str | None:
    """The rules that weights from a file seem to be drawn by."""
    from initprobe.initializers.recognition import recognised

    return recognised(network)


def _given_weights(network: Network) -> str:
    """The scale of the weights of a file, and the size of their biases."""
    scales = [layer.weight.shape[0] * layer.judged.variance for layer in network.layers]
    low, high = f"{min(scales):.3g}", f"{max(scales):.3g}"
    span = low if low == high else f"{low} .. {high}"
    spreads = [0.0 if layer.bias is None else float(np.std(layer.bias, dtype=float)) for layer in network.layers]
    bias = f"; b of std {min(spreads):.3g} .. {max(spreads):.3g}" if any(spreads) else ""
    return f"W from {network.path.name}, fan_in x Var(W) = {span}{bias}"


def _setting(config: ProbeConfig, batch: int) -> str:
    source = config.noise.describe if config.noise else Path(str(config.input)).name
    source = "its own input x" if config.weights is not None and config.input == config.weights else source
    samples = f"batch {batch}" + (f" x {config.batches}" if config.batches > 1 else "")
    draws = f"{config.draws} draw{'s' if config.draws > 1 else ''}"
    precision = "" if config.dtype == "float32" else f", {config.dtype}"
    standardized = " standardized" if config.standardize else ""
    return f"{source}{standardized}, {samples}, {draws}, seed {config.seed}{precision}"


def shape_words(sizes: Sequence[int]) -> str:
    """The sizes as `500 -> 10 x 500`: equal widths are counted, and long shapes are shortened in the middle."""
    runs = [(width, len(list(run))) for width, run in groupby(sizes[1:])]
    parts = [str(sizes[0]), *(f"{count} x {width}" if count > 1 else str(width) for width, count in runs)]
    if len(parts) > 8:
        parts = [*parts[:4], "...", *parts[-2:]]
    return " -> ".join(parts)
