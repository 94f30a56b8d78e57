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
        layer_fan_in: of a vector, the fan_in of the weight in the same layer; None where there is none.
    """

    name: str
    values: Array
    fans: tuple[int, int] | None
    rounding: float = 2.0**-23
    ties: tuple[str, ...] = ()
    layer_fan_in: int | None = None

    @property
    def count(self) -> int:
        """Number of entries."""
        return int(self.values.size)
