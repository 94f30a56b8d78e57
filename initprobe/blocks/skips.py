"""What surrounds the activation of each layer of an experiment: norm, skip, and weights that start at 0.

A residual net is cut into branches of `block` layers, and each is added to what it was given: `h + s branch(h)`. A
branch of one layer is `phi(h W + b)`. One of several ends in a layer without activation, and so without a norm, which
stands before an activation: `phi(h W1 + b1) W2 + b2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.blocks.norms import NORMS, Norm

if TYPE_CHECKING:
    from initprobe.config.probe_config import ProbeConfig


_LINEAR: Activation = ACTIVATIONS["linear"]


@dataclass(frozen=True)
class Wiring:
    """What surrounds a layer's activation.

    Attributes:
        norm: of z; None for none.
        skip: what the branch that ends here is multiplied by before what it was given is added; None where nothing is.
        zero: the weights start at 0.
        place: of the layer in its branch, from 0 on.
        span: layers of that branch; 1 in a plain net too.
    """

    norm: Norm | None = None
    skip: float | None = None
    zero: bool = False
    place: int = 0
    span: int = 1

    @property
    def opens(self) -> bool:
        """The layer is the first of a branch: its input also goes round it."""
        return self.place == 0 and (self.skip is not None or self.span > 1)

    @property
    def inside(self) -> bool:
        """What the layer hands on is not the sum, but on its way in a branch."""
        return self.place < self.span - 1

    def acting(self, activation: Activation) -> Activation:
        """The layer's own activation: none, or the identity, at the end of a branch of several layers."""
        return _LINEAR if self.span > 1 and not self.inside else activation


PLAIN = Wiring()


def wirings(config: ProbeConfig, sizes: Sequence[int]) -> list[Wiring]:
    """Of every layer; `sizes` are the input's features and the layers' widths."""
    if config.is_plain:
        return [PLAIN] * (len(sizes) - 1)
    norm = NORMS.get(config.norm)
    found = [Wiring(norm)] * (len(sizes) - 1)
    for branch in branches(sizes, config.block) if config.residual else []:
        span = len(branch)
        found[branch[0] : branch[-1]] = [Wiring(norm, place=place, span=span) for place in range(span - 1)]
        last = None if span > 1 else norm
        found[branch[-1]] = Wiring(last, config.branch_factor, config.zero_init_last, span - 1, span)
    return found


def branches(sizes: Sequence[int], block: int = 1) -> list[range]:
    """The layers, from 0 on, of each branch: of every `block` layers that end as wide as they begin."""
    cut = (range(first, first + block) for first in range(0, len(sizes) - block, block))
    return [branch for branch in cut if sizes[branch[0]] == sizes[branch[-1] + 1]]
