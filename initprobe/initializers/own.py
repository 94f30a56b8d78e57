"""Initializers of the user's own: a function `f(rng, fan_in, fan_out, shape)`, or a `package.module:name` of one.

It is called once for every layer with a `numpy.random.Generator` keyed by (seed, draw, layer), and returns an array of
`shape`, which is `(fan_in, fan_out)`. Theory takes the mean and the variance that its weights have, measured at the
sizes at hand, if they look independent (`independence`).
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
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.activations.own import Same
from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.importing import import_name, in_words
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.distributions import Distribution
from initprobe.initializers.independence import SDS, Judged, judge, related
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec

Function = Callable[[np.random.Generator, int, int, tuple[int, int]], Any]

# Entries that a variance is measured on, to 0.1% (one SD, if normal), in at least two matrices, of which some are
# judged; of tiny layers not quite as many.
_ENTRIES, _FEWEST, _MOST, _SOME = 1 << 21, 2, 2048, 8
_SEED = 0
_WANTED = "an Initializer or a function f(rng, fan_in, fan_out, shape)"
# Beyond it the fourth powers leave the float range.
_LARGEST = 1e70
# Layers are drawn in threads, and a function of the user's own need not bear that.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True)
class OwnInitializer(Initializer):
    """The record of a function of the user's own; its `variance` is measured, and `mean` of no use.

    Attributes:
        function: `f(rng, fan_in, fan_out, shape)` to an array of that shape.
    """

    function: Function | None = None

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, int], fans: tuple[int, int], dtype: npt.DTypeLike
    ) -> Array:
        """The weights of a whole layer, as the function gives them; `shape` is that of `fans`.

        Raises:
            ConfigError: the function fails, or gives anything else than finite numbers of this shape.
        """
        assert self.function is not None
        with np.errstate(over="ignore"):
            weights = _called(self.name, self.function, rng, fans).astype(dtype)
        if not np.isfinite(weights).all():
            raise ConfigError(f"{self.name}: gives weights at {_size(fans)} that are beyond {np.dtype(dtype)}")
        return weights

    def describe(self, fan_in: int, fan_out: int) -> str:
        """Mean and standard deviation as measured."""
        law = self.law(fan_in, fan_out)
        mean = f"mean {law.mean:.4g}, " if law.mean else ""
        return f"{self.name}, {mean}std {math.sqrt(law.variance):.4g} as measured"

    def law(self, fan_in: int, fan_out: int) -> Judged:
        """What the weights of a `(fan_in, fan_out)` layer look like, measured on some matrices of a fixed seed.

        Raises:
            ConfigError: as `sample`, and for a function that gives other weights for the same generator.
        """
        assert self.function is not None
        return _measured(self.name, Same(self.function), (fan_in, fan_out))


def own_initializer(function: Function) -> OwnInitializer:
    """The record of a function given from Python, the same record each time it is given.

    Raises:
        ConfigError: it does not take four arguments.
    """
    return _made(Same(function), _name(function))


def imported_initializer(spec: Spec) -> Initializer:
    """The initializer that `package.module:name` names: a function, or an `Initializer` record.

    Raises:
        ConfigError: no such module, no such name in it, or nothing that serves as an initializer.
    """
    if spec.params:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    found = import_name(spec.name, _WANTED)
    return found if isinstance(found, Initializer) else _made(Same(found), spec.name)


def unread_initializer(name: str) -> Initializer:
    """A record that stands for a `package.module:name` which is not imported; its name alone is right."""
    return _record(name, None, lambda fan_in, fan_out: 1 / fan_in)


def takes_fans(function: object) -> bool:
    """A function can be called as `f(rng, fan_in, fan_out, shape)`, as far as its signature says."""
    try:
        inspect.signature(function).bind(None, 1, 1, (1, 1))  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:  # of functions in C there may be none
        return not isinstance(function, np.ufunc)
    return True


# A sweep makes tens of thousands of configs with a handful of functions.
@lru_cache(maxsize=256)
def _made(found: Same, name: str) -> OwnInitializer:
    if not callable(found.held):
        raise ConfigError(f"{name}: is {type(found.held).__name__}, not {_WANTED}")
    if not takes_fans(found.held):
        raise ConfigError(f"{name}: cannot be called as f(rng, fan_in, fan_out, shape); give it these four arguments")
    return _record(name, found.held, lambda fan_in, fan_out: _measured(name, found, (fan_in, fan_out)).variance)


def _record(name: str, function: Function | None, variance: Callable[[int, int], float]) -> OwnInitializer:
    return OwnInitializer(
        name=name,
        distribution=Distribution("own", _never, lambda mean, std: name, whole=True),
        variance=variance,
        formula=f"{name.rpartition(':')[2]}(rng, fan_in, fan_out, shape)",
        reference=f"your own {name}",
        function=function,
    )


def _never(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    raise NotImplementedError("a function of the user's own draws whole weights, not unit ones")


def _name(function: object) -> str:
    """A readable name that is no registered initializer's."""
    own = getattr(function, "__name__", None) or type(function).__name__
    word = re.sub(r"\W+", "", own) or "function"
    return word if word not in INITIALIZERS else f"{getattr(function, '__module__', None) or 'own'}:{word}"


def _size(fans: tuple[int, int]) -> str:
    return f"{fans[0]} -> {fans[1]}"


def _called(label: str, function: Function, rng: np.random.Generator, fans: tuple[int, int]) -> Array:
    """What the function gives, if it is finite numbers of the right shape."""
    try:
        with _ONE_AT_A_TIME, np.errstate(all="ignore"):
            found = function(rng, *fans, fans)
    except (Exception, SystemExit) as error:  # sys.exit in there is theirs, and would end us without a word
        raise ConfigError(f"{label}: fails at {_size(fans)} ({in_words(error)})") from None
    if not isinstance(found, np.ndarray) or found.shape != fans:
        what = f"shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise ConfigError(f"{label}: gives {what} where shape {fans} is asked for; return an array of `shape`")
    if found.dtype.kind not in "fiub":
        raise ConfigError(f"{label}: gives {found.dtype} entries at {_size(fans)}; give real numbers")
    places = np.argwhere(~np.isfinite(found))
    if len(places):
        row, column = places[0]
        raise ConfigError(
            f"{label}: gives {found[row, column]} at [{row}, {column}] at {_size(fans)}; make every weight finite"
        )
    return found


def _matrices(label: str, function: Function, fans: tuple[int, int]) -> Iterator[Array]:
    """The matrices that are measured, each of a seed of its own."""
    count = min(max(-(-_ENTRIES // math.prod(fans)), _FEWEST), _MOST)
    for seed in np.random.SeedSequence(_SEED).spawn(count):
        weights = _called(label, function, np.random.default_rng(seed), fans).astype(float)
        if (largest := float(np.abs(weights).max())) > _LARGEST:
            raise ConfigError(f"{label}: gives a weight of {largest:.3g} at {_size(fans)}; no net bears such a one")
        yield weights


@lru_cache(maxsize=256)
def _measured(label: str, found: Same, fans: tuple[int, int]) -> Judged:
    """As `_judged`; BLAS has one thread, for on matrices of this size others cost more than they do."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return _judged(label, found.held, fans)


def _judged(label: str, function: Function, fans: tuple[int, int]) -> Judged:
    """Mean, variance and kurtosis over all matrices; what speaks against independence in some of them."""
    _require_repeatable(label, function, fans)
    few = list(islice(_matrices(label, function, fans), _SOME))
    judged = [judge(weights) for weights in few]
    faults = (*(one.fault for one in judged), *starmap(related, pairwise(few)))
    centre = float(few[0].mean())  # about which no difference is lost in rounding
    raw = np.array([_powers(weights - centre) for weights in _matrices(label, function, fans)])
    shift, square, cube, fourth = raw.mean(axis=0).tolist()
    variance, mean = max(square - shift**2, 0.0), centre + shift
    central = fourth - 4 * shift * cube + 6 * shift**2 * square - 3 * shift**4
    kurtosis, entries = central / variance**2 if variance else 1.0, len(raw) * math.prod(fans)
    # What the mean adds to the mean square of z, `fan_in mean^2`, counts where it is beyond the error of the variance.
    error = max(SDS * math.sqrt(max(kurtosis - 1, 0.0) / entries), SDS**2 * fans[0] / entries)
    small = fans[0] * mean**2 < error * variance
    return Judged(
        mean=0.0 if small else mean,
        variance=variance + mean**2 if small else variance,
        kurtosis=kurtosis,
        orthogonal=all(one.orthogonal for one in judged),
        fault=next(filter(None, faults), None),
    )


def _powers(differences: Array) -> list[float]:
    """Means of the first four powers."""
    squares = differences * differences
    return [float(np.mean(each)) for each in (differences, squares, squares * differences, squares * squares)]


def _require_repeatable(label: str, function: Function, fans: tuple[int, int]) -> None:
    """Weights are made again from their seed."""
    one, other = (_called(label, function, np.random.default_rng(_SEED), fans) for _ in range(2))
    if not np.array_equal(one, other):
        raise ConfigError(f"{label}: gives other weights for the same generator; draw from `rng` alone")
