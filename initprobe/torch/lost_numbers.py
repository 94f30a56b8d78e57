"""The call in a model's code that makes the first NaN or infinity. It is looked for only where statistics show one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from initprobe.torch import module_kinds
from initprobe.torch.call_kinds import group_of, opened
from initprobe.torch.measure import Track, is_measured
from initprobe.torch.nested import tensors_in, tensors_in_call

_DIVISIONS = frozenset(("div", "divide", "true_divide", "__truediv__", "__itruediv__", "__div__", "__idiv__"))
_DIVISIONS_OF_NUMBERS = frozenset(("__rdiv__", "__rtruediv__", "reciprocal"))  # the tensor is the divisor
_SPREADS = frozenset(("var", "std", "var_mean", "std_mean"))


@dataclass(frozen=True)
class LostNumber:
    """A call that makes NaN, or infinity, of entries among which there is none.

    Attributes:
        name: plain name of the function.
        group: of the function, as `group_of` gives it.
        makes: `NaN` or `infinity`.
        low: least of the entries that it was given.
        high: largest of them.
        by_zero: it divides by 0.
        single: it is a spread over one entry, such as `std` with its correction.
        by_number: it is given a number that is NaN or infinite, beside its tensors.
    """

    name: str
    group: str
    makes: str
    low: float
    high: float
    by_zero: bool = False
    single: bool = False
    by_number: bool = False


def has_lost(tracks: Iterable[Track]) -> bool:
    """Whether a measured tensor or its gradient has NaN or infinities."""
    return any(track.nonfinite or (track.gradient and track.gradient.nonfinite) for track in tracks)


class WatchForLost(TorchFunctionMode):  # type: ignore[misc]
    """Watches each public call of a pass until one makes NaN.

    An infinity counts only in what depends on parameters or on the input. Masks hold -inf on purpose.

    Attributes:
        first: the call to name; None without one. NaN that is made of infinities is due to the first of these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: LostNumber | None = None
        self._has_nan = False
        self._followed: Any = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Any, types_: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, handling = module_kinds.handling(func)
        if handling == "ignore" or self._has_nan:
            return func(*args, **kwargs)
        if handling == "open":
            with self:
                return opened(func)(*args, **kwargs)
        given = _readable(tensors_in_call(args, kwargs))
        function: str = getattr(func, "__name__", "")
        before = _Given(function if function.startswith("__") else name, args, kwargs, given)
        output = func(*args, **kwargs)
        made = _readable([args[0]] if name == "setitem" else tensors_in(output))
        if any(self._depends(tensor) for tensor in (*given, *made)):
            self.follow(made)
        self._look(name, before, made)
        return output

    def follow(self, made: Iterable[Any]) -> None:
        """Note tensors that depend on the input.

        Args:
            made: the tensors.
        """
        for tensor in made:
            self._followed[tensor] = True

    def _depends(self, tensor: Any) -> bool:
        return tensor.requires_grad or tensor in self._followed

    def _look(self, name: str, given: _Given, made: list[Any]) -> None:
        """Note the call, if what it made has NaN or infinities that it was not given."""
        if not given.has_nan and any(_has_nan(tensor) for tensor in made):
            self._has_nan = True
            if self.first is None or not given.has_infinity:
                self.first = given.lost(name, "NaN", made[0])
        elif self.first is None and not given.has_infinity and any(self._is_lost(tensor) for tensor in made):
            self.first = given.lost(name, "infinity", made[0])

    def _is_lost(self, tensor: Any) -> bool:
        return self._depends(tensor) and _has_infinity(tensor)


class _Given:
    """What a call is given, looked at before the call, which may write to it."""

    def __init__(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Any]) -> None:
        numbers = [value for value in (*args, *kwargs.values()) if isinstance(value, float)]
        self._by_number = not all(map(math.isfinite, numbers))
        self.has_nan = any(_has_nan(tensor) for tensor in given)
        self.has_infinity = any(map(math.isinf, numbers)) or any(_has_infinity(tensor) for tensor in given)
        self.by_zero = _divides_by_zero(function, args)
        self._entries = given[0].numel() if given else 0
        low, high = given[0].detach().aminmax() if given else (math.nan, math.nan)
        self._bounds = float(low), float(high)
        self._is_division = function in _DIVISIONS or function in _DIVISIONS_OF_NUMBERS

    def lost(self, name: str, makes: str, made: Any) -> LostNumber:
        """The call as one that makes NaN or infinity."""
        shown = "div" if self._is_division and name != "reciprocal" else name
        single = name in _SPREADS and made.numel() == self._entries
        return LostNumber(shown, group_of(name), makes, *self._bounds, self.by_zero, single, self._by_number)


def _readable(tensors: Iterable[Any]) -> list[Any]:
    """Those whose entries can be compared in place: neither sparse nor nested."""
    return [
        tensor for tensor in tensors if is_measured(tensor) and tensor.layout is torch.strided and not tensor.is_nested
    ]


def _has_nan(tensor: Any) -> bool:
    return bool(tensor.detach().isnan().any())


def _has_infinity(tensor: Any) -> bool:
    return bool(tensor.detach().isinf().any())


def _divides_by_zero(function: str, args: tuple[Any, ...]) -> bool:
    """Whether the call is a division, and its divisor is 0 or has an entry of 0."""
    place = 0 if function in _DIVISIONS_OF_NUMBERS else 1 if function in _DIVISIONS else None
    if place is None or len(args) <= place:
        return False
    divisor = args[place]
    return bool((divisor == 0).any()) if isinstance(divisor, torch.Tensor) else divisor == 0
