"""Maxima over windows of concatenated maps: each map is pooled by itself, because each channel is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from initprobe.torch.theory.concatenation import concatenated, divided
from initprobe.torch.theory.moments import Moments
from initprobe.torch.theory.rule import Lookup, Moved, axis_of, first
from initprobe.torch.theory.trace import Node


def pieces_of(node: Node) -> tuple[Node, ...]:
    """The maps that were concatenated along channels to make the input of a pooling; none for another input.

    Args:
        node: a pooling.
    """
    source = first(node)
    if source.name not in ("cat", "concat", "concatenate") or not source.args or node.args[:1] != (source,):
        return ()
    axis = source.argument("dim", 1, source.kwargs.get("axis", 0))
    pieces = source.args[0]
    is_whole = isinstance(pieces, tuple) and all(isinstance(piece, Node) for piece in pieces)
    return pieces if is_whole and axis_of(axis, len(source.shape)) == 1 else ()


def _parts(node: Node, pieces: tuple[Node, ...]) -> tuple[list[Node], Node]:
    """The pooling of each piece, and their concatenation."""
    parts = [
        replace(node, args=(piece, *node.args[1:]), shape=(node.shape[0], piece.shape[1], *node.shape[2:]))
        for piece in pieces
    ]
    return parts, replace(first(node), args=(tuple(parts), 1), kwargs={}, shape=node.shape)


def pooled(node: Node, of: Lookup, pool: Callable[[Node, Lookup], Moments]) -> Moments:
    """The moments of the pooled pieces together.

    Args:
        node: a pooling whose input has pieces.
        of: gives the moments of a node.
        pool: the rule for one piece.
    """
    parts, whole = _parts(node, pieces_of(node))
    made = {id(part): pool(part, of) for part in parts}
    return concatenated(whole, lambda part: made[id(part)])


def pooled_back(
    node: Node, of: Lookup, gradient: Moments, pool: Callable[[Node, Lookup], Moments], back: Callable[..., Moved]
) -> Moments:
    """The gradient of the concatenated maps.

    Args:
        node: a pooling whose input has pieces.
        of: gives the moments of a node.
        gradient: moments of the gradient of the output.
        pool: the rule for one piece.
        back: the rule for one piece on the way back.
    """
    parts, whole = _parts(node, pieces_of(node))
    made = {id(part): pool(part, of) for part in parts}
    shares = divided(whole, lambda part: made[id(part)], gradient)
    moved = {piece.number: each for part, share in shares for piece, each in back(part, of, share)}
    weights = [piece.shape[1] * moved[piece.number].square for piece in pieces_of(node)]
    gains = [moved[piece.number].gain for piece in pieces_of(node)]
    gain = sum(w * g for w, g in zip(weights, gains, strict=True)) / max(sum(weights), 1e-300)
    total = concatenated(first(node), lambda piece: moved[piece.number])
    return replace(total, noise=gradient.noise, gain=gain, bent=None)
