"""`measure`: the singular values of a network's Jacobians, per layer and end to end, beside theory.

If all singular values of the end-to-end Jacobian are near 1, a network passes on every direction unchanged. This is
dynamical isometry (Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from numbers import Integral

import numpy as np

from initprobe.activations.skips import Wiring
from initprobe.arrays import Array, finite
from initprobe.config.probe_config import ProbeConfig, require_config
from initprobe.engine.jacobian import Product, SingularValues
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Streams
from initprobe.engine.threads import Workers, available_threads, checked_threads, workers
from initprobe.errors import ConfigError
from initprobe.formatting import counted, short
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.jacobian_density import JacobianDensity, density
from initprobe.meanfield.jacobian_spectrum import SpectrumMoments, layer_moments, product_moments
from initprobe.meanfield.propagate import propagate
from initprobe.prediction.rules import no_theory, rules_of
from initprobe.probe.describe import describe
from initprobe.probe.experiment import Experiment, input_rows, prepare
from initprobe.probe.networks import network_of, parameters
from initprobe.probe.progress import Progress
from initprobe.results.base import Status
from initprobe.results.spectrum import Spectrum, SpectrumStats, SpectrumTheory
from initprobe.studies.spectrum_statistics import (
    by_draw,
    density_shares,
    finite_or_none,
    layer_stats,
    verdict_words,
)

DEFAULT_SAMPLES = 2
# Floating-point operations for the singular values of a layer and of a product, in units of width^3. The last number is
# how many a core does per second. Measured between widths 200 and 1000 with one thread.
_CUBES, _FLOPS_PER_S = 12.0, 1.5e10


def check_samples(samples: int) -> None:
    """Check the number of inputs.

    Raises:
        ConfigError: `samples` is no whole number, or below 1.
    """
    if not isinstance(samples, Integral):
        raise ConfigError(f"must be a whole number, not {samples!r}", field="samples")
    if samples < 1:
        raise ConfigError(f"must be at least 1, not {samples}", field="samples")


def seconds_needed(experiment: Experiment, samples: int, threads: int | None = None) -> float:
    """Estimated duration of `measure` in seconds, on a common processor.

    Args:
        experiment: the network.
        samples: input samples, with a Jacobian each.
        threads: None for all processors.
    """
    cubes = sum(max(a, b) * min(a, b) ** 2 for a, b in experiment.fans)
    at_once = min(threads or available_threads(), samples)
    return _CUBES * cubes * samples * experiment.config.draws / (_FLOPS_PER_S * at_once)


def depths(layers: int) -> tuple[int, ...]:
    """The layers at which the product of Jacobians is measured: 1, 2, 4, ... and the last."""
    doubled = itertools.takewhile(lambda depth: depth < layers, (2**k for k in itertools.count()))
    return (*doubled, layers)


def spectrum(
    config: ProbeConfig,
    samples: int = DEFAULT_SAMPLES,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Spectrum:
    """The singular values of a network's Jacobians, per layer and end to end, beside theory.

    Args:
        config: the experiment; its batch is enlarged to `samples`, and its loss and training are left out.
        samples: inputs at which Jacobians are taken.
        threads: threads to use; None means all available processors. The numbers do not depend on it.
        progress: called with (layers done, total layers).

    Returns:
        The singular values of each layer alone, and of the first 1, 2, 4, ... layers together.

    Raises:
        ConfigError: as for `measure`; or the experiment is not valid.

    Example:
        >>> spectrum(ProbeConfig(init="orthogonal", act="linear", layers=5, width=20)).isometric
        True
    """
    require_config(config)
    check_samples(samples)
    without_loss = {
        name: ProbeConfig.model_fields[name].default for name in ("loss", "labels", "train_steps", "optimizer")
    }
    plain = config.model_copy(update={"batch": config.batch and max(samples, config.batch), **without_loss})
    return measure(prepare(plain), samples, threads=threads, progress=progress)


def measure(
    experiment: Experiment,
    samples: int = DEFAULT_SAMPLES,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    densities: bool = True,
) -> Spectrum:
    """Singular values at the first `samples` inputs of every draw's network. `run` measures the same networks.

    Args:
        experiment: from `probe.prepare`, with a batch of at least `samples`.
        samples: inputs at which Jacobians are taken.
        threads: threads to use; None means all available processors. The numbers do not depend on it.
        progress: called with (layers done, total layers).
        densities: predict densities too, which takes about half a second per depth.

    Raises:
        ConfigError: `samples` or `threads` is below 1, or the network has a batch norm or branches of several layers.
    """
    check_samples(samples)
    if experiment.config.norm == "batch":
        raise ConfigError(
            "batch norm mixes the samples, so no sample has a Jacobian of its own; use layer or none", field="norm"
        )
    if experiment.config.block > 1:
        raise ConfigError(
            "Jacobians are measured per layer, and a skip over several layers has none; use block 1", field="block"
        )
    threads = checked_threads(threads)
    config, total = experiment.config, experiment.config.draws * len(experiment.fans)
    measured = _Measured(experiment)
    with workers(threads) as pool:
        for draw in range(config.draws):
            for layer in _measure_network(experiment, Streams(config.seed, draw), samples, measured, pool):
                if progress is not None:
                    progress(draw * len(experiment.fans) + layer, total)
        return _result(experiment, samples, measured, densities)


class _Measured:
    """The singular values measured so far: per layer, and of the products up to a layer."""

    def __init__(self, experiment: Experiment) -> None:
        count = len(experiment.fans)
        self.layers: dict[int, list[SingularValues]] = {layer: [] for layer in range(1, count + 1)}
        self.products: dict[int, list[SingularValues]] = {layer: [] for layer in depths(count)}
        self.statuses: dict[int, Status] = {}
        self.mean_squares: list[Array] = []
        self.means: list[Array] = []

    def inputs(self) -> InputMoments:
        """The moments of the inputs; theory of spectra reads none of pairs."""
        return InputMoments(np.concatenate(self.mean_squares), np.concatenate(self.means))

    def lose(self, layer: int, status: Status) -> None:
        """Record that in one of the networks nothing can be measured from this layer on."""
        for later in self.layers:
            if later >= layer:
                self.statuses.setdefault(later, status)


def _layers(experiment: Experiment, streams: Streams, pool: Workers) -> Iterator[tuple[Parameters, Wiring]]:
    """The layers of one network; drawn one at a time unless they are fitted to data."""
    numbers = range(1, len(experiment.fans) + 1)
    drawn = (parameters(experiment, streams, number, pool) for number in numbers)
    network = network_of(experiment, streams, pool) if experiment.config.initializer.fit else drawn
    return zip(network, experiment.wirings, strict=True)


def _measure_network(
    experiment: Experiment, streams: Streams, samples: int, measured: _Measured, pool: Workers
) -> Iterator[int]:
    """Measure the layers of one network; yields the number of each layer when it is done."""
    activation = experiment.config.activation
    h = input_rows(experiment, streams, 0, samples, pool)
    wide = h.astype(float)
    measured.mean_squares.append(np.mean(wide * wide, axis=1))
    measured.means.append(np.mean(wide, axis=1))
    products = [Product.identity(experiment.sizes[0])] * samples
    for layer, (own, wiring) in enumerate(_layers(experiment, streams, pool), start=1):
        with np.errstate(all="ignore"):
            z = np.matmul(h, own.weight) + (0 if own.bias is None else own.bias)
            inverse = None if wiring.norm is None else wiring.norm.forward(z)
            value = activation.value(z)
            slopes = activation.slope(z, value)
            below, h = h, value if wiring.skip is None else h + z.dtype.type(wiring.skip) * value
        status = _status(own, below, z, slopes)
        if status != "ok":
            measured.lose(layer, status)
            return
        jacobians = [
            _jacobian(own.weight, wiring, z[row], slopes[row], None if inverse is None else inverse[row])
            for row in range(samples)
        ]
        products = _add_layer(jacobians, products, layer, measured, pool)
        yield layer


def _status(own: Parameters, below: Array, z: Array, slopes: Array) -> Status:
    """`overflow` or `underflow` where slopes at these pre-activations are meaningless, else `ok`."""
    if not (np.isfinite(z).all() and np.isfinite(slopes).all() and np.isfinite(own.weight).all()):
        return "overflow"
    cause = below.any(axis=1) & own.weight.any()
    return "underflow" if np.any(cause & (np.abs(z).max(axis=1) < np.finfo(z.dtype).tiny)) else "ok"


def _jacobian(weight: Array, wiring: Wiring, z: Array, slope: Array, inverse: Array | None) -> tuple[Array, Array]:
    """`dh_l/dh_{l-1}` of one sample, as a matrix `(fan_in, fan_out)` and the factors of its columns, `(fan_out,)`."""
    if wiring.norm is not None and inverse is not None:
        # The Jacobian of a norm is symmetric, so its backward pass applies it to rows of weights too.
        weight = weight.astype(float)
        wiring.norm.backward(weight, np.broadcast_to(z, weight.shape), inverse)
    if wiring.skip is None:
        return weight, slope
    return np.eye(len(weight)) + wiring.skip * weight.astype(float) * slope, np.ones(len(slope))


def _add_layer(
    jacobians: Sequence[tuple[Array, Array]],
    products: Sequence[Product],
    layer: int,
    measured: _Measured,
    pool: Workers,
) -> list[Product]:
    """Record the singular values of one layer at every sample, and return the products that include it."""

    def work(row: slice) -> tuple[Product, SingularValues, SingularValues | None]:
        weight, slope = jacobians[row.start]
        product = products[row.start].times(weight, slope)
        own = product if layer == 1 else Product.identity(len(weight)).times(weight, slope)
        return product, own.singular_values(), product.singular_values() if layer in measured.products else None

    parts = pool.map(work, [slice(row, row + 1) for row in range(len(jacobians))])
    for _, own, whole in parts:
        measured.layers[layer].append(own)
        if whole is not None:
            measured.products[layer].append(whole)
    return [product for product, _, _ in parts]


def _result(experiment: Experiment, samples: int, measured: _Measured, densities: bool) -> Spectrum:
    config = experiment.config
    note = _no_theory(config, experiment.sizes)
    alone, together = ({}, {}) if note else _predictions(experiment, measured.inputs(), densities)
    sizes = experiment.sizes
    layers = tuple(
        layer_stats(
            layer, sizes[layer - 1 : layer + 1], by_draw(values, samples), measured.statuses.get(layer, "ok"), alone
        )
        for layer, values in measured.layers.items()
    )
    end_to_end = tuple(
        layer_stats(
            layer, (sizes[0], sizes[layer]), by_draw(values, samples), measured.statuses.get(layer, "ok"), together
        )
        for layer, values in measured.products.items()
    )
    isometric, verdict = verdict_words(end_to_end, min(measured.statuses, default=0))
    return Spectrum(
        config=config.model_dump(mode="json"),
        description=describe(config, sizes, samples),
        samples=samples,
        theory_note=note,
        width_note=_width_note(end_to_end),
        isometric=isometric,
        verdict=verdict,
        layers=layers,
        end_to_end=end_to_end,
    )


def _no_theory(config: ProbeConfig, sizes: Sequence[int]) -> str | None:
    """Why there is no prediction for these weights, as a sentence; None where there is one."""
    if not config.is_plain:
        return "no prediction: the theory covers networks without norm and skips only"
    gaussian = config.initializer.distribution.gaussian_limit
    if gaussian and any(rule.weight_mean for rule in rules_of(config, sizes)):
        return "no prediction: weights with a mean add one singular value far from all others"
    return no_theory(config, sizes)


def _predictions(
    experiment: Experiment, inputs: InputMoments, densities: bool
) -> tuple[dict[int, SpectrumTheory], dict[int, SpectrumTheory]]:
    """The predictions for every layer alone, and for the product up to each layer."""
    rules = rules_of(experiment.config, experiment.sizes)
    with np.errstate(all="ignore"):
        states = propagate(experiment.config.activation, rules, inputs)
        alone = [_theory(layer_moments(*pair)) for pair in zip(rules, states, strict=True)]
        products = dict(enumerate(product_moments(rules, states), start=1))

        def law(depth: int) -> JacobianDensity | None:
            return density(experiment.config.activation, rules[:depth], states[:depth], products[depth])

        together = {depth: _theory(products[depth], law(depth) if densities else None) for depth in depths(len(rules))}
    return dict(enumerate(alone, start=1)), together


def _theory(moments: SpectrumMoments, law: JacobianDensity | None = None) -> SpectrumTheory:
    value, log10 = finite_or_none(moments.mean_log10)
    shares = None if law is None else density_shares(law)
    return SpectrumTheory(mean_square=value, mean_square_log10=log10, spread=finite(moments.spread), density=shares)


def _width_note(end_to_end: Sequence[SpectrumStats]) -> str | None:
    """The first layer whose predicted spread is impossible: `Var(x)/mean(x)^2 <= count - 1` for any x >= 0."""
    for stats in end_to_end:
        if stats.theory and stats.theory.spread is not None and stats.theory.spread > stats.count - 1:
            there = f"theory cannot hold from layer {stats.layer} on: its spread there, {short(stats.theory.spread)}"
            return f"{there}, exceeds what {counted(stats.count, 'singular value')} can have"
    return None
