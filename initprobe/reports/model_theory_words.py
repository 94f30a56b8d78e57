"""Theory of a PyTorch model in a line: how many layers it predicts, and how far they are from it."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.formatting import short, visible
from initprobe.results.layers import LayerStats
from initprobe.results.model_theory import Predicted
from initprobe.results.run import ProbeResult

_FAR = 3  # SDs
_NAMES = {"output": "var h", "output_gradient": "var dL/dh"}


def model_theory_words(result: ProbeResult) -> str | None:
    """Which share of the predictions is near what was measured, and the layer that is furthest; None without any."""
    if not any(layer.model_theory is not None for layer in result.layers):
        return None
    local, far = (list(_predictions(result, column)) for column in ("local", "end_to_end"))
    words = [f"from each layer's input, {_shares(local)}", f"from the model's input, {_shares(far)}"]
    furthest = max(local, key=lambda entry: abs(entry[2].z or 0.0), default=None)
    if furthest is not None and abs(furthest[2].z or 0.0) > _FAR:
        layer, tensor, predicted = furthest
        name = visible(layer.name or str(layer.layer))
        words.append(f"furthest: {_NAMES[tensor]} of {name}, {short(predicted.z)} SD")
    return "; ".join(words)


def _predictions(result: ProbeResult, column: str) -> Iterator[tuple[LayerStats, str, Predicted]]:
    for layer in result.layers:
        for tensor in _NAMES:
            if layer.model_theory is not None:
                yield layer, tensor, getattr(getattr(layer.model_theory, column), tensor)


def _shares(predictions: list[tuple[LayerStats, str, Predicted]]) -> str:
    known = [predicted for _, _, predicted in predictions if predicted.variance is not None]
    near = sum(predicted.z is not None and abs(predicted.z) <= _FAR for predicted in known)
    if not known:
        return "nothing predicted"
    missing = len(predictions) - len(known)
    absent = f" ({missing} not predicted)" if missing else ""
    return f"{near} of {len(known)} variances within {_FAR} SD{absent}"
