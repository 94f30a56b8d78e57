"""A parameter of a model, as a contract sees it."""

from __future__ import annotations

from dataclasses import dataclass

from initprobe.arrays import Array


@dataclass(frozen=True)
class Parameter:
    """The values that a model computes with, under the name that its user knows.

    Attributes:
        name: dotted name. Of a parametrized or weight-normed layer it is that of the whole weight, not of its parts.
        values: the entries, in the shape they have in the model. A padding row is left out.
        fans: `(fan_in, fan_out)` of the operation that uses the parameter; None of a vector.
        rounding: relative size of one unit in the last place of the entries' own dtype.
        ties: other names of the same tensor.
        torch_fan_in: PyTorch's own layers draw this parameter from `U(-a, a)` with `a = 1 / sqrt(torch_fan_in)`;
            None outside such layers.
        unreadable: why there are no values, as in `is sparse`; empty if there are.
    """

    name: str
    values: Array
    fans: tuple[int, int] | None
    rounding: float = 2.0**-23
    ties: tuple[str, ...] = ()
    torch_fan_in: int | None = None
    unreadable: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All its names."""
        return (self.name, *self.ties)

    @property
    def count(self) -> int:
        """Number of entries."""
        return int(self.values.size)
