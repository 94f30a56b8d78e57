"""Trials: whether a changed experiment survives, measured before it is offered as a fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from initprobe.config.arguments import ConfigChanges
from initprobe.config.fields import RANDOM
from initprobe.config.probe_config import DEFAULT_BATCH, ProbeConfig
from initprobe.diagnosis.correlation import collapses
from initprobe.errors import InitprobeError
from initprobe.results.run import ProbeResult

# Multiplications of a forward pass below which a fix is tried with every draw: a tenth of a second.
_FEW_PRODUCTS = 1e9
# Draws of a small network that a fix is tried with, over its seeds. If one draw in ten fails, a third of the trials
# see it.
_LEAST_DRAWS = 4
# Outcomes that are remembered; a worker of a cluster may serve many sweeps.
_MOST_OUTCOMES = 10_000
# A trial ends with the verdict, which is about initialization.
_WITHOUT_TRAINING: ConfigChanges = {
    "loss": RANDOM,
    "classes": None,
    "labels": None,
    "train_steps": 0,
    "optimizer": None,
    "learning_rate": ProbeConfig.model_fields["learning_rate"].default,
}


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        is_healthy: the verdict has no finding that counts; False if the experiment cannot be run.
        is_distinct: different inputs stay different.
    """

    is_healthy: bool
    is_distinct: bool

    @classmethod
    def of(cls, result: ProbeResult) -> Outcome:
        """The outcome that a result stands for."""
        return cls(result.healthy, not collapses(result))


_IMPOSSIBLE = Outcome(is_healthy=False, is_distinct=False)


@dataclass
class Outcomes:
    """Outcomes of experiments in this process. Runs of a sweep share most of their fixes, so each is tried once.

    Attributes:
        key: of an experiment; experiments of one key have one outcome.
        known: the outcome of each key.
    """

    key: Callable[[ProbeConfig], str]
    known: dict[str, Outcome] = field(default_factory=dict)

    def add(self, config: ProbeConfig, outcome: Outcome) -> None:
        """Remember an outcome; the oldest are forgotten.

        Args:
            config: of the experiment.
            outcome: of its trial.
        """
        self.known[self.key(config)] = outcome
        while len(self.known) > _MOST_OUTCOMES:
            self.known.pop(next(iter(self.known)), None)

    def of(self, config: ProbeConfig) -> Outcome | None:
        """The outcome of an experiment; None if it was not tried."""
        return self.known.get(self.key(config))


class Trials(NamedTuple):
    """Measures changed experiments.

    Attributes:
        judge: measures an experiment, and looks for no fix.
        outcomes: where outcomes are remembered; None to remember none.
    """

    judge: Callable[[ProbeConfig], ProbeResult]
    outcomes: Outcomes | None = None

    def survives(self, config: ProbeConfig, *, distinct: bool = False) -> bool:
        """Whether a changed experiment is healthy when it is run.

        One draw is enough where draws take long. A small network is drawn as often as asked for, with several seeds.
        These seeds are a block that contains its own. So the seeds of a sweep share their trials.

        Args:
            config: the experiment, which is not trained here.
            distinct: whether its inputs must stay distinct too.
        """
        from initprobe.prediction.fix_plain import changed

        small = _products(config) < _FEW_PRODUCTS
        draws, count = (config.draws, max(2, _LEAST_DRAWS // config.draws)) if small else (1, 1)
        first = config.seed // count * count
        seeds = range(first, first + count)
        trial = changed(config, **_WITHOUT_TRAINING)
        outcomes = (self._outcome(changed(trial, draws=draws, seed=seed)) for seed in seeds)
        return all(outcome.is_healthy and (outcome.is_distinct or not distinct) for outcome in outcomes)

    def _outcome(self, config: ProbeConfig) -> Outcome:
        """The outcome of a trial, measured or remembered."""
        if self.outcomes is not None and (before := self.outcomes.of(config)) is not None:
            return before
        try:
            outcome = Outcome.of(self.judge(config))
        except InitprobeError:
            outcome = _IMPOSSIBLE  # it would not fit in memory, for instance
        self.remember(config, outcome)
        return outcome

    def remember(self, config: ProbeConfig, outcome: Outcome) -> None:
        """Keep the outcome of an experiment for later trials, if outcomes are remembered.

        Args:
            config: of the experiment.
            outcome: of its trial.
        """
        if self.outcomes is not None:
            self.outcomes.add(config, outcome)


def _products(config: ProbeConfig) -> float:
    """Multiplications of the forward pass of all draws."""
    weights = sum(a * b for a, b in pairwise(config.nominal_sizes))
    return float(weights) * (config.batch or DEFAULT_BATCH) * config.batches * config.draws
