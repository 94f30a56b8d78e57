"""Names for people in figures, in place of the dotted names of JSON: `Var(dL/dh)` for `output_gradient.variance`."""

from __future__ import annotations

from initprobe.results.base import TENSOR_SYMBOLS
from initprobe.results.named_numbers import ELAPSED, FROM_LAYER, HEALTHY, LOSSES, RATE

_STATISTICS = {
    "variance": "Var({})",
    "variance_sd": "SD over draws of Var({})",
    "variance_log10": "log10 Var({})",
    RATE: "factor of Var({}) per layer",
    "std": "std of {}",
    "mean": "mean of {}",
    "rms": "rms of {}",
    "min": "smallest {}",
    "max": "largest {}",
    "zero_fraction": "share of {} that is 0",
    "near_zero_fraction": "share of {} near 0",
    "nonfinite_count": "entries of {} that are infinite or NaN",
    "coverage": "share of {} in the histogram",
    "saturated_fraction": "saturated share of {}",
    "dead_fraction": "share of dead units",
    "histogram.low": "low end of the histogram of {}",
    "histogram.high": "high end of the histogram of {}",
}
_LOSS_NAMES = dict(zip(LOSSES, ("loss at the start", "loss by chance", "loss at the end of training"), strict=True))
_WHOLE = {
    **_LOSS_NAMES,
    FROM_LAYER: "layer where the finding begins",
    ELAPSED: "elapsed time in s",
    HEALTHY: "healthy or not",
    "fan_in": "fan_in",
    "fan_out": "fan_out",
    "correlation": "cosine of two inputs' z",
    "gradient_to_weight_ratio": "rms of dL/dW / rms of W",
    "theory.correlation": "predicted cosine of two inputs' z",
    "theory.length_slope": "slope of the length map",
    "theory.z": "z-score of Var(h)",
    "theory.gradient_z": "z-score of Var(dL/dh)",
    "loss_output_gradient_variance": "Var(dL/dh) of the loss",
    "loss_weight_gradient_variance": "Var(dL/dW) of the loss",
    "bias_std": "std of b",
    "branch_ratio": "rms of the branch / rms of the stream",
    "gates.memory_steps": "memory in steps",
}


def people_name(name: str) -> str:
    """The name that a figure shows for a dotted name; a tensor alone is its symbol in words, `output h`."""
    if name in _WHOLE:
        return _WHOLE[name]
    if name in TENSOR_SYMBOLS:
        return f"{_spaced(name)} {TENSOR_SYMBOLS[name]}"
    first, _, rest = name.partition(".")
    if first in TENSOR_SYMBOLS:
        symbol = TENSOR_SYMBOLS[first]
        if rest.startswith("percentiles.p"):
            return f"percentile {rest.removeprefix('percentiles.p')} of {symbol}"
        return _STATISTICS[rest].format(symbol) if rest in _STATISTICS else f"{_spaced(rest)} of {symbol}"
    tensor = rest.removesuffix("_variance")
    if first == "theory" and tensor in TENSOR_SYMBOLS:
        return f"predicted Var({TENSOR_SYMBOLS[tensor]})"
    return _spaced(name)


def people_verdict(word: str) -> str:
    """A verdict in words: `vanishing output` for `vanishing-output`."""
    return word.replace("-", " ")


def _spaced(name: str) -> str:
    return name.replace(".", ": ").replace("_", " ")
