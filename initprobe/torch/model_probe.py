"""`probe(model, x)`: run, record, structure, judge, try the fixes. Start reading here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from initprobe.config.thresholds import ModelThresholds, Thresholds
from initprobe.engine.threads import Workers, checked_threads, workers
from initprobe.errors import ConfigError
from initprobe.results.environment import environment
from initprobe.results.run import ProbeResult
from initprobe.results.summary import ModelFacts
from initprobe.torch import descriptions
from initprobe.torch.coverage import coverage
from initprobe.torch.fixes import Trials
from initprobe.torch.graph import without_cycles
from initprobe.torch.initial_state import Started
from initprobe.torch.inventory import Inventory, inventory
from initprobe.torch.layer_stats import LayerRecords
from initprobe.torch.measure import is_measured
from initprobe.torch.nested import tensors
from initprobe.torch.operations import Recorder
from initprobe.torch.parameters import check_input, check_tensors, has_nonzero, void_parameters
from initprobe.torch.pending_result import pending_result
from initprobe.torch.restore import left_as_found, mapped, seed_everything, uncollected
from initprobe.torch.structure import structure_of
from initprobe.torch.verdict.case import Case, Observation
from initprobe.torch.verdict.judge import finding, judged

Loss = Callable[[Any], Any]
_SEED_STEP = 1_000_003  # draws of neighbouring seeds start apart
_SEEDS = 2**63  # that torch has


@dataclass(frozen=True)
class _Request:
    """What to send through a model."""

    held: Inventory
    x: Any
    loss: Loss | None
    draws: int
    reinit: Callable[[Any], object] | None
    seed: int
    limits: ModelThresholds

    @property
    def model(self) -> Any:
        """The model."""
        return self.held.model


def probe(
    model: nn.Module,
    x: Any,
    *,
    loss: Loss | None = None,
    draws: int = 1,
    reinit: Callable[[Any], object] | None = None,
    seed: int = 0,
    threads: int | None = None,
    thresholds: Thresholds | None = None,
    try_fixes: bool = True,
    min_judged: float | None = None,
) -> ProbeResult:
    """Send a batch through somebody's own model and back; the statistics of every layer and of every leaf module.

    The model runs in the mode it is in and is left exactly as found: hooks, gradients, parameters, buffers, mode and
    every random state, also after an exception. Every operation is seen, be it a module's or a function's.

    Args:
        model: any module.
        x: what it is called with: a tensor, a tuple of arguments or a mapping of keyword arguments. Never written to.
        loss: from the model's output to a scalar to start the backward pass from. Without it, that starts as
            dL/dy ~ N(0, 1) in every floating-point tensor of the output.
        draws: how many networks to average over; more than one needs `reinit`, as they would all be the same.
        reinit: draws the model's weights anew, in place; called before every draw.
        seed: of the start of the backward pass, and of the global generators during the probe (dropout, `reinit`).
        threads: threads that take statistics; None means every processor available.
        thresholds: limits of the verdict.
        try_fixes: apply a fix in place, probe again and undo it, at most three times; without it no fix is offered.
        min_judged: share of the parameters below which the verdict speaks of a part only; .95 without it.

    Returns:
        The same record as `initprobe.run`, with `modules` and `coverage` and without a prediction.

    Raises:
        ConfigError: the model or the arguments are not fit for this; in one line, what is wrong and what to do.
    """
    held = inventory(_checked(model, draws, reinit))
    _check_parameters(held)
    _check_arguments(x, loss, reinit, seed)
    limits = _limits(thresholds, min_judged)
    started, count = time.perf_counter(), checked_threads(threads)
    request = _Request(held, _own(held, x), loss, draws, reinit, seed, limits)
    with workers(count) as pool, uncollected():
        case = _case(request, pool)
        observed = judged(case)
        if try_fixes and reinit is None:
            trials = Trials(held.model, x, lambda given: _again(request, given, pool))
            findings = trials.findings(observed)
        else:
            findings = [finding(one, None, None) for one in observed]
    shapes = descriptions.input_words(list(_inputs(x)))
    setting = descriptions.setting_words(case.model, shapes, draws, seed)
    result = pending_result(
        case.records,
        config=_config(request, shapes, case),
        description=descriptions.describe(held, setting, case.layers, case.records),
        environment=environment(count, descriptions.torch_version()),
        elapsed_s=time.perf_counter() - started,
        theory_note=descriptions.THEORY_NOTE,
        healthy=all(one.severity == "info" for one in findings),
        diagnosis=tuple(findings),
        notes=tuple(descriptions.notes(case)),
        coverage=coverage(held.parameters, case.recorder.roles),
        min_judged=limits.judged,
        facts=ModelFacts(void=dict(case.void)),
    )
    without_cycles(case.operations)
    return result


def _again(request: _Request, x: Any, pool: Workers) -> list[Observation]:
    """What the rules see in the model as it is now, given this input."""
    held = inventory(request.model)
    case = _case(replace(request, held=held, x=_own(held, x)), pool)
    observed = judged(case)
    without_cycles(case.operations)
    return observed


def _case(request: _Request, pool: Workers) -> Case:
    """The model as it is now, recorded, and the statistics of it."""
    recorder, course = _recorded(request, pool)
    structure = structure_of(recorder.operations)
    if not structure.layers:
        raise ConfigError(descriptions.no_layers(recorder))
    parameter = next(iter(request.held.parameters.values()), None)
    return Case(
        held=request.held,
        recorder=recorder,
        structure=structure,
        limits=request.limits,
        moved=course.moved,
        differentiated=course.differentiated,
        void=course.void,
        records=LayerRecords(recorder, request.held, structure.layers, request.draws),
        loss=course.loss,
        training=request.model.training,
        dtype=None if parameter is None else descriptions.dtype_name(parameter.dtype),
    )


def _recorded(request: _Request, pool: Workers) -> tuple[Recorder, descriptions.Course]:
    """Every draw forward and back, as seen by a recorder; the model is left as it was."""
    model = request.model
    recorder = Recorder(model, pool)
    with left_as_found(request.held, parameters=request.reinit is not None), _watching(recorder, request.held):
        seed_everything(request.seed)
        courses = [_one_draw(request, recorder, draw) for draw in range(request.draws)]
    losses = [course.loss for course in courses if course.loss is not None]
    return recorder, replace(courses[0], loss=sum(losses) / len(losses) if losses else None)


@contextmanager
def _watching(recorder: Recorder, held: Inventory) -> Iterator[None]:
    recorder.modules.watch(held.modules)
    try:
        yield
    finally:
        recorder.close()


def _limits(thresholds: Thresholds | None, min_judged: float | None) -> ModelThresholds:
    given = {} if thresholds is None else thresholds.model_dump()
    if min_judged is not None:
        if not 0 < min_judged <= 1:
            raise ConfigError(f"min_judged must be above 0 and at most 1, not {min_judged}")
        given["judged"] = min_judged
    return ModelThresholds(**given)


def _checked(model: Any, draws: int, reinit: object) -> Any:
    """The module to watch; that inside, where it was compiled."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
    if draws < 1:
        raise ConfigError(f"draws must be at least 1, not {draws}")
    if draws > 1 and reinit is None:
        raise ConfigError(
            f"draws={draws} needs reinit, a function that draws the model's weights anew: the networks are all the "
            "same without"
        )
    inside = getattr(model, "_orig_mod", model)
    if isinstance(inside, torch.jit.ScriptModule):
        raise ConfigError("a scripted model calls no hooks; probe the module it was made of")
    if len(getattr(inside, "device_ids", None) or ()) > 1:
        raise ConfigError("a model on several devices at once is not seen; probe model.module")
    return inside


def _check_parameters(held: Inventory) -> None:
    lazy = [name for name, one in held.parameters.items() if isinstance(one, nn.parameter.UninitializedParameter)]
    if lazy:
        raise ConfigError(
            f"{descriptions.listed(lazy)}: not initialized yet; run the model once on such an input, then probe"
        )
    check_tensors(held)


def _check_arguments(x: Any, loss: object, reinit: object, seed: int) -> None:
    for name, given in (("loss", loss), ("reinit", reinit)):
        if given is not None and not callable(given):
            raise ConfigError(f"{name} must be a function, not {given!r}")
    if not 0 <= seed < _SEEDS:
        raise ConfigError(f"seed must be at least 0 and less than 2^63, not {seed}")
    given = list(_inputs(x))
    if not given:
        raise ConfigError(
            f"x must be a tensor, a tuple of arguments or a mapping of keyword arguments, with a tensor in it, not "
            f"{type(x).__name__}; torch.as_tensor(x) makes one of an array"
        )
    empty = next((tensor for tensor in given if tensor.numel() == 0), None)
    if empty is not None:
        raise ConfigError(f"x is empty: its shape is {descriptions.input_words([empty])}; give at least one sample")
    check_input(given)


def _inputs(x: Any) -> Iterator[Any]:
    """Every tensor that the model is given, whatever its dtype."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, Mapping):
        for value in x.values():
            yield from _inputs(value)
    elif isinstance(x, tuple | list):
        for value in x:
            yield from _inputs(value)


def _own(held: Inventory, x: Any) -> Any:
    """Copies of the input: modules that overwrite theirs must not write to what is somebody's own.

    They ask for a gradient where a frozen parameter would otherwise keep it from flowing.
    """
    frozen = any(not parameter.requires_grad for parameter in held.parameters.values())

    def own(tensor: Any) -> Any:
        with torch.inference_mode(False):
            leaf = tensor.detach().clone()
        return leaf.requires_grad_(is_measured(leaf) and (frozen or tensor.requires_grad))

    return mapped(own, x)


@contextmanager
def _recording() -> Iterator[None]:
    """Gradients are recorded whatever mode the caller is in, and a parametrized weight is made once a pass."""
    with ExitStack() as stack:
        for mode in (torch.inference_mode(False), torch.enable_grad(), parametrize.cached()):
            stack.enter_context(mode)
        if "torch._dynamo" in sys.modules and hasattr(
            torch.compiler, "set_stance"
        ):  # parts that are compiled run as they are written
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _one_draw(request: _Request, recorder: Recorder, draw: int) -> descriptions.Course:
    """One network forward and back."""
    held = request.held
    if request.reinit is not None:
        request.reinit(request.model)
        held = inventory(request.model)
    void = void_parameters(held)
    with _recording():
        # What asks for a gradient must not be overwritten, but a copy may.
        given = mapped(lambda tensor: tensor.clone(), request.x)
        ends, starts, value = _forward(request, recorder, given, held, draw)
        ends = [end for end in ends if end.requires_grad]
        learning = {name: one for name, one in held.parameters.items() if one.requires_grad}
        sources = [*learning.values(), *(one for one in _inputs(request.x) if one.requires_grad)]
        if not ends or not sources:
            return descriptions.Course(False, value, {}, void)
        gradients = _gradients(ends, sources, starts)
    found = dict(zip(learning, gradients, strict=False))
    recorder.add_weight_gradients(found)
    moved = {name: None if one is None else has_nonzero(one) for name, one in found.items()}
    return descriptions.Course(True, value, moved, void)


def _forward(
    request: _Request, recorder: Recorder, given: Any, held: Inventory, draw: int
) -> tuple[list[Any], list[Any] | None, float | None]:
    """The model's output and where the backward pass starts, with every call of model and loss seen."""
    model = request.model
    recorder.begin(list(_inputs(given)), held.all_parameters)
    with recorder:
        if isinstance(given, Mapping):
            output = model(**given)
        else:
            output = model(*given) if isinstance(given, tuple | list) else model(given)
        recorder.module = ""
        if request.loss is not None:
            value = request.loss(output)
    given_back = list(tensors(output))
    recorder.finish(given_back)
    if request.loss is not None:
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ConfigError("loss must give one number, a tensor that depends on the model's output")
        return [value], None, float(value.detach())
    ends = [tensor for tensor in given_back if tensor.requires_grad]
    rng = torch.Generator().manual_seed((request.seed * _SEED_STEP + draw) % _SEEDS)
    return ends, [torch.randn(end.shape, generator=rng).to(end.device, end.dtype) for end in ends], None


def _gradients(ends: Sequence[Any], sources: Sequence[Any], starts: Sequence[Any] | None) -> Sequence[Any]:
    if starts is not None:
        ends = [Started.apply(*each) for each in zip(ends, starts, strict=True)]
    try:
        return list(torch.autograd.grad(ends, sources, allow_unused=True))
    except RuntimeError as error:
        if "use_reentrant" in str(error) or "checkpoint" in str(error).lower():
            raise ConfigError(
                "reentrant checkpoints allow no gradients of single tensors; use checkpoint(..., use_reentrant=False)"
            ) from None
        raise


def _config(request: _Request, shapes: str, case: Case) -> dict[str, Any]:
    model, loss = request.model, request.loss
    return {
        "source": "torch",
        "model": f"{type(model).__module__}.{type(model).__name__}",
        "input": shapes,
        "dtype": case.dtype,
        "training": model.training,
        "loss": None if loss is None else getattr(loss, "__name__", type(loss).__name__),
        "draws": request.draws,
        "seed": request.seed,
    }
