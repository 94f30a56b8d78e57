"""Hints for unknown options, and notes for options that are given several times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from initprobe.formatting import visible

_LEAST_BEGUN, _LEAST_ALIKE = 3, 0.7
_ASSIGNMENTS = ("KEY=VALUE", "NAME=VALUE")  # of options whose last value for a key counts
# Options that do the same in another command, and what people type for them.
_INSTEAD: Mapping[str, tuple[str, ...]] = {
    "--activation": ("--act",),
    "--all": ("--act",),
    "--batch": ("--samples",),
    "--bias": ("--bias-init", "--sigma-b"),
    "--csv": ("--export-csv",),
    "--depth": ("--layers",),
    "--epochs": ("--train-steps",),
    "--export-csv": ("--export-json",),
    "--export-yaml": ("--export-json",),
    "--figure": ("--out",),
    "--format": ("--figure",),
    "--gain": ("--init", "--mark"),
    "--init": ("--mark",),
    "--initializer": ("--init", "--mark"),
    "--json": ("--export-json",),
    "--mark": ("--init",),
    "--out": ("--figure", "--export-json"),
    "--output": ("--out", "--figure", "--export-json"),
    "-o": ("--figure", "--export-json"),
    "--samples": ("--batch",),
    "--seeds": ("--draws",),
    "--std": ("--init", "--mark"),
    "--where": ("--set",),
    "--yaml": ("--export-yaml",),
}


def unknown_option(name: str, ctx: click.Context, commands: Mapping[str, click.Command]) -> str:
    """The error for an unknown option, with a hint.

    Args:
        name: as typed, without a value.
        ctx: of the command, or of the program where no command is named.
        commands: all commands, by name.
    """
    spelled, own = name.lower().replace("_", "-"), list(_names(ctx.command.params))
    others = {option for other in commands.values() for option in _names(other.params)}
    fault = f"`{ctx.info_name}` has no option '{name}'."
    instead = {} if ctx.info_name == "merge" else _INSTEAD  # its --out is a store, no figure
    if use := _first(own, spelled, instead):
        return f"{fault} Use '{use}'."
    near = spelled if spelled in others else _nearest(spelled, own, others)
    near = _first(own, near, instead) or near
    if not near:
        return f"{fault} `{ctx.command_path} --help` shows all."
    meant = "" if near == name else f" Did you mean '{near}'?"
    return f"{fault}{meant}" + ("" if near in own else f" {_owners(near, commands)}.")


def _first(own: Sequence[str], option: str, instead: Mapping[str, Sequence[str]]) -> str:
    """The option itself or the first that does the same, of those that the command has; "" for none."""
    return next((each for each in (option, *instead.get(option, ())) if each in own), "")


def _nearest(spelled: str, own: Sequence[str], others: Iterable[str]) -> str:
    """The nearest option of the command, or one of other commands that is nearer; "" for none."""
    from difflib import get_close_matches

    begun = sorted((option for option in own if len(spelled) > _LEAST_BEGUN and option.startswith(spelled)), key=len)
    meant = [option for option in _INSTEAD.get(spelled, ()) if option in others]
    bare = {option.lstrip("-"): option for option in sorted({*own, *others}) if option.startswith("--")}
    near = [bare[word] for word in get_close_matches(spelled.lstrip("-"), bare, n=1, cutoff=_LEAST_ALIKE)]
    return next(iter([*begun, *meant, *near]), "")


def _names(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    """All spellings of the options: `-o`, `--out`, `--no-try-fixes`."""
    for parameter in parameters:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)


def _owners(option: str, commands: Mapping[str, click.Command]) -> str:
    """A sentence that names the commands with this option."""
    names = [f"`{name}`" for name, command in commands.items() if option in _names(command.params)]
    return f"{', '.join(names[:-1])} and {names[-1]} have it" if names[1:] else f"{names[0]} has it"


def repeated_options(order: Sequence[click.Parameter], values: Mapping[str, Any]) -> Iterator[str]:
    """A note for each option that was given several times and takes one value: the last one counts.

    Args:
        order: the parameters as they were typed.
        values: of all parameters, by name.
    """
    for parameter, times in Counter(order).items():
        value = values.get(parameter.name or "")
        if not isinstance(parameter, click.Option) or parameter.is_flag or times == 1:
            continue
        if not parameter.multiple:
            yield _note(parameter.opts[0], times, value)
        elif (parameter.metavar or "").endswith(_ASSIGNMENTS):
            yield from _repeated_keys(parameter.opts[0], value or ())


def _repeated_keys(option: str, texts: Sequence[str]) -> Iterator[str]:
    """The same for `--set layers=4 --set layers=6`."""
    last = dict(text.partition("=")[::2] for text in texts)
    for key, times in Counter(text.partition("=")[0] for text in texts).items():
        if times > 1:
            yield _note(f"{option} {key}", times, last[key])


def _note(option: str, times: int, value: Any) -> str:
    return visible(f"note: {option} is given {times} times; the last value, {value}, counted")
