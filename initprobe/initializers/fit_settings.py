"""Settings of the initializers that fit the drawn weights to the input of the layer; the engine does the work."""

from __future__ import annotations

from typing import Literal, NamedTuple

_DEFAULT_BATCH = 100
Measured = Literal["preactivation", "output"]


class Autoencoder(NamedTuple):
    """The layer learns to encode its input, with a linear decoder behind it during the fit.

    Attributes:
        epochs: passes over the samples.
        learning_rate: of plain SGD, in units of 1 over the steepest curvature at the start; above 2 a quadratic
            diverges.
        batch: samples per step; None for 100, or for all if there are fewer.
        noise: share of the input set to 0 before it is encoded; the target is the unchanged input.
        tied: the decoder is the transpose of the encoder.
    """

    epochs: int
    learning_rate: float
    batch: int | None
    noise: float
    tied: bool

    def samples_of(self, available: int) -> int:
        """Samples per step, of those available."""
        return min(_DEFAULT_BATCH if self.batch is None else self.batch, available)

    @property
    def products(self) -> int:
        """Products of the layer's matrix with each sample: five per step, and four to measure before and after."""
        return 5 * self.epochs + 4

    @property
    def steps(self) -> int:
        """Steps of a progress bar per layer."""
        return self.epochs


class UnitVariance(NamedTuple):
    """The layer is scaled until its output has variance 1.

    Attributes:
        tol: largest allowed distance of the variance from 1.
        max_iterations: largest number of times to measure and scale.
        of: which output is measured: z or h.
        center: also shift the bias, until the mean is within `tol` of 0.
    """

    tol: float
    max_iterations: int
    of: Measured
    center: bool

    @property
    def products(self) -> int:
        """Products of the layer's matrix with each sample, at most."""
        return self.max_iterations + 1

    @property
    def steps(self) -> int:
        """Steps of a progress bar per layer."""
        return 1


Fit = Autoencoder | UnitVariance
