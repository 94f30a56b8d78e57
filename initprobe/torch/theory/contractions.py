"""Rules for `einsum`: sums over products of independent tensors, of which some may be parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from initprobe.torch.theory.moments import Moments, NoRule, gaussian_noise, independent, lengthened, shares
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.rule import Lookup, Moved, Rule, names
from initprobe.torch.theory.trace import Constant, Node
from initprobe.torch.theory.weights import weights_of_product


def _read(node: Node) -> tuple[list[str], list[Any], str]:
    """The letters of each operand, the operands, and the letters of the output."""
    equation, operands = node.args[0], list(node.args[1:])
    if len(operands) == 1 and isinstance(operands[0], tuple):
        operands = list(operands[0])
    if not isinstance(equation, str) or "->" not in equation:
        raise NoRule("einsum without an output")
    given, _, made = equation.replace(" ", "").partition("->")
    letters = given.split(",")
    free = [letter for letter in ascii_letters if letter not in equation]
    widths = [len(each.shape) - len(text) + 3 for text, each in zip(letters, operands, strict=True) if "..." in text]
    batch = "".join(free[: max(widths, default=0)])
    letters = [text.replace("...", batch[len(batch) - len(each.shape) + len(text) - 3 :] if "..." in text else "")
               for text, each in zip(letters, operands, strict=True)]  # fmt: skip
    made = made.replace("...", batch)
    if any(len(set(text)) < len(text) for text in (*letters, made)):
        raise NoRule("einsum with a diagonal")
    signals = [each for each in operands if isinstance(each, Node)]
    if len({each.number for each in signals}) < len(signals):
        raise NoRule("einsum of a signal with itself")
    return letters, operands, made


def contracted(parts: Sequence[tuple[str, Moments]], made: str, shape: Sequence[int]) -> Moments:
    """The moments of a sum over products.

    Args:
        parts: letters of the axes of each factor, and its moments; the factors are independent.
        made: letters of the axes of the output; the sum is over all others.
        shape: of the output.
    """
    parts = [(letters, without_places(moments)) for letters, moments in parts]
    sizes: dict[str, int] = {}
    lengths: dict[str, int] = {}
    for letters, moments in parts:
        for letter, size, length in zip(letters, moments.shape, moments.pairs.shape, strict=True):
            sizes[letter], lengths[letter] = max(sizes.get(letter, 1), size), max(lengths.get(letter, 1), length)
    if set(made) - set(sizes):
        raise NoRule("einsum with an axis that no factor has")
    operands, words = [], []
    for letters, moments in parts:
        pairs = moments.pairs
        for axis, letter in enumerate(letters):
            pairs = lengthened(pairs, lengths[letter], axis, sizes[letter])
        operands.append(pairs)
        words.append(letters)
    for letter in set(sizes) - set(made):
        operands.append(shares(sizes[letter], lengths[letter]) * sizes[letter] ** 2)
        words.append(letter)
    count = math.prod(sizes[letter] for letter in set(sizes) - set(made))
    mean = count * math.prod(moments.mean for _, moments in parts)
    noise = sum(moments.noise for _, moments in parts)
    return Moments(tuple(shape), mean, np.einsum(f"{','.join(words)}->{made}", *operands, optimize=True), noise)


def _moments_of(operand: Any, of: Lookup) -> Moments:
    if isinstance(operand, Node):
        return of(operand)
    weights = weights_of_product(operand)
    return independent(operand.shape, weights.mean, weights.variance + weights.mean**2)


def _einsum(node: Node, of: Lookup) -> Moments:
    letters, operands, made = _read(node)
    parts = [(text, _moments_of(each, of)) for text, each in zip(letters, operands, strict=True)]
    moments = contracted(parts, made, node.shape)
    drawn = any(isinstance(each, Constant) for each in operands)
    return moments.with_noise(moments.noise + gaussian_noise(moments)) if drawn else moments


def _einsum_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    letters, operands, made = _read(node)
    for place, source in enumerate(operands):
        if not isinstance(source, Node):
            continue
        others = [(text, _moments_of(each, of)) for i, (text, each) in enumerate(zip(letters, operands, strict=True))
                  if i != place]  # fmt: skip
        moved = contracted([(made, gradient), *others], letters[place], source.shape)
        drawn = any(isinstance(each, Constant) for each in operands)
        yield source, moved.with_noise(gradient.noise + (gaussian_noise(moved) if drawn else 0.0))


RULES = (Rule(names("einsum"), _einsum, _einsum_back),)
