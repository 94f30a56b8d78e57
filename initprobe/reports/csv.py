"""Results as CSV; JSON is `ProbeResult.to_json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from initprobe.results.base import dotted_names
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import ELAPSED, FROM_LAYER, WHOLE, whole_of
from initprobe.results.run import ProbeResult

_ONLY_IN_JSON = ("counts", "variance_by_draw", "output_shares")
# Of the whole net, the same in every row. The elapsed time is no result. `layer` is the row's own.
_WHOLE = tuple(name for name in WHOLE if name not in (ELAPSED, FROM_LAYER))


def to_csv(result: ProbeResult) -> str:
    """Write a row per layer; the columns have the dotted names of JSON.

    A cell is empty where a number does not apply or was lost. Only JSON has counts of histograms and values
    per draw. Numbers of the whole net stand in every row.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, csv_names(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_rows(result))
    return out.getvalue()


def csv_names() -> list[str]:
    """The columns, the same for every result."""
    return [*dotted_names(LayerStats, _ONLY_IN_JSON), *_WHOLE]


def csv_rows(result: ProbeResult) -> Iterator[dict[str, Any]]:
    """A row per layer, by name of the column."""
    names = list(dotted_names(LayerStats, _ONLY_IN_JSON))
    whole = {name: whole_of(result, name) for name in _WHOLE}
    for layer in result.layers:
        yield {name: layer.at(name) for name in names} | whole
