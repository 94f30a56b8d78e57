"""Another processor's products, in place of one: every product of the engine is rounded otherwise.

BLAS libraries sum in another order for every kernel, so that processors differ in the last bits. Here each entry of a
product is multiplied by 1 + eps or 1 - eps of its dtype, 2^-23 in float32. A seed and the numbers themselves pick the
sign. An entry that has left the range becomes infinity or NaN, which depends on the order of the sum too. Neither
threads nor the order of calls matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

_exact = np.matmul


@contextmanager
def rounded(seed: int) -> Iterator[None]:
    """Round every product that is made by `np.matmul`, as the engine makes all of them."""

    def matmul(a: npt.ArrayLike, b: npt.ArrayLike, out: npt.NDArray[Any] | None = None) -> Any:
        product = np.asarray(_exact(a, b, out=out))
        signs = np.random.default_rng([seed, zlib.crc32(product.tobytes())]).integers(0, 2, product.shape, np.int8)
        with np.errstate(invalid="ignore", over="ignore"):
            product *= 1 + np.finfo(product.dtype).eps * (2 * signs - 1).astype(product.dtype)
        if np.ndim(product):
            lost = ~np.isfinite(product)
            product[lost] = np.where(signs[lost], np.nan, np.inf)
        return product if out is None else out

    np.matmul = matmul
    try:
        yield
    finally:
        np.matmul = _exact
