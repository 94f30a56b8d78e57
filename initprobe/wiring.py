"""What surrounds the activation of each layer of an experiment: norm, skip, and weights that start at 0."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.norms import NORMS, Norm

if TYPE_CHECKING:
    from initprobe.config import ProbeConfig


@dataclass(frozen=True)
class Wiring:
    """What surrounds a layer's activation.

    Attributes:
        norm: of z; None for none.
        skip: what `phi(z)` is multiplied by before the layer's input is added to it; None where nothing is added.
        zero: the weights start at 0.
    """

    norm: Norm | None = None
    skip: float | None = None
    zero: bool = False


PLAIN = Wiring()


def wirings(config: ProbeConfig, sizes: Sequence[int]) -> list[Wiring]:
    """Of every layer; `sizes` are the input's features and the layers' widths. A skip stands where two are equal."""
    if config.is_plain:
        return [PLAIN] * (len(sizes) - 1)
    norm = NORMS.get(config.norm)
    skipped = Wiring(norm, config.branch_factor, config.zero_init_last)
    return [skipped if config.residual and a == b else Wiring(norm) for a, b in itertools.pairwise(sizes)]


def skips(sizes: Sequence[int]) -> list[int]:
    """The layers that a residual net of these sizes adds its input to, 1 for the first."""
    return [layer for layer, (a, b) in enumerate(itertools.pairwise(sizes), start=1) if a == b]
