"""The statistics of tensors from their sketches, over all draws."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from initprobe.arrays import finite, log10_mean, mean
from initprobe.engine.moments import Moments
from initprobe.engine.quantiles import PERCENTS, distributions
from initprobe.engine.sketch import Sketch
from initprobe.results.base import Histogram, Status
from initprobe.results.layers import TensorStats


def is_lost(sketch: Sketch, status: Status) -> bool:
    """True if no number of a tensor can be reported.

    Args:
        sketch, status: of the tensor, and whether the dtype held it.
    """
    beyond = status == "nonfinite" or (status == "overflow" and not sketch.huge)
    return beyond or bool(sketch.nonfinite) or (status == "underflow" and sketch.is_zero)


def all_stats(sketches: Sequence[Sketch], statuses: Sequence[Status]) -> list[TensorStats]:
    """The statistics of tensors, given their status; null where the dtype lost them.

    Args:
        sketches: of the tensors.
        statuses: whether the dtype held each tensor.
    """
    lost = [is_lost(sketch, status) for sketch, status in zip(sketches, statuses, strict=True)]
    moments = [
        no_moments(len(sketch.by_draw)) if gone else moments_of(sketch.by_draw)
        for sketch, gone in zip(sketches, lost, strict=True)
    ]
    shaped = [not (gone or sketch.faint or sketch.huge) for sketch, gone in zip(sketches, lost, strict=True)]
    shapes = iter(
        shapes_of(
            [s for s, has in zip(sketches, shaped, strict=True) if has],
            [m["rms"] for m, has in zip(moments, shaped, strict=True) if has],
        )
    )
    return [
        TensorStats(
            **own,
            **(next(shapes) if has else NO_SHAPE),
            status=status,
            nonfinite_count=sketch.nonfinite if gone else 0,
        )
        for sketch, status, own, gone, has in zip(sketches, statuses, moments, lost, shaped, strict=True)
    ]


def rms_of(sketch: Sketch, status: Status) -> float | None:
    """The root mean square of a tensor, as `all_stats` gives it.

    Args:
        sketch, status: of the tensor, and whether the dtype held it.
    """
    return None if is_lost(sketch, status) else _rms(sketch.by_draw)


def _rms(by_draw: Sequence[Moments]) -> float | None:
    square = mean([draw.mean_square for draw in by_draw])
    return _representable(math.sqrt(square), max(abs(draw.mean) + draw.squares for draw in by_draw))


def no_moments(draws: int) -> dict[str, Any]:
    """The fields of `moments_of` for a tensor that was lost."""
    names = ("mean", "variance", "variance_sd", "variance_log10", "std", "rms")
    return dict.fromkeys(names, None) | {"variance_by_draw": (None,) * draws}


NO_SHAPE: dict[str, Any] = dict.fromkeys(
    ("min", "max", "percentiles", "zero_fraction", "near_zero_fraction", "histogram")
) | {"coverage": 0.0}


def moments_of(by_draw: Sequence[Moments]) -> dict[str, Any]:
    """Averages over draws, as fields of `TensorStats`."""
    if len(by_draw) == 1:
        return _moments_of_one(by_draw[0])
    by_draw_variance = [_representable(m.variance, m.squares) for m in by_draw]
    variances = [v for v in by_draw_variance if v is not None]
    complete = len(variances) == len(by_draw)
    variance = mean(variances) if complete else None
    return {
        "mean": finite(mean([m.true_mean for m in by_draw])),
        "variance": variance,
        "variance_sd": statistics.stdev(variances) if complete and len(variances) > 1 else None,
        "variance_log10": finite(log10_mean([m.log10_variance for m in by_draw])),
        "variance_by_draw": tuple(by_draw_variance),
        "std": None if variance is None else math.sqrt(variance),
        "rms": _rms(by_draw),
    }


def _moments_of_one(draw: Moments) -> dict[str, Any]:
    """The same for one draw, in fewer steps."""
    variance, log10 = _representable(draw.variance, draw.squares), draw.log10_variance
    return {
        "mean": finite(draw.true_mean + 0.0),  # never -0, as in a sum
        "variance": variance,
        "variance_sd": None,
        "variance_log10": finite(log10),
        "variance_by_draw": (variance,),
        "std": None if variance is None else math.sqrt(variance),
        "rms": _representable(math.sqrt(draw.mean_square), abs(draw.mean) + draw.squares),
    }


def _representable(value: float, evidence: float) -> float | None:
    """`value`; None where it is infinite, or where it is 0 and `evidence` is not."""
    return None if math.isinf(value) or (value == 0 and evidence > 0) else value


_PERCENT_NAMES = [f"p{p}" for p in PERCENTS]


def shapes_of(sketches: Sequence[Sketch], sizes: Sequence[float | None]) -> Iterator[dict[str, Any]]:
    """What is measured over all draws together, as fields of `TensorStats`.

    Args:
        sketches: of the tensors.
        sizes: their rms; None where it has none.
    """
    each = distributions(sketches, [math.nan if size is None else size for size in sizes])
    for sketch, size, own in zip(sketches, sizes, each, strict=True):
        yield {
            "min": sketch.low,
            "max": sketch.high,
            "percentiles": dict(zip(_PERCENT_NAMES, own.percentiles.tolist(), strict=True)),
            "zero_fraction": sketch.zeros / own.total,
            "near_zero_fraction": None if size is None else own.near_zero,
            # Not validated: checking 200 counts of our own would cost more than all else here.
            "histogram": Histogram.model_construct(low=sketch.low, high=sketch.high, counts=tuple(own.counts.tolist())),
            "coverage": own.total / sum(draw.count for draw in sketch.by_draw),
        }
