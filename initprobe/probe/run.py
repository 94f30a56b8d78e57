"""`run(config)`: sample, propagate, summarise. Start reading here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from initprobe.arrays import Array
from initprobe.config.probe_config import ProbeConfig
from initprobe.diagnosis.diagnose import diagnose
from initprobe.engine.fitted import Fitted
from initprobe.engine.layer_record import LayerRecord, take
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Streams
from initprobe.engine.threads import Workers, checked_threads, workers
from initprobe.meanfield.input_moments import InputMoments
from initprobe.prediction.depth_scales import depth_scales
from initprobe.prediction.predict import predict_network, with_predictions
from initprobe.prediction.rules import no_theory, pooled
from initprobe.probe.describe import describe
from initprobe.probe.experiment import Experiment, input_rows, prepare, seed_gradient
from initprobe.probe.networks import draw_network, fit_share, hold_network
from initprobe.probe.objective import Start, learner_of, start_of, train, with_loss
from initprobe.probe.passes import BACK, Progress, Steps, Trace, probe_batch
from initprobe.probe.summarise import summarise, with_fitting
from initprobe.remedies.norm_and_skip import fix_for, fix_for_indistinct_inputs
from initprobe.reports.notebook import progress_bar
from initprobe.results.environment import environment
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Training


def run(config: ProbeConfig, *, threads: int | None = None, progress: Progress | None = None) -> ProbeResult:
    """Prepare and measure one experiment: `measure(prepare(config))`, with a bar in a notebook.

    Raises:
        ConfigError: the experiment cannot be run; in one line, what is wrong and what to do.
    """
    with progress_bar("probing") as bar:
        return measure(prepare(config), threads=threads, progress=progress or bar)


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
    config, threads = experiment.config, checked_threads(threads)
    started = time.perf_counter()
    records = [LayerRecord(experiment.dtype) for _ in experiment.fans]
    trace, inputs = Trace(experiment), list[InputMoments]()
    steps = Steps(progress, _steps_to_do(config, len(records)))
    # BLAS has one thread in here, for theory too: its own would spin for nothing, and take the processors of others.
    with workers(threads, whole=len(trace.segments) == 1) as pool:
        seen = [
            _probe_network(experiment, Streams(config.seed, draw), records, trace, inputs, pool, steps)
            for draw in range(config.draws)
        ]
        starts = [one.start for one in seen if one.start is not None]
        measured = summarise(records, experiment.sizes, config.activation, experiment.wirings)
        measured = with_fitting(config.initializer.fit, measured, [one.fitted for one in seen])
        samples = experiment.batch * config.batches
        layers = with_predictions(config, measured, predict_network(config, experiment.sizes, pooled(inputs), samples))
        scales = depth_scales(config, layers)
        loss = None
        if experiment.task is not None:
            loss, layers = with_loss(experiment.task, layers, starts)
        training = _trained(experiment, trace, pool, steps) if config.train_steps else None
        found = ProbeResult(
            config=config.model_dump(mode="json"),
            description=describe(config, experiment.sizes, experiment.batch),
            environment=environment(threads),
            elapsed_s=time.perf_counter() - started,
            theory_note=no_theory(config, experiment.sizes),
            depth_scales=scales,
            layers=layers,
            loss=loss,
            training=training,
        )
        return diagnose(
            found,
            lambda: fix_for(config, experiment.sizes, pooled(inputs)),
            config.thresholds,
            apart=lambda: fix_for_indistinct_inputs(config, experiment.sizes, pooled(inputs)),
        )


def _steps_to_do(config: ProbeConfig, layers: int) -> int:
    """What a progress bar counts: layers fitted, passed forward and back, and trained, in products of one layer."""
    fit = config.initializer.fit
    fitted = (config.draws + bool(config.train_steps)) * layers * (fit.steps * fit_share(fit) + 1 if fit else 0)
    return fitted + layers * (1 + BACK) * (config.draws * config.batches + config.train_steps)


@dataclass(frozen=True)
class _Seen:
    """What one network told beside its records: how its layers were fitted, the loss."""

    fitted: Sequence[Fitted]
    start: Start | None


def _probe_network(
    experiment: Experiment,
    streams: Streams,
    records: Sequence[LayerRecord],
    trace: Trace,
    inputs: list[InputMoments],
    pool: Workers,
    steps: Steps,
) -> _Seen:
    """Sample one network and send every batch through it and back; the moments of its `inputs` are added to those."""
    network, fitted = hold_network(experiment, streams, trace, pool, steps)
    for record in records:
        record.begin_draw()
    gradients = [np.zeros_like(layer.weight) for layer in network] if experiment.config.batches > 1 else []
    start_of_loss = None
    exponents: list[int] = []
    for number in range(experiment.config.batches):
        start = number * experiment.batch
        x = input_rows(experiment, streams, start, start + experiment.batch, pool)
        g = seed_gradient(experiment, streams, start, start + experiment.batch, pool)
        pool.later(InputMoments.measure, [x], inputs.extend)
        if number == 0 and experiment.task is not None:
            learner = learner_of(experiment.task, experiment.config, network, experiment.wirings, streams, pool)
            start_of_loss = start_of(experiment.task, learner, x, experiment.task.of(x, 0, streams))
        exponents = probe_batch(experiment, network, x, g, records, gradients, trace, pool, steps, exponents)
    for index, total in enumerate(gradients):
        take([records[index].weight_gradient], total[None], pool, [exponents[index]])
    pool.finish()
    for record in records:
        record.end_draw(experiment.config.activation.dead_below)
    return _Seen(fitted, start_of_loss)


def _trained(experiment: Experiment, trace: Trace, pool: Workers, steps: Steps) -> Training:
    """Train the first network, and measure it again as it was measured when new."""
    config, task, streams = experiment.config, experiment.task, Streams(experiment.config.seed, 0)
    assert task is not None
    network, _ = draw_network(experiment, streams, pool, steps)
    learner = learner_of(task, config, network, experiment.wirings, streams, pool)

    def batch_at(number: int) -> tuple[Array, Array]:
        """Fresh noise for every step; data comes round again."""
        start = (number if experiment.table is None else number % config.batches) * experiment.batch
        x = input_rows(experiment, streams, start, start + experiment.batch, pool)
        return x, task.of(x, start, streams)

    step = len(network) * (1 + BACK)
    course = train(learner, batch_at, config.train_steps, config.learning_rate, lambda: steps.advance(step))
    after = None
    if course.diverged_at is None:
        after = _measured_again(
            replace(experiment, learned=tuple(learner.wirings)), learner.layers, streams, trace, pool
        )
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
    for record in records:
        record.begin_draw()
    x = input_rows(experiment, streams, 0, experiment.batch, pool)
    g = seed_gradient(experiment, streams, 0, experiment.batch, pool)
    probe_batch(experiment, network, x, g, records, [], trace, pool, Steps(None, 0))
    for record in records:
        record.end_draw(experiment.config.activation.dead_below)
    return summarise(records, experiment.sizes, experiment.config.activation, experiment.wirings)
