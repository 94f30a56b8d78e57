"""`probe(model, x)`: record, find the structure, judge, try the fixes. Start reading here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from initprobe.config.thresholds import Thresholds
from initprobe.engine.number_formats import format_names
from initprobe.engine.threads import Workers, checked_threads, workers
from initprobe.errors import ConfigError
from initprobe.probe.rounding import in_formats
from initprobe.results.environment import environment
from initprobe.results.formats import FormatStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding, ModelFacts
from initprobe.torch import descriptions
from initprobe.torch.arguments import Arguments, Loss, Reinit, check, copied, input_tensors, limits_of, parts_of
from initprobe.torch.coverage import coverage
from initprobe.torch.fixes import FixesOfModel
from initprobe.torch.graph import without_cycles
from initprobe.torch.inventory import inventory
from initprobe.torch.layer_stats import LayerRecords, operation_places, sketches_of
from initprobe.torch.lost_numbers import has_lost
from initprobe.torch.one_step import Optimizing, checked, one_step
from initprobe.torch.operations import Recorder
from initprobe.torch.parameters import small_peaks
from initprobe.torch.passes import first_lost, recorded
from initprobe.torch.pending_result import pending_result
from initprobe.torch.structure import Structure, structure_of
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
    formats: str | Sequence[str] = (),
    optimizer: str | None = None,
    lr: float | None = None,
) -> ProbeResult:
    """Send a batch through a PyTorch model and back, and judge the model.

    The model runs in its present mode. It is left unchanged, also after an exception, and so are all random states.

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
        min_judged: share of the parameters below which the verdict is about a part only; None for 0.95.
        formats: small formats, such as `float16`; the result has what each tensor would lose in them.
        optimizer: `sgd`, `adam` or `adamw`: report how far one step moves each layer; needs a loss.
        lr: learning rate of this step; None for 0.1, or 0.001 for Adam.

    Returns:
        The record that `initprobe.run` gives, with `modules`, `coverage` and `model_theory`.

    Raises:
        ConfigError: the model or an argument cannot be used; says what to do.
    """
    limits = limits_of(thresholds, min_judged)
    arguments = check(Arguments(parts_of(model), x, loss, draws, reinit, seed, limits, format_names(formats)))
    return _probed(arguments, checked_threads(threads), try_fixes and reinit is None, checked(optimizer, lr, loss))


def _probed(arguments: Arguments, threads: int, try_fixes: bool, step: Optimizing | None) -> ProbeResult:
    """Probe, then try the fixes on the same model."""
    started = time.perf_counter()
    with workers(threads) as pool:
        case = _case(arguments, pool, try_fixes)
        findings = _tried(arguments, case, pool) if try_fixes else _untried(case)
    stepped, moved = (None, {}) if step is None else one_step(arguments, step)
    case.records.add_steps(moved)
    shapes = descriptions.input_words(list(input_tensors(arguments.x)))
    setting = descriptions.setting_words(case.model, shapes, arguments.draws, arguments.seed)
    result = pending_result(
        case.records,
        config=_config(arguments, shapes, case),
        description=descriptions.describe(case.inventory, setting, case.layers, case.records),
        environment=environment(threads, descriptions.torch_version()),
        elapsed_s=time.perf_counter() - started,
        healthy=all(finding.severity == "info" for finding in findings),
        diagnosis=tuple(findings),
        notes=tuple(descriptions.notes(case)),
        coverage=coverage(case.parameters, case.recorder.roles, case.changed.replaced),
        min_judged=arguments.limits.judged,
        facts=ModelFacts(void=dict(case.void)),
        formats=case.formats,
        step=stepped,
    )
    without_cycles(case.operations)
    return result


def _tried(arguments: Arguments, case: Case, pool: Workers) -> list[Finding]:
    """The findings, each with a line that was tried and works, or the reason why there is none."""

    def again(x: Any) -> list[Observation]:
        trial = _case(replace(arguments, parts=inventory(arguments.model), x=x), pool)
        observed = judged(trial)
        without_cycles(trial.operations)
        return observed

    return FixesOfModel(arguments.model, arguments.x, again).findings(judged(case))


def _untried(case: Case) -> list[Finding]:
    return [finding(observation, None, None) for observation in judged(case)]


def _case(arguments: Arguments, pool: Workers, tries_fixes: bool = True) -> Case:
    """The model in its present state, recorded."""
    parts = arguments.parts
    arguments = replace(arguments, x=copied(parts, arguments.x))
    recorder, course = recorded(arguments, pool)
    structure = structure_of(recorder.operations)
    if not structure.layers:
        raise ConfigError(descriptions.no_layers(recorder))
    parameter = next(iter(parts.parameters.values()), None)
    return Case(
        inventory=parts,
        recorder=recorder,
        structure=structure,
        limits=arguments.limits,
        moved=course.moved,
        differentiated=course.differentiated,
        void=course.void,
        changed=course.changed,
        # After draws, the model has its own weights again.
        peaks=course.peaks if arguments.reinit is None else small_peaks(parts.parameters.items()),
        records=LayerRecords(recorder, parts, structure, arguments.draws),
        loss=course.loss,
        training=arguments.model.training,
        dtype=None if parameter is None else descriptions.dtype_name(parameter.dtype),
        formats=_formats(arguments.formats, recorder, structure) if arguments.formats else (),
        lost=first_lost(arguments) if has_lost(recorder.tracks) and not course.void else None,
        tries_fixes=tries_fixes,
    )


def _formats(names: Sequence[str], recorder: Recorder, structure: Structure) -> tuple[FormatStats, ...]:
    sketches = [sketches_of(layer) for layer in structure.layers]
    return in_formats(names, sketches, list(operation_places(recorder, structure.layers)))


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
