"""What TAB offers: commands and options, which click knows, and the names of everything that has one.

A candidate is a whole value wherever it can be: `he:mode=fan_out`, `leaky_relu:slope=0.01`, `saturated=0.5`. Only what
holds the names is imported, since the user waits at a prompt: neither SciPy nor matplotlib, and pydantic for the
verdict's rules, limits and columns alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    _resolve_context,
    _resolve_incomplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

if TYPE_CHECKING:
    from initprobe.registry import Registry

VARIABLE = "_INITPROBE_COMPLETE"
Item = CompletionItem[str]
Offer = Callable[[str], Iterable[Item]]
_TYPED = re.compile(r"[\w.,:=%+/^-]+")  # what no shell takes for more than it is
_BREAKS = ":="  # where bash splits a word, and what it replaces begins after the last of them


def complete(cli: click.Command, instruction: str) -> int:
    """Answer a shell: print its script for `SHELL_source`, candidates for `SHELL_complete`; give the exit code."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
    code = shell_complete(cli, {}, "initprobe", VARIABLE, instruction)
    if code:
        click.echo(f"Error: {VARIABLE}={instruction} is not bash_source, zsh_source or fish_source", err=True)
    return 2 * code


def _initializers(incomplete: str) -> Iterator[Item]:
    from initprobe.initializers.catalogue import INITIALIZERS

    return _specs(INITIALIZERS, incomplete)


def _activations(incomplete: str) -> Iterator[Item]:
    from initprobe.activations.catalogue import ACTIVATIONS

    return _specs(ACTIVATIONS, incomplete)


def _inputs(incomplete: str) -> Iterator[Item]:
    from initprobe.data.noise import INPUTS
    from initprobe.data.tables import SUFFIXES

    yield from _specs(INPUTS, incomplete)
    yield from _files_of(SUFFIXES, incomplete)


def _labels(incomplete: str) -> Iterator[Item]:
    from initprobe.data.noise import DATASETS
    from initprobe.data.tables import SUFFIXES

    yield from _specs(DATASETS, incomplete)
    yield from _files_of(SUFFIXES, incomplete)


def _topics(incomplete: str) -> Iterator[Item]:
    """Everything that `explain` knows."""
    from initprobe.cli.names import registries

    for registry in registries():
        yield from _specs(registry, incomplete)


def _rules(incomplete: str) -> Iterator[Item]:
    from initprobe.torch.verdict.rulebook import RULEBOOK

    return _specs(RULEBOOK, incomplete)


def _configs(incomplete: str) -> Iterator[Item]:
    from initprobe.sweeps.shipped_configs import SUFFIXES, first_comment, shipped

    yield from _matching((Item(name, help=first_comment(path)) for name, path in shipped().items()), incomplete)
    yield from _files_of(SUFFIXES, incomplete)


def _limits(incomplete: str) -> Iterator[Item]:
    from initprobe.config.thresholds import Thresholds

    fields = Thresholds.model_fields.items()
    return _matching((Item(f"{name}={field.default:g}", help=field.description) for name, field in fields), incomplete)


def _columns(incomplete: str) -> Iterator[Item]:
    """Names after the last comma."""
    from initprobe.results.named_numbers import NAMES

    head, comma, _ = incomplete.rpartition(",")
    return _matching((Item(f"{head}{comma}{name}") for name in NAMES), incomplete)


def _changes(incomplete: str) -> Iterator[Item]:
    """What `diff --fail-on` takes."""
    from initprobe.results.named_numbers import COMPARED

    return _matching(map(Item, COMPARED), incomplete)


def _judged(incomplete: str) -> Iterator[Item]:
    """What `check --ignore` takes: rules, and the numbers that are checked."""
    from initprobe.results.named_numbers import NAMES

    yield from _rules(incomplete)
    yield from _matching(map(Item, NAMES), incomplete)


def _files(incomplete: str) -> Iterator[Item]:
    yield Item(incomplete, type="file")


def _directories(incomplete: str) -> Iterator[Item]:
    yield Item(incomplete, type="dir")


# By what is typed before the value, and by command and parameter.
_BY_OPTION: dict[str, Offer] = {
    "--init": _initializers,
    "--bias-init": _initializers,
    "--mark": _initializers,
    "--act": _activations,
    "--input": _inputs,
    "--labels": _labels,
    "--threshold": _limits,
    "--ignore": _rules,
    "--columns": _columns,
    "--sort": _columns,
    "--fail-on": _changes,
}
_BY_PARAMETER: dict[tuple[str, str], Offer] = {
    ("explain", "name"): _topics,
    ("gain", "activations"): _activations,
    ("sweep", "config"): _configs,
    ("check", "config"): _configs,
    ("validate", "files"): _configs,
    ("results", "store"): _files,
    ("merge", "stores"): _files,
    ("show", "file"): _files,
    ("diff", "old"): _files,
    ("diff", "new"): _files,
    ("check", "ignore"): _judged,
}


def offer_of(command: str | None, parameter: click.Parameter) -> Offer | None:
    """What completes the values of a parameter; None where click knows or nothing can be offered."""
    if isinstance(parameter.type, click.Choice):
        return None
    offer = _BY_PARAMETER.get((command or "", parameter.name or ""))
    if offer is not None or isinstance(parameter, click.Argument):
        return offer
    metavar = parameter.metavar or ""
    if metavar.startswith("FILE"):
        return _files
    if metavar == "DIR":
        return _directories
    if re.fullmatch(r"[a-z0-9-]+(\|[a-z0-9-]+)+", metavar):
        return lambda incomplete: _matching(map(Item, metavar.split("|")), incomplete)
    return next((_BY_OPTION[name] for name in parameter.opts if name in _BY_OPTION), None)


def _matching(items: Iterable[Item], incomplete: str) -> Iterator[Item]:
    return (item for item in items if item.value.lower().startswith(incomplete.lower()))


def _files_of(suffixes: Iterable[str], incomplete: str) -> Iterator[Item]:
    """Files here with such a suffix; below a directory the shell's own completion."""
    if "/" in incomplete or incomplete.startswith((".", "~")):
        yield from _files(incomplete)
        return
    found = (path for path in sorted(Path().iterdir()) if path.suffix.lower() in suffixes or path.is_dir())
    yield from _matching((Item(f"{path}/" if path.is_dir() else str(path)) for path in found), incomplete)


def _specs(registry: Registry[Any], incomplete: str) -> Iterator[Item]:
    """Names, and after `NAME:` parameters; aliases once something is typed."""
    name, colon, rest = incomplete.partition(":")
    if colon and name in registry:
        yield from _matching(_with_parameters(registry[name], name, rest), incomplete)
        return
    for record in registry.values():
        about = getattr(record, "formula", None) or record.meaning
        names = (getattr(record, "example", "") or record.name, *(record.aliases if incomplete else ()))
        yield from _matching((Item(one, help=about) for one in names if _TYPED.fullmatch(one)), incomplete)


def _with_parameters(record: Any, name: str, rest: str) -> Iterator[Item]:
    """`he:mode=fan_in`, `he:mode=fan_out`, `he:gain=1`: a parameter more than those that are there."""
    from initprobe.spec import parameter_hints, parse_spec

    if record.make is None:
        return
    given, comma, _ = rest.rpartition(",")
    there = {part.partition("=")[0] for part in given.split(",")}
    known = {**parse_spec(getattr(record, "example", "") or record.name).params, **record.params}
    for key, hint in parameter_hints(record.make).items():
        if key not in there:
            yield from (Item(f"{name}:{given}{comma}{key}={value}") for value in _values(hint, known.get(key)))


def _values(hint: Any, default: Any) -> Iterator[str]:
    from initprobe.spec import value_text

    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif hint is bool:
        yield from ("true", "false")
    else:
        yield "" if default is None else value_text(float(default) if isinstance(default, int) else default)


class _Completer(ShellComplete):
    """Candidates by the tables above, or else click's own."""

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        """Whole words, also where an option and its value are one, as in `--init=he`."""
        try:
            ctx = _resolve_context(self.cli, self.ctx_args, self.prog_name, args)
            found, rest = _resolve_incomplete(ctx, args, incomplete)
            offer = offer_of(ctx.info_name, found) if isinstance(found, click.Parameter) else None
            items = list(found.shell_complete(ctx, rest) if offer is None else offer(rest))
        except Exception:  # what is typed so far may make no sense, which the command will say and not the prompt
            return []
        joined = incomplete.startswith("-") and "=" in incomplete
        head = incomplete[: incomplete.index("=") + 1] if joined else ""
        return [Item(head + item.value, type=item.type, help=_one_line(item.help)) for item in items]


def _one_line(text: str | None) -> str | None:
    return " ".join(text.split()) if text else None


class _Bash(_Completer, BashComplete):
    """Bash splits words at `:` and `=`, and replaces what stands behind the last of them."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *[=/] ]] && compopt -o nospace"
    )
    _kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, put together again, and the one that it stands in."""
        tokens, place = split_arg_string(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"])
        words, glued, count = [""], True, 0
        for token in (*tokens[:place], tokens[place] if place < len(tokens) else ""):
            is_break = bool(token) and not token.strip(_BREAKS)
            if is_break or glued:
                words[-1], count = words[-1] + token, count + 1
            else:
                words, count = [*words, token], 1
            glued = is_break
        *args, incomplete = words
        if count > 1:
            self._kept = incomplete[: max(map(incomplete.rfind, _BREAKS)) + 1]
        return args[1:], incomplete

    def format_completion(self, item: Item) -> str:
        """Without what the shell keeps."""
        return f"{item.type},{item.value.removeprefix(self._kept)}"


class _Zsh(_Completer, ZshComplete):
    """As click has it."""


class _Fish(_Completer, FishComplete):
    """As click has it, but for commas, of which a value may have several."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')
