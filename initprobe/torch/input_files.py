"""What a model is given, from the shell: files, noise, ids and functions, by place or by name.

    --input        [NAME=]FILE | [NAME=]PACKAGE.MODULE:FUNCTION
    --input-shape  [NAME=]N,N,...[:LOW..HIGH]

Without a range it is N(0, 1) in the model's dtype; with one, whole numbers from LOW to HIGH, both included, as int64.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from initprobe.data.machine import available_bytes
from initprobe.data.tables import SUFFIXES, read_array, read_arrays, read_table
from initprobe.errors import ConfigError, InputError, MemoryLimitError
from initprobe.importing import import_name, user_code
from initprobe.registry import suggestion

_SHAPE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<sizes>\d+(?:[,x]\d+)*)(?::(?P<low>-?\d+)\.\.(?P<high>-?\d+))?")
_NAMED = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<text>.+)")


@dataclass(frozen=True)
class Given:
    """One argument of the model: a tensor, or what a function gave; `name` is None where it goes by its place."""

    name: str | None
    value: Any


@dataclass(frozen=True)
class Shape:
    """An `--input-shape`, read: whole numbers between `bounds`, both included; None for N(0, 1)."""

    name: str | None
    sizes: tuple[int, ...]
    bounds: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str, option: str = "--input-shape") -> Shape:
        """Read `[NAME=]N,N,...[:LOW..HIGH]`; `4x16` is `4,16`.

        Raises:
            ConfigError: it is not that, a size is 0, or the range is empty.
        """
        read = _SHAPE.fullmatch(text.replace(" ", ""))
        sizes = tuple(int(size) for size in re.split("[,x]", read["sizes"])) if read else ()
        if read is None or min(sizes) < 1:
            raise ConfigError(
                f"{option}: {text!r} is not a list of sizes like 64,784, or with a range like 4,16:0..999"
            )
        if read["low"] is None:
            return cls(read["name"], sizes)
        low, high = int(read["low"]), int(read["high"])
        if not -(2**63) <= low <= high < 2**63 - 1:
            raise ConfigError(f"{option}: {text!r}: the range runs from LOW to HIGH, both included, as in 0..999")
        return cls(read["name"], sizes, (low, high))

    def drawn(self, generator: Any, dtype: Any) -> Any:
        """A tensor of this shape, if it fits: the trial and the probe each take a copy."""
        needed, available = 3 * 4 * math.prod(self.sizes), available_bytes()
        if needed > available:
            raise MemoryLimitError(
                f"--input-shape: {' x '.join(map(str, self.sizes))} and its copies need {needed / 1e9:,.1f} GB and "
                f"{available / 1e9:,.1f} GB is free; take fewer samples"
            )
        if self.bounds is None:
            return torch.randn(self.sizes, generator=generator).to(dtype)
        return torch.randint(self.bounds[0], self.bounds[1] + 1, self.sizes, generator=generator)


def given_inputs(model: Any, files: Sequence[str], shapes: Sequence[str], seed: int, dtype: Any) -> Any:
    """What the model is called with: a tensor, a tuple of arguments or a mapping of keyword arguments.

    Args:
        model: for the names of its arguments.
        files: of `--input`, in order.
        shapes: of `--input-shape`, in order.
        seed: of what is drawn.
        dtype: of what is no whole number.

    Raises:
        ConfigError: nothing is given, something is given twice, or the model takes no such argument.
        InputError: a file cannot be read, or holds something else.
    """
    wanted = [Shape.parse(text) for text in shapes]
    held = [one for text in files for one in _from_text(model, text, dtype)]
    if any(one.name is None for one in held) and any(one.name is None for one in wanted):
        raise ConfigError("--input and --input-shape together need names, as in --input-shape mask=4,16:1..1")
    generator = torch.Generator().manual_seed(seed)
    held += [Given(shape.name, shape.drawn(generator, dtype)) for shape in wanted]
    if not held:
        raise ConfigError("give one of --input-shape 64,784 and --input FILE")
    return assembled(model, held)


def assembled(model: Any, held: Sequence[Given]) -> Any:
    """One value as it is, several by place as a tuple, and with names as keyword arguments."""
    if all(one.name is None for one in held):
        return held[0].value if len(held) == 1 else tuple(one.value for one in held)
    names, others = _arguments(model)
    free = iter([name for name in names if name not in {one.name for one in held}])
    keywords: dict[str, Any] = {}
    for one in held:
        name = one.name or next(free, None)
        if name is None:
            raise ConfigError(f"{_class(model)} takes {_listed(names)}: name every input, as in --input-shape x=64,784")
        if name in keywords:
            raise ConfigError(f"the input {name} is given twice")
        if name not in names and not others:
            raise ConfigError(f"{_class(model)} takes {_listed(names)}, not {name!r}.{suggestion(name, names)}")
        keywords[name] = one.value
    return keywords


def _arguments(model: Any) -> tuple[list[str], bool]:
    """The names of what the model's `forward` takes, and whether it takes others."""
    found = inspect.signature(model.forward).parameters.values()
    named = [one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return named, any(one.kind is one.VAR_KEYWORD for one in found)


def _class(model: Any) -> str:
    return f"forward of {type(model).__name__}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _from_text(model: Any, text: str, dtype: Any) -> list[Given]:
    """What an `--input` names: an array, several of an archive, or what a function gives."""
    named = _NAMED.fullmatch(text)
    name, rest = (named["name"], named["text"]) if named and not Path(text).is_file() else (None, text)
    file = Path(rest)
    if file.suffix.lower() not in SUFFIXES and ":" in rest and not file.is_file():
        return [Given(name, _made(rest, dtype))]
    if file.suffix.lower() == ".npz" and name is None:
        return _from_archive(model, file, dtype)
    table = read_table(file, "float64") if file.suffix.lower() == ".csv" else read_array(file)
    return [Given(name, as_tensor(str(file), table, dtype, named=name is not None))]


def _made(target: str, dtype: Any) -> Any:
    """What a function without arguments gives: the input as a whole, or one argument of it."""
    function = import_name(target, "a function", "a file, or PACKAGE.MODULE:FUNCTION that makes the input")
    if not callable(function):
        raise ConfigError(
            f"--input {target} is of type {type(function).__name__}; name a function that makes the input"
        )
    with user_code(f"--input {target}() fails"):
        return in_dtype(function(), dtype)


def in_dtype(value: Any, dtype: Any) -> Any:
    """The same nest with real numbers in that dtype; arrays become tensors, whole numbers and masks stay."""
    if isinstance(value, Mapping):
        return {name: in_dtype(one, dtype) for name, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(in_dtype(one, dtype) for one in value)
    tensor = value if isinstance(value, torch.Tensor) or not hasattr(value, "__array__") else torch.as_tensor(value)
    return tensor.to(dtype) if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() else tensor


def _from_archive(model: Any, file: Path, dtype: Any) -> list[Given]:
    """The arrays of an archive by their names, if the model takes these; else the one called x, or the only one."""
    arrays, (names, others) = read_arrays(file), _arguments(model)
    if "x" in arrays or len(arrays) == 1:
        only = "x" if "x" in arrays else next(iter(arrays))
        if not set(arrays) <= set(names) or list(arrays) == names[:1]:
            return [Given(None, as_tensor(str(file), arrays[only], dtype, named=False))]
    if not arrays or not (others or set(arrays) <= set(names)):
        raise InputError(f"{file}: holds {_listed(list(arrays)) or 'nothing'}; {_class(model)} takes {_listed(names)}")
    return [Given(name, as_tensor(f"{file}: {name}", held, dtype, named=True)) for name, held in arrays.items()]


def as_tensor(what: str, array: Any, dtype: Any, named: bool) -> Any:
    """Real numbers in the model's dtype, whole ones as int64; truth values stay such where they are a named mask."""
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what}: holds {array.dtype} entries, not real numbers")
    if array.size == 0:
        raise InputError(f"{what}: is empty")
    if array.dtype.kind in "iu":
        return torch.from_numpy(array.astype("int64"))
    if array.dtype.kind == "b" and named:
        return torch.from_numpy(array.copy())
    return torch.from_numpy(array.astype("float64")).to(dtype)
