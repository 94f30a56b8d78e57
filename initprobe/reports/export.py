"""Results as CSV. (As JSON a result writes itself.)"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from initprobe.results import Percentiles, ProbeResult

_ONLY_IN_JSON = ("histogram", "variance_by_draw", "output_shares")


def to_csv(result: ProbeResult) -> str:
    """A row a layer, the columns named as in JSON with dots; empty where a number does not apply or was lost.

    Histograms and per-draw values are left to JSON.
    """
    rows = [dict(_leaves(layer.model_dump(mode="json"))) for layer in result.layers]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if key in _ONLY_IN_JSON:
            continue
        if key == "percentiles" and value is None:  # lost ones keep their columns
            yield from _leaves(dict.fromkeys(Percentiles.model_fields), f"{prefix}{key}.")
        elif isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
