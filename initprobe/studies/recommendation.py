"""`recommend`: the weights that suit an activation at a depth, chosen by theory and checked by a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from initprobe.activations.record import Activation
from initprobe.config.probe_config import DEFAULT_WIDTH, ProbeConfig
from initprobe.formatting import percent, short
from initprobe.initializers.record import Mode
from initprobe.meanfield.input_moments import InputMoments
from initprobe.probe.progress import Progress
from initprobe.probe.run import run
from initprobe.remedies.command_line import command_line
from initprobe.remedies.forecast import Network
from initprobe.remedies.norm_and_skip import holds
from initprobe.remedies.plain import changed
from initprobe.remedies.wider import wider
from initprobe.results.base import SCHEMA_VERSION, Finite, Record
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.spec import Spec
from initprobe.studies.choice import Choice, Goal, choose
from initprobe.studies.frameworks import weights_of
from initprobe.studies.recommended_shape import Shape

# Samples of the measurement. In a deep network they all become alike, so more samples would not help.
BATCH = 100


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
        width: units per layer, the largest where they differ; the input is assumed to have mean square 1.
        sizes: features of the input, then units of each layer.
        width_needed: width of which few draws lose the signal, for a net that is too deep for its width; else null.
        goal: `forward` keeps Var(h), `backward` Var(dL/dh), `balanced` both as well as one gain can.
        init: the initializer, as `--init` takes it.
        gain: `sqrt(fan Var(W))`, with the fan of `mode`.
        mode: fan_in, fan_out or fan_avg; all are equal in a network of equal widths.
        std: standard deviation of a weight at this width; of layer 1 where widths differ.
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
    layers: int | None = None,
    width: int = DEFAULT_WIDTH,
    goal: Goal = "balanced",
    *,
    shape: Shape | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Recommendation:
    """The weights that best serve a goal, for layers without bias and inputs of mean square 1.

    Args:
        act: the activation: a name, `name:key=value,...`, or an `Activation` of your own.
        layers: number of layers.
        width: units per layer.
        goal: what to keep level.
        shape: widths that differ, a single layer, a norm or residual branches, instead of `layers` and `width`.
        seed: seed of the measured networks.
        threads: threads for the measurement.
        progress: called with (steps done, total steps) of the measurement.

    Raises:
        ConfigError: the activation is unknown, or a size is out of range.
    """
    shape = shape or Shape(layers, width)
    fields = {"act": act, "seed": seed, **shape.fields}
    config = ProbeConfig(init="lecun", batch=BATCH, **fields)
    config, choice = _chosen(config, shape.depth, goal)
    result = run(config, threads=threads, progress=progress)
    return _written(config, shape.depth, goal, choice, result)


def _chosen(config: ProbeConfig, depth: int, goal: Goal) -> tuple[ProbeConfig, Choice]:
    """The weights for a shape, and the experiment that measures them."""
    widths = config.layer_widths
    sizes = (config.features or widths[0], *widths)
    if not config.is_plain:
        return _around(config, sizes)
    choice = choose(Network.of(config, (widths[0],) * (depth + 1), InputMoments.noise()), goal)
    config = changed(config, init=choice.weights.name)
    if len(set(sizes)) == 1 or len(widths) == 1 or not choice.holds:
        return config, choice
    for weights in (choice.weights, *_COMMON):
        candidate = changed(config, init=weights.name)
        if holds(candidate, sizes, InputMoments.noise()):
            return candidate, choice if weights is choice.weights else Choice(weights, (_OF_WIDTHS,))
    return config, replace(choice, reasons=(*choice.reasons, _NOT_OF_WIDTHS), holds=False)


_COMMON = (weights_of(1.0, unit="xavier"), weights_of(math.sqrt(2)), weights_of(1.0))
_OF_WIDTHS = "these common weights keep the variances at these widths"
_NOT_OF_WIDTHS = "the widths differ so much that no weights keep h and dL/dh at once"


def _around(config: ProbeConfig, sizes: tuple[int, ...]) -> tuple[ProbeConfig, Choice]:
    """Common weights, and the largest branch scale under which they are predicted to hold."""
    slope = config.activation.params.get("slope", 0.0)
    common = (*_COMMON[:1], weights_of(math.sqrt(2 / (1 + slope**2)), slope), *_COMMON[2:])
    for scale in (1.0, "1/sqrt(2L)", "1/L") if config.residual else (1.0,):
        for weights in common:
            candidate = changed(config, init=weights.name, branch_scale=scale)
            if holds(candidate, sizes, InputMoments.noise()):
                with_scale = f", with branches of scale {scale}" if scale != 1.0 else ""
                return candidate, Choice(weights, (f"h, dL/dh and dL/dW are predicted to stay level{with_scale}",))
    reason = "no common weights are predicted to keep h, dL/dh and dL/dW with this norm and these branches"
    return changed(config, init=common[0].name), Choice(common[0], (reason,), holds=False)


def _written(config: ProbeConfig, depth: int, goal: Goal, choice: Choice, result: ProbeResult) -> Recommendation:
    """The recommendation, with its measurement."""
    weights, layers, widths = choice.weights, result.layers, config.layer_widths
    verdict = tuple(finding for finding in result.diagnosis if finding.severity != "info")
    needed = _width_needed(config, result)
    too_deep = any(finding.rule == "too-deep" for finding in verdict)
    if too_deep:
        choice = replace(choice, holds=False)
    fan_in, fan_out, last = layers[0].fan_in, layers[0].fan_out, layers[-1]
    std = config.initializer.std(fan_in, fan_out)
    where = f"width {fan_in}" if fan_in == fan_out else f"{fan_in} -> {fan_out}"
    return Recommendation(
        activation=config.activation.name if isinstance(config.act, Activation) else str(config.act),
        layers=len(layers),
        width=max(widths),
        sizes=(fan_in, *widths),
        width_needed=needed,
        goal=goal,
        init=weights.name,
        gain=weights.gain,
        mode=weights.mode,
        std=std,
        formula=f"W ~ N(0, variance {weights.variance}), std {short(std)} at {where}; b = 0",
        summary=_too_deep(config, result, needed) if too_deep else _summary(config, depth, goal, choice, result),
        reasons=choice.reasons,
        predicted_to_hold=choice.holds,
        measured_to_hold=result.healthy,
        reach=choice.reach,
        pytorch=weights.pytorch,
        pytorch_bias="nn.init.zeros_(layer.bias)",
        keras=weights.keras,
        jax=weights.jax,
        predicted=_predicted(layers, last.fan_in * config.initializer.variance(last.fan_in, last.fan_out)),
        measured=_measured(layers),
        verdict=verdict,
        command=command_line(config) if isinstance(config.act, Spec) else None,
    )


def _width_needed(config: ProbeConfig, result: ProbeResult) -> int | None:
    """The width that would do, for a net that is too deep for its width."""
    if result.typical is None or result.typical.layer is None:
        return None
    candidate = next(wider(config, InputMoments.noise()), None)
    return None if candidate is None else max(candidate.layer_widths)


def _too_deep(config: ProbeConfig, result: ProbeResult, needed: int | None) -> str:
    """Why no weights help a net that is too deep for its width, and which width would do."""
    assert result.typical is not None
    share = percent(result.typical.loss_probability)
    fix = f"; width {needed} would do" if needed else ""
    return (
        f"{_layers(len(result.layers))} are too deep for width {max(config.layer_widths)}: {share}% of the draws lose "
        f"more than a factor of 100, whatever the mean over draws{fix}"
    )


_KEPT = {"forward": "Var(h)", "backward": "Var(dL/dh)"}


def _summary(config: ProbeConfig, depth: int, goal: Goal, choice: Choice, result: ProbeResult) -> str:
    weights = f"{choice.weights.name} weights and zero biases"
    net, measured = f"{config.activation.name} over {_layers(depth)}", result.healthy
    if config.residual:
        net += f" with branches of scale {config.branch_scale}"
    if not choice.holds and choice.reach is None:
        return f"no common weights keep signal and gradient of {net} in this shape"
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
    if first is None or last is None:  # batch norm over few samples
        return _Ends((None, None), None, scale, None, None).figures(len(layers))
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
