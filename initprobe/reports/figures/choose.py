"""One of the figures that an object offers, as its caller wants it to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from initprobe.errors import UnknownNameError
from initprobe.registry import suggestion
from initprobe.reports.figures.look import Look, thinned
from initprobe.reports.figures.titles import fit_words

Maker = Callable[[Look], Figure]


def choose(makers: Mapping[str, Maker], kind: object, look: Look) -> Figure:
    """Draw a figure.

    Args:
        makers: a function per kind of figure; the first is the usual one.
        kind: its name; None for the usual one.
        look: size, title, panels per row and style.

    Raises:
        UnknownNameError: there is no such kind; the message lists those there are.
    """
    name = next(iter(makers)) if kind is None else kind
    if not isinstance(name, str) or name not in makers:
        kinds = ", ".join(makers)
        raise UnknownNameError(f"unknown figure {kind!r}.{suggestion(str(kind), list(makers))} There are {kinds}.")
    figure = makers[name](look)
    if look.style == "paper":
        fit_words(figure)
        return thinned(figure)
    return figure
