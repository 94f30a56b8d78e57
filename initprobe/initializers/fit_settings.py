"""What an initializer does with a layer's own input, once its weights are drawn: the settings, not the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_DEFAULT_BATCH = 100
Measured = Literal["preactivation", "output"]


@dataclass(frozen=True)
class Autoencoder:
    """The layer learns to be the encoder of its input; a linear decoder follows it while it does.

    Attributes:
        epochs: times through the samples.
        learning_rate: of plain SGD, in units of 1 / the steepest curvature at the start: beyond 2 a quadratic diverges.
        batch: samples of a step; None for 100, or all where there are fewer.
        noise: share of the input that is set to 0 before it is encoded; the clean input is what is to be decoded.
        tied: the decoder is the transpose of the encoder.
    """

    epochs: int
    learning_rate: float
    batch: int | None
    noise: float
    tied: bool

    def samples_of(self, available: int) -> int:
        """Samples of a step where so many are available."""
        return min(_DEFAULT_BATCH if self.batch is None else self.batch, available)

    @property
    def products(self) -> int:
        """Matrix products of the layer's size with each sample: five a step, four to measure before and after."""
        return 5 * self.epochs + 4

    @property
    def steps(self) -> int:
        """What a progress bar counts for a layer."""
        return self.epochs


@dataclass(frozen=True)
class UnitVariance:
    """The layer is scaled until what it gives has variance 1.

    Attributes:
        tol: how far from 1 the variance may be.
        max_iterations: times that it is measured and scaled at most.
        of: what is measured.
        center: the bias is shifted too, until the mean is within `tol` of 0.
    """

    tol: float
    max_iterations: int
    of: Measured
    center: bool

    @property
    def products(self) -> int:
        """Matrix products of the layer's size with each sample, at most."""
        return self.max_iterations + 1

    @property
    def steps(self) -> int:
        """What a progress bar counts for a layer."""
        return 1


Fit = Autoencoder | UnitVariance
