"""The `initprobe` program: it finds the commands, calls one, and turns errors into exit codes.

To add a command, add a file to `cli/commands`: its name is that of the command, its docstring the help.

Exit codes: 0 success; 1 a check failed; 2 usage or configuration; 70 a bug, with its traceback;
130 interrupted. A closed pipe ends the program quietly.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from initprobe.cli import commands
from initprobe.cli.html_report import WORDS
from initprobe.cli.parameters import Context
from initprobe.errors import InitprobeError
from initprobe.formatting import message
from initprobe.registry import suggestion
from initprobe.reports.encoding import adapt

PROGRAM = "initprobe"
EXIT_USAGE, EXIT_BUG, EXIT_INTERRUPTED = 2, 70, 130
_LAST_STREAM, _ERROR = 2, "Error: "
# The order of commands in `initprobe --help`. Commands that are not named here follow, by name.
_ORDER = (
    *("tour", "run", "torch", "compare", "sweep", "results", "check", "diff", "merge", "show", "list", "explain"),
    *("gain", "phase", "recommend", "recognize", "spectrum", "width", "validate", "schema"),
)


def _files_of_commands() -> dict[str, Path]:
    """The commands and their files: all that is in `cli/commands`, not imported."""
    files = {path.stem: path for place in commands.__path__ for path in Path(place).glob("*.py") if path.stem[0] != "_"}
    names = [name for name in _ORDER if name in files]
    return {name: files[name] for name in (*names, *sorted(files.keys() - names))}


COMMANDS = _files_of_commands()


def _summary(file: Path) -> str:
    """What `initprobe --help` says of a command: the first line of its file's docstring."""
    with file.open(encoding="utf-8") as lines:
        return lines.readline().strip().strip('"').removesuffix(".")


class LazyGroup(click.Group):
    """Imports the file of a command only when that command is called."""

    context_class = Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command line for errors and reports."""
        ctx.meta[WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, without importing them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now; None for none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{commands.__name__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in `--help`, from their docstrings alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(file)) for name, file in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Commands and options that begin so."""
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        items = [CompletionItem(name, help=_summary(COMMANDS[name])) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; the error for an unknown command names the nearest.

        Args:
            ctx: of click.
            args: words of the command line.

        Raises:
            click.UsageError: no such command.
        """
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}.{suggestion(name, list(COMMANDS)) or ' `initprobe -h` shows all.'}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and end quietly where the reader of its output is gone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our output is gone. Python would raise once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from initprobe.results.release import release

        click.echo(f"initprobe {release()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, callback=_print_version, expose_value=False, is_eager=True, help="Print the version."
)
def cli() -> None:
    """See whether a network's signal and gradient survive, before you train it.

    \b
    initprobe run --init xavier --act tanh --layers 10
    initprobe run --init normal:std=0.01 --act tanh        # the signal vanishes
    initprobe list initializers
    initprobe explain he --fan-in 784 --fan-out 256
    """
    # For `--act package.module:name`. Last, so that no file here hides a library; absolute, for worker processes.
    with suppress(OSError):  # the directory may have been removed
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)


def main(args: Sequence[str] | None = None) -> None:
    """Run the program and exit with its exit code."""
    if (instruction := os.environ.get(f"_{PROGRAM.upper()}_COMPLETE")) is not None:
        from initprobe.cli.completion import complete

        sys.exit(complete(cli, instruction))
    _fill_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        adapt(stream)
    sys.exit(_outcome(args))


def program() -> None:
    """Run `main` as a process of its own, and end it at once.

    Python would first destroy all objects, which takes 0.1 s. That is a quarter of the processor time of a small run.
    It is 8% of that of the README's first command with `--no-figures` (medians of 9 and 5).

    Raises:
        SystemExit: with the exit code, where the process cannot be ended at once.
    """
    # Else pydantic reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if sys.argv[1:2] == ["torch"]:
        # The garbage collector would visit all objects of PyTorch again and again. Without it the command takes 0.82
        # times the processor time on 200 small layers, and 0.70 on 1,000 residual ones: medians of three runs each.
        gc.disable()
    try:
        main()
    except SystemExit as end:
        if _may_end_at_once():
            with suppress(OSError, ValueError):  # Python's own end reports a stream that cannot be written
                sys.stdout.flush()
                sys.stderr.flush()
                atexit._run_exitfuncs()
                os._exit(end.code if isinstance(end.code, int) else 1)
        raise


def _may_end_at_once() -> bool:
    """Whether nothing waits for the end of Python: no thread, profiler or debugger."""
    threads = [thread for thread in threading.enumerate() if not thread.daemon]
    return (
        threads == [threading.current_thread()]
        and sys.gettrace() is None
        and sys.getprofile() is None
        and "cProfile" not in sys.modules
    )


def _fill_closed_streams() -> None:
    """Connect closed standard streams to the null device, so that no file that we open gets their number."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST_STREAM:
            pass
        os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _outcome(args: Sequence[str] | None) -> int:
    try:
        return int(cli.main(args, prog_name=PROGRAM, standalone_mode=False) or 0)
    except (click.Abort, KeyboardInterrupt):  # click turns most of the latter into the former
        return _interrupted()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return EXIT_USAGE
    except click.ClickException as error:
        _show(error)
        return EXIT_USAGE
    except InitprobeError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except SystemExit as error:  # our code never raises it; a function of the user does
        click.echo(f"Error: your own code calls sys.exit({error.code!r}); let it raise an error instead", err=True)
        return EXIT_USAGE
    except Exception as error:
        if _was_interrupted(error):
            return _interrupted()
        if isinstance(error, OSError) and (fault := _fault_of_system(error)):
            click.echo(f"Error: {message(fault)}", err=True)
            return EXIT_USAGE
        traceback.print_exc()
        click.echo("This is a bug in initprobe, not in your command.", err=True)
        return EXIT_BUG


def _interrupted() -> int:
    click.echo("Interrupted; no file is half-written.", err=True)
    return EXIT_INTERRUPTED


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is the cause: Python 3.11 makes a RuntimeError of one that comes while a class is created."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _show(error: click.ClickException) -> None:
    """Print an error of click: the usage of the command, then one line without control characters."""
    if isinstance(error, click.NoSuchOption) and error.ctx:
        error = click.UsageError(_unknown_option(error.option_name, error.ctx), error.ctx)
    text = io.StringIO()
    error.show(text)
    usage, start, fault = text.getvalue().partition(_ERROR)
    words = (fault or error.format_message()).replace("\n\t", " ")  # as click lists the choices of an argument
    click.echo(usage + start + message(words), err=True)


def _unknown_option(name: str, ctx: click.Context) -> str:
    """What helps, with the options of all commands in view."""
    from initprobe.cli.option_hints import unknown_option

    commands = ((each, cli.get_command(ctx, each)) for each in COMMANDS)
    return unknown_option(name, ctx, {each: command for each, command in commands if command})


def _fault_of_system(error: OSError) -> str | None:
    """An error of the system that the user can correct, as one line. None for a bug: it names no path of the user."""
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EIO):
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return "the working directory no longer exists; change to another one"
    return None


def _has_working_directory() -> bool:
    with suppress(OSError):
        return Path.cwd().is_dir()
    return False
