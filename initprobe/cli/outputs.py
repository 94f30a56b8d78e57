"""Files that a command writes: checked before the work starts, written whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from initprobe.data.files import is_directory, is_file, kind_of, reason
from initprobe.errors import ConfigError, OutputError
from initprobe.formatting import visible
from initprobe.reports.figures.drawer import pictures

if TYPE_CHECKING:
    from initprobe.reports.figures.drawer import Process
    from initprobe.results.run import ProbeResult

STDOUT = "-"
FORMATS = ("png", "svg", "pdf")
RESULT_FILE = "result.json"


def check_writable(path: Path, directory: bool = False) -> None:
    """Make sure that a file, or a directory and files in it, can be written.

    Raises:
        OutputError: names the path and the reason.
    """
    if not directory and is_directory(path):
        raise OutputError(f"{path} is a directory; name a file")
    if not directory and _is_stream(path):
        return
    if not directory and not is_directory(path.parent):
        raise OutputError(f"{path}: there is no directory {path.parent}; make it first")
    home = next(p for p in (path, *path.absolute().parents) if kind_of(p) != "nothing") if directory else path.parent
    if not is_directory(home):
        raise OutputError(f"{home} is a {kind_of(home)}, so {path} cannot be a directory")
    with _writing(path), tempfile.TemporaryFile(dir=home):
        pass


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, then rename it: it is there whole, or as it was before.

    A link is followed, and what is no regular file (a device, a pipe) is written to, not replaced.

    Raises:
        OutputError: names the path and the reason.
    """
    with _writing(path):
        if _is_stream(path):
            with _stream(path) as file:
                write(file)
        else:
            _replace(path.resolve(), write)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the system says against writing is one line; a pipe whose reader has left ends the program quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # the last for links that go round in a circle
        raise OutputError(f"{path} cannot be written: {reason(error)}") from None


def _stream(path: Path) -> IO[bytes]:
    """A device or a pipe, open to write; a pipe without a reader would block, and is refused."""
    number = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(number, True)
    return os.fdopen(number, "wb")


def _is_stream(path: Path) -> bool:
    return kind_of(path) not in ("file", "directory", "nothing")


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: str, text: str) -> None:
    """Write text to a file, or to standard output for `-`."""
    if target == STDOUT:
        # What a terminal is shown is read by people, what a pipe is given by programs.
        click.echo(visible(text, breaks=True) if sys.stdout.isatty() else text, nl=False)
    else:
        write_whole(Path(target), lambda file: file.write(text.encode()))


def parse_formats(text: str) -> tuple[str, ...]:
    """`png,svg` to its parts.

    Raises:
        ConfigError: a format that figures do not come in.
    """
    formats = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"--format: {name!r} is not one of {', '.join(FORMATS)}")
    return formats


def figure_format(path: str) -> str:
    """The format that a figure's file name asks for.

    Raises:
        ConfigError: none that figures come in.
    """
    fmt = Path(path).suffix[1:].lower()
    if fmt not in FORMATS:
        raise ConfigError(f"--figure: {path} must end in .png, .svg or .pdf")
    return fmt


def check_exports(targets: Iterable[str | None], directory: Path | None) -> None:
    """Check every output of a command before its work starts.

    Raises:
        ConfigError: two outputs go to one place.
        OutputError: one of them cannot be written.
    """
    given = [target for target in targets if target]
    if given.count(STDOUT) > 1:
        raise ConfigError("only one export can go to standard output; give the other a file name")
    files = [Path(target).absolute() for target in given if target != STDOUT]
    if len(set(files)) < len(files):
        raise ConfigError("two exports name the same file")
    for path in files:
        if directory is None or path.parent != directory.absolute():  # which will be made
            check_writable(path)
    if directory is not None:
        check_writable(directory, directory=True)


def save_result(
    result: ProbeResult, directory: Path, formats: Sequence[str], process: Process | None = None
) -> list[Path]:
    """Write the figures (none for no formats) and the result itself to `directory`; give the paths, figures first.

    A `process` that is ready to draw figures in these formats does so.
    A figure of an earlier run in a format that was not asked for now would show another experiment: it is removed.
    """
    written = []
    for kind, fmt, data in pictures(result, formats, process) if formats else ():
        written.append(directory / f"{kind}.{fmt}")
        write_whole(written[-1], lambda file, data=data: file.write(data))  # type: ignore[misc]
    for stale in _figures_of_earlier_run(directory, written):
        stale.unlink(missing_ok=True)
    written.append(directory / RESULT_FILE)
    write_whole(written[-1], lambda file: file.write(result.to_json().encode()))
    return written


def _figures_of_earlier_run(directory: Path, written: Sequence[Path]) -> list[Path]:
    """Figures that are not `written` and that an earlier run left in `directory`, where its result lies."""
    if not is_file(directory / RESULT_FILE):
        return []
    others = [path for fmt in FORMATS for path in directory.glob(f"*.{fmt}") if path not in written]
    if not others:
        return []
    from initprobe.reports.figures.run import KINDS  # which loads matplotlib, so only where there is a figure

    return [path for path in others if path.stem in KINDS]


def relative(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return visible(str(path.absolute().relative_to(Path.cwd())))
    except ValueError:
        return visible(str(path))


def is_watched() -> bool:
    """Standard error is a terminal; it may be closed."""
    return sys.stderr is not None and sys.stderr.isatty()
