"""For the command line: a model by name, its checkpoint, input and loss. Every error is one line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from initprobe.contract.parameter import Parameter
from initprobe.errors import ConfigError
from initprobe.formatting import listed
from initprobe.importing import import_name, user_code
from initprobe.results.run import ProbeResult
from initprobe.torch import descriptions, libraries
from initprobe.torch.arguments import called, input_tensors
from initprobe.torch.checkpoints import load_checkpoint
from initprobe.torch.input_files import given_inputs
from initprobe.torch.inventory import inventory
from initprobe.torch.losses import named_loss
from initprobe.torch.model_probe import probe
from initprobe.torch.nested import tensors
from initprobe.torch.parameters import check_input, check_tensors
from initprobe.torch.restore import left_as_found, mapped, seed_everything
from initprobe.torch.values import parameters_of

_FORM = "PACKAGE.MODULE:FACTORY, as in mynet:make or mypackage.nets:MLP"


@dataclass(frozen=True)
class Request:
    """What to probe.

    Attributes:
        target: `package.module:factory`, which names a function without arguments, a class or a model. Or
            `timm:NAME`, `torchvision:NAME`, `hf:CONFIG_DIR`.
        inputs: `[NAME=]FILE` (.npy, .npz, .csv; whole numbers stay whole) or `[NAME=]package.module:function`.
        shapes: `[NAME=]N,N,...[:LOW..HIGH]`, samples first: N(0, 1), or whole numbers with a range.
        loss: `cross-entropy`, `mse` or `package.module:function` of the output; None for a random start.
        labels: of the loss: a file, or `N,N:LOW..HIGH`.
        dtype: `float32`, `float64`, `float16` or `bfloat16`, for the model and its input; None for that of the model.
        checkpoint: a state dict to load into the model.
        evaluation: put the model into evaluation mode.
        seed: of everything random.
        try_fixes: try the fixes before they are offered.
        min_judged: share of the parameters below which the verdict is about a part only.
        formats: small formats whose losses are counted.
        optimizer: of one step, whose size is reported; None for none.
        lr: its learning rate; None for the default.
    """

    target: str
    inputs: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    loss: str | None = None
    labels: str | None = None
    dtype: str | None = None
    checkpoint: Path | None = None
    evaluation: bool = False
    seed: int = 0
    try_fixes: bool = True
    min_judged: float | None = None
    formats: tuple[str, ...] = ()
    optimizer: str | None = None
    lr: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A model with its input and loss, tried once. `notes` say which input was chosen and what was unwrapped."""

    request: Request
    model: Any
    x: Any
    loss: Any
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """The requested model, without an input. `notes` say what was unwrapped."""

    request: Request
    model: Any
    notes: tuple[str, ...]

    def parameters(self) -> list[Parameter]:
        """The parameters of the model as contracts see them.

        Raises:
            ConfigError: there are none.
        """
        parameters = parameters_of(self.model)
        if not parameters:
            raise ConfigError(f"{self.request.target} has no parameters")
        return parameters


def load(request: Request) -> Loaded:
    """Make the model, with the working directory on the import path; no input is needed.

    Raises:
        ConfigError: the request is wrong, or the code of the model fails.
    """
    with working_directory_first():
        model, notes = _loaded(request)
    return Loaded(request, model, tuple(notes))


def prepare(loaded: Loaded) -> Prepared:
    """Make the input and the loss of a model, and try them once. The working directory is on the import path.

    Args:
        loaded: the model.

    Returns:
        What can be probed.

    Raises:
        ConfigError: the request is wrong, or the code of the model fails.
    """
    with working_directory_first():
        return _prepared(loaded)


def _prepared(loaded: Loaded) -> Prepared:
    request, model, notes = loaded.request, loaded.model, list(loaded.notes)
    check_tensors(inventory(model))
    shapes = request.shapes
    if not request.inputs and not shapes and libraries.library_of(request.target):
        shapes = tuple(libraries.usual_shapes(request.target, model))
        notes += [f"no input was named, so it is --input-shape {' --input-shape '.join(shapes)}"] if shapes else []
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    x = given_inputs(model, request.inputs, shapes, request.seed, dtype)
    check_input(list(input_tensors(x)))
    loss = named_loss(request.loss, request.labels, request.seed)
    _try(request.target, model, x, loss)
    return Prepared(request, model, x, loss, tuple(notes))


def _loaded(request: Request) -> tuple[Any, list[str]]:
    """The model, with its checkpoint, in its precision and mode; notes say what was unwrapped."""
    seed_everything(request.seed)
    model, notes = _model(request.target), []
    if request.checkpoint is not None:
        notes += load_checkpoint(model, request.checkpoint)
    if request.dtype is not None:
        model.to(getattr(torch, request.dtype))
    if request.evaluation:
        model.eval()
    return model, notes


def probe_request(request: Request, threads: int | None = None) -> ProbeResult:
    """Load, prepare and probe, with the working directory on the import path.

    Args:
        request: which model, which input and which options.
        threads: for the statistics; None for all.

    Raises:
        ConfigError: the model, the input or an option is wrong.
    """
    return probe_prepared(prepare(load(request)), threads)


def probe_prepared(ready: Prepared, threads: int | None = None) -> ProbeResult:
    """Probe, with the working directory on the import path. The model is left unchanged.

    Args:
        ready: the model with its input.
        threads: for the statistics; None for all.

    Raises:
        ConfigError: the model fails on its input.
    """
    request = ready.request
    with working_directory_first():
        result = probe(
            ready.model,
            ready.x,
            loss=ready.loss,
            seed=request.seed,
            threads=threads,
            try_fixes=request.try_fixes,
            min_judged=request.min_judged,
            formats=request.formats,
            optimizer=request.optimizer,
            lr=request.lr,
        )
    return result.model_copy(update={"notes": (*ready.notes, *result.notes)})


@contextmanager
def working_directory_first() -> Iterator[None]:
    """Let Python look for modules in the working directory first."""
    directory = str(Path.cwd())
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def _model(target: str) -> Any:
    if libraries.library_of(target):
        return libraries.make(target)
    return _made(target, import_name(target, "a factory", _FORM))


def _made(target: str, maker: Any) -> Any:
    """The model that a target names, or that the function or class of that name makes."""
    if isinstance(maker, nn.Module):
        return maker
    if not callable(maker):
        raise ConfigError(f"{target} is of type {type(maker).__name__}; name a function that makes a model, or a class")
    if needed := _needed(maker, ()):
        call = f"{target.rpartition(':')[2]}({', '.join(f'{name}=...' for name in needed)})"
        raise ConfigError(f"{target} needs {listed(needed)}; name a function without arguments that returns {call}")
    with _without_device(), user_code(f"{target}() cannot make a model"):
        model = maker()
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{target}() gives an object of type {type(model).__name__}, not a torch.nn.Module")
    return model


def _needed(function: Any, given: Any) -> list[str]:
    """The arguments without a default that a function is not given; none where its signature is not known.

    Args:
        function: a function or a class.
        given: a sequence of positional or a mapping of keyword arguments.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    bind = signature.bind_partial
    try:
        held = (bind(**given) if isinstance(given, Mapping) else bind(*given)).arguments
    except TypeError:  # too many, or unknown names
        return []
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    every = [each for each in signature.parameters.values() if each.kind not in open_ended]
    return [each.name for each in every if each.default is each.empty and each.name not in held]


@contextmanager
def _without_device() -> Iterator[None]:
    """Say what to do where the code of a model asks for a CUDA device that is not there."""
    try:
        yield
    except ConfigError as error:
        if "CUDA" not in str(error) or torch.cuda.is_available():
            raise
        raise ConfigError(f"{error}; there is no CUDA device here, so leave the model on the CPU") from None


def _try(target: str, model: Any, x: Any, loss: Any) -> None:
    """One pass forward and back. What fails in it is a fault of the model or of the input."""
    given = _words(list(input_tensors(x)))
    arguments = x if isinstance(x, Mapping | tuple | list) else (x,)
    if fault := _misfit(model.forward, arguments):
        raise ConfigError(f"{target}: forward {fault}")
    with left_as_found(inventory(model), parameters=False):
        with _without_device(), user_code(f"{target}: fails on an {given}{_beyond_tables(model, x)}"):
            output = called(model, mapped(lambda tensor: tensor.clone(), x))
        with user_code(f"{target}: --loss fails on its output"):
            ends = [end for end in tensors(output if loss is None else loss(output)) if end.requires_grad]
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if ends and learning:
            with user_code(f"{target}: fails on the way back from an {given}"):
                torch.autograd.grad([end.sum() for end in ends], learning, allow_unused=True)


def _misfit(forward: Any, given: Any) -> str:
    """How the arguments do not fit the signature of `forward`, and what to do; empty where they may fit.

    Args:
        forward: of the model.
        given: a sequence of positional or a mapping of keyword arguments.
    """
    options = " ".join(f"--input-shape {name}=..." for name in _needed(forward, ()))
    if needed := _needed(forward, given):
        return f"needs {listed(needed)} too; name every input: {options}"
    takes, by_place = _names_of(forward), _names_of(forward, inspect.Parameter.KEYWORD_ONLY)
    if takes is None or by_place is None or isinstance(given, Mapping) or len(given) <= len(by_place):
        return ""
    if takes == by_place:
        return f"takes {len(takes)} input{'s' if len(takes) > 1 else ''}, not {len(given)}"
    example = next(name for name in takes if name not in by_place)
    return f"takes {example} by name only; name every input: {options or f'--input-shape {example}=...'}"


def _names_of(function: Any, without: Any = None) -> list[str] | None:
    """The names of arguments, without those of one kind; None where any number fits or the signature is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for each in parameters):
        return None
    return [each.name for each in parameters if each.kind is not without]


def _words(given: list[Any]) -> str:
    dtypes = dict.fromkeys(descriptions.dtype_name(tensor.dtype) for tensor in given)
    return f"input of shape {descriptions.input_words(given)} and {', '.join(dtypes)}"


def _beyond_tables(model: Any, x: Any) -> str:
    """Words for ids that no embedding of the model holds, or for none. Torch's own message has no number in it."""
    whole = [int(ids.max()) for ids in input_tensors(x) if not ids.is_floating_point() and not ids.is_complex()]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    rows = [table.num_embeddings for table in tables]
    if whole and rows and max(whole) >= max(rows):
        return f" with ids up to {max(whole)} for an embedding of {max(rows)} rows"
    if rows and not whole:
        return f" without ids, which an embedding needs, as in --input-shape 4,16:0..{max(rows) - 1}"
    return ""
