"""The input of a model from the command line: files, noise, ids and functions, by position or by name.

    --input        [NAME=]FILE | [NAME=]PACKAGE.MODULE:FUNCTION
    --input-shape  [NAME=]N,N,...[:LOW..HIGH]

Without a range it is N(0, 1) in the dtype of the model. With one it is whole numbers from LOW to HIGH, both included.
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

from initprobe.arrays import Array
from initprobe.data.machine import available_bytes
from initprobe.data.tables import SUFFIXES, read_array, read_arrays, read_table
from initprobe.errors import ConfigError, InputError, MemoryLimitError
from initprobe.formatting import listed
from initprobe.importing import import_name, user_code
from initprobe.registry import suggestion

_SHAPE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<sizes>\d+(?:[,x]\d+)*)(?::(?P<low>-?\d+)\.\.(?P<high>-?\d+))?")
_NAMED = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<text>.+)")


@dataclass(frozen=True)
class Given:
    """One argument of the model: a tensor, or what a function returned. `name` is None for one by position."""

    name: str | None
    value: Any


@dataclass(frozen=True)
class Shape:
    """A parsed `--input-shape`: whole numbers within `bounds`, both included; without bounds N(0, 1)."""

    name: str | None
    sizes: tuple[int, ...]
    bounds: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str, option: str = "--input-shape") -> Shape:
        """Parse `[NAME=]N,N,...[:LOW..HIGH]`; `4x16` is `4,16`.

        Args:
            text: the value of the option.
            option: its name, for errors.

        Returns:
            The shape.

        Raises:
            ConfigError: the text has another form, a size is 0, or the range is empty.
        """
        parts = _SHAPE.fullmatch(text.replace(" ", ""))
        sizes = tuple(int(size) for size in re.split("[,x]", parts["sizes"])) if parts else ()
        if parts is None or min(sizes) < 1:
            raise ConfigError(
                f"{text!r} is not a list of sizes like 64,784, or with a range like 4,16:0..999", field=option
            )
        if parts["low"] is None:
            return cls(parts["name"], sizes)
        low, high = int(parts["low"]), int(parts["high"])
        if not -(2**63) <= low <= high < 2**63 - 1:
            raise ConfigError(
                f"the range of {text!r} is not from LOW to HIGH, both included, as in 0..999", field=option
            )
        return cls(parts["name"], sizes, (low, high))

    def drawn(self, generator: Any, dtype: Any) -> Any:
        """Draw a tensor of this shape.

        Args:
            generator: of torch.
            dtype: of a tensor without bounds.

        Returns:
            The tensor.

        Raises:
            MemoryLimitError: it does not fit into memory with the copies of the trial and the probe.
        """
        needed, available = 3 * 4 * math.prod(self.sizes), available_bytes()
        if needed > available:
            raise MemoryLimitError(
                f"{' x '.join(map(str, self.sizes))} and its copies need {needed / 1e9:,.1f} GB, and "
                f"{available / 1e9:,.1f} GB is free; take fewer samples",
                field="--input-shape",
            )
        if self.bounds is None:
            return torch.randn(self.sizes, generator=generator).to(dtype)
        return torch.randint(self.bounds[0], self.bounds[1] + 1, self.sizes, generator=generator)


def given_inputs(
    model: Any, files: Sequence[str], shapes: Sequence[str], seed: int, dtype: Any, width: int | None = None
) -> Any:
    """The input of the model: a tensor, a tuple of arguments or a mapping of keyword arguments.

    Args:
        model: for the names of its arguments.
        files: of `--input`, in order.
        shapes: of `--input-shape`, in order.
        seed: of what is drawn.
        dtype: of real numbers.
        width: of the model, for functions that take it; None for a model of one width.

    Returns:
        The input.

    Raises:
        ConfigError: nothing is given, something is given twice, or the model takes no such argument.
        InputError: a file cannot be read, or holds something else.
    """
    wanted = [Shape.parse(text) for text in shapes]
    given = [argument for text in files for argument in _from_text(model, text, dtype, width)]
    if any(argument.name is None for argument in given) and any(shape.name is None for shape in wanted):
        raise ConfigError("--input and --input-shape together need names, as in --input-shape mask=4,16:1..1")
    generator = torch.Generator().manual_seed(seed)
    given += [Given(shape.name, shape.drawn(generator, dtype)) for shape in wanted]
    if not given:
        raise ConfigError("give one of --input-shape 64,784 and --input FILE")
    return assembled(model, given)


def assembled(model: Any, given: Sequence[Given]) -> Any:
    """The arguments as one value, as a tuple by position, or with names as keyword arguments.

    Args:
        model: whose `forward` takes the arguments.
        given: arguments as typed, in order.

    Raises:
        ConfigError: an argument is given twice, or the model takes no such argument.
    """
    if all(argument.name is None for argument in given):
        return given[0].value if len(given) == 1 else tuple(argument.value for argument in given)
    names, others = _arguments(model)
    free = iter([name for name in names if name not in {argument.name for argument in given}])
    keywords: dict[str, Any] = {}
    for argument in given:
        name = argument.name or next(free, None)
        if name is None:
            raise ConfigError(f"{_class(model)} takes {_listed(names)}: name every input, as in --input-shape x=64,784")
        if name in keywords:
            raise ConfigError(f"the input {name} is given twice")
        if name not in names and not others:
            raise ConfigError(f"{_class(model)} takes {_listed(names)}, not {name!r}.{suggestion(name, names)}")
        keywords[name] = argument.value
    return keywords


def _arguments(model: Any) -> tuple[list[str], bool]:
    """The names of the arguments of `forward`, and whether it takes others."""
    every = inspect.signature(model.forward).parameters.values()
    named = [
        parameter.name
        for parameter in every
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    return named, any(parameter.kind is parameter.VAR_KEYWORD for parameter in every)


def _class(model: Any) -> str:
    return f"forward of {type(model).__name__}"


def _listed(names: Sequence[str]) -> str:
    return listed(names, 8)


def _from_text(model: Any, text: str, dtype: Any, width: int | None) -> list[Given]:
    """The arguments that an `--input` names: an array, those of an archive, or what a function returns."""
    named = _NAMED.fullmatch(text)
    name, rest = (named["name"], named["text"]) if named and not Path(text).is_file() else (None, text)
    file = Path(rest)
    if file.suffix.lower() not in SUFFIXES and ":" in rest and not file.is_file():
        return [Given(name, _made(rest, dtype, width))]
    if file.suffix.lower() == ".npz" and name is None:
        return _from_archive(model, file, dtype)
    table = read_table(file, "float64") if file.suffix.lower() == ".csv" else read_array(file)
    return [Given(name, as_tensor(str(file), table, dtype, named=name is not None))]


def _made(target: str, dtype: Any, width: int | None) -> Any:
    """What a function without arguments, or of the width, returns: the whole input, or one argument of it."""
    function = import_name(target, "a function", "a file, or PACKAGE.MODULE:FUNCTION that makes the input")
    if not callable(function):
        raise ConfigError(
            f"{target} is of type {type(function).__name__}; name a function that makes the input", field="--input"
        )
    with user_code(f"--input {target}() fails"):
        takes_width = width is not None and inspect.signature(function).parameters
        return in_dtype(function(width) if takes_width else function(), dtype)


def in_dtype(value: Any, dtype: Any) -> Any:
    """The same nested value with real numbers in a dtype. Arrays become tensors; whole numbers and masks stay.

    Args:
        value: nested arrays and tensors.
        dtype: of real numbers.
    """
    if isinstance(value, Mapping):
        return {name: in_dtype(inner, dtype) for name, inner in value.items()}
    if type(value) in (tuple, list):
        return type(value)(in_dtype(inner, dtype) for inner in value)
    tensor = value if isinstance(value, torch.Tensor) or not hasattr(value, "__array__") else torch.as_tensor(value)
    return tensor.to(dtype) if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() else tensor


def _from_archive(model: Any, file: Path, dtype: Any) -> list[Given]:
    """The arrays of an archive by name, if the model takes these; else x, or the only one."""
    arrays, (names, others) = read_arrays(file), _arguments(model)
    if "x" in arrays or len(arrays) == 1:
        only = "x" if "x" in arrays else next(iter(arrays))
        if not set(arrays) <= set(names) or list(arrays) == names[:1]:
            return [Given(None, as_tensor(str(file), arrays[only], dtype, named=False))]
    if not arrays or not (others or set(arrays) <= set(names)):
        raise InputError(
            f"holds {_listed(list(arrays)) or 'nothing'}; {_class(model)} takes {_listed(names)}", file=file
        )
    return [Given(name, as_tensor(f"{file}: {name}", array, dtype, named=True)) for name, array in arrays.items()]


def as_tensor(what: str, array: Array, dtype: Any, named: bool) -> Any:
    """A tensor of the entries of an array.

    Args:
        what: where the array is from, for errors.
        array: real numbers, whole numbers or truth values.
        dtype: of real numbers; whole numbers become int64.
        named: truth values stay such, as a mask has a name.

    Returns:
        The tensor.

    Raises:
        InputError: the entries are no numbers, or there are none.
    """
    if array.dtype.kind not in "fiub":
        raise InputError(f"holds {array.dtype} entries, not real numbers", file=what)
    if array.size == 0:
        raise InputError("is empty", file=what)
    if array.dtype.kind in "iu":
        return torch.from_numpy(array.astype("int64"))
    if array.dtype.kind == "b" and named:
        return torch.from_numpy(array.copy())
    return torch.from_numpy(array.astype("float64")).to(dtype)
