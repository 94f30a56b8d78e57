"""What a probe found: per-layer statistics and histogram counts, never activations.

Nothing here knows how the numbers were made. The field names, joined by dots (`output.variance`), are the vocabulary of
JSON, CSV and checks. `null` stands for what does not apply or was lost; `status` says which.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from initprobe.formatting import percent
from initprobe.results.base import Finite, Record, Severity
from initprobe.results.layers import LayerStats

_MOST_NAMES = 4


class DepthScale(Record):
    """Layers over which something changes by a factor of e.

    Attributes:
        measured: of a straight line through the measured logs over depth.
        predicted: of the same line through the predicted ones, at the same layers.
        limit: at the fixed point of an infinitely deep net; null where there is none, or no exponential.
    """

    measured: Finite | None
    predicted: Finite | None
    limit: Finite | None


class DepthScales(Record):
    """Each null where too few layers show it above chance.

    Attributes:
        gradient: of the variance of dL/dh on its way back; negative where it grows.
        correlation: of the distance of two inputs' cosine from its limit.
        length: of the distance of the mean square of z from its limit.
    """

    gradient: DepthScale | None
    correlation: DepthScale | None
    length: DepthScale | None


class LossStats(Record):
    """The loss behind a linear read-out before anything is learned, on the first batch of each draw.

    Attributes:
        name: `cross-entropy` or `mse`.
        task: where the labels come from.
        classes: how many there are.
        start: mean over draws; null where it left the float range.
        start_by_draw: the loss of each draw.
        chance: the loss of knowing nothing of a sample.
        chance_words: how chance comes about: `ln 10`.
    """

    name: str
    task: str
    classes: Annotated[int, Field(ge=2)]
    start: Finite | None
    start_by_draw: tuple[Finite | None, ...]
    chance: Finite
    chance_words: str


class Training(Record):
    """What plain SGD made of the first network.

    Attributes:
        steps: steps asked for.
        learning_rate: of each.
        losses: before each step and after the last, each on the batch of its step; up to where the net diverged.
        final_loss: mean of the last tenth of `losses`; null for a net that diverged.
        diverged_at: steps after which the loss was infinite or NaN; null where it never was.
        diverged_layer: the first layer without a finite output then; one more than there are means the read-out.
        layers: statistics of the trained network, measured like those of the new one; null for a net that diverged.
    """

    steps: Annotated[int, Field(ge=1)]
    learning_rate: Finite
    losses: tuple[Finite, ...]
    final_loss: Finite | None
    diverged_at: int | None
    diverged_layer: int | None
    layers: tuple[LayerStats, ...] | None


class Ignored(Record):
    """Why a finding does not count, as the user says.

    Attributes:
        reason: in their words.
        until: the last day of it, as 2027-03-01; null for no end.
    """

    reason: str
    until: str | None


class Place(Record):
    """A further place at which the rule of a finding holds, in a model of one's own.

    Attributes:
        layer: number of the layer.
        module: qualified name of the module.
        evidence: the numbers there.
    """

    layer: Annotated[int, Field(ge=1)]
    module: str | None
    evidence: str


class Finding(Record):
    """One thing that a rule of `diagnosis` saw in a result.

    Attributes:
        rule: the rule's id; `initprobe explain RULE` says more.
        name: the same in words.
        severity: `info`, `warning` or `error`.
        layer: the layer where it begins.
        evidence: the numbers, with the arithmetic.
        cause: why, in a sentence.
        fix: a command line that runs the same experiment without this fault: with another initializer, or where none
            helps, with a norm or residual branches; null where nothing is predicted to help, and for what is no fault.
            Rank collapse, if there is nothing more severe, has one under which inputs stay apart. For a user's own
            model it is a line of PyTorch.
        module: qualified name of the module at fault; null in a net of `initprobe run`.
        ignored: why it does not count; null for one that does.
        no_fix: why there is no fix, for a model of one's own whose fixes were tried.
        elsewhere: further places of the same rule, in a model of one's own; none in a net of `initprobe run`.
    """

    rule: str
    name: str
    severity: Severity
    layer: Annotated[int, Field(ge=1)]
    evidence: str
    cause: str
    fix: str | None
    module: str | None = None
    ignored: Ignored | None = None
    no_fix: str | None = None
    elsewhere: tuple[Place, ...] = ()


class ModelFacts(Record):
    """What the verdict on a PyTorch model rests on, beside the numbers.

    Attributes:
        void: modules whose parameters or buffers hold NaN or infinity, with what is wrong.
    """

    void: dict[str, str]


class Coverage(Record):
    """Which share of a model's own parameters was judged.

    Attributes:
        parameters: how many there are.
        judged: how many of them were compared with something.
        not_judged: modules that hold the others, with the reason, the largest first.
    """

    parameters: Annotated[int, Field(ge=0)]
    judged: Annotated[int, Field(ge=0)]
    not_judged: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share that was judged; 1 for a model without parameters."""
        return self.judged / self.parameters if self.parameters else 1.0

    @property
    def words(self) -> str:
        """`98.7% of 124.4M parameters; not judged: rnn (never used)`."""
        share = percent(self.share) if self.share in (0, 1) else f"{min(100 * self.share, 99.9):.1f}"
        shown, more = ", ".join(self.not_judged[:_MOST_NAMES]), len(self.not_judged) - _MOST_NAMES
        missing = f"; not judged: {shown}{f' and {more} more' if more > 0 else ''}" if shown else ""
        return f"{share}% of {_count(self.parameters)} parameters{missing}"


def _count(number: int) -> str:
    """`124.4M` of 124,439,808."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


class Description(Record):
    """The experiment in words, for titles and headings.

    Attributes:
        title: e.g. `Xavier normal + tanh, 10 layers of 500`.
        weights: e.g. `W ~ N(0, std 0.0447), width x Var(W) = 1.00`.
        setting: e.g. `N(0,1) input, batch 1000, 4 draws, seed 0`.
        shape: e.g. `500 -> 500 x 10`.
        slug: a file name for it, e.g. `xavier-tanh-10x500`.
        rules: which known rules weights from a file agree with; null for drawn ones.
        output_low: the smallest value an output can take; null if unbounded.
        output_high: the largest.
    """

    title: str
    weights: str
    setting: str
    shape: str
    slug: str
    rules: str | None = None
    output_low: Finite | None
    output_high: Finite | None


class Environment(Record):
    """Where a result was made; `torch` is null where it had no part in it."""

    initprobe: str
    python: str
    numpy: str
    blas: str
    processor: str
    platform: str
    threads: int
    torch: str | None = None
