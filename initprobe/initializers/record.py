"""`Initializer`: the frozen record of a variance rule and a unit-variance sampler.

`W = mean + sqrt(variance(fan_in, fan_out)) * unit sample`, with `W` of shape `(fan_in, fan_out)`. Sampler and theory
read the same rule, so they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array
from initprobe.initializers.distributions import Distribution
from initprobe.initializers.fit_settings import Fit

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Tuning = Literal["critical", "forward", "backward"]
VarianceRule = Callable[[int, int], float]

GLOROT = "Glorot & Bengio 2010, AISTATS 9:249"
HE = "He et al. 2015, arXiv:1502.01852"
LECUN = "LeCun et al. 1998, Efficient BackProp"
VARIANCE_SCALING = "the primitive that Keras and JAX build their initializers from"


@dataclass(frozen=True, repr=False)
class Initializer:
    """How the weights `W`, `(fan_in, fan_out)`, of a layer are drawn.

    Attributes:
        name: canonical name.
        distribution: sampler of entries of variance 1.
        variance: from `(fan_in, fan_out)` to the variance of an entry about `mean`.
        formula: the rule in plain text.
        reference: the paper or document it comes from.
        aliases: other names for it; case, `-` and `_` do not matter.
        example: the shortest specification that works; the name, unless it needs a parameter.
        used_by: which framework uses it, and as what.
        mean: the mean of an entry.
        needs_fan: the rule depends on the layer's size, so it cannot serve a bias.
        bias: the bias initializer that comes with it; None for zeros.
        fit: how the drawn weights are fitted to the layer's input; None if they are not, and then theory applies.
        tuning: which gain of the activation sets the scale; None for none. The record itself is that of a linear net.
        params: the parameters of this record.
        make: makes the record with other parameters; None if it has no parameters.
    """

    name: str
    distribution: Distribution
    variance: VarianceRule
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()
    example: str = ""
    used_by: str = ""
    mean: float = 0.0
    needs_fan: bool = True
    bias: Initializer | None = None
    fit: Fit | None = None
    tuning: Tuning | None = None
    params: Mapping[str, float | bool | str] = field(default_factory=dict)
    make: Callable[..., Initializer] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "example", self.example or self.name)

    def __repr__(self) -> str:
        return f"<Initializer: {self.name}: {self.formula}; {self.reference}>"

    def std(self, fan_in: int, fan_out: int) -> float:
        """Standard deviation of an entry of a weight matrix.

        Args:
            fan_in, fan_out: rows and columns of the matrix: inputs and units of the layer.
        """
        return math.sqrt(self.variance(fan_in, fan_out))

    def describe(self, fan_in: int, fan_out: int) -> str:
        """The distribution of an entry of a weight matrix, in words.

        Args:
            fan_in: rows of the matrix, the inputs of the layer.
            fan_out: columns, its units.

        Returns:
            For example `N(0, std 0.0447)`.
        """
        return self.distribution.describe(self.mean, self.std(fan_in, fan_out))

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, int], fans: tuple[int, int], dtype: npt.DTypeLike
    ) -> Array:
        """Draw all rows, or some rows, of a weight matrix; a single row serves as a bias.

        Args:
            rng: source of the draws.
            shape: `(rows, fan_out)` of the result.
            fans: `(fan_in, fan_out)` of the whole matrix, which set the scale.
            dtype: float32 or float64.

        Returns:
            Entries of the given `shape`, with the record's mean and variance.
        """
        entries = self.distribution.sample(rng, shape, dtype)
        entries *= self.std(*fans)
        if self.mean:
            entries += self.mean
        return entries
