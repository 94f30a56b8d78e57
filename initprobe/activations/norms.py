"""Normalisation of pre-activations: each norm is a record that says over which axis, with its forward and backward.

`z = (y - mean) / sqrt(variance + epsilon)` of `y = h W + b`, where the variance is the mean squared deviation. The
learnable scale and shift of frameworks are 1 and 0 before training, so they are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.registry import Registry

# That of torch.nn.LayerNorm and torch.nn.BatchNorm1d; Keras uses 1e-3.
EPSILON = 1e-5


class Norm(NamedTuple):
    """A normalisation of `(samples, units)`.

    Attributes:
        name: stable id.
        axis: of mean and variance: 1 for the units of each sample, 0 for the samples of each unit.
        meaning: what it does, in a sentence.
        reference: the source.
    """

    name: str
    axis: int
    meaning: str
    reference: str

    @property
    def aliases(self) -> tuple[str, ...]:
        """None: a norm has one name."""
        return ()

    def forward(self, y: Array) -> Array:
        """Normalise in place.

        Args:
            y: `(samples, units)`.

        Returns:
            The inverse standard deviations in float64, of the shape of `y` with 1 at the axis.
        """
        wide = y.astype(float)
        wide -= wide.mean(axis=self.axis, keepdims=True)
        inverse = 1 / np.sqrt(np.mean(wide * wide, axis=self.axis, keepdims=True) + EPSILON)
        np.multiply(wide, inverse, out=y, casting="same_kind")
        return np.asarray(inverse)

    def backward(self, delta: Array, z: Array, inverse: Array) -> None:
        """Turn dL/dz into dL/dy in place: `(d - mean d - z mean(d z)) inverse`.

        Args:
            delta: dL/dz, `(samples, units)`.
            z: the normalised pre-activations, `(samples, units)`.
            inverse: what `forward` returned.
        """
        wide, unit = delta.astype(float), z.astype(float)
        along = np.mean(wide * unit, axis=self.axis, keepdims=True)
        wide -= wide.mean(axis=self.axis, keepdims=True) + unit * along
        np.multiply(wide, inverse, out=delta, casting="same_kind")


NORMS: Registry[Norm] = Registry(
    "norm",
    [
        Norm(
            name="layer",
            axis=1,
            meaning="every sample's z has mean 0 and variance 1 over the units of a layer",
            reference="Ba et al. 2016, arXiv:1607.06450",
        ),
        Norm(
            name="batch",
            axis=0,
            meaning="every unit's z has mean 0 and variance 1 over the samples of a batch",
            reference="Ioffe & Szegedy 2015, arXiv:1502.03167",
        ),
    ],
)
