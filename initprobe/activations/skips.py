"""What surrounds the activation of each layer: norm, skip, and weights that start at 0.

A residual network is divided into branches of `block` layers, and each is added to its own input: `h + s branch(h)`. A
branch of one layer is `phi(h W + b)`. A branch of several layers is `phi(h W1 + b1) W2 + b2`. Its last layer has no
activation. So it has no norm either, since a norm precedes an activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.norms import NORMS, Norm
from initprobe.activations.record import Activation

_LINEAR: Activation = ACTIVATIONS["linear"]


class Wiring(NamedTuple):
    """What surrounds a layer's activation.

    Attributes:
        norm: of z, or None.
        skip: the scale s of the branch that ends here, before its input is added; None where no branch ends.
        zero: the weights start at 0.
        place: of the layer in its branch, counted from 0.
        span: layers of the branch; 1 in a plain network too.
    """

    norm: Norm | None = None
    skip: float | None = None
    zero: bool = False
    place: int = 0
    span: int = 1

    @property
    def by_sample(self) -> bool:
        """True if a norm takes mean and variance over the units of each sample: a layer norm."""
        return self.norm is not None and self.norm.axis == 1

    @property
    def by_batch(self) -> bool:
        """True if a norm takes mean and variance over the samples of a batch: a batch norm."""
        return self.norm is not None and self.norm.axis == 0

    @property
    def opens(self) -> bool:
        """True if the layer is the first of a branch. Its input is also added to the end of the branch."""
        return self.place == 0 and (self.skip is not None or self.span > 1)

    @property
    def inside(self) -> bool:
        """True if the output of the layer is inside a branch, not the sum at its end."""
        return self.place < self.span - 1

    def acting(self, activation: Activation) -> Activation:
        """The activation of this layer: the identity at the end of a branch of several layers, else `activation`."""
        return _LINEAR if self.span > 1 and not self.inside else activation


PLAIN = Wiring()


class Surroundings(Protocol):
    """The settings that decide what surrounds the activations; a config has them.

    Attributes:
        norm: name of the norm, or `none`.
        residual: branches are added to their input.
        block: layers in a branch.
        branch_factor: the scale s of a branch.
        zero_init_last: the weights of the last layer of each branch start at 0.
        is_plain: there is neither a norm nor a branch.
    """

    @property
    def norm(self) -> str: ...
    @property
    def residual(self) -> bool: ...
    @property
    def block(self) -> int: ...
    @property
    def branch_factor(self) -> float: ...
    @property
    def zero_init_last(self) -> bool: ...
    @property
    def is_plain(self) -> bool: ...


def wirings(config: Surroundings, sizes: Sequence[int]) -> list[Wiring]:
    """The wiring of every layer, first to last.

    Args:
        config: what surrounds the activations.
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
    """
    if config.is_plain:
        return [PLAIN] * (len(sizes) - 1)
    norm, factor = NORMS.get(config.norm), config.branch_factor
    by_layer = [Wiring(norm)] * (len(sizes) - 1)
    for branch in branches(sizes, config.block) if config.residual else []:
        span = len(branch)
        by_layer[branch[0] : branch[-1]] = [Wiring(norm, place=place, span=span) for place in range(span - 1)]
        last = None if span > 1 else norm
        by_layer[branch[-1]] = Wiring(last, factor, config.zero_init_last, span - 1, span)
    return by_layer


def branches(sizes: Sequence[int], block: int = 1) -> list[range]:
    """The layers of each residual branch, counted from 0.

    Args:
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
        block: layers per branch.

    Returns:
        A range for every `block` layers whose output is as wide as their input.
    """
    cut = (range(first, first + block) for first in range(0, len(sizes) - block, block))
    return [branch for branch in cut if sizes[branch[0]] == sizes[branch[-1] + 1]]
