"""The first two moments of the squared singular values of Jacobians, at infinite width.

`G = P'P` of a product `P = W_1 D_1 ... W_l D_l` turns into `D W'GW D` with one more layer. With `W` and `D` freely
independent of `G`, `tr` the mean of the eigenvalues, `r = tr(G^2)/tr(G)^2`, `mu_k = E[phi'^{2k}]` and
`a = n_l/n_{l-1}`,

    tr(G) -> n_{l-1} Var(W) mu_1 tr(G)
    r     -> a r + mu_2/mu_1^2                          independent weights
    r     -> a r + mu_2/mu_1^2 - 1                      orthogonal, n_l >= n_{l-1}
    r     -> 1 + a (r - 1) + mu_2/mu_1^2 - 1            orthogonal, n_l < n_{l-1}: a free compression

For square layers that all see one q this is `mean = chi_1^L`, `Var(s^2)/mean^2 = L (mu_2/mu_1^2 - 1 - s_1)`. Here
`s_1 = -1` for independent weights and 0 for orthogonal ones. Sources: Pennington, Schoenholz & Ganguli 2017,
arXiv:1711.04735; 2018, arXiv:1802.09979. Finite networks differ by the order of depth/width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer, State

# Relative accuracy of the moments; a spread below it is 0.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SpectrumMoments:
    """Moments over the `min(n_in, n_out)` singular values s of a Jacobian, averaged over the samples.

    Attributes:
        mean_log10: log10 of the mean of `s^2`; -inf for 0.
        spread: `Var(s^2) / mean(s^2)^2`; NaN where the mean is 0.
    """

    mean_log10: float
    spread: float


def layer_moments(layer: Layer, state: State) -> SpectrumMoments:
    """Moments of one layer's Jacobian, `dh_l/dh_{l-1}`.

    Args:
        layer, state: the layer, and the distribution of its z.
    """
    return product_moments([layer], [state])[0]


def product_moments(layers: Sequence[Layer], states: Sequence[State]) -> tuple[SpectrumMoments, ...]:
    """Moments of the Jacobians `dh_l/dh_0` of the first layer, the first two layers, and so on.

    Args:
        layers: first to last; weights without a mean.
        states: of the same layers, from `propagate`.
    """
    shares, first = states[0].sample_shares, layers[0].n_in
    log_mean, ratio = np.zeros_like(shares), np.ones_like(shares)
    results = []
    with np.errstate(all="ignore"):
        for layer, state in zip(layers, states, strict=True):
            slopes = state.over_biases(state.moments.slope_square)
            fourth = state.over_biases(state.moments.slope_kurtosis * state.moments.slope_square**2)
            log_mean = log_mean + np.log(layer.n_in * layer.weight_variance * slopes)
            ratio = _through_weights(layer, ratio) + fourth / slopes**2 - 1
            results.append(_averaged(shares, log_mean, ratio, layer.n_out / min(first, layer.n_out)))
    return tuple(results)


def _through_weights(layer: Layer, ratio: Array) -> Array:
    """`tr(X^2)/tr(X)^2` of `X = W'GW`, from `ratio`, that of G."""
    shape = layer.n_out / layer.n_in
    if not layer.orthogonal:
        return 1 + shape * ratio
    return shape * ratio if shape >= 1 else 1 + shape * (ratio - 1)


def _averaged(shares: Array, log_mean: Array, ratio: Array, units: float) -> SpectrumMoments:
    """Moments over the singular values, from moments over the units; `units` is units per singular value."""
    top = float(np.max(log_mean))
    if not math.isfinite(top):
        return SpectrumMoments(top / math.log(10), math.nan)
    mean = top + math.log(units * float(shares @ np.exp(log_mean - top)))
    spread = float(shares @ ratio) / units - 1
    return SpectrumMoments(mean / math.log(10), 0.0 if spread < _ROUNDING else spread)
