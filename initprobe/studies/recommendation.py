"""`recommend`: the weights that suit an activation at a depth, predicted, then measured to hold."""

from __future__ import annotations

from collections.abc import Sequence
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
from initprobe.remedies.forecast import Net
from initprobe.results.base import SCHEMA_VERSION, Finite, Record
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.spec import Spec
from initprobe.studies.choice import Choice, Goal, choose

# Samples a measurement takes: in a deep net they are all alike, and only more networks make it surer.
BATCH = 100
# Theory is evaluated at many depths and gains before anything is measured: some seconds for as many layers.
MOST_LAYERS = 10_000


class Figures(Record):
    """Variances of one network, predicted or measured; null where not known or beyond the float range.

    Attributes:
        output_first: Var(h) at layer 1.
        output_last: Var(h) at the last layer.
        gradient_first: Var(dL/dh) at layer 1, where it is 1 at the last.
        gradient_factor: what Var(dL/dh) is multiplied by a layer on its way back, geometric mean; null for one layer.
        chi_1: the same at the last layer alone, `fan_in Var(W) E[phi'^2]`.
        length_slope: relative change of z's mean square for one at the layer below, at the last layer; predicted only.
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
        activation: as asked for.
        layers: number of layers.
        width: units of each, and features of the input, whose mean square is taken to be 1.
        goal: `forward` keeps Var(h), `backward` Var(dL/dh), `balanced` both as well as one gain can.
        init: the initializer, as `--init` takes it.
        gain: `sqrt(fan Var(W))`, fan being what `mode` says.
        mode: fan_in, fan_out or fan_avg; all the same in a square net.
        std: of a weight at this width.
        formula: the distribution of a weight.
        summary: the recommendation in a sentence.
        reasons: why these weights, or why none hold and what would.
        predicted_to_hold: theory finds Var(h), Var(dL/dh) and Var(dL/dW) level enough at this depth, and this stable.
        measured_to_hold: the verdict on the networks measured has nothing above info.
        reach: layers up to which these weights are predicted to hold, where they are not at this depth; else null.
        pytorch: a line for `layer = nn.Linear(...)`; biases to 0 by another, `pytorch_bias`.
        pytorch_bias: that line, since torch's own biases are not 0.
        keras: a `kernel_initializer`; biases are 0 by default.
        jax: a kernel initializer for a kernel of shape `(fan_in, fan_out)`; biases are 0 by default in Flax.
        predicted: at infinite width.
        measured: averaged over `draws` networks.
        verdict: findings above info of the networks measured, most severe first.
        command: measures this again; null where the activation is a record from Python.
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
    """The weights for square layers without bias that best serve the goal, for inputs of mean square 1.

    Args:
        act: activation: a name, `name:key=value,...`, or an `Activation` of your own.
        layers: number of layers.
        width: units of each.
        goal: what to keep level.
        seed: of the networks that it is measured on.
        threads: of the measurement.
        progress: called with (steps done, steps in all) of the measurement.

    Raises:
        ConfigError: an unknown activation, or sizes that no network has.
    """
    if layers > MOST_LAYERS:
        raise ConfigError(f"layers: must be at most {MOST_LAYERS:,} here, not {shown(layers)}; ask for fewer layers")
    # What is the default is not named in the command line.
    shown_width = None if width == DEFAULT_WIDTH else width
    fields: dict[str, Any] = {"act": act, "layers": layers, "width": shown_width, "seed": seed}
    net = Net.of(ProbeConfig(init="lecun", **fields), (width,) * (layers + 1), InputMoments.noise())
    choice = choose(net, goal)
    config = ProbeConfig(init=choice.weights.name, batch=BATCH, **fields)
    result = run(config, threads=threads, progress=progress)
    return _written(config, goal, choice, result)


def _written(config: ProbeConfig, goal: Goal, choice: Choice, result: ProbeResult) -> Recommendation:
    """The recommendation with what was measured."""
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
        rest = "" if choice.holds else f"; all of the signal they keep {reach}"
        return f"{weights} keep {_KEPT[goal]} of {net} level{rest}"
    if not choice.holds:
        best = f"; {weights}, the best for fewer, do up to {choice.reach}" if choice.reach != 1 else ", nor over two"
        return f"no plain initializer keeps signal and gradient of {net}{best}"
    doubt = "" if measured else ", in theory; not in the networks measured"
    return f"{weights} keep signal and gradient of {net}{doubt}"


def _layers(count: int | None) -> str:
    return f"{count} layer{'' if count == 1 else 's'}"


def _predicted(layers: Sequence[LayerStats], scale: float) -> Figures:
    """From the predictions that stand beside the measurement; `scale` is `fan_in Var(W)`."""
    theory = [layer.theory for layer in layers]
    first, last = theory[0], theory[-1]
    assert first is not None and last is not None  # whatever is recommended has a theory
    output = first.output_variance, last.output_variance
    below, above = last.preactivation_gradient_variance, last.output_gradient_variance
    return _figures(len(layers), output, first.output_gradient_variance, scale, below, above, last.length_slope)


def _measured(layers: Sequence[LayerStats]) -> Figures:
    first, last = layers[0], layers[-1]
    scale = last.fan_in * (last.weight.variance or 0.0)
    output = first.output.variance, last.output.variance
    below, above = last.preactivation_gradient.variance, last.output_gradient.variance
    return _figures(len(layers), output, first.output_gradient.variance, scale, below, above)


def _figures(
    layers: int,
    output: tuple[float | None, float | None],
    gradient: float | None,
    scale: float,
    below: float | None,
    above: float | None,
    slope: float | None = None,
) -> Figures:
    """`below` and `above` are the variances of dL/dz and dL/dh at the last layer."""
    return Figures(
        output_first=output[0],
        output_last=output[1],
        gradient_first=gradient,
        gradient_factor=gradient ** (1 / (layers - 1)) if gradient and layers > 1 else None,
        chi_1=scale * below / above if below is not None and above else None,
        length_slope=slope,
    )
