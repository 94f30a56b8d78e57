"""Data sets that ship with the package. To add one, write its record and list it in `DATASETS` in `noise.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array


class Dataset(NamedTuple):
    """A table of real data with a class for each row.

    Attributes:
        name: canonical name.
        table: returns the data, `(samples, features)`, in the dtype of the file.
        classes: returns the class of each row, `(samples,)`, whole numbers from 0 on.
        formula: what a row is, in plain text.
        reference: the source and its licence.
        aliases: other names for it.
    """

    name: str
    table: Callable[[], Array]
    classes: Callable[[], Array]
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()

    @property
    def make(self) -> None:
        """A data set has no parameters."""


@cache
def _digits() -> dict[str, Array]:
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in ("x", "y")}
    for array in arrays.values():
        array.flags.writeable = False  # all runs of this process share them
    return arrays


DIGITS = Dataset(
    name="digits",
    table=lambda: _digits()["x"],
    classes=lambda: _digits()["y"],
    formula="1797 handwritten digits of 8 x 8 pixels, whole numbers from 0 to 16, with labels 0 to 9",
    reference="UCI Optical Recognition of Handwritten Digits (test part, as in scikit-learn); Alpaydin & Kaynak 1998, "
    "doi:10.24432/C50P49, CC BY 4.0",
)
