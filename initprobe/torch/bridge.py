"""`probe(model, x)`: run, watch, group, tell. Start reading here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from initprobe.diagnosis import diagnose
from initprobe.engine.workers import checked_threads, workers
from initprobe.environment import environment
from initprobe.errors import ConfigError
from initprobe.results import LayerStats, ModuleStats, ProbeResult
from initprobe.thresholds import Thresholds
from initprobe.torch import words
from initprobe.torch.grouping import Layer, beside, cut_off, is_chain, layers_of
from initprobe.torch.guard import left_as_found, seed_everything
from initprobe.torch.measure import is_measured
from initprobe.torch.parameters import check_input, check_tensors, has_gate, void_parameters
from initprobe.torch.remedies import with_fixes
from initprobe.torch.telling import Teller
from initprobe.torch.watch import Call, Watch, tensors

Loss = Callable[[Any], Any]
_SEED_STEP = 1_000_003  # draws of neighbouring seeds start apart
_SEEDS = 2**63  # that torch has


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
) -> ProbeResult:
    """Send a batch through somebody's own model and back; the statistics of every layer and of every leaf module.

    The model runs in the mode it is in and is left exactly as found: hooks, gradients, parameters, buffers, mode and
    every random state, also after an exception. Only modules are seen, not functional calls between them; where no
    activation module follows a layer, its h is what the next module is given.

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

    Returns:
        The same record as `initprobe.run`, with `modules` and without a prediction.

    Raises:
        ConfigError: the model or the arguments are not fit for this; in one line, what is wrong and what to do.
    """
    model = _checked(model, draws, reinit, threads)
    _check_arguments(x, loss, reinit, seed)
    check_tensors(model)
    started, count = time.perf_counter(), checked_threads(threads)
    own = _own(model, x)
    with left_as_found(model, parameters=reinit is not None), workers(count) as pool, Watch(model, pool) as watch:
        seed_everything(seed)
        courses = [_one_draw(model, watch, own, loss, reinit, (seed, draw)) for draw in range(draws)]
        layers = _layers(watch)
        told, modules = _told(watch, layers, draws)
    shapes = words.input_words(list(_inputs(x)))
    found = ProbeResult(
        config=_config(model, shapes, loss, draws, seed) | _wiring(watch, layers, courses),
        description=words.describe(model, words.setting_words(model, shapes, draws, seed), layers, told),
        environment=environment(count, words.torch_version()),
        elapsed_s=time.perf_counter() - started,
        theory_note=words.THEORY_NOTE,
        layers=told,
        modules=modules,
        notes=tuple(words.notes(layers, watch, courses)),
    )
    return with_fixes(diagnose(found, thresholds=thresholds), layers, watch)


def _wiring(watch: Watch, layers: Sequence[Layer], courses: Sequence[words.Course]) -> dict[str, Any]:
    """What the verdict has to know of the model beside the numbers."""
    return {
        "chain": is_chain(watch.calls, watch.results),
        "beside": [layer.call.label for layer in beside(layers)],
        "cut_off": [layer.call.label for layer in cut_off(layers)],
        "gated": any(course.gated for course in courses),
        "void": courses[0].void,
    }


def _told(watch: Watch, layers: Sequence[Layer], draws: int) -> tuple[tuple[LayerStats, ...], tuple[ModuleStats, ...]]:
    """The records of the layers, and of every call."""
    teller, owners = Teller(watch, draws), _owners(layers, watch.uncalled)
    told = tuple(teller.layer(number, layer) for number, layer in enumerate(layers, start=1))
    return told, tuple(teller.module(call, owners.get(id(call))) for call in (*watch.calls, *watch.uncalled))


def _checked(model: Any, draws: int, reinit: object, threads: int | None) -> Any:
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
    lazy = [name for name, one in inside.named_parameters() if isinstance(one, nn.parameter.UninitializedParameter)]
    if lazy:
        raise ConfigError(f"{words.listed(lazy)}: not initialized yet; run the model once on such an input, then probe")
    return inside


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
        raise ConfigError(f"x is empty: its shape is {words.input_words([empty])}; give at least one sample")
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


def _mapped(change: Callable[[Any], Any], x: Any) -> Any:
    """The same nest of tuples, lists and mappings with every tensor changed."""
    if isinstance(x, torch.Tensor):
        return change(x)
    if isinstance(x, Mapping):
        return {name: _mapped(change, value) for name, value in x.items()}
    if type(x) in (tuple, list):
        return type(x)(_mapped(change, value) for value in x)
    return x


def _own(model: Any, x: Any) -> Any:
    """Copies of the input: modules that overwrite theirs must not write to what is somebody's own.

    They ask for a gradient where a frozen parameter would otherwise keep it from flowing.
    """
    frozen = any(not parameter.requires_grad for parameter in model.parameters())

    def own(tensor: Any) -> Any:
        with torch.inference_mode(False):
            leaf = tensor.detach().clone()
        return leaf.requires_grad_(is_measured(leaf) and (frozen or tensor.requires_grad))

    return _mapped(own, x)


def _called(model: Any, x: Any) -> Any:
    """What the model gives for a tensor, a tuple of arguments or a mapping of keyword arguments, copied once more.

    What asks for a gradient must not be overwritten, but a copy may.
    """
    given = _mapped(lambda tensor: tensor.clone(), x)
    if isinstance(given, Mapping):
        return model(**given)
    return model(*given) if isinstance(given, tuple | list) else model(given)


@contextmanager
def _recording() -> Iterator[None]:
    """Gradients are recorded whatever mode the caller is in, and a parametrized weight is made once a pass."""
    with torch.inference_mode(False), torch.enable_grad(), parametrize.cached():
        yield


def _one_draw(
    model: Any,
    watch: Watch,
    x: Any,
    loss: Loss | None,
    reinit: Callable[[Any], object] | None,
    key: tuple[int, int],
) -> words.Course:
    """One network forward and back."""
    if reinit is not None:
        reinit(model)
    void = void_parameters(model)
    with _recording():
        output = watch.forward(lambda: _called(model, x))
        ends, starts = _starts(output, loss, key)
        value = None if loss is None else float(ends[0].detach())
        ends = [end for end in ends if end.requires_grad]
        sources = [one for one in (*model.parameters(), *_inputs(x)) if one.requires_grad]
        if not ends or not sources:
            return words.Course(False, value, void=void)
        gradients = torch.autograd.grad(ends, sources, starts, allow_unused=True)
    found = {id(one): grad for one, grad in zip(sources, gradients, strict=True)}
    watch.add_weight_gradients(found)
    return words.Course(True, value, has_gate(model, found), void)


def _starts(output: Any, loss: Loss | None, key: tuple[int, int]) -> tuple[list[Any], list[Any] | None]:
    """What the backward pass starts from, and with which gradients: N(0, 1), from a generator of its own."""
    if loss is not None:
        value = loss(output)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ConfigError("loss must give one number, a tensor that depends on the model's output")
        return [value], None
    ends = [tensor for tensor in tensors(output) if tensor.requires_grad]
    rng = torch.Generator().manual_seed((key[0] * _SEED_STEP + key[1]) % _SEEDS)
    return ends, [torch.randn(end.shape, generator=rng).to(end.device, end.dtype) for end in ends]


def _layers(watch: Watch) -> list[Layer]:
    found = layers_of(watch.calls, watch.results)
    if found:
        return found
    held = words.unjudged(watch.calls)
    if held:
        raise ConfigError(
            f"{words.listed(held)}: not judged; only real linear, convolution and attention modules are, and the "
            "model calls none"
        )
    raise ConfigError(
        "the model calls no module that holds weights (linear, convolution, attention), so there is no layer to "
        "speak of; F.linear and its like are not seen"
    )


def _owners(layers: Sequence[Layer], uncalled: Sequence[Call]) -> dict[int, int]:
    """The number of the layer that a call is a part of, by the call's id; weights below a module are its layer's."""
    numbered = list(enumerate(layers, start=1))
    below = {
        id(call): number
        for number, layer in reversed(numbered)
        for call in uncalled
        if call.name.startswith(f"{layer.call.name}.".lstrip("."))
    }
    return below | {id(part): number for number, layer in numbered for part in layer.parts}


def _config(model: Any, shapes: str, loss: Loss | None, draws: int, seed: int) -> dict[str, Any]:
    parameter = next(model.parameters(), None)
    return {
        "source": "torch",
        "model": f"{type(model).__module__}.{type(model).__name__}",
        "input": shapes,
        "dtype": None if parameter is None else words.dtype_name(parameter.dtype),
        "training": model.training,
        "loss": None if loss is None else getattr(loss, "__name__", type(loss).__name__),
        "draws": draws,
        "seed": seed,
    }
