"""A result as text: the experiment in words, a row a layer, and what happened from first to last."""

from __future__ import annotations

from initprobe.formatting import NOTHING, fixed, short
from initprobe.results.layers import TensorStats

SPARK_BINS = 7  # odd, so that a spike at 0 is one
STATUS_STYLE = {"ok": "", "underflow": "yellow", "overflow": "red", "nonfinite": "red"}
LOST = {"underflow": "under", "overflow": "over", "nonfinite": "NaN"}


def relative_spread(stats: TensorStats) -> str:
    if not stats.variance or stats.variance_sd is None:
        return NOTHING
    spread = 100 * stats.variance_sd / stats.variance
    return f"{spread:.1f}" if spread < 9.95 else fixed(spread, 0)


def value_text(stats: TensorStats, value: float | None) -> str:
    """A number, or in its place what became of it."""
    lost = value is None and stats.variance_log10 is None and stats.status != "ok"
    return LOST[stats.status] if lost else short(value, stats.variance_log10)
