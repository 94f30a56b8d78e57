"""`recommend`: the weights that suit an activation at a depth, chosen by theory and checked by a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from initprobe.activations.record import Activation
from initprobe.config.probe_config import DEFAULT_WIDTH, ProbeConfig
from initprobe.errors import ConfigError
from initprobe.formatting import short, shown
from initprobe.initializers.record import Mode
from initprobe.meanfield.input_moments import InputMoments
from initprobe.probe.progress import Progress
from initprobe.probe.run import run
from initprobe.remedies.command_line import command_line
from initprobe.remedies.forecast import Network
from initprobe.results.base import SCHEMA_VERSION, Finite, Record
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.spec import Spec
from initprobe.studies.choice import Choice, Goal, choose

# Samples of the measurement. In a deep network they all become alike, so more samples would not help.
BATCH = 100
# Theory is evaluated at many depths and gains first; that takes some seconds for so many layers.
MOST_LAYERS = 10_000


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


class Recommendation(Record):
    """What `recommend` returns.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        activation: as given.
        layers: number of layers.
        width: units per layer, and features of the input, which is assumed to have mean square 1.
        goal: `forward` keeps Var(h), `backward` Var(dL/dh), `balanced` both as well as one gain can.
        init: the initializer, as `--init` takes it.
        gain: `sqrt(fan Var(W))`, with the fan of `mode`.
        mode: fan_in, fan_out or fan_avg; all are equal in a network of equal widths.
        std: standard deviation of a weight at this width.
        formula: the distribution of a weight.
        summary: the recommendation in a sentence.
        reasons: why these weights, or why none hold and what would hold.
        predicted_to_hold: theory predicts level Var(h), Var(dL/dh) and Var(dL/dW) at this depth, and a stable map.
        measured_to_hold: the verdict on the measured networks has no finding above info.
        reach: number of layers up to which the weights are predicted to hold; null if they hold at this depth.
        pytorch: a line of code for the weights of `layer = nn.Linear(...)`.
        pytorch_bias: a line of code that sets its biases to 0, which they are not by default.
        keras: a `kernel_initializer`; biases are 0 by default.
        jax: a kernel initializer for a kernel of shape `(fan_in, fan_out)`; biases are 0 by default in Flax.
        predicted: variances at infinite width.
        measured: variances averaged over `draws` networks.
        verdict: findings above info about the measured networks, most severe first.
        command: a command line that repeats the measurement; null if the activation is a record from Python.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    activation: str
    layers: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
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
    pytorch: str
    pytorch_bias: str
    keras: str
    jax: str
    predicted: Figures
    measured: Figures
    verdict: tuple[Finding, ...]
    command: str | None

    def in_a_line(self) -> str:
        """The recommendation in a sentence."""
        return self.summary


def recommend(
    act: str | Spec | Activation,
    layers: int,
    width: int = DEFAULT_WIDTH,
    goal: Goal = "balanced",
    *,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Recommendation:
    """The weights that best serve a goal, for layers of equal widths without bias and inputs of mean square 1.

    Args:
        act: the activation: a name, `name:key=value,...`, or an `Activation` of your own.
        layers: number of layers.
        width: units per layer.
        goal: what to keep level.
        seed: seed of the measured networks.
        threads: threads for the measurement.
        progress: called with (steps done, total steps) of the measurement.

    Raises:
        ConfigError: the activation is unknown, or a size is out of range.
    """
    if layers > MOST_LAYERS:
        text = f"must be at most {MOST_LAYERS:,} here, not {shown(layers)}; ask for fewer layers"
        raise ConfigError(text, field="layers")
    # A width left at its default does not appear in the command line.
    shown_width = None if width == DEFAULT_WIDTH else width
    fields: dict[str, Any] = {"act": act, "layers": layers, "width": shown_width, "seed": seed}
    net = Network.of(ProbeConfig(init="lecun", **fields), (width,) * (layers + 1), InputMoments.noise())
    choice = choose(net, goal)
    config = ProbeConfig(init=choice.weights.name, batch=BATCH, **fields)
    result = run(config, threads=threads, progress=progress)
    return _written(config, goal, choice, result)


def _written(config: ProbeConfig, goal: Goal, choice: Choice, result: ProbeResult) -> Recommendation:
    """The recommendation, with its measurement."""
    weights, layers, width = choice.weights, len(result.layers), config.layer_widths[0]
    verdict = tuple(finding for finding in result.diagnosis if finding.severity != "info")
    std = config.initializer.std(width, width)
    return Recommendation(
        activation=config.activation.name if isinstance(config.act, Activation) else str(config.act),
        layers=layers,
        width=width,
        goal=goal,
        init=weights.name,
        gain=weights.gain,
        mode=weights.mode,
        std=std,
        formula=f"W ~ N(0, variance {weights.variance}), std {short(std)} at width {width}; b = 0",
        summary=_summary(config, goal, choice, result.healthy),
        reasons=choice.reasons,
        predicted_to_hold=choice.holds,
        measured_to_hold=result.healthy,
        reach=choice.reach,
        pytorch=weights.pytorch,
        pytorch_bias="nn.init.zeros_(layer.bias)",
        keras=weights.keras,
        jax=weights.jax,
        predicted=_predicted(result.layers, weights.gain**2),
        measured=_measured(result.layers),
        verdict=verdict,
        command=command_line(config) if isinstance(config.act, Spec) else None,
    )


_KEPT = {"forward": "Var(h)", "backward": "Var(dL/dh)"}


def _summary(config: ProbeConfig, goal: Goal, choice: Choice, measured: bool) -> str:
    weights = f"{choice.weights.name} weights and zero biases"
    net = f"{config.activation.name} over {_layers(config.layers)}"
    if goal != "balanced":
        reach = f"up to {_layers(choice.reach)}" if choice.reach else "at no depth"
        rest = "" if choice.holds else f"; they keep signal and gradient {reach}"
        return f"{weights} keep {_KEPT[goal]} of {net} level{rest}"
    if not choice.holds:
        best = f"; {weights} do up to {_layers(choice.reach)}" if choice.reach != 1 else ", nor over 2 layers"
        return f"no plain initializer keeps signal and gradient of {net}{best}"
    doubt = "" if measured else " in theory, but not in the measured networks"
    return f"{weights} keep signal and gradient of {net}{doubt}"


def _layers(count: int | None) -> str:
    return f"{count} layer{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class _Ends:
    """Variances at the two ends of a network.

    Attributes:
        output: Var(h) at the first and at the last layer.
        gradient: Var(dL/dh) at the first layer.
        scale: `fan_in Var(W)` at the last layer.
        below: Var(dL/dz) at the last layer.
        above: Var(dL/dh) at the last layer.
        slope: slope of the length map at the last layer.
    """

    output: tuple[float | None, float | None]
    gradient: float | None
    scale: float
    below: float | None
    above: float | None
    slope: float | None = None

    def figures(self, layers: int) -> Figures:
        """The figures of a network with this number of layers."""
        gradient = self.gradient
        return Figures(
            output_first=self.output[0],
            output_last=self.output[1],
            gradient_first=gradient,
            gradient_factor=gradient ** (1 / (layers - 1)) if gradient and layers > 1 else None,
            chi_1=self.scale * self.below / self.above if self.below is not None and self.above else None,
            length_slope=self.slope,
        )


def _predicted(layers: Sequence[LayerStats], scale: float) -> Figures:
    """Figures from the predictions beside the measurement; `scale` is `fan_in Var(W)`."""
    first, last = layers[0].theory, layers[-1].theory
    assert first is not None and last is not None  # every recommended initializer has a prediction
    return _Ends(
        output=(first.output_variance, last.output_variance),
        gradient=first.output_gradient_variance,
        scale=scale,
        below=last.preactivation_gradient_variance,
        above=last.output_gradient_variance,
        slope=last.length_slope,
    ).figures(len(layers))


def _measured(layers: Sequence[LayerStats]) -> Figures:
    """Figures from the measurement."""
    first, last = layers[0], layers[-1]
    return _Ends(
        output=(first.output.variance, last.output.variance),
        gradient=first.output_gradient.variance,
        scale=last.fan_in * (last.weight.variance or 0.0),
        below=last.preactivation_gradient.variance,
        above=last.output_gradient.variance,
    ).figures(len(layers))
