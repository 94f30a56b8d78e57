"""Progress and the expected time of long work, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from initprobe.cli.outputs import is_watched
from initprobe.formatting import duration

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, int], None]

# A terminal shows progress after this time.
_SHOWN_AFTER_S = 1.0
# Work that takes longer than this is announced, on any stream. The pace is known after two seconds of steady work.
PATIENCE_S, _SETTLED_S = 60.0, 2.0
# Without a terminal, long work prints a line each time that this share of it is done.
_SHARE = 0.1


@contextmanager
def progress_bar(label: str) -> Iterator[Advance | None]:
    """Show how far work with steps is: on a terminal a bar after one second.

    Work that takes longer than a minute is announced with its expected time, on any stream.

    Yields:
        A function to call with `(steps done, steps in total)`; None where standard error is closed.
    """
    if sys.stderr is None:
        yield None
    elif is_watched():
        with _bar(label) as advance:
            yield advance
    else:
        yield _Pace(lines=True)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show that work without steps goes on: on a terminal the elapsed time, after one second.

    Elsewhere one line says so after a minute.
    """
    if sys.stderr is None:
        yield
        return
    display = _elapsed(label) if is_watched() else None
    if display:
        timer = threading.Timer(_SHOWN_AFTER_S, display.start)
    else:
        timer = threading.Timer(PATIENCE_S, lambda: click.echo(f"{label}: not done after {PATIENCE_S:.0f} s", err=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if display:
            display.stop()


def _elapsed(label: str) -> Progress:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    display = Progress(*columns, console=Console(stderr=True), transient=True)
    display.add_task(label, total=None)
    return display


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
            if time.monotonic() - started > _SHOWN_AFTER_S:
                bar.update(task, completed=done, total=total, visible=True)
                bar.refresh()

        yield advance


class _Pace:
    """Announces long work once its pace is known, and again if the expected time doubles or halves.

    With `lines`, it then prints from time to time how far the work is.
    """

    def __init__(self, lines: bool) -> None:
        self._lines = lines
        self._first: tuple[float, int] | None = None
        self._expected: float | None = None
        self._said = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        # The time before the first step, for example to draw weights, says nothing about the steps.
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
