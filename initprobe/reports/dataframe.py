"""Results as a pandas frame, where pandas is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from initprobe.errors import InitprobeError
from initprobe.reports.csv import csv_rows
from initprobe.results.run import ProbeResult


def dataframe(results: Iterable[tuple[Mapping[str, Any], ProbeResult]]) -> Any:
    """A row per result and layer. The columns have the dotted names of JSON, as in the CSV.

    Args:
        results: each with the columns that set it apart.

    Raises:
        InitprobeError: pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise InitprobeError("to_dataframe needs pandas: pip install pandas; to_json and to_csv need nothing")
    import pandas as pd

    return pd.DataFrame([{**own, **row} for own, result in results for row in csv_rows(result)])
