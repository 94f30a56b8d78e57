"""The files that a command writes: checked before the work starts, written completely or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from initprobe.cli.parameters import option
from initprobe.data.files import DEFAULT_OUT, RESULT_FILE, is_directory, is_file, kind_of, reason
from initprobe.errors import ConfigError, OutputError
from initprobe.formatting import visible
from initprobe.reports.figures.drawer import asked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.figures.drawer import Picture, Process
    from initprobe.results.run import ProbeResult

STDOUT = "-"
FORMATS = ("png", "svg", "pdf")


def format_option() -> Any:
    """`--format`, which several commands have."""
    return option("--format", default="png", show_default=True, metavar="png,svg,pdf", help="Figure formats.")


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """Where the figures and the result of one experiment go."""

    out: str | None = option(
        "-o", "--out", metavar="DIR", help=f"Directory of figures and result.json.  [default: {DEFAULT_OUT}/NAME/]"
    )
    formats: str = format_option()
    no_figures: bool = option(
        "--no-figures", is_flag=True, help="Draw no figures; write result.json only where -o names a directory."
    )

    def wanted(self) -> tuple[str, ...]:
        """The formats of the figures; none for no figures."""
        formats = parse_formats(self.formats)
        return () if self.no_figures else formats

    def given(self) -> Path | None:
        """The directory of `-o`."""
        return None if self.out is None else Path(self.out)

    def directory(self, name: Callable[[], str]) -> Path | None:
        """Where the files go: the directory of `-o`, else `initprobe-out/NAME`; None where nothing is written."""
        return self.given() or (None if self.no_figures else Path(DEFAULT_OUT) / name())


def check_writable(path: Path, directory: bool = False) -> None:
    """Check that a file, or a directory and the files in it, can be written.

    Args:
        path: of a file that may be there, or of a directory.
        directory: whether `path` is a directory, which is made if it is not there.

    Raises:
        OutputError: names the path and the reason.
    """
    if not directory and is_directory(path):
        raise OutputError("is a directory; name a file", file=path)
    if not directory and _is_stream(path):
        return
    if not directory and not is_directory(path.parent):
        raise OutputError(f"no directory {path.parent}; make it first", file=path)
    home = next(p for p in (path, *path.absolute().parents) if kind_of(p) != "nothing") if directory else path.parent
    if not is_directory(home):
        raise OutputError(f"cannot be a directory, because {home} is a {kind_of(home)}", file=path)
    with _writing(path), tempfile.TemporaryFile(dir=home):
        pass


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, then rename it: a file is never half-written.

    A link is followed. A device or a pipe is written to, not replaced.

    Args:
        path: of the file.
        write: gets an open binary file.

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
    """Turn an error of the system into one line; a pipe whose reader has gone ends the program quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise OutputError(f"cannot be written: {reason(error)}", file=path) from None


def _stream(path: Path) -> IO[bytes]:
    """A device or a pipe, open for writing; a pipe without a reader is refused, since it would block."""
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
    """Write text to a file, or to standard output for `-`.

    Args:
        target: a path, or `-` for standard output.
        text: what is written, in UTF-8.

    Raises:
        OutputError: the file cannot be written.
    """
    if target == STDOUT:
        # People read a terminal, programs read a pipe: only a terminal needs escapes for control characters.
        click.echo(visible(text, breaks=True) if sys.stdout.isatty() else text, nl=False)
    else:
        write_whole(Path(target), lambda file: file.write(text.encode()))


def write_figure(target: str, fmt: str, figure: Figure) -> None:
    """Write one figure to a file, and name the file at the end.

    Args:
        target: a path, or `-` for standard output.
        fmt: `png`, `svg` or another format of the figures.
        figure: what is written.

    Raises:
        OutputError: the file cannot be written.
    """
    from initprobe.reports.figures.style import render

    data = render(figure, fmt)
    write_whole(Path(target), lambda file: file.write(data))
    name_at_end(target)


def write_page(target: str, text: str) -> None:
    """Write an HTML page to a file, or to standard output for `-`, and name the file at the end.

    Args:
        target, text: a path or `-`, and the page as HTML.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(target, text)
    name_at_end(target)


def name_at_end(target: str) -> None:
    """Say on standard error, when the command ends, that a file was written; not for `-`, nor with `--quiet`."""
    context = click.get_current_context(silent=True)
    if context and target != STDOUT and not context.params.get("quiet"):
        words = f"{'wrote':<10}{relative(Path(target))}"
        context.call_on_close(lambda: click.echo(words, err=True))


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats in a text like `png,svg`.

    Raises:
        ConfigError: an unknown format.
    """
    formats = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"{name!r} is not one of {', '.join(FORMATS)}", field="--format")
    return formats


def figure_format(path: str) -> str:
    """The format of a figure, from the ending of its file name.

    Raises:
        ConfigError: an unknown ending.
    """
    fmt = Path(path).suffix[1:].lower()
    if fmt not in FORMATS:
        raise ConfigError(f"{path} must end in .png, .svg or .pdf", field="--figure")
    return fmt


def check_exports(targets: Iterable[str | None], directory: Path | None) -> None:
    """Check all outputs of a command before its work starts.

    Args:
        targets: files, or `-` for standard output; an empty one is skipped.
        directory: the output directory, which will be made.

    Raises:
        ConfigError: two outputs have the same target.
        OutputError: an output cannot be written.
    """
    given = [target for target in targets if target]
    if given.count(STDOUT) > 1:
        raise ConfigError("only one output can go to standard output; give the other a file name")
    files = [Path(target).absolute() for target in given if target != STDOUT]
    if twice := [path for path in files if files.count(path) > 1]:
        raise ConfigError(f"two outputs name the same file, {relative(twice[0])}; give each a file of its own")
    for path in files:
        if directory is None or path.parent != directory.absolute():
            check_writable(path)
    if directory is not None:
        check_writable(directory, directory=True)


@contextmanager
def saving(
    result: ProbeResult, directory: Path | None, formats: Sequence[str], process: Process | None = None
) -> Iterator[list[Path]]:
    """Draw the figures while a block runs; at its end write them, and result.json, to a directory.

    They are also written where the block fails, as when the reader of a pipe has gone. They are not after Ctrl-C.

    Args:
        result: what was measured.
        directory: where the files go, made if necessary; None to write nothing.
        formats: of the figures; none draws no figures.
        process: the process that draws them; without it this process draws, at the end of the block.

    Yields:
        The paths, figures first: empty in the block, complete after it.
    """
    written: list[Path] = []
    drawn = asked(result, formats, process) if directory and formats else tuple
    try:
        yield written
    finally:
        pictures = drawn()  # the process must have ended, also after Ctrl-C
        if directory and not isinstance(sys.exception(), KeyboardInterrupt):
            written += save_result(result, directory, pictures)


def save_result(result: ProbeResult, directory: Path, pictures: Iterable[Picture]) -> list[Path]:
    """Write the figures and result.json to a directory.

    A figure that an earlier run left in another format would show another experiment, so it is removed.

    Args:
        result: of a run.
        directory: is made if it is not there.
        pictures: the figures, drawn while they are written.

    Returns:
        The paths of the files.

    Raises:
        OutputError: a file cannot be written.
    """
    written = []
    for kind, fmt, data in pictures:
        written.append(directory / f"{kind}.{fmt}")
        write_whole(written[-1], lambda file, data=data: file.write(data))  # type: ignore[misc]
    for stale in _figures_of_earlier_run(directory, written):
        stale.unlink(missing_ok=True)
    written.append(directory / RESULT_FILE)
    write_whole(written[-1], lambda file: file.write(result.to_json().encode()))
    return written


def _figures_of_earlier_run(directory: Path, written: Sequence[Path]) -> list[Path]:
    """Figures that are not `written` and that an earlier run left in `directory`, beside its result.json."""
    if not is_file(directory / RESULT_FILE):
        return []
    others = [path for fmt in FORMATS for path in directory.glob(f"*.{fmt}") if path not in written]
    if not others:
        return []
    from initprobe.reports.figures.run import KINDS  # lazy: it loads matplotlib

    return [path for path in others if path.stem in KINDS]


def relative(path: Path) -> str:
    """A path relative to the working directory where it lies below it."""
    try:
        return visible(str(path.absolute().relative_to(Path.cwd())))
    except ValueError:
        return visible(str(path))


def is_watched() -> bool:
    """Whether standard error is a terminal; it may be closed."""
    return sys.stderr is not None and sys.stderr.isatty()
