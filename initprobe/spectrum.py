"""`spectrum.measure`: the singular values of a network's Jacobians, layer by layer and end to end, beside theory.

A network whose end-to-end Jacobian has all its singular values near 1 passes every direction on as it is: dynamical
isometry (Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, JsonValue

from initprobe.config import ProbeConfig
from initprobe.describe import describe
from initprobe.engine.jacobian import Product, SingularValues
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Streams
from initprobe.engine.workers import Workers, available_threads, checked_threads, workers
from initprobe.errors import ConfigError
from initprobe.experiment import Experiment, input_rows
from initprobe.meanfield.maps import propagate
from initprobe.meanfield.samples import InputMoments
from initprobe.meanfield.spectrum import SpectrumMoments, layer_moments, product_moments
from initprobe.networks import network_of, parameters
from initprobe.numbers import factor_of, percent, short
from initprobe.results import SCHEMA_VERSION, Description, Finite, Histogram, Percentiles, Record, Share, Status
from initprobe.theory import no_theory, rules_of
from initprobe.wiring import Wiring

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

DEFAULT_SAMPLES = 2
# Singular values this near to 1 count as preserved, and a net that preserves this share of them as isometric.
ISOMETRIC_BAND = (0.8, 1.25)
ISOMETRIC_SHARE = 0.9
_BINS = 200
# Logs that differ by less are of singular values that rounding alone tells apart.
_ROUNDING = 1e-12
_PERCENTS = (1, 5, 25, 50, 75, 95, 99)
# Floating-point operations for one layer's and one product's singular values, in units of width^3, and what a core does
# of them in a second: measured between widths 200 and 1000, single-threaded.
_CUBES, _FLOPS_PER_S = 12.0, 1.5e10


class SpectrumTheory(Record):
    """What free probability predicts at infinite width, from the weights' variance and the inputs at hand.

    Attributes:
        mean_square: mean of `s^2`; null beyond the float range.
        mean_square_log10: its log10; null for 0.
        spread: `Var(s^2) / mean(s^2)^2`; null where the mean is 0.
    """

    mean_square: Finite | None
    mean_square_log10: Finite | None
    spread: Finite | None


class SpectrumStats(Record):
    """The singular values s of one layer's Jacobian `dh_l/dh_{l-1}`, or of `dh_l/dh_0`, over samples and draws.

    A number beyond the float range is null and its log10 is not.

    Attributes:
        layer: l, 1 for the first.
        count: singular values of one Jacobian, its smaller dimension.
        status: `ok`; else what the pre-activations did by this layer, and all measurements are null.
        mean_square: mean of `s^2`, zeros counted: each Jacobian's, averaged.
        mean_square_log10: its log10; null for 0.
        mean_square_sd: standard deviation (ddof 1) over draws of a draw's mean of `s^2`, in units of `mean_square`:
            the samples of a draw share its weights. Null for one draw.
        spread: `Var(s^2) / mean(s^2)^2` of each Jacobian, averaged; null where all are 0.
        spread_sd: standard deviation (ddof 1) over draws of a draw's spread; null for one draw.
        largest: of all Jacobians.
        largest_log10: its log10.
        smallest: of all Jacobians, of those that are neither 0 nor lost.
        smallest_log10: its log10.
        zero_fraction: share that is exactly 0, because a layer on the way is narrower, or slopes or weights are 0: in
            this dtype, as where tanh is within rounding of 1.
        lost_fraction: share that float64 cannot tell from 0.
        isometric_fraction: share within .8 and 1.25.
        percentiles_log10: of log10 s, zeros and lost ones left out.
        histogram_log10: the same as counts in 200 equal bins; one bin without width, if all are equal.
        theory: the prediction; null where none holds, and `Spectrum.theory_note` says why.
    """

    layer: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1)]
    status: Status
    mean_square: Finite | None = None
    mean_square_log10: Finite | None = None
    mean_square_sd: Finite | None = None
    spread: Finite | None = None
    spread_sd: Finite | None = None
    largest: Finite | None = None
    largest_log10: Finite | None = None
    smallest: Finite | None = None
    smallest_log10: Finite | None = None
    zero_fraction: Share | None = None
    lost_fraction: Share | None = None
    isometric_fraction: Share | None = None
    percentiles_log10: Percentiles | None = None
    histogram_log10: Histogram | None = None
    theory: SpectrumTheory | None = None


class Spectrum(Record):
    """What `measure` returns.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        config: the experiment as asked for.
        description: the experiment in words.
        samples: inputs of each network at which Jacobians were taken.
        theory_note: why there is no theory, in words.
        width_note: why theory cannot hold at this width, in words; null where it can.
        isometric: at least 90% of the end-to-end singular values lie within .8 and 1.25; null if not measured.
        verdict: the same in words, with numbers.
        layers: of each layer alone.
        end_to_end: of the first layers up to 1, 2, 4, ... and the last.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    config: dict[str, JsonValue]
    description: Description
    samples: int
    theory_note: str | None
    width_note: str | None
    isometric: bool | None
    verdict: str
    layers: tuple[SpectrumStats, ...]
    end_to_end: tuple[SpectrumStats, ...]

    def in_a_line(self) -> str:
        """The verdict and the network."""
        return f"{self.verdict}; {self.description.title}"


def check_samples(samples: int) -> None:
    """Refuse a number of inputs that is none.

    Raises:
        ConfigError: fewer than one.
    """
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, not {samples}")


def seconds_needed(experiment: Experiment, samples: int, threads: int | None = None) -> float:
    """A guess at how long `measure` takes on a common processor."""
    cubes = sum(max(a, b) * min(a, b) ** 2 for a, b in experiment.fans)
    at_once = min(threads or available_threads(), samples)
    return _CUBES * cubes * samples * experiment.config.draws / (_FLOPS_PER_S * at_once)


def depths(layers: int) -> tuple[int, ...]:
    """Where the product so far is looked at: 1, 2, 4, ... and the last layer."""
    doubled = itertools.takewhile(lambda depth: depth < layers, (2**k for k in itertools.count()))
    return (*doubled, layers)


def measure(
    experiment: Experiment,
    samples: int = DEFAULT_SAMPLES,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Spectrum:
    """Singular values at the first `samples` inputs of every draw's network, which is the one that `run` measures.

    Args:
        experiment: from `probe.prepare`, with a batch of at least `samples`.
        samples: inputs at which Jacobians are taken.
        threads: threads to use; None means every processor available. The numbers do not depend on it.
        progress: called with (layers done, layers in all).

    Raises:
        ConfigError: `samples` or `threads` is below 1.
    """
    check_samples(samples)
    if experiment.config.norm == "batch":
        raise ConfigError("norm: batch norm mixes the samples, so none has a Jacobian of its own; use layer or none")
    if experiment.config.block > 1:
        raise ConfigError("block: Jacobians are taken layer by layer, and a skip over several has none; use block 1")
    threads = checked_threads(threads)
    config, total = experiment.config, experiment.config.draws * len(experiment.fans)
    found = _Found(experiment)
    with workers(threads) as pool:
        for draw in range(config.draws):
            for layer in _measure_network(experiment, Streams(config.seed, draw), samples, found, pool):
                if progress is not None:
                    progress(draw * len(experiment.fans) + layer, total)
        return _result(experiment, samples, found)


class _Found:
    """Singular values as they come in: by layer, and of the products up to some."""

    def __init__(self, experiment: Experiment) -> None:
        count = len(experiment.fans)
        self.layers: dict[int, list[SingularValues]] = {layer: [] for layer in range(1, count + 1)}
        self.products: dict[int, list[SingularValues]] = {layer: [] for layer in depths(count)}
        self.statuses: dict[int, Status] = {}
        self.mean_squares: list[Array] = []
        self.means: list[Array] = []

    def inputs(self) -> InputMoments:
        """What theory needs of the inputs; nothing here depends on pairs of them."""
        return InputMoments(np.concatenate(self.mean_squares), np.concatenate(self.means))

    def lose(self, layer: int, status: Status) -> None:
        """Nothing from this layer on can be measured in one of the networks."""
        for later in self.layers:
            if later >= layer:
                self.statuses.setdefault(later, status)


def _layers(experiment: Experiment, streams: Streams, pool: Workers) -> Iterator[tuple[Parameters, Wiring]]:
    """The layers of one network, one at a time where the data does not decide them."""
    numbers = range(1, len(experiment.fans) + 1)
    drawn = (parameters(experiment, streams, number, pool) for number in numbers)
    network = network_of(experiment, streams, pool) if experiment.config.initializer.fit else drawn
    return zip(network, experiment.wirings, strict=True)


def _measure_network(
    experiment: Experiment, streams: Streams, samples: int, found: _Found, pool: Workers
) -> Iterator[int]:
    """Go through the layers of one network, and give the number of each when it is done."""
    activation = experiment.config.activation
    h = input_rows(experiment, streams, 0, samples, pool)
    wide = h.astype(float)
    found.mean_squares.append(np.mean(wide * wide, axis=1))
    found.means.append(np.mean(wide, axis=1))
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
            found.lose(layer, status)
            return
        jacobians = [
            _jacobian(own.weight, wiring, z[row], slopes[row], None if inverse is None else inverse[row])
            for row in range(samples)
        ]
        products = _add_layer(jacobians, products, layer, found, pool)
        yield layer


def _status(own: Parameters, below: Array, z: Array, slopes: Array) -> Status:
    """Whether slopes taken at these pre-activations mean anything."""
    if not (np.isfinite(z).all() and np.isfinite(slopes).all() and np.isfinite(own.weight).all()):
        return "overflow"
    cause = below.any(axis=1) & own.weight.any()
    return "underflow" if np.any(cause & (np.abs(z).max(axis=1) < np.finfo(z.dtype).tiny)) else "ok"


def _jacobian(weight: Array, wiring: Wiring, z: Array, slope: Array, inverse: Array | None) -> tuple[Array, Array]:
    """`dh_l/dh_{l-1}` of one sample as a matrix `(fan_in, fan_out)` and what its columns are multiplied by."""
    if wiring.norm is not None and inverse is not None:
        # Symmetric, so that what takes gradients back takes rows of weights forward.
        weight = weight.astype(float)
        wiring.norm.backward(weight, np.broadcast_to(z, weight.shape), inverse)
    if wiring.skip is None:
        return weight, slope
    return np.eye(len(weight)) + wiring.skip * weight.astype(float) * slope, np.ones(len(slope))


def _add_layer(
    jacobians: Sequence[tuple[Array, Array]], products: Sequence[Product], layer: int, found: _Found, pool: Workers
) -> list[Product]:
    """Record the Jacobians of one layer at every sample, and give the products with it."""

    def work(row: slice) -> tuple[Product, SingularValues, SingularValues | None]:
        weight, slope = jacobians[row.start]
        product = products[row.start].times(weight, slope)
        own = product if layer == 1 else Product.identity(len(weight)).times(weight, slope)
        return product, own.singular_values(), product.singular_values() if layer in found.products else None

    parts = pool.map(work, [slice(row, row + 1) for row in range(len(jacobians))])
    for _, own, whole in parts:
        found.layers[layer].append(own)
        if whole is not None:
            found.products[layer].append(whole)
    return [product for product, _, _ in parts]


def _result(experiment: Experiment, samples: int, found: _Found) -> Spectrum:
    config = experiment.config
    note = _no_theory(config, experiment.sizes)
    alone, together = ({}, {}) if note else _predictions(experiment, found.inputs())
    sizes = experiment.sizes
    layers = tuple(
        _stats(layer, sizes[layer - 1 : layer + 1], _by_draw(values, samples), found.statuses.get(layer, "ok"), alone)
        for layer, values in found.layers.items()
    )
    end_to_end = tuple(
        _stats(layer, (sizes[0], sizes[layer]), _by_draw(values, samples), found.statuses.get(layer, "ok"), together)
        for layer, values in found.products.items()
    )
    isometric, verdict = _verdict(end_to_end, min(found.statuses, default=0))
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
    """Why there is no prediction for these weights, in words; None where there is one."""
    if not config.is_plain:
        return "no prediction: free probability is worked out here for nets without norm and skips"
    gaussian = config.initializer.distribution.gaussian_limit
    if gaussian and any(rule.weight_mean for rule in rules_of(config, sizes)):
        return "no prediction: weights with a mean add a singular value that stands apart from all others"
    return no_theory(config, sizes)


def _predictions(
    experiment: Experiment, inputs: InputMoments
) -> tuple[dict[int, SpectrumTheory], dict[int, SpectrumTheory]]:
    """Of every layer alone, and of the products up to each."""
    rules = rules_of(experiment.config, experiment.sizes)
    with np.errstate(all="ignore"):
        states = propagate(experiment.config.activation, rules, inputs)
        alone = [_theory(layer_moments(*pair)) for pair in zip(rules, states, strict=True)]
        together = map(_theory, product_moments(rules, states))
    return dict(enumerate(alone, start=1)), dict(enumerate(together, start=1))


def _theory(moments: SpectrumMoments) -> SpectrumTheory:
    value, log10 = _number(moments.mean_log10)
    return SpectrumTheory(
        mean_square=value, mean_square_log10=log10, spread=moments.spread if math.isfinite(moments.spread) else None
    )


def _number(log10: float) -> tuple[float | None, float | None]:
    """A number from its log10, and the log10: None where there is none, or the float range does not reach."""
    if log10 == -math.inf:
        return 0.0, None
    if not math.isfinite(log10):
        return None, None
    limits = np.finfo(float)
    inside = math.log10(limits.tiny) < log10 < math.log10(limits.max)
    return (10**log10 if inside else None), log10


def _by_draw(values: Sequence[SingularValues], samples: int) -> list[Sequence[SingularValues]]:
    return [values[start : start + samples] for start in range(0, len(values), samples)]


def _stats(
    layer: int,
    ends: Sequence[int],
    draws: Sequence[Sequence[SingularValues]],
    status: Status,
    predicted: Mapping[int, SpectrumTheory],
) -> SpectrumStats:
    count, theory, values = min(ends), predicted.get(layer), [one for draw in draws for one in draw]
    if status != "ok":
        return SpectrumStats(layer=layer, count=count, status=status, theory=theory)
    logs = np.concatenate([one.log10 for one in values])
    total = count * len(values)
    low, high = map(math.log10, ISOMETRIC_BAND)
    measured = dict(zip(("mean_square", "mean_square_log10"), _number(_mean_log10(values)), strict=True))
    if len(logs):
        measured |= dict(zip(("largest", "largest_log10"), _number(float(logs.max())), strict=True))
        measured |= dict(zip(("smallest", "smallest_log10"), _number(float(logs.min())), strict=True))
    return SpectrumStats(
        layer=layer,
        count=count,
        status=status,
        mean_square_sd=_relative_sd([_mean_log10(draw) for draw in draws]),
        spread=_mean_spread(values),
        spread_sd=_sd([_mean_spread(draw) for draw in draws]),
        zero_fraction=sum(one.zeros for one in values) / total,
        lost_fraction=sum(one.lost for one in values) / total,
        isometric_fraction=float(np.count_nonzero((logs >= low) & (logs <= high))) / total,
        percentiles_log10=_percentiles(logs),
        histogram_log10=_histogram(logs),
        theory=theory,
        **measured,
    )


def _mean_log10(values: Sequence[SingularValues]) -> float:
    """log10 of the mean over Jacobians of their mean squares."""
    logs = [one.mean_square_log10 for one in values]
    top = max(logs)
    return top + math.log10(sum(10 ** (log - top) for log in logs) / len(logs)) if math.isfinite(top) else top


def _relative_sd(logs: Sequence[float]) -> float | None:
    """Standard deviation of numbers given by their log10, in units of their mean."""
    top = max(logs)
    if len(logs) < 2 or not math.isfinite(top):
        return None
    sizes = [10 ** (log - top) for log in logs]
    return statistics.stdev(sizes) / statistics.fmean(sizes)


def _sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None


def _mean_spread(values: Sequence[SingularValues]) -> float | None:
    spreads = [spread for one in values if math.isfinite(spread := one.spread)]
    return sum(spreads) / len(spreads) if spreads else None


def _percentiles(logs: Array) -> Percentiles | None:
    if not len(logs):
        return None
    return Percentiles(**dict(zip((f"p{p}" for p in _PERCENTS), np.percentile(logs, _PERCENTS).tolist(), strict=True)))


def _histogram(logs: Array) -> Histogram | None:
    if not len(logs):
        return None
    low, high = float(logs.min()), float(logs.max())
    if high - low < _ROUNDING * max(abs(low), abs(high), 1.0):
        return Histogram(low=high, high=high, counts=(len(logs),))
    counts, _ = np.histogram(logs, _BINS, (low, high))
    return Histogram(low=low, high=high, counts=tuple(counts.tolist()))


def _verdict(end_to_end: Sequence[SpectrumStats], lost_from: int) -> tuple[bool | None, str]:
    """Whether the whole network is isometric, and by how much it is not; the float range ended at layer `lost_from`."""
    last = end_to_end[-1]
    share = last.isometric_fraction
    if share is None:
        return None, f"not measured end to end: z left the float range at layer {lost_from} ({last.status})"
    if last.zero_fraction == 1:
        return False, "not isometric: every singular value is 0, so nothing at the input moves the output"
    band = f"{percent(share)}% of singular values between {ISOMETRIC_BAND[0]:g} and {ISOMETRIC_BAND[1]:g}"
    if share >= ISOMETRIC_SHARE:
        return True, f"isometric: {band}"
    words = [f"not isometric: {band}", _growth(end_to_end), *_missing(last)]
    return False, "; ".join(word for word in words if word)


def _width_note(end_to_end: Sequence[SpectrumStats]) -> str | None:
    """From where on theory predicts what so few values cannot have: `Var(x)/mean(x)^2 <= count - 1` for any x >= 0."""
    for stats in end_to_end:
        if stats.theory and stats.theory.spread is not None and stats.theory.spread > stats.count - 1:
            return (
                f"theory cannot hold from layer {stats.layer} on: its spread there, {short(stats.theory.spread)}, is "
                f"more than {stats.count} singular values can have"
            )
    return None


def _growth(end_to_end: Sequence[SpectrumStats]) -> str:
    """How the largest singular value changes with depth."""
    first, last = end_to_end[0], end_to_end[-1]
    if first.largest_log10 is None or last.largest_log10 is None:
        return ""
    ends = short(first.largest, first.largest_log10), short(last.largest, last.largest_log10)
    if first is last:
        return f"largest {ends[1]}"
    rate = factor_of((last.largest_log10 - first.largest_log10) / (last.layer - 1))
    return f"largest {ends[0]} after 1 layer, {ends[1]} after {last.layer} ({rate} a layer)"


def _missing(stats: SpectrumStats) -> Iterator[str]:
    if stats.zero_fraction:
        yield f"{percent(stats.zero_fraction)}% exactly 0"
    if stats.lost_fraction:
        yield f"{percent(stats.lost_fraction)}% too small to tell from 0"
