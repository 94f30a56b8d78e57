"""How far a command is, and how long it will take, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from initprobe.cli.outputs import is_watched
from initprobe.formatting import duration

Advance = Callable[[int, int], None]

# A run that takes longer than this is announced. The pace is known after some time of steady work.
PATIENCE_S, _SETTLED_S = 60.0, 2.0
# Where no bar is seen, a line says how far a long run is each time that this share of it is done.
_SHARE = 0.1


@contextmanager
def progress_bar(label: str) -> Iterator[Advance | None]:
    """A callback `(steps done, steps in all)` that says how far the work is; None where standard error is closed.

    A terminal shows a bar after one second. Work that takes longer than a minute is announced, on any stream.
    """
    if sys.stderr is None:
        yield None
    elif is_watched():
        with _bar(label) as advance:
            yield advance
    else:
        yield _Pace(lines=True)


def part_of(advance: Advance | None, number: int, parts: int) -> Advance | None:
    """The callback of part `number` of several that are alike."""
    return advance and (lambda done, total: advance(number * total + done, parts * total))


@contextmanager
def _bar(label: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import Progress

    started = time.monotonic()
    pace = _Pace(lines=False)
    with Progress(console=Console(stderr=True), transient=True, disable=False, auto_refresh=False) as bar:
        task = bar.add_task(label, visible=False)

        def advance(done: int, total: int) -> None:
            pace(done, total)
            if time.monotonic() - started > 1:
                bar.update(task, completed=done, total=total, visible=True)
                bar.refresh()

        yield advance


class _Pace:
    """Announces long work once its pace is known, and again where it turns out twice as long or half as long.

    With `lines`, it then says now and then how far the work is.
    """

    def __init__(self, lines: bool) -> None:
        self._lines = lines
        self._first: tuple[float, int] | None = None
        self._expected: float | None = None
        self._said = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        # What came before the first step, as weights that are drawn, is no measure of the steps.
        since, before = self._first = self._first or (now, done)
        if now - since < _SETTLED_S or not before < done < total:
            return
        left = (now - since) / (done - before) * (total - done)
        if left > PATIENCE_S and self._is_news(now - since + left):
            self._expected, self._said = now - since + left, done / total
            click.echo(f"expected: about {duration(left)}", err=True)
        elif self._lines and self._expected is not None and done / total >= self._said + _SHARE:
            self._said = done / total
            click.echo(f"{100 * done // total}% done, about {duration(left)} left", err=True)

    def _is_news(self, seconds: float) -> bool:
        return self._expected is None or not self._expected / 2 < seconds < self._expected * 2
