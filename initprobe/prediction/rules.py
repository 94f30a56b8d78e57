"""From a config to the layers that theory reads, and the reasons why theory may not apply."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from initprobe.activations.skips import wirings
from initprobe.arrays import Array
from initprobe.arrays import mean as average
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.distributions import NORMAL, Distribution
from initprobe.initializers.own import OwnInitializer
from initprobe.meanfield.input_moments import InputMoments, gauss_rule
from initprobe.meanfield.layer import Layer

if TYPE_CHECKING:
    from initprobe.initializers.weight_files import Layer as FileLayer

_PAIR_STATISTICS = ("cosine", "cosine_variance", "kurtosis", "cokurtosis")
# Nodes in each half of a distribution of biases that is not normal. Wide ones, over which phi may bend, have more.
_BASE_NODES, _NODES_PER_STD, _MOST_NODES = 3.0, 3.0, 16
_FILE_NODES = 12
_QUANTILES, _BISECTIONS = 2000, 60


def no_theory(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments | None = None, batch: int | None = None
) -> str | None:
    """Why there is no prediction for a network, as a sentence; None where mean-field theory or drawn networks give one.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input; None to judge the weights alone.
        batch: number of samples in one batch; None to judge the weights alone.
    """
    if fault := _weights_fault(config, sizes):
        return fault
    fault = _series_fault(config, sizes, inputs, batch)
    if fault is None or inputs is None or batch is None:
        return fault
    return _drawing_fault(config, sizes, inputs, batch)


def no_series(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, batch: int) -> str | None:
    """Why mean-field theory does not apply to a network, as a sentence; None where it applies.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        batch: number of samples in one batch.
    """
    return _weights_fault(config, sizes) or _series_fault(config, sizes, inputs, batch)


def _series_fault(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments | None, batch: int | None
) -> str | None:
    """Why a series in 1/width and 1/batch does not hold, where networks can be drawn in its place."""
    if are_rows_needed(config, sizes):
        return (
            f"no mean-field prediction: {config.initializer.name} weights have a mean, which theory of residual "
            "networks and batch norm does not cover"
        )
    if config.norm == "batch" and inputs is not None and batch is not None and (fault := _batch_fault(inputs, batch)):
        return f"no mean-field prediction: {fault}"
    return None


def _drawing_fault(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, batch: int) -> str | None:
    """Why drawn networks give no prediction either."""
    from initprobe.meanfield.drawn_batches import fault_of

    fault = fault_of(rules_of(config, sizes), wirings(config, sizes), inputs, batch)
    return fault and f"no mean-field prediction: {fault}"


def _batch_fault(inputs: InputMoments, batch: int) -> str | None:
    """Why theory of batch norm does not apply to these samples; None where it applies."""
    from initprobe.meanfield.batch_norm import fault_of

    return fault_of(inputs, batch)


def _weights_fault(config: ProbeConfig, sizes: Sequence[int]) -> str | None:
    """Why mean-field theory does not apply to these weights, as a sentence; None where it applies."""
    init = config.initializer
    if isinstance(init, OwnInitializer) and (fault := _own_fault(init, sizes)):
        return f"no mean-field prediction: {fault}"
    if config.network is not None and config.network.fault is not None:
        return f"no mean-field prediction: {config.network.fault}"
    if init.fit is not None:
        return f"no mean-field prediction: {init.name} weights depend on the data"
    if not init.distribution.gaussian_limit:
        return (
            f"no mean-field prediction: {init.name} weights do not make the pre-activations of a wide layer Gaussian "
            "and independent between units"
        )
    if any(wiring.by_sample and size == 1 for wiring, size in zip(wirings(config, sizes), sizes[1:], strict=True)):
        return "no mean-field prediction: layer norm over one unit makes z 0 for every input"
    return None


def removes_means(config: ProbeConfig) -> bool:
    """Whether a layer norm removes what the mean of the weights adds, the same number in all units.

    The gradient before the norm sums to 0 over units, so that the mean passes nothing back.
    """
    return config.norm == "layer" and config.block == 1


def _own_fault(init: OwnInitializer, sizes: Sequence[int]) -> str | None:
    """Which layer's weights do not look independent, and why; None where all do."""
    for fans in dict.fromkeys(itertools.pairwise(sizes)):
        if fault := init.law(*fans).fault:
            return f"{init.name} at {fans[0]} -> {fans[1]} does not look independent: {fault}"
    return None


def pooled(inputs: Sequence[InputMoments]) -> InputMoments:
    """The input moments of all draws together; pairs are within a draw, `gram` and `rows` of the first."""
    return InputMoments(
        np.concatenate([moments.mean_squares for moments in inputs]),
        np.concatenate([moments.means for moments in inputs]),
        **{name: average([getattr(moments, name) for moments in inputs]) for name in _PAIR_STATISTICS},
        gram=_first_of(inputs, "gram"),
        rows=_first_of(inputs, "rows"),
    )


def inequality(inputs: Sequence[InputMoments], draws: int) -> float:
    """How far the mean log of the draws' mean squares is below the log of their mean. It is 0 for equal inputs.

    Args:
        inputs: moments of every batch, draw by draw.
        draws: number of draws.
    """
    of_batches = np.array([float(np.mean(moments.mean_squares)) for moments in inputs])
    squares = of_batches.reshape(draws, -1).mean(axis=1)
    if not (squares > 0).all() or not np.isfinite(squares).all():
        return 0.0
    return max(float(np.log(squares.mean()) - np.log(squares).mean()), 0.0)


def _first_of(inputs: Sequence[InputMoments], name: str) -> Array | None:
    """The first value that is not None."""
    return next((value for moments in inputs if (value := getattr(moments, name)) is not None), None)


def are_rows_needed(config: ProbeConfig, sizes: Sequence[int]) -> bool:
    """Whether a prediction needs the rows of the input themselves.

    The weights of a normalised or residual network then have a mean. It adds the sum of a row to z.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
    """
    is_series = config.is_plain or removes_means(config)
    return not is_series and any(layer.weight_mean for layer in rules_of(config, sizes))


def bias_stds(config: ProbeConfig, sizes: Sequence[int]) -> list[float]:
    """The standard deviation of the biases of each layer over units, by their rule or from a file of weights.

    Args:
        config: of the experiment.
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
    """
    if config.network is not None:
        biases = [layer.bias for layer in config.network.layers]
        return [0.0 if bias is None else float(bias.std(dtype=float)) for bias in biases]
    return [math.sqrt(config.bias_initializer.variance(*fans)) for fans in itertools.pairwise(sizes)]


def bias_nodes(distribution: Distribution, std: float) -> tuple[tuple[float, float], ...]:
    """The quadrature rule over biases: pairs of share and place in standard deviations; empty if normal or constant.

    Args:
        distribution: of the biases, with mean 0 and variance 1.
        std: of the biases.
    """
    if std == 0 or distribution.cdf in (None, NORMAL.cdf):
        return ()
    return _nodes(distribution, min(math.ceil(_BASE_NODES + _NODES_PER_STD * std), _MOST_NODES))


@lru_cache
def _nodes(distribution: Distribution, count: int) -> tuple[tuple[float, float], ...]:
    """Two Gauss rules, below and above the median, where phi may bend; together they have variance 1."""
    halves = [gauss_rule(half, count) for half in np.split(_quantiles(distribution), 2)]
    shares, places = (np.concatenate(both) for both in zip(*halves, strict=True))
    shares = shares / shares.sum()
    places = places - shares @ places
    return tuple(zip(shares.tolist(), (places / math.sqrt(shares @ places**2)).tolist(), strict=True))


def _quantiles(distribution: Distribution) -> Array:
    """Quantiles at equal steps of probability, `(quantiles,)`, by bisection of the distribution function.

    scipy.optimize.elementwise.find_root takes 1.9 times as long, and its import adds 0.3 s to a run of 1 s.
    """
    assert distribution.cdf is not None
    probability = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    # By Chebyshev's inequality no quantile of a distribution with variance 1 lies farther out.
    low, high = np.full(_QUANTILES, -math.sqrt(2 * _QUANTILES)), np.full(_QUANTILES, math.sqrt(2 * _QUANTILES))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = distribution.cdf(middle) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def rules_of(config: ProbeConfig, sizes: Sequence[int]) -> list[Layer]:
    """The layers that theory reads, first to last.

    Args:
        config, sizes: of the experiment; the features of the input, then the units of each layer.
    """
    if config.network is not None:
        return [_measured_rule(layer) for layer in config.network.layers]
    return [rule(config, fans) for fans in itertools.pairwise(sizes)]


def _measured_rule(layer: FileLayer) -> Layer:
    """The layer that theory reads, for weights from a file: their mean, variance, kurtosis, and their own biases.

    The spread is that of drawn weights. It is a little too wide, since the variance of these weights is known.
    """
    judged, bias = layer.judged, np.zeros(1) if layer.bias is None else layer.bias.astype(float)
    mean, variance = float(bias.mean()), float(bias.var())
    return Layer(
        n_in=layer.weight.shape[0],
        n_out=layer.weight.shape[1],
        weight_variance=judged.variance,
        weight_mean=judged.mean,
        bias_variance=variance,
        bias_mean=mean,
        orthogonal=judged.orthogonal,
        kurtosis=judged.kurtosis,
        bias_nodes=_file_nodes((bias - mean) / math.sqrt(variance)) if variance else (),
    )


def _file_nodes(places: Array) -> tuple[tuple[float, float], ...]:
    """The Gauss rule of biases from a file, given in standard deviations from their mean, `(units,)`."""
    shares, nodes = gauss_rule(places, _FILE_NODES)
    return tuple(zip(shares.tolist(), nodes.tolist(), strict=True))


def rule(config: ProbeConfig, fans: tuple[int, int]) -> Layer:
    """The layer that theory reads, from the rules that its weights and biases are drawn by.

    Args:
        config: of the run.
        fans: `(fan_in, fan_out)` of the layer.
    """
    init, bias = config.initializer, config.bias_initializer
    bias_variance = bias.variance(*fans)
    kurtosis, cokurtosis = init.distribution.fourth(fans[0])
    mean, orthogonal = init.mean, init.distribution.orthogonal
    if isinstance(init, OwnInitializer):
        law = init.law(*fans)
        mean, orthogonal, kurtosis = law.mean, law.orthogonal, law.kurtosis
    return Layer(
        *fans,
        weight_variance=init.variance(*fans),
        weight_mean=mean,
        bias_variance=bias_variance,
        bias_mean=bias.mean,
        orthogonal=orthogonal,
        kurtosis=kurtosis,
        cokurtosis=cokurtosis,
        bias_nodes=bias_nodes(bias.distribution, math.sqrt(bias_variance)),
    )
