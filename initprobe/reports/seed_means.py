"""A number that only whole results have, over the seeds of a setting: where it is read, its mean, and its text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from initprobe import arrays
from initprobe.formatting import NOTHING
from initprobe.results.named_numbers import WHOLE

# Read at the layer where a gradient has come furthest, as are their predictions; any other number at the last.
_AT_FIRST = ("preactivation_gradient", "output_gradient", "weight_gradient")


def layer_of(name: str) -> int:
    """The place in `ProbeResult.stream`, 0 or -1, at which a table shows a number of a layer."""
    return 0 if name.removeprefix("theory.").removeprefix("loss_").startswith(_AT_FIRST) else -1


def heading(name: str) -> str:
    """Two lines: the name, and where a number of a layer is read."""
    return f"\n{name}" if name in WHOLE else f"{name}\n{'first' if layer_of(name) == 0 else 'last'}"


def mean(values: Iterable[str | bool | float | None]) -> float | str:
    """The mean over seeds of a number, or the commonest word; NaN where none has it."""
    known = [str(one).lower() if isinstance(one, bool | str) else one for one in values if one is not None]
    numbers = [one for one in known if not isinstance(one, str)]
    if numbers or not known:
        return arrays.mean(numbers) if numbers else math.nan
    return Counter(map(str, known)).most_common(1)[0][0]


def text(value: float | str) -> str:
    """A mean as a table shows it."""
    return value if isinstance(value, str) else NOTHING if math.isnan(value) else f"{value:.4g}"
