"""Normalisation of a layer's pre-activations: each a record that says over which entries, forward and back.

`z = (y - mean) / sqrt(variance + epsilon)` of `y = h W + b`, the variance being the mean squared deviation. The
learnable scale and shift that frameworks add are 1 and 0 when training begins, and left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.registry import Registry

# As in torch.nn.LayerNorm and torch.nn.BatchNorm1d; Keras has 1e-3.
EPSILON = 1e-5


@dataclass(frozen=True)
class Norm:
    """A normalisation of `(samples, units)`.

    Attributes:
        name: stable id.
        axis: over which mean and variance are taken: 1, the units of each sample; 0, the samples of each unit.
        meaning: what it does, in a sentence.
        reference: where it is from.
    """

    name: str
    axis: int
    meaning: str
    reference: str

    @property
    def aliases(self) -> tuple[str, ...]:
        """A norm has one name."""
        return ()

    def forward(self, y: Array) -> Array:
        """Normalise in place; the inverse standard deviations, float64, of the shape of `y` but for 1 at the axis."""
        wide = y.astype(float)
        wide -= wide.mean(axis=self.axis, keepdims=True)
        inverse = 1 / np.sqrt(np.mean(wide * wide, axis=self.axis, keepdims=True) + EPSILON)
        np.multiply(wide, inverse, out=y, casting="same_kind")
        return np.asarray(inverse)

    def backward(self, delta: Array, z: Array, inverse: Array) -> None:
        """`dL/dz` to `dL/dy` in place, from the normalised `z`: `(d - mean d - z mean(d z)) inverse`."""
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
