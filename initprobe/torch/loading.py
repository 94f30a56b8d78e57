"""Somebody's model by name, its checkpoint and its input, for the shell; whatever goes wrong is one line."""

from __future__ import annotations

import math
import pickle
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from initprobe.errors import ConfigError, InitprobeError, InputError, MemoryLimitError
from initprobe.files import check_file, check_room
from initprobe.inputs import read_array, read_table
from initprobe.machine import available_bytes
from initprobe.registry import suggestion
from initprobe.results import ProbeResult
from initprobe.torch import words
from initprobe.torch.bridge import probe
from initprobe.torch.functions import traced
from initprobe.torch.guard import left_as_found, seed_everything
from initprobe.torch.parameters import check_input, check_tensors
from initprobe.torch.watch import tensors

DTYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Request:
    """What to probe.

    Attributes:
        target: `package.module:factory`, a function without arguments, a class or a module that is there.
        shape: of an input of N(0, 1), samples first; None for that of a file.
        file: .npy, .npz or .csv; whole numbers stay such, as for an embedding.
        dtype: of `DTYPES`, of the model and of its input; None for the model's own.
        checkpoint: a state dict to load into the model.
        evaluation: put the model into evaluation mode.
        trace: make modules of its functional activations first.
        seed: of everything random.
    """

    target: str
    shape: tuple[int, ...] | None = None
    file: Path | None = None
    dtype: str | None = None
    checkpoint: Path | None = None
    evaluation: bool = False
    trace: bool = False
    seed: int = 0


def prepare(request: Request) -> tuple[Any, Any]:
    """The model, ready to be probed, and its input: it has been tried once.

    Raises:
        ConfigError: anything that is wrong with the request, and any fault of the model's code.
    """
    seed_everything(request.seed)
    model = _made(request.target, _found(request.target))
    if request.checkpoint is not None:
        load_checkpoint(model, request.checkpoint)
    if request.dtype is not None:
        model.to(getattr(torch, request.dtype))
    if request.evaluation:
        model.eval()
    check_tensors(model)
    x = _input(request, next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32))
    check_input([x])
    _try(request.target, model, x)
    return (traced(model) if request.trace else model), x


def probe_request(request: Request, threads: int | None = None) -> ProbeResult:
    """Prepare and probe, with the working directory importable: an installed program does not look there."""
    with _first_on_path(str(Path.cwd())):
        model, x = prepare(request)
        return probe(model, x, seed=request.seed, threads=threads)


@contextmanager
def _theirs(what: str) -> Iterator[None]:
    """A fault in somebody's own code is one line, with the place where it happened."""
    try:
        yield
    except InitprobeError:
        raise
    except (Exception, SystemExit) as error:  # code that is imported may end the program, as a script does
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        text = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"{what}: {type(error).__name__}: {text} ({where})") from None


def _found(target: str) -> Any:
    """What `package.module:name` names."""
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"{target!r} is not PACKAGE.MODULE:FACTORY, as in mynet:make or mypackage.nets:MLP")
    with _theirs(f"{module_name} cannot be imported"):
        found: Any = _imported(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            hint = suggestion(part, [name for name in vars(found) if not name.startswith("_")])
            raise ConfigError(f"{target}: {module_name} has no {part!r}.{hint}")
        found = getattr(found, part)
    return found


@contextmanager
def _first_on_path(directory: str) -> Iterator[None]:
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{name}: no such module here or among what is installed") from None
        raise


def _made(target: str, found: Any) -> Any:
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ConfigError(
                f"{target} is of type {type(found).__name__}; name a function that makes a model, or a class"
            )
        with _theirs(f"{target}() cannot make a model"):
            found = found()
    if not isinstance(found, nn.Module):
        raise ConfigError(f"{target}() gives a {type(found).__name__}, not a torch.nn.Module")
    return found


def load_checkpoint(model: Any, file: Path) -> None:
    """Load a state dict, or one under the key `state_dict` or `model`, into a model; tensors alone, never code.

    Raises:
        InputError: the file cannot be read, or its keys or shapes are not the model's; names them.
    """
    held = _read_checkpoint(file)
    for key in ("state_dict", "model"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict):
        raise InputError(f"{file}: holds a {type(held).__name__}, not the state dict of a model")
    if faults := _mismatches(model.state_dict(), held):
        raise InputError(f"{file}: does not fit the model: {'; '.join(faults)}")
    model.load_state_dict(held)


def _read_checkpoint(file: Path) -> Any:
    check_room(file, check_file(file))
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{file}: is no checkpoint, or holds more than tensors, which is not loaded; save model.state_dict()"
        ) from None
    except Exception as error:  # a damaged file raises anything from EOFError to RuntimeError
        text = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{file}: cannot be read as a checkpoint ({text})") from None


def _mismatches(own: dict[str, Any], held: dict[str, Any]) -> list[str]:
    """What a checkpoint lacks, has too much, or has in another shape."""
    missing, unknown = [key for key in own if key not in held], [key for key in held if key not in own]
    other = [
        f"{key} is {_shape(held[key])}, not {_shape(own[key])}"
        for key in own
        if key in held and _shape(held[key]) != _shape(own[key])
    ]
    named = [("it lacks", missing), ("it has", unknown), ("", other)]
    return [f"{what} {words.listed([str(key) for key in keys])}".strip() for what, keys in named if keys]


def _shape(tensor: Any) -> str:
    return words.input_words([tensor]) if isinstance(tensor, torch.Tensor) else type(tensor).__name__


def _input(request: Request, dtype: Any) -> Any:
    if (request.shape is None) == (request.file is None):
        raise ConfigError("give one of --input-shape 64,784 and --input FILE")
    if request.shape is not None:
        return _drawn(request.shape, request.seed).to(dtype)
    assert request.file is not None
    return _from_file(request.file, dtype)


def _drawn(shape: tuple[int, ...], seed: int) -> Any:
    """N(0, 1), if it fits: the trial and the probe each take a copy."""
    needed, available = 3 * 4 * math.prod(shape), available_bytes()
    if needed > available:
        raise MemoryLimitError(
            f"--input-shape: {' x '.join(map(str, shape))} and its copies need {needed / 1e9:,.1f} GB and "
            f"{available / 1e9:,.1f} GB is free; take fewer samples"
        )
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _from_file(file: Path, dtype: Any) -> Any:
    """Numbers of a file as a tensor; whole numbers as int64."""
    table = read_table(file, "float64") if file.suffix.lower() == ".csv" else read_array(file)
    if table.dtype.kind not in "fiub":
        raise InputError(f"{file}: holds {table.dtype} entries, not real numbers")
    if table.size == 0:
        raise InputError(f"{file}: is empty")
    if table.dtype.kind in "iu":
        return torch.from_numpy(table.astype("int64"))
    return torch.from_numpy(table.astype("float64")).to(dtype)


def _try(target: str, model: Any, x: Any) -> None:
    """One pass forward and back: what fails in it is a fault of the model or of the input, not ours."""
    given = f"input of shape {words.input_words([x])} and {words.dtype_name(x.dtype)}"
    with left_as_found(model, parameters=False):
        with _theirs(f"{target}: fails on an {given}"):
            ends = [tensor for tensor in tensors(model(x.clone())) if tensor.requires_grad]
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if ends and learning:
            with _theirs(f"{target}: fails on the way back from an {given}"):
                torch.autograd.grad([end.sum() for end in ends], learning, allow_unused=True)
