"""Zero-mean normal weights in the words of PyTorch, Keras, JAX and of `--init`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from initprobe.initializers.record import Mode

# A gain this near to a customary one, relative, is that one, and five digits tell it from any other.
_ROUNDING = 5e-4
_DIGITS = 5


@dataclass(frozen=True)
class Weights:
    """Normal weights of variance `gain^2 / fan`.

    Attributes:
        gain: rounded to what is said of it.
        mode: which fan; fan_in, fan_out or their mean.
        rule: the customary rule that this is, if any.
        slope: of a leaky ReLU on the negative side, which He's rule takes into account.
    """

    gain: float
    mode: Mode = "fan_in"
    rule: Literal["he", "lecun", "xavier"] | None = None
    slope: float = 0.0

    @property
    def scale(self) -> str:
        """`fan Var(W)`."""
        return f"{self.gain**2:.6g}"

    @property
    def name(self) -> str:
        """As `--init` takes it."""
        if self.rule == "he":
            given = {"mode=fan_out": self.mode == "fan_out", f"slope={self.slope}": self.slope != 0}
            return ":".join(filter(None, ("he", ",".join(text for text, wanted in given.items() if wanted))))
        if self.mode == "fan_out":
            return f"variance_scaling:scale={self.scale},mode=fan_out"
        return self.rule or f"lecun:gain={self.gain:g}"

    @property
    def variance(self) -> str:
        """The formula of an entry's variance."""
        if self.rule == "xavier":
            return "2/(fan_in + fan_out)"
        if self.rule == "he":
            return f"2/((1 + {abs(self.slope)}^2) {self.mode})" if self.slope else f"2/{self.mode}"
        return f"{'1' if self.gain == 1 else f'{self.gain:g}^2'}/{self.mode}"

    @property
    def pytorch(self) -> str:
        """A line of PyTorch; `torch.nn.init` names: He's rule is kaiming, LeCun's is its `linear`."""
        if self.rule == "xavier":
            return "nn.init.xavier_normal_(layer.weight)"
        if self.rule is None and self.gain != 1:
            units = "in_features" if self.mode == "fan_in" else "out_features"
            return f"nn.init.normal_(layer.weight, std={self.gain:g} / math.sqrt(layer.{units}))"
        mode = ', mode="fan_out"' if self.mode == "fan_out" else ""
        if self.slope:  # leaky_relu is the default
            return f"nn.init.kaiming_normal_(layer.weight, a={self.slope}{mode})"
        shape = "relu" if self.rule == "he" else "linear"
        return f'nn.init.kaiming_normal_(layer.weight{mode}, nonlinearity="{shape}")'

    @property
    def keras(self) -> str:
        """A Keras initializer; its HeNormal and its like have this variance, but are cut at two standard deviations."""
        return f'keras.initializers.VarianceScaling({self.scale}, "{self.mode}", "untruncated_normal")'

    @property
    def jax(self) -> str:
        """A JAX initializer; "normal" is not truncated there, while he_normal and its like are."""
        return f'jax.nn.initializers.variance_scaling({self.scale}, "{self.mode}", "normal")'


def weights_of(
    gain: float, slope: float = 0.0, mode: Mode = "fan_in", unit: Literal["lecun", "xavier"] = "lecun"
) -> Weights:
    """Weights of that gain, or the customary ones within rounding of it.

    Args:
        gain: `sqrt(fan Var(W))`.
        slope: of a leaky ReLU on the negative side.
        mode: which fan.
        unit: whose weights those of gain 1 are.
    """
    he = math.sqrt(2 / (1 + slope**2))
    if math.isclose(gain, he, rel_tol=_ROUNDING):
        return Weights(he, mode, "he", slope)
    if not math.isclose(gain, 1, rel_tol=_ROUNDING):
        return Weights(float(f"{gain:.{_DIGITS}g}"), mode)
    if mode == "fan_out":
        return Weights(1.0, mode)
    return Weights(1.0, "fan_avg", "xavier") if unit == "xavier" else Weights(1.0, mode, "lecun")
