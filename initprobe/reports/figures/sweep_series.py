"""One number of many results, by its dotted name, as a series over the layers. It is a log where it spans decades."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from initprobe.arrays import Array
from initprobe.formatting import trimmed
from initprobe.reports.sweep_table import SEED, Entry, Scalar
from initprobe.results.base import TENSORS
from initprobe.results.digest import Digest, Logs
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import RATE
from initprobe.results.run import ProbeResult

E = TypeVar("E", bound=Entry)

_VARIANCE = ("variance", "variance_log10", "std")
_LOGS = (*_VARIANCE, RATE, "variance_sd", "rms", "gradient_to_weight_ratio")


@dataclass(frozen=True)
class Series:
    """A number per layer of a run; a log10 if `is_log` of its name.

    Attributes:
        measured: `(layers,)`, NaN where there is none.
        predicted: the same by theory, `(layers,)`.
        start: the first layer that is not inside a residual branch.
        zeros: the layers whose number is exactly 0, where a log10 is shown.
    """

    measured: Array
    predicted: Array
    start: int = 1
    zeros: tuple[int, ...] = ()

    @property
    def with_zeros(self) -> Array:
        """The measured numbers, with -inf as the log10 of 0."""
        is_zero = np.isin(1 + np.arange(len(self.measured)), self.zeros)
        return np.where(is_zero, -np.inf, self.measured)

    @property
    def rate(self) -> float:
        """log10 of the factor per layer, first to last; NaN for a single layer."""
        numbers = self.measured[self.start - 1 :]
        return float(numbers[-1] - numbers[0]) / (len(numbers) - 1) if len(numbers) > 1 else math.nan


def is_log(name: str) -> bool:
    """Whether a number is shown as its log10, because it is positive and spans decades."""
    last = name.rpartition(".")[2]
    return last in _LOGS or last.endswith("_variance")


def series(name: str, entry: E, read: Callable[[E], ProbeResult]) -> Series:
    """Read a number per layer of a finished run.

    Args:
        name: the number's dotted name.
        entry: the run.
        read: reads the whole result; called only if the digest lacks the number.
    """
    if entry.digest is not None and name in _IN_DIGEST:
        measured, predicted = (np.array([_nan(log) for log in logs]) for logs in _IN_DIGEST[name](entry.digest))
        zeros = entry.digest.output_zeros if name.startswith("output.") else entry.digest.gradient_zeros
        return Series(measured, predicted, entry.digest.start, zeros)
    result = read(entry)
    measured, predicted = (
        np.array([read_off(layer, name) for layer in result.layers]) for read_off in (_measured, _predicted)
    )
    zeros = tuple(layer.layer for layer in result.layers if is_log(name) and _is_zero(layer, name))
    return Series(measured, predicted, result.stream[0].layer, zeros)


_IN_DIGEST: dict[str, Callable[[Digest], tuple[Logs, Logs]]] = {
    "output.variance": lambda digest: (digest.output, digest.output_theory),
    "output_gradient.variance": lambda digest: (digest.gradient, digest.gradient_theory),
}


def _nan(number: float | None) -> float:
    return math.nan if number is None else number


def _log(number: float | None) -> float:
    return math.log10(number) if number else math.nan


def _is_zero(layer: LayerStats, name: str) -> bool:
    """Whether a number that is shown as its log10 is exactly 0."""
    tensor, _, last = name.rpartition(".")
    return (layer.tensor(tensor).variance if tensor in TENSORS and last in _VARIANCE else layer.at(name)) == 0


def _measured(layer: LayerStats, name: str) -> float:
    tensor, _, last = name.rpartition(".")
    if tensor in TENSORS and last in _VARIANCE:
        # Also defined where the variance itself is below the float range.
        return _nan(layer.tensor(tensor).variance_log10) / (2 if last == "std" else 1)
    value = layer.at(name)
    return _log(value) if is_log(name) else _nan(value)


def _predicted(layer: LayerStats, name: str) -> float:
    """The prediction of a number; NaN where there is none."""
    if name == "correlation":
        return _nan(getattr(layer.theory, name, None))
    tensor, _, last = name.rpartition(".")
    if last not in _VARIANCE:
        return math.nan
    return _log(getattr(layer.theory, f"{tensor}_variance", None)) / (2 if last == "std" else 1)


def varying(entries: Iterable[Entry], fixed: Sequence[str] = ()) -> list[str]:
    """The axes along which the runs differ, in order, without the seed and those in `fixed`.

    Args:
        entries: runs of a sweep.
        fixed: axes that are left out.
    """
    listed = list(entries)
    names = dict.fromkeys(name for entry in listed for name in entry.axes if name not in (SEED, *fixed))
    return [name for name in names if len({entry.axes.get(name) for entry in listed}) > 1]


def label(entry: Entry, names: Sequence[str]) -> str:
    """The values of the given axes in words: `relu, width=100`.

    Args:
        entry: a run.
        names: of axes.
    """
    values = ((name, entry.axes.get(name)) for name in names)
    return ", ".join(_pair(name, value) for name, value in values if value is not None)


def _pair(name: str, value: Scalar) -> str:
    return value if isinstance(value, str) else f"{name}={text(value)}"


def text(value: Scalar) -> str:
    """A value with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else trimmed(value, digits=4)


def is_number(value: object) -> bool:
    """Whether a value can be a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def thinned(entries: Sequence[E], most: int) -> list[E]:
    """At most `most` of the entries, evenly spread over the sequence.

    Args:
        entries: in order.
        most: how many may stay.
    """
    if len(entries) <= most:
        return list(entries)
    return [entries[index * len(entries) // most] for index in range(most)]
