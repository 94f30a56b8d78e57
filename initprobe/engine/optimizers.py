"""SGD, Adam and AdamW for the parameters of a NumPy network, with the defaults of `torch.optim`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from initprobe.arrays import Array

# Kingma & Ba 2015, arXiv:1412.6980; the weight decay is that of torch.optim.AdamW (arXiv:1711.05101).
_BETA_MEAN, _BETA_SQUARE, _EPS, _DECAY = 0.9, 0.999, 1e-8, 0.01
NAMES = ("sgd", "adam", "adamw")
# Why a curvature is not reported.
ADAPTIVE = "Adam rescales every entry, so the curvature of the loss does not limit its rate"
NOT_FOUND = "the iterations did not converge"


def default_rate(name: str) -> float:
    """The learning rate of an optimizer that is given none: for Adam that of `torch.optim`."""
    return 0.1 if name == "sgd" else 1e-3


@dataclass
class Optimizer:
    """Steps of one optimizer; it keeps what Adam remembers of each parameter.

    Attributes:
        name: `sgd`, `adam` or `adamw`.
        rates: learning rate of each parameter, by name.
        steps: done so far.
        moments: mean and mean square of the gradients, by name.
    """

    name: str
    rates: Mapping[str, float]
    steps: int = 0
    moments: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        """Change all parameters in place.

        Args:
            parameters: by name.
            gradients: of the same names and shapes.
        """
        self.steps += 1
        with np.errstate(all="ignore"):
            for name, parameter in parameters.items():
                rate = self.rates[name]
                if self.name == "adamw":
                    parameter *= parameter.dtype.type(1 - rate * _DECAY)
                parameter -= (rate * self._direction(name, gradients[name])).astype(parameter.dtype)

    def _direction(self, name: str, gradient: Array) -> Array:
        if self.name == "sgd":
            return gradient
        zeros = np.zeros_like(gradient)
        mean, square = self.moments.get(name, (zeros, zeros))
        mean = _BETA_MEAN * mean + (1 - _BETA_MEAN) * gradient
        square = _BETA_SQUARE * square + (1 - _BETA_SQUARE) * gradient * gradient
        self.moments[name] = (mean, square)
        unbiased = square / (1 - _BETA_SQUARE**self.steps)
        direction: Array = mean / (1 - _BETA_MEAN**self.steps) / (np.sqrt(unbiased) + _EPS)
        return direction
