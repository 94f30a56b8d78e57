"""An architecture of the zoo: how it is made, what it is given, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Entry:
    """A network that is known to train, with the random weights that its authors start from.

    Attributes:
        name: of the architecture, unique.
        source: timm, torchvision, transformers, diffusers or by hand.
        make: the model with random weights, from the global generator.
        given: its input: a tensor, a tuple or a mapping.
        copies: the library makes layers as copies of one another, on purpose or not: that finding counts apart.
    """

    name: str
    source: str
    make: Callable[[], Any]
    given: Callable[[], Any]
    copies: bool = False


def images(batch: int = 4, size: int = 64, channels: int = 3) -> Callable[[], Any]:
    """Standardized images of noise."""
    return lambda: torch.randn(batch, channels, size, size)


def rows(batch: int = 64, width: int = 64) -> Callable[[], Any]:
    """Standardized features."""
    return lambda: torch.randn(batch, width)


def steps(batch: int = 8, length: int = 32, width: int = 64) -> Callable[[], Any]:
    """Standardized features at each step of a sequence."""
    return lambda: torch.randn(batch, length, width)


def ids(batch: int = 4, length: int = 32, vocabulary: int = 500) -> Callable[[], Any]:
    """Whole numbers below the size of the vocabulary."""
    return lambda: torch.randint(3, vocabulary, (batch, length))
