"""`probe(model, x)`: record, find the structure, judge, try the fixes. Start reading here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from initprobe.config.thresholds import Thresholds
from initprobe.engine.threads import Workers, checked_threads, workers
from initprobe.errors import ConfigError
from initprobe.results.environment import environment
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding, ModelFacts
from initprobe.torch import descriptions
from initprobe.torch.arguments import Arguments, Loss, Reinit, check, copied, inner_module, input_tensors, limits_of
from initprobe.torch.coverage import coverage
from initprobe.torch.fixes import Trials
from initprobe.torch.layer_stats import Teller
from initprobe.torch.passes import recorded
from initprobe.torch.restore import uncollected
from initprobe.torch.structure import structure_of
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.judge import finding, judged
from initprobe.torch.verdict.observations import Observation


def probe(
    model: nn.Module,
    x: Any,
    *,
    loss: Loss | None = None,
    draws: int = 1,
    reinit: Reinit | None = None,
    seed: int = 0,
    threads: int | None = None,
    thresholds: Thresholds | None = None,
    try_fixes: bool = True,
    min_judged: float | None = None,
) -> ProbeResult:
    """Send a batch through a PyTorch model and back, and judge the model.

    Every operation is seen, of modules and of functions. The model runs in the mode it is in. It is left exactly as it
    was, also after an exception: hooks, gradients, parameters, buffers, mode and every random state.

    Args:
        model: any module.
        x: a tensor, a tuple of arguments or a mapping of keyword arguments. It is never written to.
        loss: from the output to a scalar. None: dL/dy ~ N(0, 1) in every floating-point tensor of the output.
        draws: networks to average over; more than one needs `reinit`.
        reinit: draws the weights of the model again, in place; called before every draw.
        seed: of the backward pass, and of the global generators during the probe (dropout, `reinit`).
        threads: threads that take statistics; None for every processor available.
        thresholds: limits of the verdict.
        try_fixes: apply each fix in place, probe again, and undo it. Without it no fix is offered.
        min_judged: share of the parameters below which the verdict is about a part only; None for .95.

    Returns:
        The record that `initprobe.run` gives, with `modules` and `coverage` and without a prediction.

    Raises:
        ConfigError: the model or an argument cannot be used; says what to do.
    """
    inside, limits = inner_module(model), limits_of(thresholds, min_judged)
    arguments = Arguments(inside, x, loss, draws, reinit, seed, limits)
    check(arguments)
    return _probed(arguments, checked_threads(threads), try_fixes and reinit is None)


def _probed(arguments: Arguments, threads: int, try_fixes: bool) -> ProbeResult:
    """Probe, then try the fixes on the same model."""
    started = time.perf_counter()
    with workers(threads) as pool, uncollected():
        observations, result = _measured(arguments, pool)
        findings = _tried(arguments, observations, pool) if try_fixes else _untried(observations)
    return result.model_copy(
        update={
            "environment": environment(threads, descriptions.torch_version()),
            "min_judged": arguments.limits.judged,
            "elapsed_s": time.perf_counter() - started,
            "diagnosis": tuple(findings),
            "healthy": all(found.severity == "info" for found in findings),
        }
    )


def _tried(arguments: Arguments, observations: Sequence[Observation], pool: Workers) -> list[Finding]:
    def again(x: Any) -> list[Observation]:
        return judged(_case(replace(arguments, x=x), pool)[0])

    return Trials(arguments.model, arguments.x, again).findings(observations)


def _untried(observations: Sequence[Observation]) -> list[Finding]:
    return [finding(observation, None, None) for observation in observations]


def _measured(arguments: Arguments, pool: Workers) -> tuple[list[Observation], ProbeResult]:
    """One probe without its fixes."""
    case, teller = _case(arguments, pool)
    model, recorder, observations = arguments.model, case.recorder, judged(case)
    shapes = descriptions.input_words(list(input_tensors(arguments.x)))
    setting = descriptions.setting_words(model, shapes, arguments.draws, arguments.seed)
    result = ProbeResult(
        config=_config(arguments, shapes, case),
        description=descriptions.describe(model, setting, case.layers, case.shown),
        environment=environment(1, descriptions.torch_version()),
        elapsed_s=0,
        theory_note=descriptions.THEORY_NOTE,
        layers=tuple(case.shown),
        modules=tuple(teller.module(call) for call in recorder.modules.calls),
        notes=tuple(descriptions.notes(case)),
        coverage=coverage(model, recorder.roles),
        facts=ModelFacts(void=dict(case.void)),
    )
    return observations, result


def _case(arguments: Arguments, pool: Workers) -> tuple[Case, Teller]:
    """The model as it is now, recorded, and what works out its statistics."""
    model = arguments.model
    recorder, course = recorded(replace(arguments, x=copied(model, arguments.x)), pool)
    structure = structure_of(recorder.operations)
    if not structure.layers:
        raise ConfigError(descriptions.no_layers(recorder))
    teller = Teller(recorder, structure.layers, arguments.draws)
    parameter = next(model.parameters(), None)
    case = Case(
        model=model,
        recorder=recorder,
        structure=structure,
        limits=arguments.limits,
        moved=course.moved,
        differentiated=course.differentiated,
        void=course.void,
        loss=course.loss,
        training=model.training,
        dtype=None if parameter is None else descriptions.dtype_name(parameter.dtype),
        shown=[teller.layer(layer) for layer in structure.layers],
    )
    return case, teller


def _config(arguments: Arguments, shapes: str, case: Case) -> dict[str, Any]:
    model, loss = arguments.model, arguments.loss
    return {
        "source": "torch",
        "model": f"{type(model).__module__}.{type(model).__name__}",
        "input": shapes,
        "dtype": case.dtype,
        "training": model.training,
        "loss": None if loss is None else getattr(loss, "__name__", type(loss).__name__),
        "draws": arguments.draws,
        "seed": arguments.seed,
    }
