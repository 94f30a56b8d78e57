"""The `initprobe` program: its commands, and what becomes of errors.

Exit codes: 0 fine; 1 a check that was asked for failed; 2 usage or configuration; 70 a bug, with its traceback;
130 interrupted. A closed pipe ends quietly.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from initprobe.errors import InitprobeError
from initprobe.formatting import message
from initprobe.registry import suggestion
from initprobe.reports.encoding import adapt

COMMANDS = {
    "run": "initprobe.cli.commands.run",
    "torch": "initprobe.cli.commands.torch",
    "compare": "initprobe.cli.commands.compare",
    "sweep": "initprobe.cli.commands.sweep",
    "results": "initprobe.cli.commands.results",
    "check": "initprobe.cli.commands.check",
    "diff": "initprobe.cli.commands.diff",
    "merge": "initprobe.cli.commands.merge",
    "show": "initprobe.cli.commands.show",
    "list": "initprobe.cli.commands.list",
    "explain": "initprobe.cli.commands.explain",
    "gain": "initprobe.cli.commands.gain",
    "phase": "initprobe.cli.commands.phase",
    "recommend": "initprobe.cli.commands.recommend",
    "spectrum": "initprobe.cli.commands.spectrum",
    "validate": "initprobe.cli.commands.validate",
    "schema": "initprobe.cli.commands.schema",
}
PROGRAM = "initprobe"
EXIT_USAGE, EXIT_BUG, EXIT_INTERRUPTED = 2, 70, 130
_LAST_STREAM, _ERROR = 2, "Error: "
OBJECTS_TO_COLLECT_AT = 50_000


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = COMMANDS.get(cmd_name)
        return None if home is None else import_module(home).command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named first; the error for an unknown one names the nearest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}.{suggestion(name, list(COMMANDS)) or ' `initprobe -h` shows all.'}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
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
    initprobe run --init normal:std=0.01 --act tanh        # the famous collapse
    initprobe list initializers
    initprobe explain he --fan-in 784 --fan-out 256
    """
    # For `--act package.module:name`; last, so that no file here hides a library, and in full, for worker processes.
    with suppress(OSError):  # somebody may have removed it under our feet
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)


def main(args: Sequence[str] | None = None) -> None:
    """Run the program and exit with the code that its outcome has."""
    if (instruction := os.environ.get(f"_{PROGRAM.upper()}_COMPLETE")) is not None:
        from initprobe.cli.completion import complete

        sys.exit(complete(cli, instruction))
    # Imports and pictures make objects by the hundred thousand, hardly any of them garbage: looking through them all
    # again and again is a tenth of a run.
    gc.set_threshold(OBJECTS_TO_COLLECT_AT)
    atexit.register(gc.freeze)  # then to take them apart one by one, a sixteenth of a run, is no use to anybody
    # Files are all that is drawn; a notebook's own backend, which its variable names, need not be installed here.
    os.environ["MPLBACKEND"] = "agg"
    _fill_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        adapt(stream)
    sys.exit(_outcome(args))


def _fill_closed_streams() -> None:
    """Where a standard stream is closed, what is written to it goes nowhere; no file of ours may take its number."""
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
    except click.Abort:
        click.echo("Interrupted; no file is half-written.", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        _show(error)
        return EXIT_USAGE
    except InitprobeError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except SystemExit as error:  # nothing of ours raises it: an `Activation` of somebody's did, or what it calls
        click.echo(f"Error: your own code calls sys.exit({error.code!r}); let it raise an error instead", err=True)
        return EXIT_USAGE
    except Exception as error:
        if isinstance(error, OSError) and (fault := _fault_of_system(error)):
            click.echo(f"Error: {message(fault)}", err=True)
            return EXIT_USAGE
        traceback.print_exc()
        click.echo("This is a bug in initprobe, not in what you typed.", err=True)
        return EXIT_BUG


def _show(error: click.ClickException) -> None:
    """Click's complaint, short and without control characters, below the usage of the command."""
    said = io.StringIO()
    error.show(said)
    usage, start, fault = said.getvalue().partition(_ERROR)
    click.echo(usage + start + message(fault or error.format_message()), err=True)


def _fault_of_system(error: OSError) -> str | None:
    """What the system refuses and a user can correct, in words; None for a bug: no path of the user's is in it."""
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EIO):
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, FileNotFoundError) and not _is_here():
        return "the working directory no longer exists; change to another one"
    return None


def _is_here() -> bool:
    with suppress(OSError):
        return Path.cwd().is_dir()
    return False
