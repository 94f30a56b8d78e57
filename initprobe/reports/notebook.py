"""For Jupyter notebooks: a result as one block of HTML, and a progress bar during a probe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console

_PATIENCE_S = 1.0  # a shorter probe shows no bar
_BETWEEN_S = 0.1
_COLUMNS = 100  # characters per line
# Jupyter's own style for `pre` in an output is not monospaced.
_FONT = "var(--jp-code-font-family, Menlo, Consolas, 'DejaVu Sans Mono', monospace)"
_STYLE = f"white-space: pre; overflow-x: auto; line-height: normal; font-family: {_FONT}"


def block(prints: Callable[[Console], None], draws: Callable[[], Figure | None], words: str) -> str:
    """A table and its picture as one block of HTML.

    Args:
        prints: prints the table to a console.
        draws: the picture below it; None for a result without one. Where it cannot be drawn, the reason is shown.
        words: what the picture shows, for those who cannot see it.
    """
    from initprobe.reports.console import markup

    return f'<pre style="{_STYLE}">{markup(prints, _COLUMNS)}</pre>{_picture(draws, words)}'


def _picture(draws: Callable[[], Figure | None], words: str) -> str:
    import html

    from initprobe.errors import ConfigError, InitprobeError

    try:
        figure = draws()
    except InitprobeError as error:
        return f"<p>no figure: {html.escape(error.text if isinstance(error, ConfigError) else str(error))}</p>"
    return "" if figure is None else _image(figure, html.escape(words, quote=True))


def _image(figure: Figure, words: str) -> str:
    import base64

    from initprobe.reports.figures.style import render

    data = base64.b64encode(render(figure, "png")).decode()
    return f'<img alt="{words}" style="max-width: 100%; margin-top: 1em" src="data:image/png;base64,{data}">'


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callback that draws a bar in a notebook's cell after one second; None outside a notebook."""
    if not _in_notebook():
        yield None
        return
    bar = _Bar(label)
    try:
        yield bar
    finally:
        bar.remove()


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process; imports nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Bar:
    """A progress bar in its own display, which is cleared at the end."""

    def __init__(self, label: str) -> None:
        self._label, self._started, self._last = label, time.monotonic(), 0.0
        self._place: Any = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._started > _PATIENCE_S and now - self._last > _BETWEEN_S:
            import html

            self._last = now
            share = f"{100 * done / max(total, 1):.0f}%"
            self._show(
                f'{html.escape(self._label)} <progress value="{done}" max="{total}"></progress> {share}',
                f"{self._label} {share}",
            )

    def remove(self) -> None:
        """Clear the display."""
        if self._place is not None:
            self._show("", "")

    def _show(self, markup: str, text: str) -> None:
        from IPython.display import display

        data = {"text/html": markup, "text/plain": text}
        if self._place is None:
            self._place = display(data, raw=True, display_id=True)
        else:
            self._place.update(data, raw=True)
