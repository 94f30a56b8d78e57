"""Initializers that draw weights, and then fit them to the input of the layer. The engine does the fitting.

To add one, write a function that returns its record. List it in `DATA_DRIVEN` at the end of this file.
"""

from __future__ import annotations

from dataclasses import replace

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.initializers.fit_settings import Autoencoder, Measured, UnitVariance
from initprobe.initializers.fixed import orthogonal
from initprobe.initializers.record import Initializer
from initprobe.initializers.size_rules import RULES

# Largest number of epochs or iterations; more would never end.
_MOST_REPEATS = 1_000_000


def autoencoder(
    epochs: float = 10,
    learning_rate: float = 0.5,
    batch: float | None = None,
    noise: float = 0.0,
    tied: bool = True,
    base: str = "xavier",
) -> Initializer:
    """Greedy layer-wise pretraining: each layer learns to encode its input, then passes its output to the next.

    Args:
        epochs: passes over the data, per layer.
        learning_rate: in units of 1 over the steepest curvature of the loss at the start, so it suits any layer.
        batch: samples per step; None for 100, or all if there are fewer.
        noise: share of the input that is set to 0, as in Vincent et al.
        tied: whether the decoder is the transposed encoder.
        base: the initializer that draws the weights first.

    Raises:
        ConfigError: a rate, a share or a number outside its range.
    """
    drawn = _base("autoencoder", base)
    if not learning_rate > 0:
        raise ConfigError(f"autoencoder: learning_rate must be above 0, not {learning_rate:g}")
    if not 0 <= noise < 1:
        raise ConfigError(f"autoencoder: noise is a share of the input and lies in [0, 1), not {noise:g}")
    whole = _whole("autoencoder", epochs=epochs, **({} if batch is None else {"batch": batch}))
    return replace(
        drawn,
        name="autoencoder",
        formula="drawn by base, then trained to decode the layer's input: x' = phi(x W + b) W' + c, squared error, SGD",
        reference="Bengio et al. 2007, NIPS 19:153; with noise: Vincent et al. 2010, JMLR 11:3371",
        aliases=("pretraining", "pretrained", "denoising_autoencoder"),
        example="autoencoder",
        used_by="deep nets before the rules of Glorot & Bengio and of He",
        fit=Autoencoder(whole["epochs"], learning_rate, whole.get("batch"), noise, tied),
        params={**whole, "learning_rate": learning_rate, "noise": noise, "tied": tied, "base": base},
        make=autoencoder,
    )


def lsuv(
    tol: float = 0.1, max_iterations: float = 10, of: Measured = "preactivation", center: bool = False
) -> Initializer:
    """Orthonormal weights; each layer is then scaled on the data until its variance is 1.

    Args:
        tol: largest distance of the variance from 1.
        max_iterations: per layer.
        of: `preactivation` measures z, as in the paper; `output` measures h, as in fastai.
        center: also shift the bias until the mean is 0.

    Raises:
        ConfigError: a tolerance or a number outside its range.
    """
    if not 0 < tol < 1:
        raise ConfigError(f"lsuv: tol must lie between 0 and 1, not {tol:g}")
    whole = _whole("lsuv", max_iterations=max_iterations)
    return replace(
        orthogonal(),
        name="lsuv",
        formula="orthonormal, then W / std of the layer's z (or h) on the data, until |variance - 1| < tol",
        reference="Mishkin & Matas 2016, arXiv:1511.06422",
        aliases=("layer_sequential_unit_variance",),
        example="lsuv",
        used_by="fastai, with of=output and center=true",
        fit=UnitVariance(tol, whole["max_iterations"], of, center),
        params={"tol": tol, **whole, "of": of, "center": center},
        make=lsuv,
    )


def _whole(name: str, **counts: float) -> dict[str, int]:
    """Counts from 1 to a million; a ConfigError for another number."""
    for key, value in counts.items():
        if not 1 <= value <= _MOST_REPEATS or value != int(value):
            raise ConfigError(f"{name}: {key} must be a whole number from 1 to {_MOST_REPEATS:,}, not {value:g}")
    return {key: int(value) for key, value in counts.items()}


def _base(name: str, base: str) -> Initializer:
    """The rule that draws the weights before they are fitted."""
    try:
        return RULES[base]
    except UnknownNameError as error:
        raise UnknownNameError(f"{name}: base: {error.text}") from None


DATA_DRIVEN = (lsuv(), autoencoder())
