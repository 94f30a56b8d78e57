"""What `initialize` returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.formatting import counted
from initprobe.results.display import Row, Shown

if TYPE_CHECKING:
    from initprobe.reports.console import Console


@dataclass(frozen=True, repr=False)
class Initialized(Shown):
    """What `initialize` did.

    Attributes:
        method: by which it was done.
        changed: names of the weights that were set.
        kept: names of the weights that `keep` or the contract names.
        left: names of all other weights: no rule of theory says what they should hold.
        unscaled: names of weights that `lsuv` left at the scale of theory. The samples hardly differ at their inputs,
            so it would scale rounding errors up.
        code: the same as a function `init(model)` that needs PyTorch only; empty for `contract`.
    """

    method: str
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]
    code: str
    unscaled: tuple[str, ...] = ()

    def in_a_line(self) -> str:
        """How many weights were set, kept and left."""
        others = (f"{len(names):,} {word}" for word, names in self._outcomes()[1:] if names)
        return ", ".join([f"{self.method}: {counted(len(self.changed), 'weight')} set", *others])

    def _outcomes(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Names by what became of them; the unscaled ones are set too."""
        return ("set", self.changed), ("kept", self.kept), ("left", self.left), ("unscaled", self.unscaled)

    def _print(self, to: Console) -> None:
        from initprobe.reports.console import say_labelled

        to.print(self.in_a_line(), style="bold", markup=False, soft_wrap=True)
        for word, names in self._outcomes():
            if names:
                say_labelled(word, ", ".join(names), to)
        if self.code:
            to.print(f"\n{self.code.rstrip()}", markup=False, soft_wrap=True)

    def _rows(self) -> Iterable[Row]:
        for word, names in self._outcomes()[:3]:
            for name in names:
                yield {"name": name, "outcome": "unscaled" if name in self.unscaled else word}
