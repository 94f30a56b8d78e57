"""The options of a command as one frozen dataclass, written once.

A field is an option, an argument, or a group of them that several commands share:

    @dataclass(frozen=True, kw_only=True)
    class GainOptions:
        acts: tuple[str, ...] = option("--act", multiple=True, help="Activation; repeatable.")
        figures: FigureOptions = group(FigureOptions)

    @command_of(GainOptions, help=__doc__)
    def command(options: GainOptions) -> None: ...
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import click

from initprobe.errors import ConfigError, InitprobeError

Options = TypeVar("Options")
_MAKE, _GROUP = "make", "group"
_NOTES = f"{__name__}.notes"
# A hyphen at which no line breaks; help is wrapped with it, so that the names of options stay whole.
_NO_BREAK = "\N{NON-BREAKING HYPHEN}"


class Choice(click.Choice[str]):
    """One of several words; the error for a misspelt word names the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """The message of click, with a suggestion.

        Args:
            value: what the user typed.
            ctx: of click.
        """
        from initprobe.registry import suggestion

        hint = suggestion(str(value), [str(choice) for choice in self.choices])
        return f"{super().get_invalid_choice_message(value, ctx).rstrip('.')}{hint and f'.{hint}'}"


class DtypeChoice(Choice):
    """A choice of dtypes of the network; the error for a smaller format names the option that takes it."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """The message of click; for a small format with the option that counts its losses.

        Args:
            value: what the user typed.
            ctx: of click.
        """
        from initprobe.engine.number_formats import FORMATS

        if str(value) not in FORMATS:
            return super().get_invalid_choice_message(value, ctx)
        choices = ", ".join(map(repr, self.choices))
        return f"{value!r} is not one of {choices}; `--formats {value}` counts what it would lose"


def option(*flags: str, **settings: Any) -> Any:
    """A field that is an option; it has the name of the field and the default of the option.

    Args:
        flags: how it is written: `"-o", "--out"`.
        settings: as for `click.option`.
    """
    empty = () if settings.get("multiple") else False if settings.get("is_flag") else None
    default = dataclasses.MISSING if settings.get("required") else settings.get("default", empty)
    return _field(lambda name: click.Option([*flags, name], **settings), default)


def argument(**settings: Any) -> Any:
    """A field that is an argument; `settings` as for `click.argument`."""
    return _field(lambda name: click.Argument([name], **settings), dataclasses.MISSING)


def group(kind: type, **defaults: Any) -> Any:
    """A field that holds further options: those of the dataclass `kind`.

    Args:
        kind: the dataclass whose fields become options.
        defaults: other defaults for some of these fields.
    """
    return dataclasses.field(default_factory=kind, metadata={_GROUP: kind}, **defaults)


def _field(make: Callable[[str], click.Parameter], default: Any) -> Any:
    return dataclasses.field(default=default, metadata={_MAKE: make})


def parameters(kind: Any) -> Iterator[click.Parameter]:
    """The parameters of click for a dataclass of options, in the order of its fields."""
    for each in dataclasses.fields(kind):
        if inner := each.metadata.get(_GROUP):
            yield from parameters(inner)
        else:
            yield each.metadata[_MAKE](each.name)


def options_from(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """The dataclass `kind`, filled with the values that click read.

    Args:
        kind: a frozen dataclass of options.
        values: by the name of the field, for groups too.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    groups = {each.name: each.metadata.get(_GROUP) for each in fields}
    return kind(**{name: options_from(inner, values) if inner else values[name] for name, inner in groups.items()})


class HelpFormatter(click.HelpFormatter):
    """Breaks lines at spaces alone, so that `--no-figures` stays whole."""

    def write_text(self, text: str) -> None:
        """Paragraphs."""
        super().write_text(text.replace("-", _NO_BREAK))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """A table of names and what they mean.

        Args:
            rows: a name and its meaning each.
            col_max: largest width of the names.
            col_spacing: spaces after them.
        """
        super().write_dl([(name, text.replace("-", _NO_BREAK)) for name, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        """The text, with plain hyphens again."""
        return super().getvalue().replace(_NO_BREAK, "-")


class Context(click.Context):
    """The context of our commands, with our help formatter."""

    formatter_class = HelpFormatter


class Command(click.Command):
    """A command whose help is wrapped by our formatter, and whose options refuse an empty text."""

    context_class = Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of the command line.

        Args:
            ctx: of click.
            args: the words.

        Raises:
            ConfigError: an option or an argument is an empty text, as `"$FILE"` is where FILE is not set.
        """
        words = list(args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            for parameter in self.params:
                _check_not_empty(parameter, ctx.params.get(parameter.name or ""), ctx.command_path)
            self._keep_repeated(ctx, words)
        return rest

    def _keep_repeated(self, ctx: click.Context, words: list[str]) -> None:
        """Keep a note for each option that was given several times."""
        order = self.make_parser(ctx).parse_args(words)[2]
        if len(set(order)) < len(order):
            from initprobe.cli.option_hints import repeated_options

            ctx.meta[_NOTES] = list(repeated_options(order, ctx.params))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; at its end say which value counted of options that were given several times.

        Raises:
            ConfigError: an error from inside. It names options, not the arguments of Python or the fields of a config.
            InitprobeError: another one from inside.
        """
        try:
            outcome = super().invoke(ctx)
        except ConfigError as error:
            raise in_options(error, _options_by_field(self.params)) from None
        except InitprobeError:
            _print_notes(ctx)
            raise
        _print_notes(ctx)
        return outcome


def _print_notes(ctx: click.Context) -> None:
    for line in ctx.meta.get(_NOTES, ()):
        click.echo(line, err=True)


def _options_by_field(parameters: Iterable[click.Parameter]) -> dict[str, str]:
    """The options of a command by their names in Python: `--input-width` of `input_width`."""
    flags = [flag for parameter in parameters for flag in parameter.opts if flag.startswith("--")]
    return {flag.removeprefix("--").replace("-", "_"): flag for flag in flags}


def in_options(error: ConfigError, options: Mapping[str, str]) -> ConfigError:
    """The same error with options of the command line in place of fields. An error in a file keeps its fields.

    Args:
        error: its field, and the fields that stand in backticks in its text, are replaced.
        options: by field.
    """
    if error.file:
        return error
    field, _, part = error.field.partition(".")
    place = f"--threshold {part}".strip() if field == "thresholds" else options.get(field, error.field)
    text = re.sub("`([a-z_]+)`", lambda name: options.get(name[1], name[0]), error.text)
    return type(error)(text, field=place, line=error.line)


def _check_not_empty(parameter: click.Parameter, value: Any, command: str) -> None:
    if value == "" or (isinstance(value, tuple) and "" in value):
        if isinstance(parameter, click.Argument):
            raise ConfigError(f"an argument of `{command}` is empty; its --help says what to give")
        raise ConfigError(
            "is empty; give a value" + ", or leave it out" * (not parameter.required), field=parameter.opts[-1]
        )


def command_of(kind: type[Options], *, help: str | None) -> Callable[[Callable[[Options], None]], Command]:
    """Make a function a command that takes the options `kind`; it has the name of its file.

    Args:
        kind: a dataclass whose fields are made by `option`, `argument` and `group`.
        help: the docstring of the command's file. `initprobe --help` shows its first line.
    """

    def decorate(function: Callable[[Options], None]) -> Command:
        def call(**values: Any) -> None:
            function(options_from(kind, values))

        name = function.__module__.rpartition(".")[2]
        return Command(name, callback=call, params=list(parameters(kind)), help=help)

    return decorate
