"""`width`: the coordinate check of multilayer perceptrons, with any initializer, by the NumPy engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from initprobe.arrays import Array
from initprobe.config.probe_config import ProbeConfig, require_config
from initprobe.diagnosis.width_sizes import LayerSizes, NetworkSizes
from initprobe.engine.named_parameters import READOUT, bias_name, named_gradients, named_parameters, weight_name
from initprobe.engine.optimizers import Optimizer
from initprobe.engine.streams import Streams
from initprobe.engine.threads import Workers, checked_threads, workers
from initprobe.engine.training import BatchGradients, ForwardPass, Learner, forward, gradients
from initprobe.errors import ConfigError
from initprobe.formatting import counted
from initprobe.prediction.width_check import Subject, WidthPlan, coordinate_check, widths_of
from initprobe.prediction.width_defaults import DEFAULT_SEEDS, DEFAULT_STEPS, DEFAULT_WIDTHS
from initprobe.prediction.width_scaling import Scaling
from initprobe.probe.describe import describe
from initprobe.probe.experiment import Experiment, input_rows, prepare
from initprobe.probe.networks import layers_of, network_of
from initprobe.probe.objective import learner_of
from initprobe.probe.progress import Progress
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.results.environment import environment

# The passes of all layers, and the logits.
_State: TypeAlias = tuple[list[ForwardPass], Array]

DEFAULT_BATCH, DEFAULT_LAYERS, DEFAULT_FEATURES = 16, 4, 16
_KEEPING = ("linear", "relu", "leaky_relu")  # activations that keep a factor of their input
_ROUNDING = 32.0  # changes of so many units of rounding are none


def width(
    config: ProbeConfig,
    widths: Sequence[int] = DEFAULT_WIDTHS,
    *,
    steps: int = DEFAULT_STEPS,
    optimizer: str | None = None,
    lr: float | None = None,
    seeds: int = DEFAULT_SEEDS,
    mup: bool = False,
    try_fixes: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CoordinateCheck:
    """How sizes in a network, and their changes over some steps, depend on its width.

    All networks get the same batch, whose features do not depend on the width.

    Args:
        config: the experiment; its width is replaced. A loss of `random` becomes cross-entropy.
        widths: units per layer, at least two numbers.
        steps: of the optimizer, on the same batch.
        optimizer: `sgd`, `adam` or `adamw` (the default).
        lr: learning rate; None for 0.1 (sgd) or 0.001.
        seeds: networks per width.
        mup: scale the read-out and the learning rates as muP does, from the smallest width on.
        try_fixes: scale what does not transfer, and measure again.
        threads: threads to use; None means all available processors. The numbers do not depend on it.
        progress: called with (networks done, total networks).

    Returns:
        The slopes of log rms against log width, and the verdict.

    Raises:
        ConfigError: the experiment or an argument is not valid.
        MemoryLimitError: the largest network would not fit in memory.
    """
    plan = WidthPlan(widths_of(widths), seeds, steps, optimizer, lr, try_fixes)
    experiments = [prepare(_at_width(config, each, plan), "widths") for each in plan.widths]
    _check(experiments)
    study = _Study(experiments, plan, mup, checked_threads(threads), progress)
    return coordinate_check(plan, study.measure, study.subject)


def _at_width(config: ProbeConfig, units: int, plan: WidthPlan) -> ProbeConfig:
    """The experiment at one width; its memory is that of training with gradients and two moments."""
    require_config(config)
    if config.widths is not None or config.weights is not None:
        raise ConfigError(
            "fixes the width; give layers and an initializer", field="widths" if config.widths else "weights"
        )
    features = DEFAULT_FEATURES if config.input_width is None and config.noise is not None else config.input_width
    given = {name: getattr(config, name) for name in config.model_fields_set}
    fixed = {
        "width": units,
        "input_width": features,
        "layers": config.layers or DEFAULT_LAYERS,
        "batch": config.batch or DEFAULT_BATCH,
        "loss": "cross-entropy" if config.loss == "random" else config.loss,
        "train_steps": plan.steps,
        "draws": 1,
        "batches": 1,
    }
    return ProbeConfig(**(given | fixed))


def _check(experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    if first.config.initializer.fit is not None:
        raise ConfigError("is fitted to data, which has no power of the width; name a distribution", field="init")
    if any(wiring.skip == 0 for wiring in first.wirings):
        raise ConfigError("of 0 is learned, which is not done here; give another", field="branch_scale")


class _Study:
    """The networks of all widths and seeds."""

    def __init__(
        self, experiments: Sequence[Experiment], plan: WidthPlan, mup: bool, threads: int, progress: Progress | None
    ) -> None:
        self._experiments, self._plan, self._threads, self._progress = experiments, plan, threads, progress
        self._mup = mup_scaling(experiments[0], plan.named_optimizer) if mup else Scaling()
        self._done = 0

    def measure(self, scaling: Scaling) -> list[list[NetworkSizes]]:
        """Make and measure every network."""
        smallest = self._plan.widths[0]
        with workers(self._threads) as pool:
            return [
                [
                    self._network(experiment, number, _joined(self._mup, scaling), units / smallest, pool)
                    for number in range(self._plan.seeds)
                ]
                for experiment, units in zip(self._experiments, self._plan.widths, strict=True)
            ]

    def _network(
        self, experiment: Experiment, number: int, scaling: Scaling, factor: float, pool: Workers
    ) -> NetworkSizes:
        seed, task = experiment.config.seed, experiment.task
        assert task is not None
        streams, shared = Streams(seed, number), Streams(seed, 0)  # all networks get the same batch
        x = input_rows(experiment, shared, 0, experiment.batch, pool)
        learner = learner_of(task, layers_of(experiment, network_of(experiment, streams, pool)), streams, pool)
        course = _Course(learner, x, task.of(x, 0, shared), self._plan, scaling, factor)
        sizes = course.sizes()
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, len(self._plan.widths) * self._plan.seeds))
        return sizes

    def subject(self) -> Subject:
        """The words of this study."""
        plan, first = self._plan, self._experiments[0]
        words = describe(first.config, first.sizes, first.batch)
        described = str(words.title).rpartition(", ")[0] or words.title
        config = first.config.model_dump(mode="json") | {"mup": bool(self._mup)}
        layers = len(first.fans)
        return Subject(
            title=f"{described}, {counted(layers, 'layer')} and a read-out{', muP' if self._mup else ''}",
            setting=(
                f"input {first.batch} x {first.sizes[0]}, {plan.named_optimizer} with learning rate {plan.rate:g}, "
                f"{counted(plan.steps, 'step')} on one batch, {counted(plan.seeds, 'seed')}"
            ),
            config=config,
            family="sgd" if plan.named_optimizer == "sgd" else "adam",
            optimizer=plan.named_optimizer,
            learning_rate=plan.rate,
            environment=environment(self._threads),
            advice=self._advice,
        )

    def _advice(self, scaling: Scaling) -> str | None:
        """`--mup`, where that is the scaling that works; the rates of biases may differ."""
        mup = mup_scaling(self._experiments[0], self._plan.named_optimizer)
        rates = {name: power for name, power in mup.rates.items() if not name.startswith("b ")}
        return "--mup does this" if (scaling.starts, scaling.rates) == (mup.starts, rates) else None


def mup_scaling(experiment: Experiment, optimizer: str) -> Scaling:
    """The maximal update parametrization of a network whose hidden weights are 1/sqrt(fan_in).

    Yang et al. 2022, arXiv:2203.03466, table 3. The read-out is 1/fan_in. Adam divides the rates of hidden weights and
    read-out by fan_in. SGD multiplies those of the first layer and of biases by fan_out, and divides that of the
    read-out by fan_in.

    Args:
        experiment: of the smallest width.
        optimizer: `sgd`, `adam` or `adamw`.
    """
    layers = range(1, len(experiment.fans) + 1)
    hidden = [weight_name(layer) for layer in layers[1:]]
    if optimizer == "sgd":
        vectors = [weight_name(1), *map(bias_name, layers)]
        return Scaling({READOUT: -0.5}, {READOUT: -1.0} | dict.fromkeys(vectors, 1.0))
    return Scaling({READOUT: -0.5}, dict.fromkeys([*hidden, READOUT], -1.0))


def _joined(first: Scaling, second: Scaling) -> Scaling:
    """Both scalings, one after the other."""

    def summed(powers: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
        return {name: powers.get(name, 0.0) + others.get(name, 0.0) for name in {**powers, **others}}

    return Scaling(summed(first.starts, second.starts), summed(first.rates, second.rates))


class _Course:
    """One network, trained on one batch."""

    def __init__(
        self, learner: Learner, x: Array, labels: Array, plan: WidthPlan, scaling: Scaling, factor: float
    ) -> None:
        self._learner, self._x, self._labels, self._plan = learner, x, labels, plan
        self._parameters = dict(named_parameters(learner))
        for name, power in scaling.starts.items():
            self._parameters[name] *= self._parameters[name].dtype.type(factor**power)
        powers = {name: scaling.rates.get(name, 0.0) for name in self._parameters}
        self._rates = {name: plan.rate * factor**power for name, power in powers.items()}
        self._before = {name: parameter.copy() for name, parameter in self._parameters.items()}

    def sizes(self) -> NetworkSizes:
        """Train, and measure before each step and after the last."""
        optimizer = Optimizer(self._plan.named_optimizer, self._rates)
        first = self._outputs()
        start = batch = gradients(self._learner, self._x, self._labels)
        states, updates, losses = list[_State](), list[dict[str, float]](), [start.loss]
        for number in range(self._plan.steps):
            batch = gradients(self._learner, self._x, self._labels) if number else start
            optimizer.step(self._parameters, dict(named_gradients(batch)))
            states.append(self._outputs())
            updates.append({name: _rms(held - self._before[name]) for name, held in self._parameters.items()})
            losses.append(self._loss(states[-1]))
        rows = [self._layer(index, first, states, updates, start) for index in range(len(self._learner.layers))]
        return NetworkSizes((*rows, self._readout(first, states, updates)), tuple(losses))

    def _outputs(self) -> _State:
        with np.errstate(all="ignore"):
            passes = forward(self._learner, self._x)
            return passes, np.matmul(passes[-1].passed.h, self._learner.readout)

    def _loss(self, state: _State) -> float:
        with np.errstate(all="ignore"):
            return self._learner.loss.value_and_gradient(state[1], self._labels)[0]

    def _layer(
        self,
        index: int,
        first: _State,
        states: Sequence[_State],
        updates: Sequence[Mapping[str, float]],
        start: BatchGradients,
    ) -> LayerSizes:
        layer, passed, h_in = self._learner.layers[index], first[0][index].passed, first[0][index].h_in
        name, act, wiring = weight_name(index + 1), layer.phi, layer.wiring
        g = start.layers[index].output
        entering, is_plain = _rms(h_in), wiring.skip is None and wiring.span == 1
        product = _rms(h_in @ self._before[name]) if wiring.norm else _rms(passed.z)
        slope = None if wiring.norm or not is_plain else _rms(g * act.slope(passed.z, passed.h))
        return LayerSizes(
            name=f"layer {index + 1}",
            kind="layer" if wiring.skip is None else "stream",
            output=_rms(passed.h),
            gradient=_rms(g),
            changes=tuple(_gap(passes[index].passed.h, passed.h) for passes, _ in states),
            own_changes=tuple(layer.weight.shape[0] * update[name] * entering for update in updates),
            rows=len(self._x),
            fan_in=layer.weight.shape[0],
            fan_out=layer.weight.shape[1],
            weight=_rms(self._before[name]) if is_plain else None,
            rate=self._rates[name],
            given=entering,
            given_changes=tuple(_gap(passes[index].h_in, h_in) for passes, _ in states),
            product=product,
            product_gradient=slope,
            is_normed=wiring.norm is not None,
            keeps_scale=act.name in _KEEPING,
            parameter=name,
        )

    def _readout(self, first: _State, states: Sequence[_State], updates: Sequence[Mapping[str, float]]) -> LayerSizes:
        passes, logits = first
        h, units = passes[-1].passed.h, len(self._learner.readout)
        entering = _rms(h)
        with np.errstate(all="ignore"):
            gradient = self._learner.loss.value_and_gradient(logits, self._labels)[1]
        return LayerSizes(
            name=READOUT,
            kind="readout",
            output=_rms(logits),
            gradient=_rms(gradient),
            changes=tuple(_gap(after, logits) for _, after in states),
            own_changes=tuple(units * update[READOUT] * entering for update in updates),
            rows=len(self._x),
            fan_in=units,
            fan_out=logits.shape[1],
            weight=_rms(self._before[READOUT]),
            rate=self._rates[READOUT],
            given=entering,
            given_changes=tuple(_gap(now[-1].passed.h, h) for now, _ in states),
            product=_rms(logits),
            product_gradient=_rms(gradient),
            parameter=READOUT,
        )


def _rms(tensor: Any) -> float:
    with np.errstate(all="ignore"):
        return math.sqrt(np.mean(np.square(tensor, dtype=np.float64)))


def _gap(now: Array, before: Array) -> float:
    """The root mean square of a difference; 0 where it is no more than rounding."""
    with np.errstate(all="ignore"):
        change = _rms(now.astype(np.float64) - before)
    return 0.0 if change <= _ROUNDING * np.finfo(before.dtype).eps * _rms(before) else change
