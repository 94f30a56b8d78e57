"""An experiment in words: titles, headings and file names."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np

from initprobe.activations import Activation
from initprobe.config import ProbeConfig
from initprobe.grammar import Spec, Value, value_text
from initprobe.initializers import Initializer
from initprobe.recognition import recognised
from initprobe.results import Description
from initprobe.weights import Network
from initprobe.wiring import skips

_LONG_NUMBER = re.compile(r"\d+\.\d{5,}(?:e[-+]?\d+)?")
_LARGEST_DENOMINATOR = 99
_LONGEST_NAME, _DIGEST = 120, 8


def describe(config: ProbeConfig, sizes: Sequence[int], batch: int) -> Description:
    """The words for `config`; `sizes` are the input's features and the layers' widths."""
    low, high = config.activation.bounds
    widths = sizes[1:]
    count = f"{len(widths)} layer{'s' if len(widths) > 1 else ''}"
    span = f"of {widths[0]:,}" if len(set(widths)) == 1 else f"{widths[0]:,} .. {widths[-1]:,}"
    init = f"Weights {config.weights.name}" if config.weights else _words(config.initializer.name, config.init)
    act = _words(config.activation.name, config.act, capital=False)
    if config.residual:
        low, high = -math.inf, math.inf  # a sum of branches
    return Description(
        title=f"{init} + {act}{_surroundings(config)}, {count} {span}",
        weights=_weights(config, sizes) + _branches(config, sizes) + _difference(config.activation),
        setting=_setting(config, batch),
        shape=shape_words(sizes),
        slug=slug(config, sizes),
        rules=None if config.network is None else recognised(config.network),
        output_low=low if math.isfinite(low) else None,
        output_high=high if math.isfinite(high) else None,
    )


def _difference(activation: Activation) -> str:
    """How the slope comes about where no formula gives it."""
    return "; phi' by central difference" if activation.slope_noise else ""


def _surroundings(config: ProbeConfig) -> str:
    """` + layer norm, residual`; nothing for a plain net."""
    norm = "" if config.norm == "none" else f" + {config.norm} norm"
    return f"{norm} + residual" if config.residual else norm


def _branches(config: ProbeConfig, sizes: Sequence[int]) -> str:
    """The formula of a residual layer, and which layers have it if not all."""
    if not config.residual:
        return ""
    scale, skipped = config.branch_factor, skips(sizes)
    text = f"; h + {'' if scale == 1 else f'{scale:.3g} '}phi(z)" + (" from W = 0" if config.zero_init_last else "")
    if len(skipped) == len(sizes) - 1:
        return text
    return f"{text} in {len(skipped)} of {len(sizes) - 1} layers, where widths agree"


def _words(name: str, spec: Spec | Initializer | Activation | None, capital: bool = True) -> str:
    text = name if ":" in name else name.replace("_", " ")  # of one's own, as it is typed
    text = text[0].upper() + text[1:] if capital else text
    params = [f"{key} {_value(value)}" for key, value in spec.params.items()] if isinstance(spec, Spec) else []
    return f"{text} ({', '.join(params)})" if params else text


def _value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def _weights(config: ProbeConfig, sizes: Sequence[int]) -> str:
    """The distribution of the first layer's weights, and of the biases where there are any."""
    if config.network is not None:
        return _given_weights(config.network)
    init, fans = config.initializer, (sizes[0], sizes[1])
    where = "" if len(set(sizes)) == 1 else " at layer 1"
    text = f"W ~ {init.describe(*fans)}{where}, fan_in x Var(W) = {fans[0] * init.variance(*fans):.3g}"
    if init.fit is not None:
        text += f", then fitted to the data by {init.name}"
    bias = config.bias_initializer
    return f"{text}; b ~ {bias.describe(*fans)}" if bias.mean or bias.variance(*fans) else text


def _given_weights(network: Network) -> str:
    """The scale of weights from a file, and how large their biases are."""
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
    """`500 -> 500 x 10`; runs of one width are counted, long shapes shortened in the middle."""
    runs = [(width, len(list(run))) for width, run in groupby(sizes[1:])]
    parts = [str(sizes[0]), *(f"{width} x {count}" if count > 1 else str(width) for width, count in runs)]
    if len(parts) > 8:
        parts = [*parts[:4], "...", *parts[-2:]]
    return " -> ".join(parts)


def _init_slug(config: ProbeConfig) -> str:
    if config.weights is not None:
        return config.weights.stem
    return str(config.init) if isinstance(config.init, Spec) else config.initializer.name


def slug(config: ProbeConfig, sizes: Sequence[int]) -> str:
    """A directory name that tells experiments apart, safe on any file system."""
    widths = sizes[1:]
    square = len(set(widths)) == 1
    parts = [
        _init_slug(config),
        str(config.act if isinstance(config.act, Spec) else config.act.name),
        f"{len(widths)}x{widths[0]}" if square else f"{len(widths)}x{widths[0]}-{widths[-1]}",
    ]
    if sizes[0] != sizes[1] and config.noise:
        parts.append(f"in{sizes[0]}")
    if config.bias_init is not None:
        parts.append(f"bias-{config.bias_init if isinstance(config.bias_init, Spec) else config.bias_init.name}")
    if config.norm != "none":
        parts.append(f"{config.norm}-norm")
    if config.residual:
        scale = "" if config.branch_scale == 1 else f"-{_as_typed(config.branch_scale)}"
        parts.append(f"residual{scale}" + ("-zero" if config.zero_init_last else ""))
    if config.objective is not None:
        parts.append(config.objective.name + (f"-{config.train_steps}-steps" if config.train_steps else ""))
    if str(config.input) != "gaussian" and config.input != config.weights:
        parts.append(Path(config.input).stem if isinstance(config.input, Path) else str(config.input))
    return file_name("-".join(parts))


def _as_typed(scale: float | str) -> str:
    return scale if isinstance(scale, str) else value_text(float(scale))


def file_name(text: str) -> str:
    """Words as a name that is safe on any file system, and another for other words.

    Long numbers are fractions, as in `gain5-3`, or have four digits. Where digits or words are left out, a digest of
    the whole text ends the name.
    """
    safe = re.sub(r"[^A-Za-z0-9.-]+", "-", shortened(text).replace("=", "")).strip("-.")
    lost = any(float(found[0]) != _exact(_few_digits(found[0])) for found in _LONG_NUMBER.finditer(text))
    if len(safe) <= _LONGEST_NAME and not lost:
        return safe
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    return f"{safe[: _LONGEST_NAME - _DIGEST - 1].rstrip('-.')}-{digest}"


def shortened(text: str) -> str:
    """Words with long numbers as fractions or in four digits."""
    return _LONG_NUMBER.sub(lambda found: _few_digits(found[0]), text)


def _few_digits(number: str) -> str:
    """`5-3` for 1.6666666666666667, and four digits of what is no such fraction."""
    value = float(number)
    fraction = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
    exact = fraction.numerator / fraction.denominator == value and fraction.denominator > 1
    return f"{fraction.numerator}-{fraction.denominator}" if exact else f"{value:.4g}"


def _exact(text: str) -> float:
    """The number that few digits stand for."""
    above, dash, below = text.rpartition("-")
    return float(above) / float(below) if dash and not above.endswith("e") else float(text)
