"""START READING HERE: `run(config)` prepares an experiment, measures it, adds theory, and diagnoses it.

`measure` is the whole of it. It draws networks, sends batches through each (`probe.passes`) and summarises the records
(`probe.summarise`). It predicts (`prediction`), trains if asked (`probe.objective`), and diagnoses (`diagnosis`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.config.probe_config import ProbeConfig
from initprobe.diagnosis.correlation import collapses
from initprobe.diagnosis.diagnose import diagnose
from initprobe.engine.layer_record import LayerRecord, take
from initprobe.engine.mlp import Layer
from initprobe.engine.streams import Streams
from initprobe.engine.threads import Workers, checked_threads, workers
from initprobe.meanfield.input_moments import InputMoments, add_moments
from initprobe.prediction.depth_scales import depth_scales
from initprobe.prediction.predict import predict_network, with_predictions
from initprobe.prediction.rules import are_rows_needed, bias_stds, inequality, no_theory, pooled
from initprobe.prediction.typical import typical_draw
from initprobe.probe.buffers import BatchContext, Buffers, WeightGradients
from initprobe.probe.describe import describe
from initprobe.probe.experiment import Experiment, input_rows, prepare, seed_gradient
from initprobe.probe.memory_parts import segments
from initprobe.probe.networks import draw_network, fit_share, layers_of, remade_layers
from initprobe.probe.objective import Start, learner_of, start_of, train, with_loss
from initprobe.probe.one_step import Moved, one_step, passes_of, with_step
from initprobe.probe.passes import probe_batch
from initprobe.probe.progress import BACK, Progress, Steps
from initprobe.probe.rounding import in_formats
from initprobe.probe.summarise import settle, summarise, with_fitting
from initprobe.probe.trials import Outcome, Outcomes, Trials
from initprobe.reports.notebook import progress_bar
from initprobe.results.environment import environment
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult
from initprobe.results.step import StepStats
from initprobe.results.summary import InputStats, Training

if TYPE_CHECKING:
    from initprobe.engine.fitted import Fitted


def run(config: ProbeConfig, *, threads: int | None = None, progress: Progress | None = None) -> ProbeResult:
    """Prepare and measure one experiment: `measure(prepare(config))`, with a bar in a notebook.

    Args:
        config: the settings.
        threads: threads to use; None for all available processors. The numbers do not depend on it.
        progress: called with (steps done, total steps).

    Returns:
        The statistics of every layer, theory, and the diagnosis.

    Raises:
        InputError: the data cannot be used.
        ConfigError: the experiment cannot be run; one line says what is wrong and what to do.
        MemoryLimitError: the run would not fit in memory.
    """
    with progress_bar("probing") as bar:
        return measure(prepare(config), threads=threads, progress=progress or bar)


def measure(
    experiment: Experiment,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    outcomes: Outcomes | None = None,
) -> ProbeResult:
    """Measure an experiment whose data has been read.

    Args:
        experiment: from `prepare`.
        threads: threads to use; None for all available processors. The numbers do not depend on it.
        progress: called with (steps done, steps in all).
        outcomes: of trials of fixes, so that none is made twice for many runs; None to remember none.

    Returns:
        Statistics of weights, signals and gradients of every layer, each averaged over the draws.

    Raises:
        ConfigError: `threads` is below 1, or an autoencoder diverges.
    """
    result, inputs = _judged(experiment, threads, progress)
    trials = Trials(partial(measured, threads=threads), outcomes)
    config, sizes = experiment.config, experiment.sizes
    trials.remember(config, Outcome.of(result))
    if result.healthy and not collapses(result):
        return result
    settle(result.layers)  # their counts take memory that trials need
    from initprobe.prediction.fix_norm_and_skip import fix_for, fix_for_indistinct_inputs  # only sick networks need it

    apart = partial(trials.survives, distinct=True)
    with workers(1):  # BLAS with threads of its own would slow theory down
        return diagnose(
            result,
            lambda: fix_for(config, sizes, inputs, trials.survives, result.typical),
            config.thresholds,
            apart=lambda: fix_for_indistinct_inputs(config, sizes, inputs, apart),
        )


def measured(config: ProbeConfig, *, threads: int | None = None, progress: Progress | None = None) -> ProbeResult:
    """Prepare and measure one experiment as `run`, but look for no fix.

    Args:
        config: the settings.
        threads: threads to use; None for all available processors.
        progress: called with (steps done, steps in all).
    """
    return _judged(prepare(config), threads, progress)[0]


def survives(config: ProbeConfig, *, threads: int | None = None) -> bool:
    """Whether an experiment is healthy when it is run, as `Trials.survives`.

    Args:
        config: the experiment, which is not trained here.
        threads: threads to use; None for all available processors.
    """
    return Trials(partial(measured, threads=threads)).survives(config)


def _judged(experiment: Experiment, threads: int | None, progress: Progress | None) -> tuple[ProbeResult, InputMoments]:
    """The result with its findings but no fixes, and the moments of its input; the buffers are free afterwards."""
    config, threads, started = experiment.config, checked_threads(threads), time.perf_counter()
    # Theory and diagnosis run in here too. BLAS has one thread, since threads of its own would only wait for work.
    with workers(threads) as pool:
        session = _session(experiment, pool, progress)
        networks = [_probe_network(session, draw) for draw in range(config.draws)]
        inputs = pooled(session.inputs)
        prediction = predict_network(config, experiment.sizes, inputs, experiment.batch * config.batches)
        unequal = inequality(session.inputs, config.draws)
        layers = with_predictions(config, _measured(session, networks, inputs), prediction, unequal)
        scales = depth_scales(config, layers)
        loss = None
        if experiment.task is not None:
            loss, layers = with_loss(experiment.task, layers, [net.start for net in networks if net.start is not None])
        step = None
        if config.optimizer:
            step, moved = _stepped(session)
            layers = with_step(layers, moved)
        result = ProbeResult(
            config=config.model_dump(mode="json"),
            description=describe(config, experiment.sizes, experiment.batch),
            training=_trained(session) if config.train_steps else None,
            step=step,
            environment=environment(threads),
            elapsed_s=time.perf_counter() - started,
            theory_note=None if prediction else no_theory(config, experiment.sizes, inputs, experiment.batch),
            depth_scales=scales,
            typical=typical_draw(config, experiment.sizes, inputs, prediction),
            input=_input_stats(inputs),
            layers=layers,
            loss=loss,
            formats=in_formats(config.formats, [record.sketches for record in session.records]),
        )
        return diagnose(result, thresholds=config.thresholds), inputs


@dataclass(frozen=True)
class _Session:
    """What all draws of an experiment share.

    Attributes:
        experiment: what is measured.
        records: the statistics of each layer, over all draws.
        buffers: room for z and h.
        pool: the threads.
        steps: the progress.
        inputs: moments of the input of every batch; products of pairs of rows of the first one alone.
    """

    experiment: Experiment
    records: Sequence[LayerRecord]
    buffers: Buffers
    pool: Workers
    steps: Steps
    inputs: list[InputMoments] = field(default_factory=list)

    def measure(self, x: Array) -> InputMoments:
        """Moments of a batch of the input; the rows of the first are kept where theory needs them."""
        keep = not self.inputs and are_rows_needed(self.experiment.config, self.experiment.sizes)
        return InputMoments.measure(x, keep_rows=keep)

    def context(self, layers: Sequence[Layer], sums: Sequence[Array]) -> BatchContext:
        """What a batch of one network needs; `sums` are room for dL/dW over batches."""
        config = self.experiment.config
        how = WeightGradients(self.experiment.dimensions, sums, config.has_whole_weight_gradient, config.seed)
        return BatchContext(layers, self.records, self.buffers, how, self.pool, self.steps)

    def batch(self, streams: Streams, number: int) -> tuple[Array, Array]:
        """The input of a batch and dL/dh of its last layer."""
        size = self.experiment.batch
        of_batch = self.experiment, streams, number * size, (number + 1) * size, self.pool
        return input_rows(*of_batch), seed_gradient(*of_batch)


def _session(experiment: Experiment, pool: Workers, progress: Progress | None) -> _Session:
    held = segments(experiment.config, experiment.sizes, experiment.batch)
    return _Session(
        experiment,
        _new_records(experiment),
        Buffers(experiment.dimensions, experiment.wirings, held),
        pool,
        Steps(progress, _steps_to_do(experiment.config, len(experiment.fans))),
    )


def _new_records(experiment: Experiment) -> list[LayerRecord]:
    return [LayerRecord(experiment.dtype, bool(experiment.config.formats)) for _ in experiment.fans]


def _steps_to_do(config: ProbeConfig, layers: int) -> int:
    """The steps of a run: layers fitted, passed forward and back, and trained."""
    fit = config.initializer.fit
    fitted = (
        (config.draws + bool(config.train_steps) + bool(config.optimizer))
        * layers
        * (fit.steps * fit_share(fit) + 1 if fit else 0)
    )
    passes = config.draws * config.batches + config.train_steps + passes_of(config)
    return fitted + layers * (1 + BACK) * passes


class _Network(NamedTuple):
    """What one network reports beside the records: how its layers were fitted, and its loss; None without a loss."""

    fitted: Sequence[Fitted]
    start: Start | None


def _probe_network(session: _Session, draw: int) -> _Network:
    """Draw one network and send every batch through it and back."""
    experiment, pool, streams = session.experiment, session.pool, Streams(session.experiment.config.seed, draw)
    layers, fitted = _layers(session, streams)
    for record in session.records:
        record.begin_draw()
    sums = [np.zeros_like(layer.weight) for layer in layers] if experiment.config.batches > 1 else []
    context, start = session.context(layers, sums), None
    exponents: list[int] = []
    for number in range(experiment.config.batches):
        x, g = session.batch(streams, number)
        pool.later(session.measure, [x], partial(add_moments, session.inputs))
        if number == 0 and experiment.task is not None:
            learner = learner_of(experiment.task, layers, streams, pool)
            start = start_of(experiment.task, learner, x, experiment.task.of(x, 0, streams))
        exponents = probe_batch(context, x, g, exponents)
    for record, total, exponent in zip(session.records, sums, exponents, strict=False):
        take([record.weight_gradient], total[None], pool, [exponent])
    _end_draw(session, session.records)
    return _Network(fitted, start)


def _layers(session: _Session, streams: Streams) -> tuple[Sequence[Layer], list[Fitted]]:
    """The layers of one network, held if all of them fit in memory, and how they were fitted."""
    if len(session.buffers.segments) > 1:
        return remade_layers(session.experiment, streams, session.pool), []
    network, fitted = draw_network(session.experiment, streams, session.pool, session.steps, session.buffers.room)
    return layers_of(session.experiment, network), fitted


def _end_draw(session: _Session, records: Sequence[LayerRecord]) -> None:
    session.pool.finish()
    for record in records:
        record.end_draw(session.experiment.config.activation.dead_below)


def _measured(session: _Session, networks: Sequence[_Network], inputs: InputMoments) -> tuple[LayerStats, ...]:
    """The statistics of all draws, with the spread of biases and with what fitting reported."""
    experiment, config = session.experiment, session.experiment.config
    silent = not inputs.mean_squares.any()
    measured = summarise(session.records, experiment.sizes, config.activation, experiment.wirings, silent)
    biases = bias_stds(config, experiment.sizes)
    with_biases = [layer.model_copy(update={"bias_std": std}) for layer, std in zip(measured, biases, strict=True)]
    return with_fitting(config.initializer.fit, with_biases, [network.fitted for network in networks])


def _input_stats(inputs: InputMoments) -> InputStats:
    square = float(np.mean(inputs.mean_squares))
    return InputStats(
        mean_square=square, equal=inputs.are_equal, correlation=_cosine(inputs.cosine) if square > 0 else None
    )


def _cosine(cosine: float) -> float | None:
    """A mean cosine, whose rounding may leave it beyond 1."""
    return min(max(cosine, -1.0), 1.0) if math.isfinite(cosine) else None


def _stepped(session: _Session) -> tuple[StepStats, list[Moved]]:
    """One step of the first network on its first batch."""
    experiment, pool, streams = session.experiment, session.pool, Streams(session.experiment.config.seed, 0)
    task = experiment.task
    assert task is not None
    network, _ = draw_network(experiment, streams, pool, session.steps)
    learner = learner_of(task, layers_of(experiment, network), streams, pool)
    x = input_rows(experiment, streams, 0, experiment.batch, pool)
    steps = len(network) * (1 + BACK)
    return one_step(experiment.config, learner, x, task.of(x, 0, streams), lambda: session.steps.advance(steps))


def _trained(session: _Session) -> Training:
    """Train the first network, and measure it again as before training."""
    experiment, pool, config = session.experiment, session.pool, session.experiment.config
    task, streams = experiment.task, Streams(config.seed, 0)
    assert task is not None
    network, _ = draw_network(experiment, streams, pool, session.steps)
    learner = learner_of(task, layers_of(experiment, network), streams, pool)

    def batch_at(number: int) -> tuple[Array, Array]:
        """Noise is new in every step; the batches of real data are used in turn."""
        start = (number if experiment.table is None else number % config.batches) * experiment.batch
        x = input_rows(experiment, streams, start, start + experiment.batch, pool)
        return x, task.of(x, start, streams)

    steps = len(network) * (1 + BACK)
    course = train(learner, batch_at, config.train_steps, config.learning_rate, lambda: session.steps.advance(steps))
    return Training(
        steps=config.train_steps,
        learning_rate=config.learning_rate,
        losses=course.losses,
        final_loss=course.final,
        diverged_at=course.diverged_at,
        diverged_layer=course.diverged_layer,
        layers=None if course.diverged_at is not None else _measured_again(session, learner.layers, streams),
    )


def _measured_again(session: _Session, layers: Sequence[Layer], streams: Streams) -> tuple[LayerStats, ...]:
    """The statistics of a trained network on its first batch, with the random start of the backward pass."""
    experiment = session.experiment
    again = replace(session, records=_new_records(experiment), steps=Steps(None, 0))
    for record in again.records:
        record.begin_draw()
    probe_batch(again.context(layers, []), *again.batch(streams, 0))
    _end_draw(again, again.records)
    wirings = [layer.wiring for layer in layers]
    return summarise(again.records, experiment.sizes, experiment.config.activation, wirings)
