"""The gains of an activation, as `gain` returns them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from initprobe.formatting import fixed
from initprobe.results.base import Record
from initprobe.results.display import Row, Shown, print_gain

if TYPE_CHECKING:
    from initprobe.reports.console import Console


class Gain(Record, Shown):
    """What `gain` returns: the gains of one activation, for square layers and weights of std `gain / sqrt(fan_in)`.

    Attributes:
        activation: its name.
        sigma_b: std of the biases.
        forward: `sqrt((1 - sigma_b^2) / E[phi^2])`: a pre-activation variance q of 1 stays 1.
        backward: `1/sqrt(E[phi'^2])`: the gradient keeps its variance where z has variance 1.
        mean_removed: `1/sqrt(Var(phi))`, the gain for centred weights, as in NFNets (Brock et al. 2021,
            arXiv:2101.08692) and timm.
        chi_1: factor of the gradient's variance per layer, with the forward gain.
        slope: derivative of the length map at q = 1, with the forward gain.
        stable: that slope is at most 1; otherwise no constant gain holds the scale with depth.
        spectrum: `E[phi'^4] / E[phi'^2]^2`, what a layer adds to the spread of the Jacobian's squared singular values
            (Pennington et al. 2017, arXiv:1711.04735).
        torch: the value of `torch.nn.init.calculate_gain`; None where PyTorch has none.
        torch_q: where q settles with the gain of PyTorch; None where PyTorch has none, NaN where q diverges.
        mean_removed_q: where q settles with the gain `mean_removed`; NaN where q diverges.
    """

    activation: str
    sigma_b: float
    forward: float
    backward: float
    mean_removed: float
    chi_1: float
    slope: float
    stable: bool
    spectrum: float
    torch: float | None
    torch_q: float | None
    mean_removed_q: float

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal; NaN, for a variance that diverges, is equal to itself."""
        if not isinstance(other, Gain):
            return NotImplemented
        return all(
            mine == its or (mine != mine and its != its) for (_, mine), (_, its) in zip(self, other, strict=True)
        )

    def __hash__(self) -> int:
        return hash((self.activation, self.sigma_b, self.forward))

    def in_a_line(self) -> str:
        """The two gains, and whether the forward gain holds with depth."""
        outcome = "stable" if self.stable else "q = 1 is unstable"
        bias = f" with biases of std {self.sigma_b:g}" if self.sigma_b else ""
        gains = f"forward gain {fixed(self.forward, 4)}, backward gain {fixed(self.backward, 4)}"
        return f"{self.activation}{bias}: {gains}, chi_1 {fixed(self.chi_1, 4)}; {outcome}"

    def _print(self, to: Console) -> None:
        print_gain(self, to)

    def _rows(self) -> Iterable[Row]:
        yield self.model_dump()
