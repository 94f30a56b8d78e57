"""`run(config)`: sample, propagate, summarise. Start reading here."""

from __future__ import annotations

import itertools
import math
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
from initprobe.errors import ConfigError
from initprobe.initializers import INITIALIZERS
from initprobe.inputs import read_labels, read_table, standardized
from initprobe.meanfield.samples import InputMoments
from initprobe.memory import check_memory, segments
from initprobe.objective import Start, Task, learner_of, start_of, task_of, train, with_loss
from initprobe.results import Environment, LayerStats, ProbeResult, Training
from initprobe.rewire import apart_for, fix_for
from initprobe.summary import summarise, with_fitting
from initprobe.theory import no_theory, pooled, with_theory
from initprobe.wiring import Wiring, wirings

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

# Rows of noise that share a random stream; part of a seed's meaning.
_STREAM_ROWS = 256


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
    check_memory(config, sizes, batch, 0 if table is None else table.nbytes)
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
    trace = _Trace(experiment)
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


def _pair(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    return np.empty(shape, dtype), np.empty(shape, dtype)


def _layers_to_do(config: ProbeConfig, layers: int) -> int:
    """What a progress bar counts: layers drawn, fitted, passed forward and back; and steps of training."""
    fit = config.initializer.fit
    fitted = (config.draws + bool(config.train_steps)) * layers * (fit.steps if fit else 0)
    return fitted + config.draws * layers * (1 + 2 * config.batches) + config.train_steps


class _Trace:
    """Room for z and h of the layers of a segment, reused by every segment, batch and draw.

    Attributes:
        segments: the layers, from 0 on, that are held at a time.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.segments = segments(experiment.config, experiment.sizes, experiment.batch)
        self._rows, self._widths = experiment.batch, experiment.sizes[1:]
        # By place in a segment, as wide as the widest layer that comes there.
        places = itertools.zip_longest(*([self._widths[i] for i in segment] for segment in self.segments), fillvalue=0)
        self._room = [_pair((self._rows * max(widths),), experiment.dtype) for widths in places]

    def of(self, layer: int) -> tuple[Array, Array]:
        """z and h of a layer, `(batch, units)`, to be overwritten."""
        place = layer % len(self.segments[0])
        shape = (self._rows, self._widths[layer])
        z, h = (room[: math.prod(shape)].reshape(shape) for room in self._room[place])
        return z, h


class _Remade(Sequence[Parameters]):
    """The layers of a network that is not held, each made again from its seed when it is asked for."""

    def __init__(self, make: Callable[[int], Parameters], layers: int) -> None:
        self._make, self._layers = make, layers

    def __len__(self) -> int:
        return self._layers

    def __getitem__(self, index: Any) -> Any:
        return self._make(index)


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
    trace: _Trace,
    pool: Workers,
    steps: _Steps,
) -> _Seen:
    """Sample one network and send every batch through it and back."""
    network, fitted = _held(experiment, streams, trace, pool, steps)
    for record in records:
        record.begin_draw()
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


def _trained(experiment: Experiment, trace: _Trace, pool: Workers, steps: _Steps) -> Training:
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
    experiment: Experiment, network: Sequence[Parameters], streams: Streams, trace: _Trace, pool: Workers
) -> tuple[LayerStats, ...]:
    """The statistics of a network on its first batch, with the random start of the backward pass."""
    records = [LayerRecord(experiment.dtype) for _ in experiment.fans]
    for record in records:
        record.begin_draw()
    x = input_rows(experiment, streams, 0, experiment.batch, pool)
    g = seed_gradient(experiment, streams, 0, experiment.batch, pool)
    _probe_batch(experiment, network, x, g, records, [], trace, pool, _Steps(None, 0))
    for record in records:
        record.end_draw(experiment.config.activation.dead_below)
    return summarise(records, experiment.sizes, experiment.config.activation, experiment.wirings)


def _held(
    experiment: Experiment, streams: Streams, trace: _Trace, pool: Workers, steps: _Steps
) -> tuple[Sequence[Parameters], list[Fitted]]:
    """The layers of one network, in memory where all of them are held at a time."""
    if len(trace.segments) == 1:
        return _network(experiment, streams, pool, steps)
    return _Remade(lambda index: parameters(experiment, streams, index + 1, pool), len(experiment.fans)), []


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
    trace: _Trace,
    pool: Workers,
    steps: _Steps,
    exponents: Sequence[int] = (),
) -> list[int]:
    """One batch forward and back.

    `gradients` sums dL/dW over batches; empty where this batch is the only one. `trace` is overwritten. A gradient that
    nears the limits of its dtype is carried on in another unit; the answer is the binary exponent of each layer's,
    which the next batch is given as `exponents`, so that their gradients add up.
    """
    *others, last = trace.segments
    inputs = [x]
    for segment in others:
        _forward(experiment, network, segment, inputs[-1], records, trace, pool, steps, new=not exponents)
        inputs.append(trace.of(segment[-1])[1].copy())
    held = _forward(experiment, network, last, inputs[-1], records, trace, pool, steps, new=not exponents)
    back = _Back(experiment, g, records, gradients, trace, pool, steps, exponents)
    back.through(last, held, inputs.pop())
    for segment in reversed(others):
        held = _replayed(experiment, network, segment, inputs[-1], trace, pool)
        back.through(segment, held, inputs.pop())
    return back.exponents


# The layers of a segment, and what their norms leave for the way back.
_Held = tuple[Sequence[Parameters], Sequence[Array | None]]


def _forward(
    experiment: Experiment,
    network: Sequence[Parameters],
    segment: range,
    h: Array,
    records: Sequence[LayerRecord],
    trace: _Trace,
    pool: Workers,
    steps: _Steps,
    new: bool,
) -> _Held:
    """Take `h` through the layers of a segment, with statistics; of `new` layers, of their weights too."""
    layers, inverses = [], []
    for index in segment:
        layer, record, out = network[index], records[index], trace.of(index)
        if new:
            mlp.record_weight(layer.weight, record, pool)
        inverses.append(
            mlp.forward(layer, experiment.config.activation, h, out, record, pool, experiment.wirings[index])
        )
        layers.append(layer)
        h = out[1]
        steps.advance()
    return layers, inverses


def _replayed(
    experiment: Experiment, network: Sequence[Parameters], segment: range, h: Array, trace: _Trace, pool: Workers
) -> _Held:
    """The same again, for what it leaves in the trace."""
    layers, inverses, activation = [network[index] for index in segment], [], experiment.config.activation
    for index, layer in zip(segment, layers, strict=True):
        out = trace.of(index)
        inverses.append(mlp.replay(layer, activation, h, out, pool, experiment.wirings[index]))
        h = out[1]
    return layers, inverses


class _Back:
    """The way back of one batch, segment by segment."""

    def __init__(
        self,
        experiment: Experiment,
        g: Array,
        records: Sequence[LayerRecord],
        gradients: Sequence[Array],
        trace: _Trace,
        pool: Workers,
        steps: _Steps,
        wanted: Sequence[int],
    ) -> None:
        self._experiment, self._g, self._records, self._gradients = experiment, g, records, gradients
        self._trace, self._pool, self._steps, self._wanted = trace, pool, steps, wanted
        self.exponents = [0] * len(records)
        self._exponent = 0

    def through(self, segment: range, held: _Held, x: Array) -> None:
        """Go back through the layers of a segment, whose input was `x`."""
        for index in reversed(segment):
            self._rescale(index)
            place = index - segment.start
            h_in = self._trace.of(index - 1)[1] if place else x
            self._layer(index, held[0][place], held[1][place], h_in)
            self._steps.advance()
        if segment.start:
            self._g = self._g.copy()  # it lies in the trace, which the next segment is about to overwrite

    def _rescale(self, index: int) -> None:
        step = self._wanted[index] - self._exponent if self._wanted else mlp.growth(self._g, self._pool)
        if step:
            mlp.rescale(self._g, step, self._pool)
        self._exponent += step
        self.exponents[index] = self._exponent

    def _layer(self, index: int, layer: Parameters, inverse: Array | None, h_in: Array) -> None:
        (z, h), record, pool = self._trace.of(index), self._records[index], self._pool
        weight, wiring = layer.weight if index else None, self._experiment.wirings[index]
        activation = self._experiment.config.activation
        delta, below = mlp.backward(weight, activation, z, h, self._g, record, pool, wiring, inverse, self._exponent)
        if self._gradients:
            mlp.add_weight_gradient(h_in, delta, self._gradients[index], pool)
        else:
            mlp.weight_gradient(h_in, delta, record, pool, self._exponent)
        self._g = self._g if below is None else below


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
