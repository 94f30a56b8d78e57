"""Synthetic input, and the registry of all inputs that have a name.

To add a kind of noise, write a function that returns its record. List it in `NOISES` at the end of this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array, standard_normal
from initprobe.data.datasets import DIGITS, Dataset
from initprobe.errors import ConfigError
from initprobe.registry import Registry


@dataclass(frozen=True)
class Noise:
    """Synthetic input, drawn row by row.

    Attributes:
        name: canonical name.
        sample: from `(generator, (rows, features), dtype, shared)` to rows. `shared`, `(features,)`, is N(0, 1) and the
            same for all rows of one draw; correlated rows contain it.
        formula: the rule in plain text.
        describe: this record in words.
        reference: where it is used.
        aliases: other names for it.
        params: the parameters of this record.
        make: makes the record with other parameters.
    """

    name: str
    sample: Callable[[np.random.Generator, tuple[int, int], npt.DTypeLike, Array], Array]
    formula: str
    describe: str
    reference: str
    aliases: tuple[str, ...] = ()
    params: dict[str, float] = field(default_factory=dict)
    make: Callable[..., Noise] | None = None


def gaussian(std: float = 1.0, mean: float = 0.0, correlation: float = 0.0) -> Noise:
    """Independent normal features, where any two samples may be correlated.

    Args:
        std: of a feature over samples.
        mean: of a feature.
        correlation: of any two samples over their features.

    Raises:
        ConfigError: a negative `std`, or a correlation outside [0, 1].
    """
    if not 0 <= std < math.inf:
        raise ConfigError(f"gaussian: std must be at least 0, not {std:g}")
    if not 0 <= correlation <= 1:
        raise ConfigError(f"gaussian: correlation must lie between 0 and 1, not {correlation:g}")

    def sample(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike, shared: Array) -> Array:
        rows = standard_normal(rng, shape, dtype)
        if correlation:
            rows *= math.sqrt(1 - correlation)
            rows += (math.sqrt(correlation) * shared).astype(dtype)
        rows *= std
        rows += mean
        return rows

    words = f"N({mean:g},{std**2:g}) input" + (f", correlation {correlation:g}" if correlation else "")
    return Noise(
        name="gaussian",
        sample=sample,
        formula="x = mean + std (sqrt(correlation) common + sqrt(1 - correlation) own), both N(0,1)",
        describe=words,
        reference="CS231n 2017, lecture 6; correlated pairs: Poole et al. 2016, arXiv:1606.05340",
        aliases=("normal",),
        params={"std": std, "mean": mean, "correlation": correlation},
        make=gaussian,
    )


def uniform(low: float = -1.0, high: float = 1.0) -> Noise:
    """Independent features, uniform between two bounds.

    Args:
        low: lower bound.
        high: upper bound.

    Raises:
        ConfigError: `low` is above `high`, or a bound is not finite.
    """
    if not -math.inf < low <= high < math.inf:
        raise ConfigError(f"uniform: low {low:g} is above high {high:g}, or one of them is not a number")

    def sample(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike, shared: Array) -> Array:
        rows: Array = rng.random(shape, dtype=dtype)  # type: ignore[arg-type]
        rows *= high - low
        rows += low
        return rows

    return Noise(
        name="uniform",
        sample=sample,
        formula="U(low, high)",
        describe=f"U({low:g},{high:g}) input",
        reference="features scaled to a fixed range, as pixels are",
        params={"low": low, "high": high},
        make=uniform,
    )


NOISES = (gaussian(), uniform())
DATASETS = Registry("dataset", [DIGITS])
INPUTS: Registry[Noise | Dataset] = Registry("input", [*NOISES, *DATASETS.values()])
