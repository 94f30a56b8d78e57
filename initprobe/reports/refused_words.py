"""The layers that have no prediction while others have one, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence

from initprobe.results.layers import LayerStats, LayerTheory
from initprobe.results.run import ProbeResult

_UNBOUNDED = "behind a batch norm one unit may outweigh all others: no finite spread"
_TOO_FAR = "so far below the loss, theory of batch norm may be off by over 15%"
_TOO_NARROW = "networks of this width differ too much"


def refused_words(result: ProbeResult) -> str | None:
    """The layers that have no prediction while others have one, and why."""
    symbol, refused, reason = _refused(result)
    if not 0 < len(refused) < len(result.layers):
        return None
    return f"no prediction of {symbol} at {_range_words(refused)}: {reason}"


def _refused(result: ProbeResult) -> tuple[str, list[int], str]:
    """The tensor, the numbers of the layers and the reason."""
    predicted = [(layer, layer.theory) for layer in result.layers if layer.theory is not None]
    if result.config.get("norm") != "batch":
        return "var h", [layer.layer for layer, theory in predicted if _is_without_output(layer, theory)], _TOO_NARROW
    without = [(layer.layer, theory) for layer, theory in predicted if theory.output_gradient_variance is None]
    unbounded = [number for number, theory in without if _is_unbounded(theory)]
    known = [number for number, theory in without if theory.output_gradient_spread is not None]
    return ("dL/dh", unbounded, _UNBOUNDED) if unbounded else ("dL/dh", known, _TOO_FAR)


def _is_without_output(layer: LayerStats, theory: LayerTheory) -> bool:
    return theory.output_variance is None and bool(layer.output.variance)


def _is_unbounded(theory: LayerTheory) -> bool:
    """Whether drawn networks predict h, but no spread of dL/dh."""
    return bool(theory.output_variance) and theory.output_gradient_spread is None


def _range_words(layers: Sequence[int]) -> str:
    return f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"
