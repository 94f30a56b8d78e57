"""TAB completion: the protocols of bash, zsh and fish. What is offered is in `candidates`."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    _resolve_context,
    _resolve_incomplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from initprobe.cli.candidates import Item, completer_of

VARIABLE = "_INITPROBE_COMPLETE"
_BREAKS = ":="  # bash splits a word here, and replaces the part after the last of them


def complete(cli: click.Command, instruction: str) -> int:
    """Answer a shell.

    Args:
        cli: the program.
        instruction: `SHELL_source` to print the script of a shell, `SHELL_complete` to print candidates.

    Returns:
        The exit code.
    """
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
    code = shell_complete(cli, {}, "initprobe", VARIABLE, instruction)
    if code:
        click.echo(f"Error: {VARIABLE}={instruction} is not bash_source, zsh_source or fish_source", err=True)
    return 2 * code


class _Completer(ShellComplete):
    """The candidates of `candidates.completer_of`, else those of click."""

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        """Whole words, also where an option and its value are one word: `--init=he`."""
        try:
            ctx = _resolve_context(self.cli, self.ctx_args, self.prog_name, args)
            target, rest = _resolve_incomplete(ctx, args, incomplete)
            completer = completer_of(target) if isinstance(target, click.Parameter) else None
            if completer is None or not isinstance(target, click.Parameter):
                items = target.shell_complete(ctx, rest)
            else:
                items = completer(ctx, target, rest)
        except Exception:  # an incomplete line may be wrong; the command will say so, not the prompt
            return []
        joined = incomplete.startswith("-") and "=" in incomplete
        head = incomplete[: incomplete.index("=") + 1] if joined else ""
        return [Item(head + item.value, type=item.type, help=_one_line(item.help)) for item in items]


def _one_line(text: str | None) -> str | None:
    return " ".join(text.split()) if text else None


class _Bash(_Completer, BashComplete):
    """Bash splits words at `:` and `=`, and replaces only the part after the last of them."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *[=/] ]] && compopt -o nospace"
    )
    _kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, joined again, and the word at the cursor."""
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
        """One candidate, without the part that the shell keeps."""
        return f"{item.type},{item.value.removeprefix(self._kept)}"


class _Zsh(_Completer, ZshComplete):
    """The protocol of click."""


class _Fish(_Completer, FishComplete):
    """The protocol of click, changed for values with several commas."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')
