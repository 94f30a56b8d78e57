"""The weights that suit an activation at a depth, as `recommend` returns them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from initprobe.formatting import short
from initprobe.results.base import SCHEMA_VERSION, Finite, Record
from initprobe.results.display import Row, Shown, print_recommendation
from initprobe.results.summary import Finding

if TYPE_CHECKING:
    from initprobe.reports.console import Console

Goal = Literal["forward", "backward", "balanced"]
Mode = Literal["fan_in", "fan_out", "fan_avg"]


def answers(holds: bool, goal: Goal) -> bool:
    """Whether weights are recommended.

    Args:
        holds: the signal survived when it was measured.
        goal: one goal alone is answered in any case.
    """
    return holds or goal != "balanced"


class Figures(Record):
    """Variances of one network, predicted or measured; null where unknown or beyond the float range.

    Attributes:
        output_first: Var(h) at layer 1.
        output_last: Var(h) at the last layer.
        gradient_first: Var(dL/dh) at layer 1, relative to the last layer, where it is 1.
        gradient_factor: factor of Var(dL/dh) per layer on its way back, geometric mean; null for one layer.
        chi_1: that factor at the last layer alone, `fan_in Var(W) E[phi'^2]`.
        length_slope: `d log q / d log q_below` at the last layer, q being the mean square of z; predicted only.
    """

    output_first: Finite | None
    output_last: Finite | None
    gradient_first: Finite | None
    gradient_factor: Finite | None
    chi_1: Finite | None
    length_slope: Finite | None = None


class Recommendation(Record, Shown):
    """What `recommend` returns.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        activation: as given.
        layers: number of layers.
        width: units per layer, the largest where they differ; the input is assumed to have mean square 1.
        sizes: features of the input, then units of each layer.
        width_needed: width of which few draws lose the signal, for a net that is too deep for its width. Else null.
        goal: `forward` keeps Var(h), `backward` Var(dL/dh), `balanced` both as well as one gain can.
        init: the initializer, as `--init` takes it.
        gain: `sqrt(fan Var(W))`, with the fan of `mode`.
        mode: fan_in, fan_out or fan_avg; all are equal in a network of equal widths.
        std: standard deviation of a weight at this width; of layer 1 where widths differ.
        formula: the distribution of a weight.
        summary: the recommendation in a sentence.
        reasons: why these weights, or why none hold.
        predicted_to_hold: theory predicts level Var(h), Var(dL/dh) and Var(dL/dW) at this depth, and a stable map.
        measured_to_hold: the verdict on the measured networks has no finding above info.
        reach: number of layers up to which the weights are predicted to hold; null if they hold at this depth.
        instead: where the answer is none, a `recommend` line of a similar network that survived when it was measured.
        pytorch: a line of code for the weights of `layer = nn.Linear(...)`; null, as all code, without an answer.
        pytorch_bias: a line of code that sets its biases to 0, which they are not by default.
        numpy: a line of code for the weights, `W` of shape `(fan_in, fan_out)`, with `rng = np.random.default_rng()`.
        keras: a `kernel_initializer`; biases are 0 by default.
        jax: a kernel initializer for a kernel of shape `(fan_in, fan_out)`; biases are 0 by default in Flax.
        branch: a line of a forward pass that adds the branch of a layer; null without branches.
        branch_scale: scale of the branches; null without branches.
        predicted: variances at infinite width.
        measured: variances averaged over `draws` networks.
        verdict: findings above info about the measured networks, most severe first.
        command: a command line that repeats the measurement; null if the activation is a record from Python.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    activation: str
    layers: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    sizes: tuple[int, ...]
    width_needed: int | None = None
    goal: Goal
    init: str
    gain: Finite
    mode: Mode
    std: Finite
    formula: str
    summary: str
    reasons: tuple[str, ...]
    predicted_to_hold: bool
    measured_to_hold: bool
    reach: int | None
    instead: str | None = None
    pytorch: str | None
    pytorch_bias: str | None
    numpy: str | None
    keras: str | None
    jax: str | None
    branch: str | None = None
    branch_scale: Finite | None = None
    predicted: Figures
    measured: Figures
    verdict: tuple[Finding, ...]
    command: str | None

    def in_a_line(self) -> str:
        """The recommendation in a sentence."""
        return self.summary

    @property
    def answers(self) -> bool:
        """Whether the weights are recommended: the signal survived, or one goal alone was asked for."""
        return answers(self.measured_to_hold, self.goal)

    @property
    def number(self) -> str:
        """The one number: the std of a weight; the gain of orthogonal weights, and where layers differ in size."""
        level = (len(set(self.sizes)) == 1 or len(self.sizes) == 2) and not self.init.startswith("orthogonal")
        return f"std {short(self.std)}" if level else f"gain {self.gain:.4g}"

    def _print(self, to: Console) -> None:
        print_recommendation(self, to)

    def _rows(self) -> Iterable[Row]:
        for name in Figures.model_fields:
            yield {"quantity": name, "predicted": self.predicted.at(name), "measured": self.measured.at(name)}
