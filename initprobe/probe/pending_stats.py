"""Statistics of many tensors of which most are never shown: percentiles and histograms wait until they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from initprobe.engine.quantiles import TOGETHER
from initprobe.engine.sketch import Sketch
from initprobe.probe.tensor_stats import NO_SHAPE, is_lost, moments_of, no_moments, rms_of, shapes_of
from initprobe.results.base import Percentiles, Status
from initprobe.results.layers import OutputStats, TensorStats
from initprobe.results.pending import Pending, pending


class _PendingStats(Pending, TensorStats):
    """Statistics without a shape yet."""


class _PendingOutput(Pending, OutputStats):
    """The same of an output."""


class PendingStats:
    """The statistics of some tensors of one dtype. They equal those of `all_stats` for the same tensors, bit for bit.

    It keeps the sketches, and no tensor.
    """

    def __init__(self, sketches: Sequence[Sketch], statuses: Sequence[Status]) -> None:
        self._sketches, self._statuses = sketches, statuses
        self._lost = [is_lost(sketch, status) for sketch, status in zip(sketches, statuses, strict=True)]
        shaped = [
            index
            for index, (sketch, gone) in enumerate(zip(sketches, self._lost, strict=True))
            if not (gone or sketch.faint or sketch.huge)
        ]
        self._shaped, self._places = shaped, {index: place for place, index in enumerate(shaped)}
        self._shapes: dict[int, Mapping[str, Any]] = {}

    def stats(self, index: int) -> TensorStats:
        """The statistics of a tensor.

        Args:
            index: of the tensor.
        """
        fields = self._fields(index)
        if index not in self._places:
            return TensorStats(**fields, **NO_SHAPE)
        return pending(_PendingStats, partial(self._shape, index), fields)

    def output(self, index: int, saturated: float | None, dead: float | None) -> OutputStats:
        """The statistics of an output.

        Args:
            index: of the tensor.
            saturated: share of saturated entries.
            dead: share of dead units.
        """
        fields = self._fields(index) | {"saturated_fraction": saturated, "dead_fraction": dead}
        if index not in self._places:
            return OutputStats(**fields, **NO_SHAPE)
        return pending(_PendingOutput, partial(self._shape, index), fields)

    def _fields(self, index: int) -> dict[str, Any]:
        """All that needs no counts."""
        sketch, gone = self._sketches[index], self._lost[index]
        fields = no_moments(len(sketch.by_draw)) if gone else moments_of(sketch.by_draw)
        fields |= {"status": self._statuses[index], "nonfinite_count": sketch.nonfinite if gone else 0}
        return fields | _extremes(sketch) if index in self._places else fields

    def _shape(self, index: int) -> Mapping[str, Any]:
        if index not in self._shapes:
            self._add_shapes(self._places[index] // TOGETHER * TOGETHER)
        return self._shapes[index]

    def _add_shapes(self, first: int) -> None:
        """Work out the shapes of the tensors that are always worked out together."""
        chunk = self._shaped[first : first + TOGETHER]
        sizes = [rms_of(self._sketches[index], self._statuses[index]) for index in chunk]
        for index, shape in zip(chunk, shapes_of([self._sketches[index] for index in chunk], sizes), strict=True):
            percentiles = Percentiles.model_construct(**shape["percentiles"])
            self._shapes[index] = {**shape, "percentiles": percentiles}


def _extremes(sketch: Sketch) -> dict[str, float]:
    return {
        "min": sketch.low,
        "max": sketch.high,
        "zero_fraction": sketch.zeros / sketch.total if sketch.zeros else 0.0,
    }
