"""Rows of a result as a pandas frame, where pandas is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from initprobe.errors import InitprobeError

if TYPE_CHECKING:
    from pandas import DataFrame


def dataframe(rows: Callable[[], Iterable[Mapping[str, object]]]) -> DataFrame:
    """A frame of rows.

    Args:
        rows: makes them, once pandas is known to be there.

    Raises:
        InitprobeError: pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise InitprobeError("to_dataframe needs pandas: pip install pandas")
    import pandas as pd

    return pd.DataFrame(list(rows()))
