"""Normal or orthogonal weights of mean 0, written for PyTorch, NumPy, Keras, JAX and `--init`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from initprobe.initializers.record import Mode

# A gain this close to a common one, relative, counts as that one; five digits tell it from any other.
_ROUNDING = 5e-4
_DIGITS = 5


@dataclass(frozen=True)
class Weights:
    """Normal weights of variance `gain^2 / fan`, or orthogonal weights with singular values of `gain`.

    Attributes:
        gain: `sqrt(fan Var(W))`, rounded to five digits.
        mode: which fan: fan_in, fan_out or their mean.
        rule: name of the common rule with this variance, or `orthogonal`; None for neither.
        slope: slope of a leaky ReLU on the negative side, which He's rule uses.
    """

    gain: float
    mode: Mode = "fan_in"
    rule: Literal["he", "lecun", "xavier", "orthogonal"] | None = None
    slope: float = 0.0

    @property
    def scale(self) -> str:
        """`fan Var(W)`."""
        return f"{self.gain**2:.6g}"

    @property
    def name(self) -> str:
        """The initializer as `--init` takes it."""
        if self.rule == "he":
            given = {"mode=fan_out": self.mode == "fan_out", f"slope={self.slope}": self.slope != 0}
            return ":".join(filter(None, ("he", ",".join(text for text, wanted in given.items() if wanted))))
        if self.rule == "orthogonal":
            return "orthogonal" if self.gain == 1 else f"orthogonal:gain={self.gain:g}"
        if self.mode == "fan_out":
            return f"variance_scaling:scale={self.scale},mode=fan_out"
        return self.rule or f"lecun:gain={self.gain:g}"

    @property
    def variance(self) -> str:
        """The formula of a weight's variance."""
        if self.rule == "xavier":
            return "2/(fan_in + fan_out)"
        if self.rule == "he":
            return f"2/((1 + {abs(self.slope)}^2) {self.mode})" if self.slope else f"2/{self.mode}"
        fan = "max(fan_in, fan_out)" if self.rule == "orthogonal" else self.mode
        return f"{'1' if self.gain == 1 else f'{self.gain:g}^2'}/{fan}"

    @property
    def pytorch(self) -> str:
        """A line of PyTorch. In `torch.nn.init`, He's rule is kaiming and LeCun's rule is kaiming for `linear`."""
        if self.rule == "xavier":
            return "nn.init.xavier_normal_(layer.weight)"
        if self.rule == "orthogonal":
            return f"nn.init.orthogonal_(layer.weight, gain={self.gain:g})"
        if self.rule is None and self.gain != 1:
            units = "in_features" if self.mode == "fan_in" else "out_features"
            return f"nn.init.normal_(layer.weight, std={self.gain:g} / layer.{units}**0.5)"
        mode = ', mode="fan_out"' if self.mode == "fan_out" else ""
        if self.slope:  # leaky_relu is the default
            return f"nn.init.kaiming_normal_(layer.weight, a={self.slope}{mode})"
        shape = "relu" if self.rule == "he" else "linear"
        return f'nn.init.kaiming_normal_(layer.weight{mode}, nonlinearity="{shape}")'

    @property
    def numpy(self) -> str:
        """A line of NumPy for `W` of `x @ W`, two if orthogonal, with `rng = np.random.default_rng()`."""
        if self.rule == "orthogonal":
            scale = "" if self.gain == 1 else f"{self.gain:g} * "
            return f"u, _, v = np.linalg.svd(rng.normal(size=(fan_in, fan_out)), False)\nW = {scale}u @ v"
        slope = f" / (1 + {abs(self.slope)}**2)" if self.slope else ""
        named = {"xavier": "(2 / (fan_in + fan_out))", "he": f"(2{slope} / {self.mode})"}.get(self.rule or "")
        std = f"{named}**0.5" if named else f"{self.gain:g} / {self.mode}**0.5"
        return f"W = rng.normal(0, {std}, (fan_in, fan_out))"

    @property
    def keras(self) -> str:
        """A Keras initializer. HeNormal has the same variance, but is cut at two standard deviations."""
        if self.rule == "orthogonal":
            return f"keras.initializers.Orthogonal({self.gain:g})"
        return f'keras.initializers.VarianceScaling({self.scale}, "{self.mode}", "untruncated_normal")'

    @property
    def jax(self) -> str:
        """A JAX initializer. "normal" is not truncated there, while he_normal is."""
        if self.rule == "orthogonal":
            return f"jax.nn.initializers.orthogonal({self.gain:g})"
        return f'jax.nn.initializers.variance_scaling({self.scale}, "{self.mode}", "normal")'


def weights_of(
    gain: float, slope: float = 0.0, mode: Mode = "fan_in", unit: Literal["lecun", "xavier"] = "lecun"
) -> Weights:
    """Weights with a gain, or the common weights if the gain is theirs up to rounding.

    Args:
        gain: `sqrt(fan Var(W))`.
        slope: slope of a leaky ReLU on the negative side.
        mode: which fan.
        unit: the rule that names weights of gain 1.
    """
    he = math.sqrt(2 / (1 + slope**2))
    if math.isclose(gain, he, rel_tol=_ROUNDING):
        return Weights(he, mode, "he", slope)
    if not math.isclose(gain, 1, rel_tol=_ROUNDING):
        return Weights(float(f"{gain:.{_DIGITS}g}"), mode)
    if mode == "fan_out":
        return Weights(1.0, mode)
    return Weights(1.0, "fan_avg", "xavier") if unit == "xavier" else Weights(1.0, mode, "lecun")
