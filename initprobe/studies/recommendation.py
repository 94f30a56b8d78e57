"""`recommend`: the weights that suit an activation at a depth, chosen by theory and checked by a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import get_args

from initprobe.activations.record import Activation
from initprobe.config.probe_config import DEFAULT_WIDTH, ProbeConfig
from initprobe.errors import ConfigError, InitprobeError, UnknownNameError
from initprobe.meanfield.input_moments import InputMoments
from initprobe.prediction.command_line import command_line
from initprobe.prediction.fix_norm_and_skip import wider_that_holds
from initprobe.probe.progress import Progress
from initprobe.probe.run import measured, survives
from initprobe.results.layers import LayerStats
from initprobe.results.recommendation import Figures, Goal, Recommendation, answers
from initprobe.results.run import ProbeResult
from initprobe.spec import Spec
from initprobe.studies.choice import Choice
from initprobe.studies.recommended_shape import Shape
from initprobe.studies.recommended_words import branch_line, formula_of, is_too_deep, summary_of
from initprobe.studies.shape_choice import choose_for_shape, orthogonal_instead

# Samples of the measurement. In a deep network they all become alike, so more samples would not help.
BATCH = 100


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
        goal: `forward` keeps Var(h), `backward` Var(dL/dh), `balanced` both as well as one gain can.
        shape: widths that differ, a single layer, a norm or residual branches, instead of `layers` and `width`.
        seed: seed of the measured networks.
        threads: threads for the measurement.
        progress: called with (steps done, total steps) of the measurement.

    Returns:
        The weights as a number and as lines of code, with the predicted and the measured variances.

    Raises:
        ConfigError: the activation or the goal is unknown, or a size is out of range.
    """
    if goal not in (goals := get_args(Goal)):
        raise UnknownNameError(f"must be one of {', '.join(goals)}, not {goal!r}", field="goal")
    for field, size in (("layers", layers), ("width", width)):
        if not isinstance(size, Integral | None):
            raise ConfigError(f"must be a whole number, not {size!r}", field=field)
    shape = shape or Shape(layers, width)
    config, choice = _chosen(act, shape, goal, seed)
    result = measured(config, threads=threads, progress=progress)
    if is_too_deep(result) and goal == "balanced" and config.is_plain:
        config, choice, result = _orthogonal(config, choice, result, threads)
    advice, wide = _written(config, shape.depth, goal, choice, result), _wide_enough(config, result)
    instead = None if advice.answers or shape.fan_in is not None else _instead(act, shape, wide, seed, threads)
    needed = None if wide is None else max(wide.layer_widths)
    return advice.model_copy(update={"width_needed": needed, "instead": instead})


def _chosen(
    act: str | Spec | Activation, shape: Shape, goal: Goal = "balanced", seed: int = 0
) -> tuple[ProbeConfig, Choice]:
    """The experiment with the weights chosen for a shape."""
    fields = {"act": act, "seed": seed, **shape.fields}
    return choose_for_shape(ProbeConfig(init="lecun", batch=BATCH, **fields), shape.depth, goal)


def _orthogonal(
    config: ProbeConfig, choice: Choice, result: ProbeResult, threads: int | None
) -> tuple[ProbeConfig, Choice, ProbeResult]:
    """The same network with orthogonal weights where they survive; else unchanged, with no reason for its weights."""
    other = orthogonal_instead(config, choice.weights.gain)
    if other is not None and (measurement := measured(other[0], threads=threads)).healthy:
        return *other, measurement
    return config, replace(choice, reasons=()), result


def _instead(
    act: str | Spec | Activation, shape: Shape, wide: ProbeConfig | None, seed: int, threads: int | None
) -> str | None:
    """A `recommend` line of a wider network, or of one with branches, that survives when it is measured."""
    if isinstance(act, Activation):
        return None
    wider = [replace(shape, width=wide.width or DEFAULT_WIDTH, widths=wide.widths)] if wide is not None else []
    residual = replace(shape, residual=True)
    for other in (*wider, residual, replace(residual, norm="layer")):
        if other != shape and _survives(act, other, seed, threads):
            return other.command(str(act))
    return None


def _survives(act: str | Spec, shape: Shape, seed: int, threads: int | None) -> bool:
    """Whether the weights chosen for a shape are predicted to hold, and do when they are measured."""
    try:
        config, choice = _chosen(act, shape, seed=seed)
    except InitprobeError:  # no layer is as wide as its input
        return False
    return choice.holds and survives(config, threads=threads)


def _written(config: ProbeConfig, depth: int, goal: Goal, choice: Choice, result: ProbeResult) -> Recommendation:
    """The recommendation, with its measurement."""
    weights, layers, widths = choice.weights, result.layers, config.layer_widths
    fan_in, fan_out, last = layers[0].fan_in, layers[0].fan_out, layers[-1]
    answered = answers(result.healthy, goal)
    return Recommendation(
        activation=config.activation.name if isinstance(config.act, Activation) else str(config.act),
        layers=len(layers),
        width=max(widths),
        sizes=(fan_in, *widths),
        goal=goal,
        init=weights.name,
        gain=weights.gain,
        mode=weights.mode,
        std=config.initializer.std(fan_in, fan_out),
        formula=formula_of(config, choice, fan_in, fan_out),
        summary=summary_of(config, depth, goal, choice, result),
        reasons=choice.reasons,
        predicted_to_hold=choice.holds and not is_too_deep(result),
        measured_to_hold=result.healthy,
        reach=choice.reach,
        pytorch=weights.pytorch if answered else None,
        pytorch_bias="nn.init.zeros_(layer.bias)" if answered else None,
        numpy=weights.numpy if answered else None,
        keras=weights.keras if answered else None,
        jax=weights.jax if answered else None,
        branch=branch_line(config) if answered else None,
        branch_scale=config.branch_factor if config.residual else None,
        predicted=_predicted(layers, last.fan_in * config.initializer.variance(last.fan_in, last.fan_out)),
        measured=_measured(layers),
        verdict=tuple(finding for finding in result.diagnosis if finding.severity != "info"),
        command=command_line(config) if isinstance(config.act, Spec) else None,
    )


def _wide_enough(config: ProbeConfig, result: ProbeResult) -> ProbeConfig | None:
    """A wider network that would do, for one that is too deep for its width."""
    return next(wider_that_holds(config, InputMoments.noise()), None) if is_too_deep(result) else None


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
