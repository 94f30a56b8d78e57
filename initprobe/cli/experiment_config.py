"""From the options of a command to the config of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from initprobe.cli.options import LossOptions, MeasurementOptions, NetworkOptions, WeightOptions

if TYPE_CHECKING:
    from initprobe.config.arguments import ConfigChanges, ConfigFields
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.spec import Spec


def config_from(
    act: str, weights: WeightOptions, network: NetworkOptions, measurement: MeasurementOptions, loss: LossOptions
) -> ProbeConfig:
    """The experiment that the options describe.

    Args:
        act: the activation, as typed.
        weights: initializer, biases and their scales, or a file.
        network: the shape, norms and skips.
        measurement: the input, the batch, the draws and the thresholds.
        loss: the loss, its labels and the training.
    """
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.config.resolved import check_resolved

    scaled = _scaled(weights, network.bias_init)
    fields: ConfigFields = {
        "act": act,
        "init": scaled.get("init", weights.init),
        "bias_init": scaled.get("bias_init", network.bias_init),
        "layers": network.layers,
        "width": network.width,
        "widths": read_widths(network.widths),
        "input_width": network.input_width,
        "standardize": network.standardize,
        "norm": network.norm,
        "residual": network.residual,
        "block": network.block,
        "branch_scale": network.branch_scale,
        "zero_init_last": network.zero_init_last,
        "seed": network.seed,
        "batch": measurement.batch,
        "batches": measurement.batches,
        "full_weight_gradient": measurement.full_weight_gradient,
        "thresholds": _thresholds(measurement.thresholds),
        "loss": loss.loss,
        "classes": loss.classes,
        "labels": loss.labels,
        "train_steps": loss.train_steps,
        "optimizer": loss.optimizer,
        **_given(weights, network, measurement, loss),
    }
    return check_resolved(ProbeConfig(**fields))


def _given(
    weights: WeightOptions, network: NetworkOptions, measurement: MeasurementOptions, loss: LossOptions
) -> ConfigChanges:
    """The fields whose defaults depend on others: on a file of weights, or on an optimizer."""
    fields: ConfigChanges = {}
    if weights.weights is not None:
        fields["weights"] = weights.weights
    if network.input_ is not None:
        fields["input"] = network.input_
    if measurement.draws is not None:
        fields["draws"] = measurement.draws
    if measurement.number_formats is not None:
        fields["formats"] = measurement.number_formats
    if measurement.dtype is not None:
        fields["dtype"] = measurement.dtype
    if loss.learning_rate is not None:
        if loss.optimizer is None and not loss.train_steps:
            from initprobe.errors import ConfigError

            raise ConfigError("is for a step; give --optimizer or --train-steps too", field="--learning-rate")
        fields["learning_rate"] = loss.learning_rate
    return fields


def _scaled(weights: WeightOptions, bias_init: str | None) -> dict[str, Spec]:
    """`init` and `bias_init` from `--sigma-w` and `--sigma-b`, where these are given: `sigma_w^2 = fan_in Var(W)`."""
    from initprobe.config.names import scaled
    from initprobe.errors import ConfigError

    given = {"sigma_w": weights.sigma_w, "sigma_b": weights.sigma_b}
    scales = {name: text for name, text in given.items() if text is not None}
    if weights.weights is not None:
        for name in scales:
            raise ConfigError(f"{weights.weights} has the weights and the biases; drop it", field=option_name(name))
        return {}
    if (weights.init is None) == (weights.sigma_w is None):
        raise ConfigError(
            "give one of --init NAME, --sigma-w S and --weights FILE; `initprobe list initializers` shows the names"
        )
    if bias_init is not None and weights.sigma_b is not None:
        raise ConfigError("give --bias-init or --sigma-b, not both")
    return scaled(**{name: _number(name, text) for name, text in scales.items()})


def option_name(field: str) -> str:
    """The option of a field: `--bias-init` of `bias_init`."""
    return f"--{field.replace('_', '-')}"


def read_widths(text: str | None) -> tuple[int, ...] | None:
    """The units of each layer from a text such as 750,700,650; None for none.

    Args:
        text: whole numbers with commas between them; None for no option.

    Raises:
        ConfigError: the text is not such a list.
    """
    from initprobe.errors import ConfigError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{text!r} is not a list of whole numbers like 750,700,650", field="--widths") from None


def _thresholds(texts: Sequence[str]) -> dict[str, float]:
    from initprobe.config.thresholds import Thresholds
    from initprobe.errors import ConfigError
    from initprobe.registry import suggestion

    limits = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} is not NAME=VALUE, for example saturated=0.3", field="--threshold")
        if name not in Thresholds.model_fields:
            hint = suggestion(name, list(Thresholds.model_fields)) or " `initprobe list thresholds` shows all."
            raise ConfigError(f"unknown limit {name!r}.{hint}", field="--threshold")
        limits[name] = _number(f"--threshold {name}", value)
    return limits


def _number(field: str, text: str) -> float:
    from initprobe.errors import at_field
    from initprobe.spec import parse_number

    with at_field(field):
        return parse_number(text)
