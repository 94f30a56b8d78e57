"""The candidates that TAB offers for the values of options and arguments.

An option of a usual name has its candidates here, by name. Any other parameter names them itself:
`argument(shell_complete=files)`. A candidate is a whole value where possible: `he:mode=fan_out`, `saturated=0.5`.

The user waits at a prompt. So each function imports only the module that holds the names, neither SciPy nor matplotlib.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from initprobe.registry import Registry

    Item = CompletionItem[str]
else:  # click 8.2 knows no type of its value
    Item = CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[Item]]
_PLAIN = re.compile(r"[\w.,:=%+/^-]+")  # characters without a meaning to a shell


def _completes(candidates: Callable[[str], Iterable[Item]]) -> Completer:
    """A function of the text typed so far, as click calls it."""
    return lambda ctx, parameter, incomplete: list(candidates(incomplete))


@_completes
def initializers(incomplete: str) -> Iterator[Item]:
    """Initializers that begin so, and their parameters behind a colon."""
    from initprobe.initializers.catalogue import INITIALIZERS

    return _specs(INITIALIZERS, incomplete)


@_completes
def activations(incomplete: str) -> Iterator[Item]:
    """Activations that begin so, and their parameters behind a colon."""
    from initprobe.activations.catalogue import ACTIVATIONS

    return _specs(ACTIVATIONS, incomplete)


@_completes
def inputs(incomplete: str) -> Iterator[Item]:
    """Noise, data sets and files of input that begin so."""
    from initprobe.data.noise import INPUTS
    from initprobe.data.tables import SUFFIXES

    yield from _specs(INPUTS, incomplete)
    yield from _files_of(SUFFIXES, incomplete)


@_completes
def labels(incomplete: str) -> Iterator[Item]:
    """Data sets and files of labels that begin so."""
    from initprobe.data.noise import DATASETS
    from initprobe.data.tables import SUFFIXES

    yield from _specs(DATASETS, incomplete)
    yield from _files_of(SUFFIXES, incomplete)


@_completes
def topics(incomplete: str) -> Iterator[Item]:
    """All names that `explain` takes."""
    from initprobe.cli.names import registries

    for registry in registries():
        yield from _specs(registry, incomplete)


@_completes
def rules(incomplete: str) -> Iterator[Item]:
    """Rules of the verdict that begin so."""
    from initprobe.torch.verdict.rulebook import RULEBOOK

    return _specs(RULEBOOK, incomplete)


@_completes
def configs(incomplete: str) -> Iterator[Item]:
    """Configs that ship with initprobe, and files of sweeps."""
    from initprobe.sweeps.shipped_configs import SUFFIXES, first_comment, shipped

    yield from _matching((Item(name, help=first_comment(path)) for name, path in shipped().items()), incomplete)
    yield from _files_of(SUFFIXES, incomplete)


@_completes
def limits(incomplete: str) -> Iterator[Item]:
    """Thresholds of the verdict, each with its default."""
    from initprobe.config.thresholds import Thresholds

    fields = Thresholds.model_fields.items()
    return _matching((Item(f"{name}={field.default:g}", help=field.description) for name, field in fields), incomplete)


@_completes
def columns(incomplete: str) -> Iterator[Item]:
    """Columns of the table of runs; a list of them is completed after its last comma."""
    from initprobe.results.named_numbers import NAMES

    head, comma, _ = incomplete.rpartition(",")
    return _matching((Item(f"{head}{comma}{name}") for name in NAMES), incomplete)


@_completes
def formats(incomplete: str) -> Iterator[Item]:
    """Small formats; a list of them is completed after its last comma."""
    from initprobe.engine.number_formats import FORMATS

    head, comma, _ = incomplete.rpartition(",")
    return _matching((Item(f"{head}{comma}{name}") for name in FORMATS), incomplete)


@_completes
def changes(incomplete: str) -> Iterator[Item]:
    """The names that `diff --fail-on` takes."""
    from initprobe.results.named_numbers import COMPARED

    return _matching(map(Item, COMPARED), incomplete)


@_completes
def judged(incomplete: str) -> Iterator[Item]:
    """The names that `check --ignore` takes: rules, and numbers that can be checked."""
    from initprobe.results.named_numbers import NAMES
    from initprobe.torch.verdict.rulebook import RULEBOOK

    yield from _specs(RULEBOOK, incomplete)
    yield from _matching(map(Item, NAMES), incomplete)


@_completes
def files(incomplete: str) -> Iterator[Item]:
    """Files, which the shell finds."""
    return _path(incomplete)


@_completes
def directories(incomplete: str) -> Iterator[Item]:
    """Directories, which the shell finds."""
    yield Item(incomplete, type="dir")


def words(choices: Iterable[str]) -> Completer:
    """A completer for a few fixed words."""
    return _completes(lambda incomplete: _matching(map(Item, choices), incomplete))


def _path(incomplete: str) -> Iterator[Item]:
    yield Item(incomplete, type="file")


def _matching(items: Iterable[Item], incomplete: str) -> Iterator[Item]:
    return (item for item in items if item.value.lower().startswith(incomplete.lower()))


def _files_of(suffixes: Iterable[str], incomplete: str) -> Iterator[Item]:
    """Files of the working directory with one of these suffixes; below other directories the shell finds files."""
    if "/" in incomplete or incomplete.startswith((".", "~")):
        yield from _path(incomplete)
        return
    paths = (path for path in sorted(Path().iterdir()) if path.suffix.lower() in suffixes or path.is_dir())
    yield from _matching((Item(f"{path}/" if path.is_dir() else str(path)) for path in paths), incomplete)


def _specs(registry: Registry[Any], incomplete: str) -> Iterator[Item]:
    """Names, and after `NAME:` parameters; aliases only once something is typed."""
    name, colon, rest = incomplete.partition(":")
    if colon and name in registry:
        yield from _matching(_with_parameters(registry[name], name, rest), incomplete)
        return
    for record in registry.values():
        meaning = getattr(record, "formula", None) or record.meaning
        names = (getattr(record, "example", "") or record.name, *(record.aliases if incomplete else ()))
        yield from _matching((Item(each, help=meaning) for each in names if _PLAIN.fullmatch(each)), incomplete)


def _with_parameters(record: Any, name: str, rest: str) -> Iterator[Item]:
    """The text typed with one more parameter: `he:mode=fan_in`, `he:mode=fan_out`, `he:gain=1`."""
    from initprobe.spec import parameter_hints, parse_spec

    if record.make is None:
        return
    given, comma, _ = rest.rpartition(",")
    typed = {part.partition("=")[0] for part in given.split(",")}
    defaults = {**parse_spec(getattr(record, "example", "") or record.name).params, **record.params}
    for key, hint in parameter_hints(record.make).items():
        if key not in typed:
            yield from (Item(f"{name}:{given}{comma}{key}={value}") for value in _values(hint, defaults.get(key)))


def _values(hint: Any, default: Any) -> Iterator[str]:
    from initprobe.spec import value_text

    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif hint is bool:
        yield from ("true", "false")
    else:
        yield "" if default is None else value_text(float(default) if isinstance(default, int) else default)


# The options of a usual name, for all commands.
_BY_OPTION: dict[str, Completer] = {
    "--init": initializers,
    "--bias-init": initializers,
    "--mark": initializers,
    "--act": activations,
    "--input": inputs,
    "--labels": labels,
    "--threshold": limits,
    "--ignore": rules,
    "--columns": columns,
    "--formats": formats,
    "--sort": columns,
    "--fail-on": changes,
}


def completer_of(parameter: click.Parameter) -> Completer | None:
    """What completes the values of a parameter; None where click completes them, or nothing can be offered."""
    if parameter._custom_shell_complete or isinstance(parameter.type, click.Choice):
        return None
    metavar = parameter.metavar or ""
    if metavar.startswith("FILE"):
        return files
    if metavar == "DIR":
        return directories
    if re.fullmatch(r"[a-z0-9-]+(\|[a-z0-9-]+)+", metavar):
        return words(metavar.split("|"))
    return next((_BY_OPTION[name] for name in parameter.opts if name in _BY_OPTION), None)
