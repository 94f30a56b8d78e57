"""Matrix products in which equal rows and equal columns stay equal, on every processor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from initprobe.arrays import Array


def multiplier(right: Array, equal_rows: bool = False) -> Callable[[Array, Array], None]:
    """A function that writes the product of some rows and `right` to its second argument.

    BLAS sums the entries of one product in different orders, so equal units would differ in their last bits. A norm
    would divide these differences by their own size, and the verdict would depend on the processor. So equal columns
    and equal rows are computed once.

    Args:
        right: `(inner, columns)`.
        equal_rows: all rows that will be multiplied are equal.
    """
    one_column = has_equal_columns(right)
    columns = np.ascontiguousarray(right[:, :1]) if one_column else right

    def multiply(rows: Array, out: Array) -> None:
        np.matmul(rows, columns, out=out)

    def repeat(rows: Array, out: Array) -> None:
        out[...] = np.matmul(rows[:1] if equal_rows else rows, columns)

    return repeat if one_column or equal_rows else multiply


def has_equal_columns(matrix: Array) -> bool:
    """True if all columns are equal; for random numbers the ends of the first row decide."""
    if matrix.size and matrix[0, 0] != matrix[0, -1]:
        return False
    return all(bool(np.all(matrix[rows] == matrix[rows, :1])) for rows in (slice(0, 1), slice(1, None)))
