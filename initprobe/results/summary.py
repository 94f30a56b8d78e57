"""What a result says of the whole net: depth scales, loss, training, findings, coverage and description."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from initprobe.formatting import percent
from initprobe.results.base import Finite, Record, Severity, Share
from initprobe.results.layers import LayerStats

_MOST_NAMES = 4


class DepthScale(Record):
    """The number of layers over which a quantity changes by a factor of e.

    Attributes:
        measured: from a straight line through the measured logs over depth.
        predicted: from the same line through the predicted logs, at the same layers.
        limit: at the fixed point of an infinitely deep net; null without a fixed point or an exponential.
    """

    measured: Finite | None
    predicted: Finite | None
    limit: Finite | None


class DepthScales(Record):
    """Depth scales; each is null where too few layers show it above chance.

    Attributes:
        gradient: of the variance of dL/dh, backward; negative where it grows.
        correlation: of the distance of two inputs' cosine from its limit.
        length: of the distance of the mean square of z from its limit.
    """

    gradient: DepthScale | None
    correlation: DepthScale | None
    length: DepthScale | None


class TypicalDraw(Record):
    """What one draw of this width keeps of the signal, as theory predicts it; other predictions are means over draws.

    The mean square of h of a draw is divided by that of an infinitely wide net.

    Attributes:
        output_variance: variance of h at the last layer of the typical draw, `exp(E log)`.
        log10_mean: mean of log10 of that ratio at the last layer, over draws whose signal is not exactly 0.
        log10_sd: standard deviation of that log10 over draws.
        loss_probability: probability that a draw loses more than a factor of 100, so that the ratio is below 1/100.
        layer: the first layer at which that probability exceeds one half; null for none.
    """

    output_variance: Finite | None
    log10_mean: Finite
    log10_sd: Finite
    loss_probability: Share
    layer: Annotated[int, Field(ge=1)] | None


class InputStats(Record):
    """The samples of all batches and draws.

    Attributes:
        mean_square: mean square of an entry; 0 for an input without signal.
        correlation: mean cosine of two different samples; null where it is undefined.
        equal: whether every sample is the same, up to rounding.
    """

    mean_square: Annotated[float, Field(ge=0)]
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    equal: bool = False


class LossStats(Record):
    """The loss of a linear read-out before training, on the first batch of each draw.

    Attributes:
        name: `cross-entropy` or `mse`.
        task: the source of the labels.
        classes: the number of classes.
        start: mean over draws; null where it left the float range.
        start_by_draw: the loss of each draw.
        chance: the loss of the best prediction that ignores the sample.
        chance_words: the formula of chance, as `ln 10`.
    """

    name: str
    task: str
    classes: Annotated[int, Field(ge=2)]
    start: Finite | None
    start_by_draw: tuple[Finite | None, ...]
    chance: Finite
    chance_words: str


class Training(Record):
    """The first network after training with plain SGD.

    Attributes:
        steps: number of steps asked for.
        learning_rate: of each step.
        losses: before each step and after the last, each on the batch of its step, until the net diverged.
        final_loss: mean of the last tenth of `losses`; null for a net that diverged.
        diverged_at: steps after which the loss was infinite or NaN; null if it never was.
        diverged_layer: the first layer without a finite output at that step; the number of layers plus 1 for the
            read-out.
        layers: statistics of the trained network, measured like those of the untrained one; null if it diverged.
    """

    steps: Annotated[int, Field(ge=1)]
    learning_rate: Finite
    losses: tuple[Finite, ...]
    final_loss: Finite | None
    diverged_at: int | None
    diverged_layer: int | None
    layers: tuple[LayerStats, ...] | None


class Ignored(Record):
    """The user's reason for ignoring a finding.

    Attributes:
        reason: in the user's words.
        until: the last day on which it is ignored, as 2027-03-01; null for no end.
    """

    reason: str
    until: str | None


class Place(Record):
    """A further place at which the rule of a finding holds, in a PyTorch model.

    Attributes:
        layer: number of the layer.
        module: qualified name of the module.
        evidence: the numbers there.
    """

    layer: Annotated[int, Field(ge=1)]
    module: str | None
    evidence: str


class Finding(Record):
    """One observation of a rule of the verdict.

    Attributes:
        rule: the rule's id; see `initprobe explain RULE`.
        name: the same in words.
        severity: `info`, `warning` or `error`.
        layer: the layer where it begins.
        evidence: the numbers, with the arithmetic.
        cause: why, in a sentence.
        fix: a command line for the same experiment without this fault. It has another initializer, else a norm or
            residual branches. For a PyTorch model it is a line of PyTorch. Null where nothing is predicted to help, and
            for info. If rank collapse is the worst finding, its fix keeps inputs apart.
        module: qualified name of the module at fault; null in a net of `initprobe run`.
        ignored: why it does not count; null if it counts.
        no_fix: why there is no fix: for a PyTorch model, and where the input is at fault.
        elsewhere: further places of the same rule, in a PyTorch model; none in a net of `initprobe run`.
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
    """The share of a PyTorch model's parameters that was judged.

    Attributes:
        parameters: number of parameters.
        judged: number of parameters that some rule compared with a limit.
        not_judged: modules that hold the other parameters, with the reason, the largest first.
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
        shape: e.g. `500 -> 10 x 500`.
        slug: a file name for it, e.g. `xavier-tanh-10x500`.
        rules: the known initializers with which weights from a file agree; null for drawn weights.
        output_low: the smallest possible output; null if unbounded.
        output_high: the largest possible output; null if unbounded.
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
    """Versions and machine; `torch` is null where PyTorch was not used."""

    initprobe: str
    python: str
    numpy: str
    blas: str
    processor: str
    platform: str
    threads: int
    torch: str | None = None
