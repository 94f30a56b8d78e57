"""The names of a result's numbers in checks, tables, CSV, sweep files and `diff`, and how each is read.

Every number of `LayerStats` has its dotted name, as `output.dead_fraction`. `TENSOR.variance_per_layer` is the factor
by which a tensor's variance changes per layer. It is the geometric mean from first layer to last, also for gradients.
In a net of residual branches of several layers, the ends of the branches count. The other numbers are of the whole net.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import get_args

from initprobe.errors import UnknownNameError
from initprobe.registry import suggestion
from initprobe.results.base import TENSORS, Record
from initprobe.results.layers import LayerStats
from initprobe.results.outcome import SURVIVES, survives, verdict_of
from initprobe.results.run import ProbeResult

HEALTHY, VERDICT = "healthy", "verdict"
RATE = "variance_per_layer"
FROM_LAYER, ELAPSED = "layer", "elapsed_s"


def _numbers_of(record: type[Record], prefix: str = "") -> Iterator[str]:
    """The dotted names of a record's numbers."""
    for name, info in record.model_fields.items():
        kinds = {part for kind in (info.annotation, *get_args(info.annotation)) for part in (kind, *get_args(kind))}
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Record)), None)
        if inner is not None:
            yield from _numbers_of(inner, f"{prefix}{name}.")
        elif kinds & {int, float} and not any(getattr(kind, "__origin__", kind) is tuple for kind in kinds):
            yield f"{prefix}{name}"


LAYER_NUMBERS = tuple(name for name in _numbers_of(LayerStats) if name != "layer")
RATES = tuple(f"{tensor}.{RATE}" for tensor in TENSORS)
# Numbers of the whole net: losses, the layer where the most severe finding begins, and the elapsed time.
LOSSES = ("loss.start", "loss.chance", "training.final_loss")
# Of one step of an optimizer, and of each small format: the first layer that it loses, and the best scale of the loss.
STEP_NUMBERS = tuple(f"step.{name}" for name in ("loss_before", "loss_after", "largest_curvature", "highest_rate"))
FORMAT_PARTS = {"signal": "lost_at.signal", "gradient": "lost_at.gradient", "loss_scale_log2": "loss_scale.scale_log2"}
FORMAT_NUMBERS = tuple(
    f"formats.{name}.{part}"
    for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
    for part in FORMAT_PARTS
)
RUN_NUMBERS = (*LOSSES, *STEP_NUMBERS, *FORMAT_NUMBERS, FROM_LAYER, ELAPSED)
WHOLE = (VERDICT, HEALTHY, *RATES, *RUN_NUMBERS)
NAMES = (*WHOLE, *LAYER_NUMBERS)
# What `diff` compares beside numbers: missing runs, the data of figures, one step, small formats, and histograms.
MISSING, FIGURES, STEP, IN_FORMATS, HISTOGRAM = "missing", "figures", "step", "formats", "histogram"
HISTOGRAMS = tuple(f"{tensor}.{HISTOGRAM}" for tensor in TENSORS)
COMPARED = (VERDICT, MISSING, FIGURES, STEP, IN_FORMATS, *HISTOGRAMS, *RATES, *LOSSES, *LAYER_NUMBERS)


def check_name(name: str) -> str:
    """Check the dotted name of a number and return it.

    Raises:
        UnknownNameError: a result has no such number.
    """
    if name not in NAMES:
        hint = suggestion(name, NAMES) or " The names are those of the JSON, as in output.variance."
        raise UnknownNameError(f"unknown result {name!r}.{hint}")
    return name


def value_of(layer: LayerStats, name: str) -> float | None:
    """The number of a layer by its dotted name; None where it or a record around it is null.

    Args:
        layer, name: of a result, and a name such as `output.variance`.
    """
    return _at(layer, name)


def number_of(result: ProbeResult, name: str) -> float | None:
    """One of `RUN_NUMBERS` or `RATES`; None where it or a record around it is null.

    Args:
        result, name: of a run, and the name of the number.
    """
    if name == FROM_LAYER:
        worst = verdict_of(result)
        return None if worst is None else float(worst.layer)
    if name in FORMAT_NUMBERS:
        _, wanted, part = name.split(".")
        stats = next((each for each in result.formats if each.name == wanted), None)
        return None if stats is None else _at(stats, FORMAT_PARTS[part])
    return rate_of(result, name) if name in RATES else _at(result, name)


def rate_of(result: ProbeResult, name: str) -> float | None:
    """One of `RATES`; None where a variance is lost or 0 at one end, or there is only one layer.

    Args:
        result, name: of a run, and the name of the rate.
    """
    ends = result.stream[0], result.stream[-1]
    first, last = (layer.tensor(name.partition(".")[0]).variance_log10 for layer in ends)
    if first is None or last is None or len(result.stream) < 2:
        return None
    log10 = (last - first) / (ends[1].layer - ends[0].layer)
    return 10**log10 if log10 < sys.float_info.max_10_exp else math.inf


def whole_of(result: ProbeResult, name: str) -> str | bool | float | None:
    """One of `WHOLE`, as a table shows it.

    Args:
        result, name: of a run, and the name of the fact.
    """
    special: dict[str, Callable[[], str | bool]] = {
        VERDICT: lambda: worst.rule if (worst := verdict_of(result)) else SURVIVES,
        HEALTHY: lambda: survives(result),
    }
    return special[name]() if name in special else number_of(result, name)


def _at(record: Record, name: str) -> float | None:
    value = record.at(name)
    return None if value is None else float(value)
