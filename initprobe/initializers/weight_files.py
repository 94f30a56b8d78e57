"""Reads a network from an .npz file, as `--save-weights` writes it.

The file holds `W1`, `W2`, ... and optionally biases `b1`, `b2`, ..., the input `x` and the start `g` of the backward
pass. The names of PyTorch's `nn.Sequential` are read too, in the order of their numbers. They are `0.weight` of shape
(out, in), `0.bias`, and so on.
"""

from __future__ import annotations

import itertools
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array
from initprobe.data.archives import check_arrays
from initprobe.data.files import check_file
from initprobe.errors import InitprobeError, InputError
from initprobe.initializers.distributions import Distribution
from initprobe.initializers.independence import Judged, judge, related
from initprobe.initializers.record import Initializer

Precision = Literal["float32", "float64"]

_OURS = re.compile(r"([Wb])([1-9][0-9]*)", re.ASCII)
_TORCHS = re.compile(r"((?:.*\.)?)([0-9]+)\.(weight|bias)", re.ASCII)
_NPY = b"\x93NUMPY"
_BESIDE = ("x", "g", "y")
_SAVE = "save them with numpy.savez(path, W1=..., b1=..., W2=...)"


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of the network.

    Attributes:
        name: name of its weights in the file.
        weight: `W`, `(fan_in, fan_out)`.
        bias: `b`, `(fan_out,)`; None if the file has none, or only zeros.
    """

    name: str
    weight: Array
    bias: Array | None

    @cached_property
    def judged(self) -> Judged:
        """Mean, variance and independence of the weights."""
        return judge(self.weight)


@dataclass(frozen=True, eq=False)
class Network:
    """The network in a file.

    Attributes:
        path: the file.
        layers: first to last.
        x: whether the file has an input.
        gradient: the start dL/dh of the backward pass for that input, `(samples, units)`; None if the file has none.
    """

    path: Path
    layers: tuple[Layer, ...]
    x: bool
    gradient: Array | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of the input, then units of each layer."""
        return self.layers[0].weight.shape[0], *(layer.weight.shape[1] for layer in self.layers)

    @property
    def dtype(self) -> Precision:
        """The precision of the weights: float64 if any layer has it."""
        return "float64" if any(layer.weight.dtype == np.float64 for layer in self.layers) else "float32"

    @cached_property
    def initializer(self) -> Initializer:
        """A record that stands for the file where an initializer is needed; nothing is drawn from it.

        Its variance is the mean of the layers' variances, and its mean the largest of their means.
        """
        variances = [layer.judged.variance for layer in self.layers]
        return Initializer(
            name="weights",
            distribution=Distribution("given", _not_drawn, lambda mean, std: f"those of {self.path.name}"),
            variance=lambda fan_in, fan_out: float(np.mean(variances)),
            mean=max((layer.judged.mean for layer in self.layers), key=abs),
            formula="those of the file",
            reference=str(self.path),
            example="",
        )

    @cached_property
    def fault(self) -> str | None:
        """The first layer whose weights do not look independent, and why; None if all do."""
        before: Sequence[Layer | None] = (None, *self.layers)
        for layer, below in zip(self.layers, before, strict=False):
            reason = layer.judged.fault or (related(layer.weight, below.weight) if below else None)
            if reason:
                return f"{layer.name} does not look independent: {reason}"
        return None


def _not_drawn(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    raise NotImplementedError("weights from a file are not drawn")


def read_weights(path: Path, dtype: str | None = None) -> Network:
    """The network in a file.

    Args:
        path: an .npz file.
        dtype: precision in which its numbers must be finite; None means their own.

    Raises:
        InputError: no such file, another format or pickled objects. Or a layer is missing, shapes do not fit, or an
            entry is not finite.
    """
    check_file(path, "give the .npz file in it")
    status = path.stat()
    network = _read(path, path.absolute(), status.st_size, status.st_mtime_ns)
    if dtype is not None:
        for layer in network.layers:
            _check_range(path, layer, np.dtype(dtype))
    return network


# Cached: a config is made several times for one run. Two files are enough to compare two networks.
@lru_cache(maxsize=2)
def _read(path: Path, place: Path, size: int, changed_ns: int) -> Network:
    arrays = _arrays(path)
    layers = tuple(_layers(path, arrays))
    for below, layer in itertools.pairwise(layers):
        _check_chain(path, below, layer)
    return Network(path, layers, "x" in arrays, _gradient(path, arrays, layers[-1]))


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays in the file, by name; nothing is unpickled."""
    try:
        check_arrays(path)
        with path.open("rb") as file:
            if not (zipfile.is_zipfile(file) or _begins(file, _NPY)):
                raise InputError(f"is not an .npz file; {_SAVE}", file=path)
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise InputError(f"holds a single array, not W1, b1, ...; {_SAVE}", file=path)
            with loaded:
                _check_names(path, loaded.files)
                return {name: loaded[name] for name in loaded.files}
    except InitprobeError:
        raise
    except Exception as error:  # for a damaged file NumPy raises many types, such as BadZipFile
        if "pickle" in str(error):
            raise InputError(f"holds pickled Python objects, which are not read; {_SAVE}", file=path) from None
        raise InputError(f"cannot be read as .npz ({' '.join(str(error).split())[:200]})", file=path) from None


def _begins(file: IO[bytes], start: bytes) -> bool:
    file.seek(0)
    return file.read(len(start)) == start


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuses other names, which may be misspelt."""
    layers = [name for name in names if _OURS.fullmatch(name)]
    torchs = [name for name in names if _TORCHS.fullmatch(name)]
    others = [name for name in names if name not in (*layers, *torchs, *_BESIDE)]
    if layers and torchs:
        raise InputError(
            f"has both {layers[0]} and {torchs[0]}; name all layers in one way, W1, b1, W2, ...", file=path
        )
    if not (layers or torchs):
        contents = ", ".join(names[:5]) or "nothing"
        raise InputError(f"holds {contents}, and no W1; {_SAVE}", file=path)
    if others:
        raise InputError(
            f"{others[0]!r} is neither W1, W2, ... nor b1, b2, ... nor x or g; rename or drop it", file=path
        )


def _layers(path: Path, arrays: Mapping[str, Array]) -> list[Layer]:
    if any(_OURS.fullmatch(name) for name in arrays):
        last = max(int(match[2]) for name in arrays if (match := _OURS.fullmatch(name)))
        pairs = [(f"W{number}", f"b{number}") for number in range(1, last + 1)]
    else:
        pairs = _torch_names(path, arrays)
    return [_layer(path, arrays, *pair) for pair in pairs]


def _torch_names(path: Path, arrays: Mapping[str, Array]) -> list[tuple[str, str]]:
    """Names of weights and biases of one `nn.Sequential`; only there do the numbers give the order of the layers."""
    matches = [match for name in arrays if (match := _TORCHS.fullmatch(name))]
    if len(prefixes := sorted({match[1] for match in matches})) > 1:
        raise InputError(
            f"has layers of {prefixes[0] or '(none)'} and {prefixes[1]}, in unknown order; "
            "save one nn.Sequential, or name them W1, b1, W2, ...",
            file=path,
        )
    numbers = sorted({int(match[2]) for match in matches})
    return [(f"{prefixes[0]}{number}.weight", f"{prefixes[0]}{number}.bias") for number in numbers]


def _layer(path: Path, arrays: Mapping[str, Array], name: str, bias: str) -> Layer:
    if name not in arrays:
        others = [other for other in arrays if other not in _BESIDE]
        raise InputError(f"has {others[-1]} but no {name}; give every layer its weights", file=path)
    weight = _checked(path, name, arrays[name])
    if weight.ndim != 2 or 0 in weight.shape:
        shape = "(out, in)" if name.endswith(".weight") else "(fan_in, fan_out)"
        raise InputError(f"{name} has shape {weight.shape}, not {shape}; only dense layers are read", file=path)
    weight = np.ascontiguousarray(weight.T) if name.endswith(".weight") else weight
    return Layer(name, weight, _bias(path, arrays, bias, weight.shape[1]))


def _bias(path: Path, arrays: Mapping[str, Array], name: str, units: int) -> Array | None:
    if name not in arrays:
        return None
    bias = _checked(path, name, arrays[name])
    if bias.shape != (units,):
        fault = f"{name} has shape {bias.shape}, but its layer has {units} units"
        raise InputError(f"{fault}; give it ({units},)", file=path)
    return bias if np.any(bias) else None


def _checked(path: Path, name: str, array: Array) -> Array:
    """The array, if its entries are finite and of dtype float32 or float64."""
    if array.dtype not in (np.float32, np.float64):
        raise InputError(f"{name} holds {array.dtype} entries; save it as float32 or float64", file=path)
    places = np.argwhere(~np.isfinite(array))
    if len(places):
        where = ", ".join(map(str, places[0]))
        raise InputError(f"{name}[{where}] is {array[tuple(places[0])]}; weights must be finite", file=path)
    return array


def _check_range(path: Path, layer: Layer, dtype: np.dtype[Any]) -> None:
    largest = max(float(np.abs(part).max()) for part in (layer.weight, layer.bias) if part is not None)
    if largest > float(np.finfo(dtype).max):
        raise InputError(f"{layer.name} has entries of {largest:.3g}, beyond {dtype}; use --dtype float64", file=path)


def _check_chain(path: Path, below: Layer, layer: Layer) -> None:
    units, takes = below.weight.shape[1], layer.weight.shape[0]
    if units != takes:
        shapes = f"{below.name} {below.weight.shape}, {layer.name} {layer.weight.shape}"
        raise InputError(
            f"{layer.name} takes {takes} inputs, but {below.name} gives {units} ({shapes}); "
            "W is (fan_in, fan_out): if yours are (out, in), save W.T",
            file=path,
        )


def _gradient(path: Path, arrays: Mapping[str, Array], last: Layer) -> Array | None:
    """The start of the backward pass, if the file has one and an input."""
    if "g" not in arrays or "x" not in arrays:
        return None
    gradient, shape = _checked(path, "g", arrays["g"]), (*arrays["x"].shape[:1], last.weight.shape[1])
    if gradient.shape != shape:
        raise InputError(
            f"g has shape {gradient.shape}, not {shape}: the rows of x, the units of {last.name}", file=path
        )
    return gradient
