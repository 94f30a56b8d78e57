"""Rows of a result as a pandas frame, where pandas is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from initprobe.errors import InitprobeError

if TYPE_CHECKING:
    from pandas import DataFrame


def dataframe(rows: Callable[[], Iterable[Mapping[str, object]]], columns: Sequence[str] | None = None) -> DataFrame:
    """A frame of rows.

    Args:
        rows: makes them, once pandas is known to be there.
        columns: their names, where there may be no row; None for those of the rows.

    Raises:
        InitprobeError: pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise InitprobeError("to_dataframe needs pandas: pip install pandas")
    import pandas as pd

    return pd.DataFrame(list(rows()), columns=columns)
