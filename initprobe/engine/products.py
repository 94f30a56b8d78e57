"""Products in which what is equal stays equal, on every processor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from initprobe.arrays import Array


def multiplier(right: Array, equal_rows: bool = False) -> Callable[[Array, Array], None]:
    """What writes the product of some rows and `right` to its second argument; of `equal_rows` all are equal.

    BLAS sums the entries of one product in different orders, so that equal units would differ in the last bits. A norm
    would divide that noise by its own size, and the verdict would hang on the processor. So what is equal is made once:
    where all columns of `right`, or all rows, are.
    """
    one_column = has_equal_columns(right)
    columns = np.ascontiguousarray(right[:, :1]) if one_column else right

    def multiply(rows: Array, out: Array) -> None:
        np.matmul(rows, columns, out=out)

    def repeat(rows: Array, out: Array) -> None:
        out[...] = np.matmul(rows[:1] if equal_rows else rows, columns)

    return repeat if one_column or equal_rows else multiply


def has_equal_columns(matrix: Array) -> bool:
    """Of random numbers the first row alone settles it."""
    return all(bool(np.all(matrix[rows] == matrix[rows, :1])) for rows in (slice(0, 1), slice(1, None)))
