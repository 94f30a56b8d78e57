"""`run(config)`: sample, propagate, summarise. Start reading here."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.config import DEFAULT_BATCH, ProbeConfig, check_fit_samples
from initprobe.depth import depth_scales
from initprobe.describe import describe
from initprobe.diagnosis import diagnose
from initprobe.engine import mlp
from initprobe.engine.fitting import Fitted, fit_layer, outputs
from initprobe.engine.mlp import LayerRecord, Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.workers import Workers, available_threads, workers
from initprobe.errors import ConfigError, MemoryLimitError
from initprobe.initializers import INITIALIZERS
from initprobe.inputs import read_labels, read_table, standardized
from initprobe.meanfield.samples import InputMoments
from initprobe.objective import Start, Task, learner_of, start_of, task_of, train, with_loss
from initprobe.results import Environment, LayerStats, ProbeResult, Training
from initprobe.rewire import apart_for, fix_for
from initprobe.summary import summarise, with_fitting
from initprobe.theory import no_theory, pooled, with_theory
from initprobe.wiring import Wiring, wirings

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
# z and h of every layer, reused by every batch and draw.
Trace = Sequence[tuple[Array, Array]]

# Rows of noise that share a random stream; part of a seed's meaning.
_STREAM_ROWS = 256
# What Python, its threads' scratch blocks and the figures take besides the network.
_OVERHEAD_BYTES = 150_000_000
_SKETCH_BYTES = 20_000
_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Experiment:
    """A config with its data read and its sizes settled.

    Attributes:
        config: what was asked for.
        table: real input, `(batch * batches, features)`, or None for noise.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        task: what a loss is taken of; None without one.
    """

    config: ProbeConfig
    table: Array | None
    sizes: tuple[int, ...]
    batch: int
    task: Task | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the network."""
        return np.dtype(self.config.dtype)

    @property
    def wirings(self) -> list[Wiring]:
        """What surrounds the activation of each layer."""
        return wirings(self.config, self.sizes)

    @property
    def fans(self) -> list[tuple[int, int]]:
        """`(fan_in, fan_out)` of each layer."""
        return list(zip(self.sizes, self.sizes[1:], strict=False))


def prepare(config: ProbeConfig) -> Experiment:
    """Read the data and settle the sizes.

    Raises:
        InputError: the data cannot be used.
        ConfigError: the data does not fit the shape asked for.
        MemoryLimitError: the run would not fit in memory.
    """
    table = _read_input(config)
    features = config.input_width or config.layer_widths[0] if table is None else table.shape[1]
    if config.input_width not in (None, features):
        raise ConfigError(
            f"input_width is {config.input_width}, but {config.input} has {features} features; drop input_width"
        )
    batch = config.batch or (DEFAULT_BATCH if table is None else len(table) // config.batches)
    sizes = (features, *config.layer_widths)
    if config.initializer.distribution.name == "identity" and len(set(sizes)) > 1:
        raise ConfigError(
            "init: identity needs every layer square; make input_width and widths equal, or use orthogonal"
        )
    if config.residual and all(a != b for a, b in itertools.pairwise(sizes)):
        raise ConfigError("residual: no layer is as wide as what it is given, so none has a skip; repeat a width")
    check_fit_samples(config, batch)
    _check_memory(config, sizes, batch, 0 if table is None else table.nbytes)
    chosen = _chosen_rows(config, table, batch)
    return Experiment(
        config, _rows_of(table, chosen), sizes, batch, task_of(config, _read_labels(config, table, chosen))
    )


def _rows_of(table: Array | None, chosen: Array | None) -> Array | None:
    return table if table is None or chosen is None else np.ascontiguousarray(table[chosen])


def _read_labels(config: ProbeConfig, table: Array | None, chosen: Array | None) -> Array | None:
    """The labels of the chosen rows; None where there is no file of them."""
    if config.labels is None or table is None:
        return None
    labels = read_labels(config.labels, len(table))
    if config.classes is not None and labels.max() >= config.classes:
        raise ConfigError(f"classes is {config.classes}, but {config.labels} has a class {labels.max()}; drop classes")
    if labels.max() == 0:
        raise ConfigError(f"{config.labels}: has a single class; a loss needs two or more")
    return labels if chosen is None else labels[chosen]


def _read_input(config: ProbeConfig) -> Array | None:
    if not isinstance(config.input, Path):
        return None
    table = read_table(config.input, config.dtype)
    return standardized(table) if config.standardize else table


def _chosen_rows(config: ProbeConfig, table: Array | None, batch: int) -> Array | None:
    """The rows that the batches take, drawn without replacement and kept in order; None for all there are."""
    if table is None:
        return None
    wanted = batch * config.batches
    if wanted > len(table) or batch < 2:
        raise ConfigError(
            f"{config.input} has {len(table)} rows, not the {max(batch, 2)} x {config.batches} "
            "that batch x batches takes; lower one"
        )
    if wanted == len(table):
        return None
    order = Streams(config.seed, 0).generator(Purpose.ROWS).permutation(len(table))
    return np.asarray(np.sort(order[:wanted]))


def memory_needed(config: ProbeConfig, sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """Bytes that the weights and the activations of a run take at their peak."""
    entry = np.dtype(config.dtype).itemsize
    matrices = [a * b for a, b in itertools.pairwise(sizes)]
    weights = sum(matrices) * (2 if config.batches > 1 else 1) + 2 * max(matrices)
    activations = batch * (sizes[0] + 2 * sum(sizes[1:]) + 3 * max(sizes))
    if config.initializer.fit is not None:  # a decoder and a change of the weights; two layers' outputs
        weights += 2 * max(matrices)
        activations += 2 * batch * max(sizes)
    if config.objective is not None:  # all gradients at once, and every z, h and dL/dh anew
        weights += 2 * sum(matrices)
        activations += batch * 3 * sum(sizes[1:])
    deviations = {"none": 0, "layer": batch * (len(sizes) - 1), "batch": sum(sizes[1:])}[config.norm]
    return weights * entry, activations * entry + deviations * np.dtype(float).itemsize


@dataclass(frozen=True)
class Cost:
    """What a run takes: floating-point operations in its matrix products, and bytes of memory at its peak."""

    flops: float
    peak_bytes: int


def cost(config: ProbeConfig) -> Cost:
    """The cost of a run on noise; one on real data is taken to be as wide as its first layer, if not told otherwise."""
    sizes = (config.input_width or config.layer_widths[0], *config.layer_widths)
    batch = config.batch or DEFAULT_BATCH
    products = 3 * sum(a * b for a, b in itertools.pairwise(sizes))
    passes = config.batches * config.draws + (config.draws if config.objective else 0) + config.train_steps
    fitted = (config.draws + bool(config.train_steps)) * (fit.products / 3 if (fit := config.initializer.fit) else 0)
    flops = 2.0 * products * batch * (passes + fitted)
    return Cost(flops, sum(memory_needed(config, sizes, batch)) + _OVERHEAD_BYTES)


def _check_memory(config: ProbeConfig, sizes: Sequence[int], batch: int, held: int) -> None:
    """Refuse a run that would not fit; `held` bytes of data are in memory already."""
    import psutil

    weights, activations = memory_needed(config, sizes, batch)
    needed = weights + activations + 6 * _SKETCH_BYTES * len(sizes) + _OVERHEAD_BYTES + held
    available = psutil.virtual_memory().available
    if needed <= _MEMORY_SHARE * available:
        return
    fix = (
        "lower --width or --layers"
        if weights > activations
        else f"lower --batch: --batch {max(batch // 10, 2)} --batches {10 * config.batches} measures as many samples"
    )
    raise MemoryLimitError(
        f"this run needs {needed / 1e9:,.1f} GB (weights {weights / 1e9:,.1f}, activations {activations / 1e9:,.1f}), "
        f"and {available / 1e9:,.1f} GB is free; {fix}"
    )


def run(config: ProbeConfig, *, threads: int | None = None, progress: Progress | None = None) -> ProbeResult:
    """Prepare and measure one experiment: `measure(prepare(config))`.

    Raises:
        ConfigError: the experiment cannot be run; in one line, what is wrong and what to do.
    """
    return measure(prepare(config), threads=threads, progress=progress)


def measure(experiment: Experiment, *, threads: int | None = None, progress: Progress | None = None) -> ProbeResult:
    """Measure an experiment whose data and sizes are settled.

    Args:
        experiment: from `prepare`.
        threads: threads to use; None means every processor available. The numbers do not depend on it.
        progress: called with (steps done, steps in all).

    Returns:
        Per-layer statistics of weights, activations and gradients, each averaged over the draws.

    Raises:
        ConfigError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}")
    config, threads = experiment.config, threads or available_threads()
    started = time.perf_counter()
    records = [LayerRecord(experiment.dtype) for _ in experiment.fans]
    trace = [_pair((experiment.batch, units), experiment.dtype) for units in experiment.sizes[1:]]
    steps = _Steps(progress, _layers_to_do(config, len(records)))
    # BLAS has one thread in here, for theory too: its own would spin for nothing, and take the processors of others.
    with workers(threads) as pool:
        seen = [
            _probe_network(experiment, Streams(config.seed, draw), records, trace, pool, steps)
            for draw in range(config.draws)
        ]
        inputs, starts = [one.inputs for one in seen], [one.start for one in seen if one.start is not None]
        measured = summarise(records, experiment.sizes, config.activation, experiment.wirings)
        measured = with_fitting(config.initializer.fit, measured, [one.fitted for one in seen])
        layers = with_theory(config, measured, inputs, experiment.batch * config.batches)
        scales = depth_scales(config, layers)
        loss = None
        if experiment.task is not None:
            loss, layers = with_loss(experiment.task, layers, starts)
        training = _trained(experiment, trace, pool, steps) if config.train_steps else None
        found = ProbeResult(
            config=config.model_dump(mode="json"),
            description=describe(config, experiment.sizes, experiment.batch),
            environment=_environment(threads),
            elapsed_s=time.perf_counter() - started,
            theory_note=no_theory(config),
            depth_scales=scales,
            layers=layers,
            loss=loss,
            training=training,
        )
        return diagnose(
            found,
            lambda: fix_for(config, experiment.sizes, pooled(inputs)),
            config.thresholds,
            apart=lambda: apart_for(config, experiment.sizes, pooled(inputs)),
        )


def _pair(shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    return np.empty(shape, dtype), np.empty(shape, dtype)


def _layers_to_do(config: ProbeConfig, layers: int) -> int:
    """What a progress bar counts: layers drawn, fitted, passed forward and back; and steps of training."""
    fit = config.initializer.fit
    fitted = (config.draws + bool(config.train_steps)) * layers * (fit.steps if fit else 0)
    return fitted + config.draws * layers * (1 + 2 * config.batches) + config.train_steps


class _Steps:
    """Counts layers done, for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


@dataclass(frozen=True)
class _Seen:
    """What one network told beside its records: moments of its input, how its layers were fitted, the loss."""

    inputs: InputMoments
    fitted: Sequence[Fitted]
    start: Start | None


def _probe_network(
    experiment: Experiment,
    streams: Streams,
    records: Sequence[LayerRecord],
    trace: Trace,
    pool: Workers,
    steps: _Steps,
) -> _Seen:
    """Sample one network and send every batch through it and back."""
    network, fitted = _network(experiment, streams, pool, steps)
    for layer, record in zip(network, records, strict=True):
        record.begin_draw()
        mlp.record_weight(layer.weight, record, pool)
    gradients = [np.zeros_like(layer.weight) for layer in network] if experiment.config.batches > 1 else []
    inputs, start_of_loss = [], None
    exponents: list[int] = []
    for number in range(experiment.config.batches):
        start = number * experiment.batch
        x = input_rows(experiment, streams, start, start + experiment.batch, pool)
        g = seed_gradient(experiment, streams, start, start + experiment.batch, pool)
        inputs.append(InputMoments.measure(x))
        if number == 0 and experiment.task is not None:
            learner = learner_of(experiment.task, experiment.config, network, experiment.wirings, streams, pool)
            start_of_loss = start_of(experiment.task, learner, x, experiment.task.of(x, 0, streams))
        exponents = _probe_batch(experiment, network, x, g, records, gradients, trace, pool, steps, exponents)
    for index, total in enumerate(gradients):
        mlp.record_weight_gradient(total, records[index], pool, exponents[index])
    for record in records:
        record.end_draw(experiment.config.activation.dead_below)
    return _Seen(pooled(inputs), fitted, start_of_loss)


def _trained(experiment: Experiment, trace: Trace, pool: Workers, steps: _Steps) -> Training:
    """Train the first network, and measure it again as it was measured when new."""
    config, task, streams = experiment.config, experiment.task, Streams(experiment.config.seed, 0)
    assert task is not None
    network, _ = _network(experiment, streams, pool, steps)
    learner = learner_of(task, config, network, experiment.wirings, streams, pool)

    def batch_at(number: int) -> tuple[Array, Array]:
        """Fresh noise for every step; data comes round again."""
        start = (number if experiment.table is None else number % config.batches) * experiment.batch
        x = input_rows(experiment, streams, start, start + experiment.batch, pool)
        return x, task.of(x, start, streams)

    course = train(learner, batch_at, config.train_steps, config.learning_rate, steps.advance)
    after = None
    if course.diverged_at is None:
        after = _measured_again(experiment, learner.layers, streams, trace, pool)
    return Training(
        steps=config.train_steps,
        learning_rate=config.learning_rate,
        losses=course.losses,
        final_loss=course.final,
        diverged_at=course.diverged_at,
        diverged_layer=course.diverged_layer,
        layers=after,
    )


def _measured_again(
    experiment: Experiment, network: Sequence[Parameters], streams: Streams, trace: Trace, pool: Workers
) -> tuple[LayerStats, ...]:
    """The statistics of a network on its first batch, with the random start of the backward pass."""
    records = [LayerRecord(experiment.dtype) for _ in experiment.fans]
    for layer, record in zip(network, records, strict=True):
        record.begin_draw()
        mlp.record_weight(layer.weight, record, pool)
    x = input_rows(experiment, streams, 0, experiment.batch, pool)
    g = seed_gradient(experiment, streams, 0, experiment.batch, pool)
    _probe_batch(experiment, network, x, g, records, [], trace, pool, _Steps(None, 0))
    for record in records:
        record.end_draw(experiment.config.activation.dead_below)
    return summarise(records, experiment.sizes, experiment.config.activation, experiment.wirings)


def _network(
    experiment: Experiment, streams: Streams, pool: Workers, steps: _Steps
) -> tuple[list[Parameters], list[Fitted]]:
    """The layers of one network, each fitted to what the ones before it make of the first batch, if it is fitted."""
    fit, activation = experiment.config.initializer.fit, experiment.config.activation
    layers = range(1, len(experiment.fans) + 1)
    network, fitted = [], []
    h = input_rows(experiment, streams, 0, experiment.batch, pool) if fit else None
    for number in layers:
        layer = parameters(experiment, streams, number, pool)
        if fit is not None and h is not None:
            layer, found = fit_layer(fit, layer, activation, h, streams, number, pool, steps.advance)
            fitted.append(found)
            h = outputs(layer, activation, h, pool)
        network.append(layer)
        steps.advance()
    return network, fitted


def network_of(experiment: Experiment, streams: Streams, pool: Workers) -> list[Parameters]:
    """The layers of one network; the same streams give the same numbers."""
    return _network(experiment, streams, pool, _Steps(None, 0))[0]


def parameters(experiment: Experiment, streams: Streams, layer: int, pool: Workers) -> Parameters:
    """The weights and bias of one layer as they are drawn; the same streams give the same numbers."""
    config, fans = experiment.config, experiment.fans[layer - 1]
    init = INITIALIZERS["zeros"] if experiment.wirings[layer - 1].zero else config.initializer
    return Parameters(
        mlp.sample_weight(init, streams, layer, fans, experiment.dtype, pool),
        mlp.sample_bias(config.bias_initializer, streams, layer, fans, experiment.dtype),
    )


def _probe_batch(
    experiment: Experiment,
    network: Sequence[Parameters],
    x: Array,
    g: Array,
    records: Sequence[LayerRecord],
    gradients: Sequence[Array],
    trace: Trace,
    pool: Workers,
    steps: _Steps,
    exponents: Sequence[int] = (),
) -> list[int]:
    """One batch forward and back.

    `gradients` sums dL/dW over batches; empty where this batch is the only one. `trace` is overwritten. A gradient that
    nears the limits of its dtype is carried on in another unit; the answer is the binary exponent of each layer's,
    which the next batch is given as `exponents`, so that their gradients add up.
    """
    activation = experiment.config.activation
    inputs = [x, *(h for _, h in trace[:-1])]
    wirings, inverses = experiment.wirings, []
    for layer, h_in, out, record, wiring in zip(network, inputs, trace, records, wirings, strict=True):
        inverses.append(mlp.forward(layer, activation, h_in, out, record, pool, wiring))
        steps.advance()
    exponent, found = 0, [0] * len(network)
    for index in reversed(range(len(network))):
        step = exponents[index] - exponent if exponents else mlp.growth(g, pool)
        if step:
            mlp.rescale(g, step, pool)
        exponent += step
        found[index] = exponent
        (z, h), h_in = trace[index], inputs[index]
        weight, record = network[index].weight if index else None, records[index]
        delta, below = mlp.backward(
            weight, activation, z, h, g, record, pool, wirings[index], inverses[index], exponent
        )
        if gradients:
            mlp.add_weight_gradient(h_in, delta, gradients[index], pool)
        else:
            mlp.weight_gradient(h_in, delta, record, pool, exponent)
        g = g if below is None else below
        steps.advance()
    return found


def _noise_rows(
    sample: Callable[[np.random.Generator, tuple[int, int]], Array],
    streams: Streams,
    purpose: Purpose,
    start: int,
    stop: int,
    pool: Workers,
) -> Array:
    """Rows `start` to `stop` of an endless table of noise, whose rows do not depend on how it is cut into batches."""
    first = start - start % _STREAM_ROWS
    blocks = [slice(row, min(row + _STREAM_ROWS, stop)) for row in range(first, stop, _STREAM_ROWS)]

    def fill(rows: slice) -> Array:
        rng = streams.generator(purpose, block=rows.start)
        return sample(rng, (rows.stop - rows.start, 0))

    return np.concatenate(pool.map(fill, blocks))[start - first :]


def input_rows(experiment: Experiment, streams: Streams, start: int, stop: int, pool: Workers) -> Array:
    """Input rows `start` to `stop`, `(stop - start, features)`: of the file, or of this network's noise."""
    noise, features = experiment.config.noise, experiment.sizes[0]
    if noise is None:
        assert experiment.table is not None
        return experiment.table[start:stop]
    shared = streams.generator(Purpose.SHARED_INPUT).standard_normal(features)
    make, dtype = noise.sample, experiment.dtype
    return _noise_rows(
        lambda rng, shape: make(rng, (shape[0], features), dtype, shared), streams, Purpose.INPUT, start, stop, pool
    )


def seed_gradient(experiment: Experiment, streams: Streams, start: int, stop: int, pool: Workers) -> Array:
    """dL/dh_L of rows `start` to `stop`: N(0, 1), independent of the forward pass."""
    units, dtype = experiment.sizes[-1], experiment.config.dtype
    return _noise_rows(
        lambda rng, shape: rng.standard_normal((shape[0], units), dtype=np.dtype(dtype).type),
        streams,
        Purpose.GRADIENT,
        start,
        stop,
        pool,
    )


def first_network(experiment: Experiment) -> dict[str, Array]:
    """The arrays of the first draw, to redo the run elsewhere: `W1..`, `b1..`, first batch `x`, backward seed `g`."""
    streams = Streams(experiment.config.seed, 0)
    arrays: dict[str, Array] = {}
    with workers(available_threads()) as pool:
        arrays["x"] = input_rows(experiment, streams, 0, experiment.batch, pool)
        arrays["g"] = seed_gradient(experiment, streams, 0, experiment.batch, pool)
        for number, layer in enumerate(network_of(experiment, streams, pool), start=1):
            arrays[f"W{number}"] = layer.weight
            arrays[f"b{number}"] = (
                np.zeros(layer.weight.shape[1], layer.weight.dtype) if layer.bias is None else layer.bias
            )
    return arrays


def _environment(threads: int) -> Environment:
    from importlib.metadata import version

    from threadpoolctl import threadpool_info

    blas = [f"{lib['internal_api']} {lib['version']}" for lib in threadpool_info() if lib["user_api"] == "blas"]
    return Environment(
        initprobe=version("initprobe"),
        python=platform.python_version(),
        numpy=np.__version__,
        blas=", ".join(blas) or "unknown",
        processor=platform.processor() or platform.machine(),
        platform=platform.platform(),
        threads=threads,
    )
