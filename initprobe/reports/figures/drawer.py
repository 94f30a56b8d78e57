"""A second process that draws the figures: it loads matplotlib while this process measures.

It is a copy of this process where that is safe, else a fresh Python. It reads what the figures show and returns figure
files; only this process writes them to disk. If the second process fails, this one draws the same figures, and shows
the same error if there is one.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NoReturn

from initprobe.data.machine import processors
from initprobe.reports.figures.fork import Fork, can_fork

if TYPE_CHECKING:
    from initprobe.reports.figures.run_data import RunData
    from initprobe.results.run import ProbeResult


Picture = tuple[str, str, bytes]  # kind, format, file
Process = subprocess.Popen[bytes] | Fork


@contextmanager
def drawer(formats: Sequence[str]) -> Iterator[Process | None]:
    """Start a process that prepares to draw in these formats; None where it would not help."""
    process = _start(formats) if formats and _helps() else None
    if process is None:
        yield None
        return
    with process:
        try:
            yield process
        finally:
            process.terminate()


def pictures(result: ProbeResult, formats: Sequence[str], process: Process | None = None) -> Iterable[Picture]:
    """The figures of a result, the summary first; drawn by `process` if it works.

    Args:
        result: of a run.
        formats: `png`, `svg` and so on.
        process: another process that has loaded matplotlib; None to draw here.
    """
    return asked(result, formats, process)()


def asked(
    result: ProbeResult, formats: Sequence[str], process: Process | None = None
) -> Callable[[], Iterable[Picture]]:
    """Ask for the figures of a result; the returned function waits for them.

    Args:
        result: of a run.
        formats: `png`, `svg` and so on.
        process: another process that has loaded matplotlib; None to draw here.
    """
    from initprobe.reports.figures.run_data import run_data

    data = run_data(result)
    if process is None:
        return partial(_drawn, data, formats)
    answer: list[bytes] = []
    request = pickle.dumps(data)
    # In a thread, because the process reads the request only once it has loaded matplotlib.
    waiting = Thread(target=_ask, args=(process, request, answer), daemon=True)
    waiting.start()

    def drawn() -> Iterable[Picture]:
        waiting.join()
        from_there = _received(process, answer)
        return _drawn(data, formats) if from_there is None else from_there

    return drawn


def _helps() -> bool:
    """Whether there is a second processor, and matplotlib is not loaded in this process."""
    return processors() > 1 and "matplotlib" not in sys.modules and bool(sys.executable)  # an embedded Python has none


def _start(formats: Sequence[str]) -> Process | None:
    if can_fork():
        return _forked(formats)
    # The same module path as here. One thread only, because it forks: the BLAS of NumPy would start others.
    places = os.pathsep.join(place for place in sys.path if isinstance(place, str))  # imports ignore other entries
    environment = os.environ | {"PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()", *formats]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=nowhere)
    except OSError:
        return None


def _forked(formats: Sequence[str]) -> Fork | None:
    """A copy of this process, made before it has loaded what the copy does not need."""
    try:
        return Fork(partial(_serve, formats))
    except OSError:
        return None


def _ask(process: Process, request: bytes, answer: list[bytes]) -> None:
    """Send a request and append the answer, unless the system fails."""
    with suppress(OSError):
        answer.append(process.communicate(request)[0])


def _received(process: Process, answer: Sequence[bytes]) -> list[Picture] | None:
    """The figures in the answer of the process; None if it failed."""
    if not answer:
        return None
    file, received = io.BytesIO(answer[0]), []
    try:
        while file.tell() < len(answer[0]):
            received.append(pickle.load(file))
    except Exception:  # the output is no figure
        return None
    return received if process.returncode == 0 else None


def _drawn(data: RunData, formats: Sequence[str], chosen: slice = slice(None)) -> Iterator[Picture]:
    from initprobe.reports.figures.run import drawn, kinds_of
    from initprobe.reports.figures.style import render

    for kind in kinds_of(data)[chosen]:
        figure = drawn(data, kind)
        for fmt in formats:
            yield kind, fmt, render(figure, fmt)


def main() -> None:
    """Draw what standard input describes in the formats of the command line; write figures to standard output."""
    _serve(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer)


def _serve(formats: Sequence[str], request: IO[bytes], answer: IO[bytes]) -> NoReturn:
    """Read what the figures of a result show, write them and end this process."""
    gc.disable()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(1))
    only_png = set(formats) == {"png"}
    if only_png:
        _skip_unused()
    _load_matplotlib()
    _remember()
    if only_png:
        _read_fonts_at_once()
    data = pickle.load(request)  # from the process that started this one
    chosen, helper = slice(None), None
    if sys.platform == "linux":  # other systems lack a fork that their libraries support
        helper = os.fork()
        chosen = slice(1, None) if helper else slice(1)  # the summary takes as long as all others
    mine = list(_drawn(data, formats, chosen))
    failed = bool(helper) and os.waitpid(helper, 0)[1] != 0
    for picture in mine:
        pickle.dump(picture, answer)
    answer.flush()
    if helper == 0:
        os._exit(0)  # the parent process cleans up
    _end(int(failed))


def _load_matplotlib() -> None:
    """Load matplotlib, before the result arrives, without what no figure of ours needs.

    Without 3D axes it takes a tenth less time. For each of its artists matplotlib writes a help text and a signature
    of `set`: without them it takes a third less, 140 ms instead of 200. Help texts that are not indented anew save 9 ms
    more.
    """
    inspect.cleandoc = lambda doc: doc
    sys.modules["mpl_toolkits.mplot3d"] = None  # type: ignore[assignment]
    from matplotlib import artist

    artist.kwdoc = lambda artist: ""
    artist.Artist._update_set_signature_and_docstring = classmethod(lambda _: None)  # type: ignore[attr-defined]
    import initprobe.reports.figures.run  # noqa: F401


def _skip_unused() -> None:
    """Load no axes of dates or names, and no glyphs of TeX. They take a twentieth of the time of loading."""
    for unused in ("matplotlib.category", "matplotlib.dates", "fontTools.agl"):
        sys.modules[unused] = ModuleType(unused)


def _remember() -> None:
    """Keep our style, and the files of each font: matplotlib would look for both again for every figure and text."""
    from matplotlib import font_manager

    from initprobe.reports.figures.style import keep_style

    keep_style()
    fonts: Any = font_manager.fontManager
    fonts._find_fonts_by_props = lru_cache(fonts._find_fonts_by_props)


def _read_fonts_at_once() -> None:
    """Hold fonts in memory: matplotlib reads each glyph from the file anew, in 17,000 pieces for four figures.

    This takes a seventh of the time of drawing. A PDF needs the name of the file.
    """
    from matplotlib import ft2font

    from_file = ft2font.FT2Font

    def from_memory(path: str, *args: Any, **options: Any) -> ft2font.FT2Font:
        return from_file(io.BytesIO(Path(path).read_bytes()), *args, **options)

    ft2font.FT2Font = from_memory  # type: ignore[assignment, misc]


def _end(code: int) -> NoReturn:
    """End quickly: remove temporary files of matplotlib, but skip the rest of the shutdown."""
    atexit._run_exitfuncs()
    os._exit(code)
