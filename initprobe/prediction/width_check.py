"""A coordinate check from its measurement: judged, and fixed if a scaling by powers of the width works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from numbers import Integral
from statistics import fmean
from typing import Any

from initprobe.arrays import finite
from initprobe.diagnosis.width_sizes import Family, Networks
from initprobe.engine.optimizers import NAMES, default_rate
from initprobe.errors import ConfigError
from initprobe.prediction.width_defaults import DEFAULT_OPTIMIZER, DEFAULT_SEEDS, DEFAULT_STEPS, DEFAULT_WIDTHS
from initprobe.prediction.width_scaling import Measure, Scaling, Trial, judged, tried
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.results.summary import Environment

_LARGEST_RATE = 3.4e38  # of float32
_WIDTHS = "must be at least two different whole numbers above 0, like 64,128,256,512"


def widths_of(given: object) -> tuple[int, ...]:
    """Widths as the caller of `width` gives them.

    Args:
        given: whole numbers.

    Raises:
        ConfigError: they are no sequence of whole numbers.
    """
    widths = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(width, Integral) for width in widths):
        raise ConfigError(_WIDTHS, field="widths")
    return tuple(map(int, widths))


@dataclass(frozen=True)
class WidthPlan:
    """What a coordinate check does.

    Attributes:
        widths: of the networks.
        seeds: networks per width.
        steps: of training.
        optimizer: `sgd`, `adam` or `adamw`; None where none is asked for.
        learning_rate: of the optimizer; None for its default.
        try_fixes: scale what does not transfer, and measure again.
    """

    widths: tuple[int, ...] = DEFAULT_WIDTHS
    seeds: int = DEFAULT_SEEDS
    steps: int = DEFAULT_STEPS
    optimizer: str | None = None
    learning_rate: float | None = None
    try_fixes: bool = True

    def __post_init__(self) -> None:
        if len(set(self.widths)) < max(len(self.widths), 2) or min(self.widths, default=0) < 1:
            raise ConfigError(_WIDTHS, field="widths")
        for name in ("seeds", "steps"):
            if not isinstance(getattr(self, name), Integral):
                raise ConfigError(f"must be a whole number, not {getattr(self, name)!r}", field=name)
            if getattr(self, name) < 1:
                raise ConfigError(f"must be at least 1, not {getattr(self, name)}", field=name)
        if self.optimizer not in (None, *NAMES):
            raise ConfigError(f"must be one of {', '.join(NAMES)}, not {self.optimizer!r}", field="optimizer")
        if self.learning_rate is not None and not 0 < self.learning_rate <= _LARGEST_RATE:
            text = f"must be above 0 and at most {_LARGEST_RATE:g}, not {self.learning_rate:g}"
            raise ConfigError(text, field="lr")
        object.__setattr__(self, "widths", tuple(sorted(self.widths)))

    @property
    def named_optimizer(self) -> str:
        """The optimizer, or the default."""
        return self.optimizer or DEFAULT_OPTIMIZER

    @property
    def rate(self) -> float:
        """The learning rate, or the default of the optimizer."""
        return self.learning_rate or default_rate(self.named_optimizer)


@dataclass(frozen=True)
class Subject:
    """What is checked, in words.

    Attributes:
        title: the network.
        setting: input, optimizer and seeds.
        config: the settings.
        family: of the optimizer; None for one without theory.
        optimizer: its name.
        learning_rate: of the optimizer; None where the model brings its own.
        environment: versions and machine.
        advice: a fix that the user can type, from the scaling that works; None for none.
    """

    title: str
    setting: str
    config: dict[str, Any]
    family: Family | None
    optimizer: str
    learning_rate: float | None
    environment: Environment
    advice: Callable[[Scaling], str | None] = field(default=lambda scaling: None)


def coordinate_check(plan: WidthPlan, measure: Measure, subject: Callable[[], Subject]) -> CoordinateCheck:
    """Measure, judge, and try a fix.

    Args:
        plan: widths, seeds and steps.
        measure: makes and measures the networks with a scaling.
        subject: the words; asked for after the first measurement.
    """
    started = time.perf_counter()
    networks = measure(Scaling())
    about = subject()
    now = judged(plan.widths, networks, about.family)
    trial = tried(now, measure, about.family) if plan.try_fixes and now.transfers is False else Trial()
    advice = [words] if trial.fix and (words := about.advice(trial.scaling)) else []
    return CoordinateCheck(
        title=about.title,
        setting=about.setting,
        config=about.config,
        widths=plan.widths,
        seeds=plan.seeds,
        steps=plan.steps,
        optimizer=about.optimizer,
        learning_rate=about.learning_rate,
        lines=now.lines,
        losses=_losses(networks),
        transfers=now.transfers,
        verdict=now.verdict,
        findings=now.findings,
        fix=(*trial.fix, *advice),
        fix_note=trial.note,
        elapsed_s=time.perf_counter() - started,
        environment=about.environment,
    )


def _losses(networks: Networks) -> tuple[tuple[float | None, ...], ...]:
    """The losses before each step and after the last, averaged over seeds, by width."""
    return tuple(
        tuple(finite(fmean(losses)) for losses in zip(*(network.losses for network in row), strict=True))
        for row in networks
    )
