"""A number over the seeds of a setting: at which layer it is read, its mean, and its text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from initprobe import arrays
from initprobe.formatting import NOTHING
from initprobe.results.named_numbers import WHOLE

# Gradients and their predictions are read at the first layer, where they arrive; other numbers at the last.
_AT_FIRST = ("preactivation_gradient", "output_gradient", "weight_gradient")


def layer_of(name: str) -> int:
    """The place in `ProbeResult.stream`, 0 or -1, at which a table shows a number of a layer."""
    return 0 if name.removeprefix("theory.").removeprefix("loss_").startswith(_AT_FIRST) else -1


def heading(name: str) -> str:
    """A heading of two lines: the name, and the layer at which the number is read."""
    return f"\n{name}" if name in WHOLE else f"{name}\n{'first' if layer_of(name) == 0 else 'last'}"


def mean(values: Iterable[str | bool | float | None]) -> float | str:
    """The mean of a number over seeds, or the most common word; NaN without any."""
    entries = [str(value).lower() if isinstance(value, bool | str) else value for value in values if value is not None]
    numbers = [entry for entry in entries if not isinstance(entry, str)]
    if numbers or not entries:
        return arrays.mean(numbers) if numbers else math.nan
    return Counter(map(str, entries)).most_common(1)[0][0]


def text(value: float | str) -> str:
    """A mean as text."""
    return value if isinstance(value, str) else NOTHING if math.isnan(value) else f"{value:.4g}"
