"""What a probe found: per-layer statistics and histogram counts, never activations.

Nothing here knows how the numbers were made. The field names, joined by dots (`output.variance`), are the vocabulary of
JSON, CSV and checks. `null` stands for what does not apply or was lost; `status` says which.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from initprobe.errors import InputError
from initprobe.numbers import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION: Literal[1] = 1

Status = Literal["ok", "underflow", "overflow", "nonfinite"]
Severity = Literal["info", "warning", "error"]
ModuleKind = Literal[
    "linear", "convolution", "activation", "normalisation", "attention", "embedding", "recurrence", "other"
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_LONGEST_LINE = 120  # characters of a part in a line
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_BY_GRAVITY: tuple[Status, ...] = ("ok", "underflow", "overflow", "nonfinite")
_MOST_NAMES = 4
TENSORS = (
    "weight",
    "preactivation",
    "output",
    "preactivation_gradient",
    "output_gradient",
    "weight_gradient",
)


def worst(statuses: Iterator[Status]) -> Status:
    """The gravest of some statuses."""
    return max(statuses, key=_BY_GRAVITY.index, default="ok")


class Record(BaseModel):
    """A frozen part of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null", serialize_by_alias=True)

    def __repr__(self) -> str:
        line = self.in_a_line()
        return f"<{type(self).__name__}: {line if len(line) <= _LONGEST_LINE else f'{line[:_LONGEST_LINE]} ...'}>"

    def __str__(self) -> str:
        return repr(self)

    def in_a_line(self) -> str:
        """What it says in short: its numbers and words, but no lists and no parts."""
        plain = ((name, value) for name, value in self if isinstance(value, bool | int | float | str))
        return ", ".join(f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in plain)


class Histogram(Record):
    """Counts in equal bins from `low` to `high`, all draws and batches pooled."""

    low: Finite
    high: Finite
    counts: Annotated[tuple[Count, ...], Field(min_length=1)]


class Percentiles(Record):
    """Percentiles of all entries, draws and batches pooled."""

    p1: Finite
    p5: Finite
    p25: Finite
    p50: Finite
    p75: Finite
    p95: Finite
    p99: Finite


class TensorStats(Record):
    """Statistics of one tensor of one layer, over all its entries (units and samples; all entries of a matrix).

    Moments are taken in each draw and averaged over draws; the rest is taken over all draws pooled.

    Attributes:
        status: `ok`; `underflow` where values fell below the normal range of the dtype; `overflow` where they left it
            (as infinity or NaN, which differs between processors); `nonfinite` where they were computed from such.
        mean: mean.
        variance: population variance about the mean.
        variance_sd: standard deviation (ddof 1) of the draws' variances; null for one draw.
        variance_log10: log10 of the variance; holds where the variance itself is below the float range.
        variance_by_draw: the variance in each draw.
        std: square root of `variance`.
        rms: square root of the mean square.
        min: smallest entry.
        max: largest entry.
        percentiles: percentiles, read from the fine histogram they were counted in.
        zero_fraction: share of entries that are exactly 0.
        near_zero_fraction: share of entries within 1% of `rms` of 0.
        nonfinite_count: entries that are infinite or NaN.
        coverage: share of the entries that extremes, percentiles, fractions and histogram were taken from; moments are
            of all.
        histogram: 200 equal bins from `min` to `max`.
    """

    status: Status
    mean: Finite | None
    variance: Finite | None
    variance_sd: Finite | None
    variance_log10: Finite | None
    variance_by_draw: tuple[Finite | None, ...]
    std: Finite | None
    rms: Finite | None
    min: Finite | None
    max: Finite | None
    percentiles: Percentiles | None
    zero_fraction: Share | None
    near_zero_fraction: Share | None
    nonfinite_count: Annotated[int, Field(ge=0)]
    coverage: Share
    histogram: Histogram | None


class OutputStats(TensorStats):
    """Statistics of a layer's output h.

    Attributes:
        saturated_fraction: share of entries of phi(z) in the activation's saturated band; null where it has none.
        dead_fraction: share of units that are exactly off for every sample of every batch, averaged over draws; null
            for an activation whose units cannot die.
    """

    saturated_fraction: Share | None
    dead_fraction: Share | None


class LayerTheory(Record):
    """What mean-field theory predicts for one layer, from the weights' variance and the input at hand.

    A number beyond the float range is null.

    Attributes:
        preactivation_variance: variance of z.
        output_variance: variance of h.
        preactivation_gradient_variance: variance of dL/dz.
        output_gradient_variance: variance of dL/dh.
        weight_gradient_variance: variance of dL/dW, summed over the samples of all batches.
        correlation: mean cosine between the z of two different inputs.
        output_spread: standard deviation of `log(measured / theory)` for the output variance, averaged over the draws:
            what a finite width allows it to differ by; null where it is not known, as in normalised and residual nets.
        output_gradient_spread: the same for the variance of dL/dh.
        length_slope: relative change of z's mean square for a relative change of it at the layer below, the slope of
            the length map in logs; above 1, deviations in scale grow. Null at layer 1, and in normalised and residual
            nets.
        z: the measured output variance less the predicted one, both as logs, in SDs of their difference; null where
            those are not known.
        output_shares: predicted share of the outputs in each bin of the output histogram; null after a skip.
    """

    preactivation_variance: Finite | None
    output_variance: Finite | None
    preactivation_gradient_variance: Finite | None
    output_gradient_variance: Finite | None
    weight_gradient_variance: Finite | None
    correlation: Finite | None
    output_spread: Finite | None
    output_gradient_spread: Finite | None
    length_slope: Finite | None
    z: Finite | None
    output_shares: tuple[Share, ...] | None


class Fitting(Record):
    """How a layer was fitted to its own input before anything was measured; means over draws.

    Attributes:
        quantity: what was to become small, or 1, in words.
        before: of the weights as drawn.
        after: of the fitted weights.
        baseline: of the best constant in place of a reconstruction; null where nothing is reconstructed.
        iterations: steps of SGD, or how often the layer was scaled.
        converged: within the tolerance in every draw; null where there is none.
    """

    quantity: str
    before: Finite | None
    after: Finite | None
    baseline: Finite | None
    iterations: Finite
    converged: bool | None


class LayerStats(Record):
    """Everything measured at one layer, and what theory makes of it.

    Attributes:
        layer: 1 for the first.
        fan_in: inputs of a unit.
        fan_out: units.
        status: the gravest status of its tensors.
        correlation: mean cosine between the pre-activations z of two different inputs; null where undefined.
        gradient_to_weight_ratio: rms(dL/dW) / rms(W); null for all-zero weights.
        weight: W.
        preactivation: z, what phi is given: h W + b, after the norm where there is one.
        output: h = phi(z); where a residual branch ends, the sum of what it was given and s times its own end.
        preactivation_gradient: dL/dz, before it goes back through the norm.
        output_gradient: dL/dh; N(0, 1) at the last layer by construction.
        weight_gradient: dL/dW, summed over the samples of all batches.
        theory: the prediction; null where none holds, and `ProbeResult.theory_note` says why.
        fitting: how its weights were fitted to the data; null where they were only drawn.
        loss_output_gradient_variance: variance of dL/dh where L is the loss, a mean over the first batch, averaged over
            draws; null without a loss.
        loss_weight_gradient_variance: the same of dL/dW.
        name: qualified name of the module that holds W, in a model of somebody's own; null in a net of `initprobe run`.
        kind: what kind of module that is; null where there is no name.
        activation: class of the module that made h of z; null where none was seen, and where there is no name.
        inside_branch: the layer is in a residual branch of several layers, and not its last: its h is no sum yet.
    """

    layer: Annotated[int, Field(ge=1)]
    fan_in: Annotated[int, Field(ge=1)]
    fan_out: Annotated[int, Field(ge=1)]
    status: Status
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    gradient_to_weight_ratio: Finite | None
    weight: TensorStats
    preactivation: TensorStats
    output: OutputStats
    preactivation_gradient: TensorStats
    output_gradient: TensorStats
    weight_gradient: TensorStats
    theory: LayerTheory | None = None
    fitting: Fitting | None = None
    loss_output_gradient_variance: Finite | None = None
    loss_weight_gradient_variance: Finite | None = None
    name: str | None = None
    kind: ModuleKind | None = None
    activation: str | None = None
    inside_branch: bool = False

    def tensor(self, name: str) -> TensorStats:
        """The statistics of a tensor of `TENSORS` by name."""
        stats: TensorStats = getattr(self, name)
        return stats


class ModuleStats(Record):
    """One call of one leaf module of somebody's own model.

    A module may take and give several tensors, in the order in which they are passed; one without gradient has null in
    its place, and what is no floating-point number is left out.

    Attributes:
        name: qualified name, as `named_modules` has it.
        call: 1 for its first call; 0 for a module that holds weights and was never called, so that somebody else must
            use them.
        kind: what kind of module it is.
        type: its class.
        layer: the layer of `ProbeResult.layers` that it is a part of; null for none.
        fan_in: entries that an output entry sums over; null where that means nothing.
        fan_out: output entries that an input entry goes to.
        status: the gravest status of its tensors.
        inputs: the tensors it was given, before it may have overwritten them.
        outputs: the tensors it gave.
        input_gradients: of the loss with respect to `inputs`, summed over all who use these.
        output_gradients: of the loss with respect to `outputs`.
        weight: its weight; null without one.
        weight_gradient: summed over the samples and over all uses of the weight; null for a frozen one.
    """

    name: str
    call: Annotated[int, Field(ge=0)]
    kind: ModuleKind
    type: str
    layer: Annotated[int, Field(ge=1)] | None
    fan_in: Annotated[int, Field(ge=1)] | None
    fan_out: Annotated[int, Field(ge=1)] | None
    status: Status
    inputs: tuple[TensorStats, ...]
    outputs: tuple[TensorStats, ...]
    input_gradients: tuple[TensorStats | None, ...]
    output_gradients: tuple[TensorStats | None, ...]
    weight: TensorStats | None
    weight_gradient: TensorStats | None

    @property
    def label(self) -> str:
        """The name, numbered from the second call on: `act#2`."""
        return f"{self.name}#{self.call}" if self.call > 1 else self.name

    @property
    def input(self) -> TensorStats | None:
        """The first tensor it was given."""
        return self.inputs[0] if self.inputs else None

    @property
    def output(self) -> TensorStats | None:
        """The first tensor it gave."""
        return self.outputs[0] if self.outputs else None

    @property
    def input_gradient(self) -> TensorStats | None:
        """Of the first tensor it was given."""
        return self.input_gradients[0] if self.input_gradients else None

    @property
    def output_gradient(self) -> TensorStats | None:
        """Of the first tensor it gave."""
        return self.output_gradients[0] if self.output_gradients else None


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
    """Why a finding does not count: somebody has said so.

    Attributes:
        reason: in their words.
        until: the last day of it, as 2027-03-01; null for no end.
    """

    reason: str
    until: str | None


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
            Rank collapse, if there is nothing graver, has one under which inputs stay apart. For a model of somebody's
            own it is a line of PyTorch.
        module: qualified name of the module at fault; null in a net of `initprobe run`.
        ignored: why it does not count; null for one that does.
        no_fix: why there is no fix, for a model of one's own whose fixes were tried.
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


class ProbeResult(Record):
    """What `initprobe.run` and `initprobe.torch.probe` return: one experiment, measured.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        config: the experiment as asked for.
        description: the experiment in words.
        environment: versions and machine.
        elapsed_s: seconds that sampling, propagation, statistics and theory took.
        theory_note: why there is no prediction, in words; null where there is one.
        depth_scales: over how many layers signals and gradients settle; null without a prediction.
        healthy: nothing above info was found; this speaks of initialization only.
        diagnosis: what is wrong or worth knowing, gravest first; empty where nothing is.
        layers: the layers, first to last.
        loss: the starting loss; null where none was asked for.
        training: what became of the network; null where it was not trained.
        modules: every call of every leaf module, in order, of a model of somebody's own; empty for a net of `run`.
        notes: what else to know of how it was measured.
        coverage: which share of the parameters was judged; null for a net of `run`, of which all are.
        min_judged: the share below which the verdict speaks of a part only.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    config: dict[str, JsonValue]
    description: Description
    environment: Environment
    elapsed_s: Annotated[float, Field(ge=0)]
    theory_note: str | None = None
    depth_scales: DepthScales | None = None
    healthy: bool = True
    diagnosis: tuple[Finding, ...] = ()
    layers: Annotated[tuple[LayerStats, ...], Field(min_length=1)]
    loss: LossStats | None = None
    training: Training | None = None
    modules: tuple[ModuleStats, ...] = ()
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None
    min_judged: Share = 0.0

    @property
    def is_partial(self) -> bool:
        """Too few of the parameters were judged for a verdict on the whole."""
        return self.coverage is not None and self.coverage.share < self.min_judged

    @cached_property
    def draws(self) -> int:
        """Number of independent networks behind each average."""
        return len(self.layers[0].output.variance_by_draw)

    @property
    def stream(self) -> tuple[LayerStats, ...]:
        """The layers but those inside of residual branches: their h, and its gradient, are the signal's own."""
        return tuple(layer for layer in self.layers if not layer.inside_branch)

    def series(self, tensor: str, statistic: str = "variance") -> list[float]:
        """A statistic of a tensor over the layers, NaN where it is null: `series("output", "std")`."""
        values = (getattr(layer.tensor(tensor), statistic) for layer in self.layers)
        return [math.nan if value is None else float(value) for value in values]

    def to_json(self) -> str:
        """This result as JSON text; `from_json` reads it back."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "JSON") -> ProbeResult:
        """Read a result from JSON text.

        Raises:
            InputError: not JSON, or not a result of this schema version; names `source` and the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise InputError(
                f"{source}: not a result of initprobe (schema {SCHEMA_VERSION}): {where or 'file'}: {fault['msg']}"
            ) from None

    def figure(self, kind: str = "summary") -> Figure:
        """A matplotlib figure: `summary`, `output`, `gradient`, `depth`; `fitting` or `training` if there was any.

        Raises:
            UnknownNameError: another kind; says which there are. A `KeyError` too.
        """
        from initprobe.reports.figures import draw

        return draw(self, kind)

    def table(self, width: int | None = None) -> str:
        """The table that `initprobe run` prints, as plain text; sentences are folded into `width` columns, if given."""
        from initprobe.reports.tables import plain_text

        return plain_text(self, width)

    def _repr_html_(self) -> str:
        """A notebook shows the table and the summary picture."""
        from initprobe.reports.notebook import block

        return block(self)

    def in_a_line(self) -> str:
        """The verdict and the network."""
        gravest = self.diagnosis[0] if self.diagnosis and not self.healthy else None
        verdict = "signal survives" if gravest is None else f"{gravest.name} from layer {gravest.layer}"
        return f"{verdict}; {self.description.title}; {self.description.shape}"
