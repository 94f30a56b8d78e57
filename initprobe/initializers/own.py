"""Initializers of the user's own: a function `f(rng, fan_in, fan_out, shape)`, or a `package.module:name` of one.

The function is called once per layer, with a `numpy.random.Generator` keyed by (seed, draw, layer). It returns an
array of `shape`, which is `(fan_in, fan_out)`. Theory uses the mean and variance of its weights, measured at the
layer's size, if the weights look independent (`independence`).
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise, starmap
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from initprobe.activations.own import Same
from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.importing import import_name, in_words
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.distributions import Distribution
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec

if TYPE_CHECKING:
    from initprobe.initializers.independence import Judged

Function = Callable[[np.random.Generator, int, int, tuple[int, int]], Any]

# A variance is measured on this many entries, which gives 0.1% (one SD, if normal), in 2 to 2048 matrices. The first 8
# matrices are tested for independence.
_ENTRIES, _FEWEST, _MOST, _SOME = 1 << 21, 2, 2048, 8
_SEED = 0
_WANTED = "an Initializer or a function f(rng, fan_in, fan_out, shape)"
# Fourth powers of larger weights leave the float range.
_LARGEST = 1e70
# Layers are drawn in threads, but a function of the user's own need not be thread-safe.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True)
class OwnInitializer(Initializer):
    """The record of a function of the user's own; its `variance` is measured, and its `mean` is not used.

    Attributes:
        function: from `(rng, fan_in, fan_out, shape)` to an array of that shape; None if it was not imported.
    """

    function: Function | None = None

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, int], fans: tuple[int, int], dtype: npt.DTypeLike
    ) -> Array:
        """The weights of a whole layer, as the function gives them.

        Args:
            rng: source of the draws.
            shape: equal to `fans`.
            fans: `(fan_in, fan_out)`.
            dtype: float32 or float64.

        Raises:
            ConfigError: the function fails, or gives something else than finite numbers of this shape.
        """
        assert self.function is not None
        with np.errstate(over="ignore"):
            weights = _called(self.name, self.function, rng, fans).astype(dtype)
        if not np.isfinite(weights).all():
            raise ConfigError(f"{self.name}: gives weights at {_size(fans)} beyond {np.dtype(dtype)}")
        return weights

    def describe(self, fan_in: int, fan_out: int) -> str:
        """Mean and standard deviation of an entry, as measured.

        Args:
            fan_in, fan_out: rows and columns of the matrix.
        """
        law = self.law(fan_in, fan_out)
        mean = f"mean {law.mean:.4g}, " if law.mean else ""
        return f"{self.name}, {mean}std {math.sqrt(law.variance):.4g} as measured"

    def law(self, fan_in: int, fan_out: int) -> Judged:
        """Mean, variance and independence of a layer's weights, measured on matrices of a fixed seed.

        Args:
            fan_in, fan_out: rows and columns of the matrix.

        Raises:
            ConfigError: as `sample`, or the function gives other weights for the same generator.
        """
        assert self.function is not None
        return _measured(self.name, Same(self.function), (fan_in, fan_out))


def own_initializer(function: Function) -> OwnInitializer:
    """The record of a function given from Python; the same function gives the same record.

    Raises:
        ConfigError: it does not take four arguments.
    """
    return _own_record(Same(function), _name(function))


def imported_initializer(spec: Spec) -> Initializer:
    """The initializer that `package.module:name` names: a function, or an `Initializer` record.

    Raises:
        ConfigError: no such module, no such name in it, or nothing that serves as an initializer.
    """
    if spec.params:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    given = import_name(spec.name, _WANTED)
    return given if isinstance(given, Initializer) else _own_record(Same(given), spec.name)


def unread_initializer(name: str) -> Initializer:
    """A record that stands for a `package.module:name` which is not imported; its name alone is right."""
    return _record(name, None, lambda fan_in, fan_out: 1 / fan_in)


def takes_fans(function: object) -> bool:
    """Whether the signature of a function allows `f(rng, fan_in, fan_out, shape)`."""
    try:
        inspect.signature(function).bind(None, 1, 1, (1, 1))  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:  # a function in C may have no signature
        return not isinstance(function, np.ufunc)
    return True


# Cached: a sweep makes tens of thousands of configs of a few functions.
@lru_cache(maxsize=256)
def _own_record(key: Same, name: str) -> OwnInitializer:
    function = key.held
    if not callable(function):
        raise ConfigError(f"{name}: is {type(function).__name__}, not {_WANTED}")
    if not takes_fans(function):
        raise ConfigError(f"{name}: cannot be called as f(rng, fan_in, fan_out, shape); give it these four arguments")
    return _record(name, function, lambda fan_in, fan_out: _measured(name, key, (fan_in, fan_out)).variance)


def _record(name: str, function: Function | None, variance: Callable[[int, int], float]) -> OwnInitializer:
    return OwnInitializer(
        name=name,
        distribution=Distribution("own", _not_sampled, lambda mean, std: name, whole=True),
        variance=variance,
        formula=f"{name.rpartition(':')[2]}(rng, fan_in, fan_out, shape)",
        reference=f"your own {name}",
        function=function,
    )


def _not_sampled(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    raise NotImplementedError("a function of the user's own draws weights that are already scaled")


def _name(function: object) -> str:
    """A readable name that no initializer which ships has."""
    own = getattr(function, "__name__", None) or type(function).__name__
    word = re.sub(r"\W+", "", own) or "function"
    return word if word not in INITIALIZERS else f"{getattr(function, '__module__', None) or 'own'}:{word}"


def _size(fans: tuple[int, int]) -> str:
    return f"{fans[0]} -> {fans[1]}"


def _called(label: str, function: Function, rng: np.random.Generator, fans: tuple[int, int]) -> Array:
    """The result of the function, checked to be finite numbers of the right shape."""
    try:
        with _ONE_AT_A_TIME, np.errstate(all="ignore"):
            weights = function(rng, *fans, fans)
    except (Exception, SystemExit) as error:  # sys.exit in the user's function must not end this program
        raise ConfigError(f"{label}: fails at {_size(fans)} ({in_words(error)})") from None
    if not isinstance(weights, np.ndarray) or weights.shape != fans:
        what = f"shape {weights.shape}" if isinstance(weights, np.ndarray) else type(weights).__name__
        raise ConfigError(f"{label}: gives {what} where shape {fans} is needed; return an array of `shape`")
    if weights.dtype.kind not in "fiub":
        raise ConfigError(f"{label}: gives {weights.dtype} entries at {_size(fans)}; give real numbers")
    places = np.argwhere(~np.isfinite(weights))
    if len(places):
        row, column = places[0]
        raise ConfigError(
            f"{label}: gives {weights[row, column]} at [{row}, {column}] at {_size(fans)}; make every weight finite"
        )
    return weights


def _matrices(label: str, function: Function, fans: tuple[int, int]) -> Iterator[Array]:
    """The matrices to be measured, each from its own seed."""
    count = min(max(-(-_ENTRIES // math.prod(fans)), _FEWEST), _MOST)
    for seed in np.random.SeedSequence(_SEED).spawn(count):
        weights = _called(label, function, np.random.default_rng(seed), fans).astype(float)
        if (largest := float(np.abs(weights).max())) > _LARGEST:
            raise ConfigError(f"{label}: gives a weight of {largest:.3g} at {_size(fans)}; no net can use it")
        yield weights


@lru_cache(maxsize=256)
def _measured(label: str, key: Same, fans: tuple[int, int]) -> Judged:
    """As `_judged`, with BLAS in one thread: on matrices of this size, more threads are slower."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return _judged(label, key.held, fans)


def _judged(label: str, function: Function, fans: tuple[int, int]) -> Judged:
    """Mean, variance and kurtosis over all matrices; independence from the first of them."""
    from initprobe.initializers.independence import SDS, Judged, judge, related

    _require_repeatable(label, function, fans)
    first = list(islice(_matrices(label, function, fans), _SOME))
    judged = [judge(weights) for weights in first]
    faults = (*(each.fault for each in judged), *starmap(related, pairwise(first)))
    centre = float(first[0].mean())  # powers about it lose no digits
    raw = np.array([_powers(weights - centre) for weights in _matrices(label, function, fans)])
    shift, square, cube, fourth = raw.mean(axis=0).tolist()
    variance, mean = max(square - shift**2, 0.0), centre + shift
    central = fourth - 4 * shift * cube + 6 * shift**2 * square - 3 * shift**4
    kurtosis, entries = central / variance**2 if variance else 1.0, len(raw) * math.prod(fans)
    # The mean adds `fan_in mean^2` to the mean square of z, which counts if it exceeds the error of the variance.
    error = max(SDS * math.sqrt(max(kurtosis - 1, 0.0) / entries), SDS**2 * fans[0] / entries)
    small = fans[0] * mean**2 < error * variance
    return Judged(
        mean=0.0 if small else mean,
        variance=variance + mean**2 if small else variance,
        kurtosis=kurtosis,
        orthogonal=all(each.orthogonal for each in judged),
        fault=next(filter(None, faults), None),
    )


def _powers(differences: Array) -> list[float]:
    """Means of the first four powers."""
    squares = differences * differences
    return [float(np.mean(each)) for each in (differences, squares, squares * differences, squares * squares)]


def _require_repeatable(label: str, function: Function, fans: tuple[int, int]) -> None:
    """Weights are not stored but drawn again from their seed, so they must be the same each time."""
    first, second = (_called(label, function, np.random.default_rng(_SEED), fans) for _ in range(2))
    if not np.array_equal(first, second):
        raise ConfigError(f"{label}: gives other weights for the same generator; draw from `rng` only")
