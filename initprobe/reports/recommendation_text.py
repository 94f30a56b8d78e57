"""A recommendation as text: the one number and its code, and in detail the reasons and variances."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

from initprobe.formatting import short
from initprobe.reports.console import LABEL, Console, command_lines
from initprobe.reports.tables import plain_table
from initprobe.results.recommendation import Recommendation

Framework = Literal["pytorch", "numpy", "keras", "jax"]

_COLUMNS = 80
_PLACES: dict[Framework, str] = {
    "pytorch": "PyTorch, for layer = nn.Linear(...)",
    "numpy": "NumPy, for h @ W with rng = np.random.default_rng()",
    "keras": "Keras, as kernel_initializer=",
    "jax": "JAX and Flax, as kernel_init=",
}


def print_advice(advice: Recommendation, to: Console, framework: Framework = "pytorch", details: bool = False) -> None:
    """Print the one number and the line of code, or the reason why there is none and what would survive.

    Args:
        advice: the recommendation.
        to: the console.
        framework: of the line of code.
        details: add the reasons, the code of all frameworks, the variances and the findings.
    """
    text = _Advice(advice, min(to.fold or _COLUMNS, _COLUMNS))
    to.print(text.heading(), style="bold", markup=False)
    for line in text.code_and_command(framework) if advice.answers else text.why_not():
        to.print(line, markup=False)
    if not details:
        return
    for line in text.reasons_and_code():
        to.print(line, markup=False)
    to.print(_table(advice))
    for line in text.verdict():
        to.print(line, markup=False)


def _table(advice: Recommendation) -> Table:
    table = plain_table("", "predicted", "measured", left=("",), gap=2)
    for words, name in _quantities(advice.layers).items():
        table.add_row(words, *(short(getattr(figures, name)) for figures in (advice.predicted, advice.measured)))
    return table


def _quantities(layers: int) -> dict[str, str]:
    """The names of variances by their words; the output of a single layer is that of the last."""
    first = {"Var(h), layer 1": "output_first"} if layers > 1 else {}
    return first | {
        f"Var(h), layer {layers}": "output_last",
        "Var(dL/dh), layer 1": "gradient_first",
        "  its factor per layer": "gradient_factor",
        f"chi_1, layer {layers}": "chi_1",
        f"length-map slope, layer {layers}": "length_slope",
    }


@dataclass(frozen=True)
class _Advice:
    """The lines of a recommendation.

    Attributes:
        advice: the recommendation.
        columns: characters per line of sentences.
    """

    advice: Recommendation
    columns: int

    def heading(self) -> str:
        """The number and the summary."""
        number = f"{self.advice.number}: " if self.advice.answers else ""
        return self._folded(number + self.advice.summary)

    def code_and_command(self, framework: Framework) -> Iterator[str]:
        """What to copy."""
        yield from (
            "",
            *(f"  {line}" for line in self._code(framework)),
            "",
            *self._command("run", self.advice.command),
        )

    def why_not(self) -> Iterator[str]:
        """The reasons why nothing is recommended, and what would survive."""
        yield from (*self._reasons(), *self._command("instead", self.advice.instead))

    def reasons_and_code(self) -> Iterator[str]:
        """The reasons, the formula and the code of all frameworks."""
        answers = self.advice.answers
        yield from ("", *(self._reasons() if answers else ()), self._folded(self.advice.formula), "")
        yield from (*self._every_framework(), "") if answers else ()

    def verdict(self) -> Iterator[str]:
        """The findings about the measured networks."""
        advice = self.advice
        yield ""
        if advice.measured_to_hold:
            margin = "" if advice.predicted_to_hold else ", by a narrow margin or by chance"
            yield f"measured  the signal survives initialization{margin}"
        for finding in advice.verdict:
            text = f"{finding.name.upper()} from layer {finding.layer}: {finding.evidence}"
            yield self._folded(text, f"{finding.severity:<{LABEL}}", " " * LABEL)
        if not advice.answers:
            yield from self._command("run", advice.command)

    def _reasons(self) -> Iterator[str]:
        for reason in self.advice.reasons:
            yield self._folded(reason, "- ", "  ")

    def _code(self, framework: Framework) -> Iterator[str]:
        """The line of code, with that of the biases and of the branches where they are needed."""
        bias = self.advice.pytorch_bias if framework == "pytorch" else None
        for lines in (getattr(self.advice, framework), bias, self.advice.branch):
            yield from lines.split("\n") if lines else ()

    def _every_framework(self) -> Iterator[str]:
        """The code of each framework below its name, on lines of its own, so that it can be copied."""
        for framework, place in _PLACES.items():
            yield place
            yield from (f"  {line}" for line in self._code(framework))

    def _command(self, label: str, command: str | None) -> Iterator[str]:
        """A labelled command, folded to the width of a terminal, never between an option and its value."""
        for number, line in enumerate(command_lines(command, self.columns - LABEL) if command else ()):
            yield f"{'' if number else label:<{LABEL}}{line}"

    def _folded(self, text: str, first: str = "", rest: str = "") -> str:
        return textwrap.fill(
            text,
            self.columns - 2,
            initial_indent=first,
            subsequent_indent=rest,
            break_on_hyphens=False,
            break_long_words=False,
        )
