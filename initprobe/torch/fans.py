"""Fans, counted from the operation.

`fan_in` is how many entries an output sums over. `fan_out` is to how many outputs an input goes.
"""

from __future__ import annotations

import math
from typing import Any

Fans = tuple[int, int]


def fans_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], weight: Any) -> Fans:
    """The fans of a product.

    A group of channels is given its own inputs only. A stride skips positions on the way back, or spreads a transposed
    kernel.

    Args:
        name: of the function.
        args: its arguments.
        kwargs: its keyword arguments.
        weight: the tensor that is the weight.

    Returns:
        `(fan_in, fan_out)`.
    """
    if name == "linear":
        return weight.shape[-1], math.prod(weight.shape[:-1])
    if name.startswith("conv_transpose"):
        return _transposed(args, kwargs, weight)
    if name.startswith("conv"):
        return _convolved(args, kwargs, weight)
    if name in ("embedding", "embedding_bag"):
        return 1, weight.shape[-1]
    if name == "bilinear":
        return math.prod(weight.shape[1:]), weight.shape[0]
    if name == "einsum":
        return _einsum(args, weight)
    return _matmul(args, weight)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], name: str, place: int, default: int) -> Any:
    return kwargs.get(name, args[place] if len(args) > place else default)


def _size(value: Any, dimensions: int) -> int:
    """The product over the dimensions; one number stands for all of them."""
    each = tuple(value) if isinstance(value, tuple | list) else (value,)
    return math.prod(each * dimensions if len(each) == 1 else each)


def _convolved(args: tuple[Any, ...], kwargs: dict[str, Any], weight: Any) -> Fans:
    taps, groups = math.prod(weight.shape[2:]), _argument(args, kwargs, "groups", 6, 1)
    stride = _size(_argument(args, kwargs, "stride", 3, 1), weight.ndim - 2)
    return weight.shape[1] * taps, max(weight.shape[0] // groups * taps // stride, 1)


def _transposed(args: tuple[Any, ...], kwargs: dict[str, Any], weight: Any) -> Fans:
    taps, groups = math.prod(weight.shape[2:]), _argument(args, kwargs, "groups", 6, 1)
    stride = _size(_argument(args, kwargs, "stride", 3, 1), weight.ndim - 2)
    return max(weight.shape[0] // groups * taps // stride, 1), weight.shape[1] * taps


def _einsum(args: tuple[Any, ...], weight: Any) -> Fans:
    """Indices of the weight that the output lacks are summed over. Those that no other operand has are new."""
    equation, operands = args[0], args[1:]
    if not isinstance(equation, str):
        return weight.shape[0], weight.shape[-1]
    tensors = operands[0] if operands and isinstance(operands[0], tuple | list) else operands
    left, _, right = equation.replace(" ", "").replace("...", "").partition("->")
    terms = left.split(",")
    place = next((index for index, tensor in enumerate(tensors) if tensor is weight), len(terms) - 1)
    sizes = dict(zip(terms[place], weight.shape[-len(terms[place]) :], strict=False))
    others = set("".join(term for index, term in enumerate(terms) if index != place))
    summed = math.prod(size for letter, size in sizes.items() if letter not in right)
    new = math.prod(size for letter, size in sizes.items() if letter in right and letter not in others)
    return max(summed, 1), max(new, 1)


def _matmul(args: tuple[Any, ...], weight: Any) -> Fans:
    """`x @ W` sums over the rows of W, `W @ x` over its columns."""
    if weight.ndim < 2:
        return max(weight.numel(), 1), 1
    tensors = [argument for argument in args if hasattr(argument, "ndim")]
    rows, columns = weight.shape[-2], weight.shape[-1]
    return (columns, rows) if tensors[-2:][0] is weight else (rows, columns)
