"""Settings as the text of a function: alike parameters in one loop, below a comment with the reason."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from initprobe.formatting import listed, without_numbers
from initprobe.torch.init_settings import Setting

_WIDTH = 110
_FEWEST = 3  # targets for a loop over a range


def function_text(settings: Sequence[Setting], title: str) -> str:
    """A module with one function `init(model)`, which needs PyTorch only.

    Args:
        settings: what it sets.
        title: what it is, for the docstring of the module.

    Returns:
        Python code.
    """
    body = "\n\n".join(_group(group) for group in _grouped(settings)) or "pass"
    heading = "\n".join(textwrap.wrap(title.replace("\\", "\\\\").replace('"', "'"), _WIDTH))
    parts = [
        f'"""{heading}\n"""' if "\n" in heading else f'"""{heading}"""',
        "",
        "import torch",
        "from torch import nn",
        "",
        "",
        "@torch.no_grad()",
        "def init(model):",
        '    """Set the weights in place. Every value is assigned, so a second call gives the same distribution."""',
        textwrap.indent(body, "    "),
        "    return model",
    ]
    return "\n".join(parts) + "\n"


def _grouped(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings with one template and one reason, in the order of the first; those that follow from others last."""
    groups: dict[tuple[str, str], list[Setting]] = {}
    for setting in settings:
        groups.setdefault((setting.template, setting.reason), []).append(setting)
    return sorted(groups.values(), key=lambda group: group[0].last)


def _group(settings: Sequence[Setting]) -> str:
    targets = list(dict.fromkeys(setting.target for setting in settings))
    comment = "\n".join(f"# {line}" for line in textwrap.wrap(_comment(settings), _WIDTH - 4))
    return "\n".join([comment, *_statements(settings[0].template, targets)])


def _comment(settings: Sequence[Setting]) -> str:
    patterns = list(dict.fromkeys(without_numbers(setting.name) for setting in settings))
    names = [settings[0].name] if len(settings) == 1 else patterns
    return f"{listed(names, 3)}: {settings[0].reason}."


def _statements(template: str, targets: Sequence[str]) -> Iterator[str]:
    """The code for all targets: loops over ranges for those with numbers, a loop over a list for the others."""
    loops: dict[str, list[str]] = {}
    single: list[str] = []
    for family in _families(targets):
        loop = _range(family)
        if loop is None:
            single += family
        else:
            loops.setdefault(loop[0], []).append(template.replace("{}", loop[1]))
    for bounds, lines in loops.items():
        yield f"for i in {bounds}:\n" + textwrap.indent("\n".join(lines), "    ")
    if len(single) == 1:
        yield template.replace("{}", single[0])
    elif single:
        listed = "".join(f"    {target},\n" for target in single)
        yield f"for part in (\n{listed}):\n" + textwrap.indent(template.replace("{}", "part"), "    ")


def _families(targets: Sequence[str]) -> list[list[str]]:
    """Targets that differ in one number only: the number that makes the fewest families."""
    most = max(target.count("[") for target in targets)
    return min((_by_number(targets, place) for place in range(max(most, 1))), key=len)


def _by_number(targets: Sequence[str], place: int) -> list[list[str]]:
    families: dict[str, list[str]] = {}
    for target in targets:
        head, number, tail = _split(target, place)
        families.setdefault(target if number is None else f"{head}[]{tail}", []).append(target)
    return list(families.values())


def _split(target: str, place: int) -> tuple[str, int | None, str]:
    """`model.blocks[3].fc` as what is before a number, the number, and what is behind it."""
    matches = list(re.finditer(r"\[(\d+)\]", target))
    if place >= len(matches):
        return target, None, ""
    match = matches[place]
    return target[: match.start()], int(match[1]), target[match.end() :]


def _range(family: Sequence[str]) -> tuple[str, str] | None:
    """`range(0, 8, 2)` and `model[i].fc`; None for names without even steps."""
    if len(family) < _FEWEST:
        return None
    place = next(k for k in range(family[0].count("[")) if len({_split(target, k)[1] for target in family}) > 1)
    head, _, tail = _split(family[0], place)
    numbers = [number for _, number, _ in (_split(target, place) for target in family) if number is not None]
    step = numbers[1] - numbers[0]
    if step < 1 or numbers != list(range(numbers[0], numbers[-1] + 1, step)):
        return None
    last = numbers[-1] + 1
    bounds = f"{last}" if numbers[0] == 0 and step == 1 else f"{numbers[0]}, {last}"
    return f"range({bounds}{f', {step}' if step > 1 else ''})", f"{head}[i]{tail}"


def run(text: str, model: object) -> None:
    """Run the function of such a text on a model.

    Args:
        text: made by this module; only the names of modules in it are the user's.
        model: is changed.
    """
    namespace: dict[str, object] = {}
    exec(compile(text, "init.py", "exec"), namespace)
    function = namespace["init"]
    assert callable(function)
    function(model)
