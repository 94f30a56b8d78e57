"""The initializers: one frozen record each, a variance rule and a unit-variance sampler.

`W = mean + sqrt(variance(fan_in, fan_out)) * unit sample`, for the sampler and for the theory alike, so that they
cannot disagree. `W` has shape `(fan_in, fan_out)`. To add one, write a function that returns its record and list it in
`INITIALIZERS`; tables, help, theory and the tests over the whole registry follow.
"""

from __future__ import annotations

from dataclasses import replace

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.initializers.fit_settings import Autoencoder, Measured, UnitVariance
from initprobe.initializers.fixed import orthogonal
from initprobe.initializers.record import Initializer
from initprobe.initializers.size_rules import RULES

# Of epochs and iterations: more would not end in a lifetime.
_MOST_REPEATS = 1_000_000


def autoencoder(
    epochs: float = 10,
    learning_rate: float = 0.5,
    batch: float | None = None,
    noise: float = 0.0,
    tied: bool = True,
    base: str = "xavier",
) -> Initializer:
    """Greedy layer-wise pretraining: each layer learns to encode its own input, then hands its output to the next.

    `learning_rate` is in units of 1 / the steepest curvature of the loss at the start, so that it suits any layer;
    `noise` is the share of the input that is masked (Vincent et al.'s denoising form); a step takes `batch` samples, or
    100 if there are as many.
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
        used_by="deep nets before Glorot & Bengio's and He's rules",
        fit=Autoencoder(whole["epochs"], learning_rate, whole.get("batch"), noise, tied),
        params={**whole, "learning_rate": learning_rate, "noise": noise, "tied": tied, "base": base},
        make=autoencoder,
    )


def lsuv(
    tol: float = 0.1, max_iterations: float = 10, of: Measured = "preactivation", center: bool = False
) -> Initializer:
    """Orthonormal weights, each layer then scaled on the data until its variance is 1.

    `of=preactivation` is the paper's (its layer is the linear one); `of=output` measures after the activation, as
    fastai does. `center=true` shifts the bias too, until the mean is 0.
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
    """Counts from 1 to a million.

    Raises:
        ConfigError: one is no such number.
    """
    for key, value in counts.items():
        if not 1 <= value <= _MOST_REPEATS or value != int(value):
            raise ConfigError(f"{name}: {key} must be a whole number from 1 to {_MOST_REPEATS:,}, not {value:g}")
    return {key: int(value) for key, value in counts.items()}


def _base(name: str, base: str) -> Initializer:
    """What the weights are drawn by before they are fitted."""
    try:
        return RULES[base]
    except UnknownNameError as error:
        raise UnknownNameError(f"{name}: base: {error}") from None
