"""Which settings of an experiment exclude each other, and pydantic's complaints as errors of our own."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from initprobe.config.thresholds import Thresholds
from initprobe.data.datasets import Dataset
from initprobe.errors import ConfigError, MissingFieldError, UnknownNameError
from initprobe.initializers.fit_settings import Autoencoder
from initprobe.initializers.record import Initializer
from initprobe.registry import suggestion

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from initprobe.config.probe_config import ProbeConfig

# Fields that a file of weights decides.
_DECIDED_BY_WEIGHTS = ("init", "bias_init", "layers", "width", "widths", "input_width")


def check_fields(config: ProbeConfig) -> None:
    """Make sure that the fields agree with each other, as far as they tell without files and imports.

    Raises:
        ConfigError: two fields exclude each other, or one needs another.
    """
    _check_weights(config)
    _check_widths(config)
    _check_loss(config)
    _check_data(config)
    if config.train_steps and config.optimizer not in (None, "sgd"):
        raise ConfigError("`train_steps` trains with plain SGD; give sgd, or drop `train_steps`", field="optimizer")
    for name in ("block", "branch_scale", "zero_init_last"):
        if not config.residual and getattr(config, name) != type(config).model_fields[name].default:
            raise ConfigError("is for the branches of a residual net; give `residual` too", field=name)
    if config.weights is None:
        check_branches(config)


def check_branches(config: ProbeConfig) -> None:
    """Make sure that the layers can be cut into blocks, and that a block can learn.

    Raises:
        ConfigError: they cannot.
    """
    layers = config.depth
    if layers % config.block:
        nearest = max(layers - layers % config.block, config.block)
        raise ConfigError(
            f"{layers} layers cannot be cut into blocks of {config.block}; "
            f"give a multiple of {config.block} layers, such as {nearest}",
            field="block",
        )
    if config.branch_factor == 0 and config.zero_init_last:  # refuses a scale that is no number at this depth
        raise ConfigError(
            "with a `branch_scale` of 0 neither would ever learn; give one of the two", field="zero_init_last"
        )


def check_bias(bias: Initializer) -> None:
    """Make sure that an initializer can draw biases.

    Raises:
        ConfigError: it needs the size of a weight matrix.
    """
    if bias.needs_fan:
        raise ConfigError(
            f"{bias.name} depends on the layer's size, which a bias does not have; "
            "use zeros, normal:std=0.1 or constant:value=0.1",
            field="bias_init",
        )


def check_fit(config: ProbeConfig, init: Initializer) -> None:
    """Make sure that an initializer which is fitted to the data has a plain net and enough samples.

    Args:
        config: with the norm, the skips and the batch.
        init: the initializer; one that is not fitted passes.

    Raises:
        ConfigError: it has not.
    """
    if init.fit is None:
        return
    if not config.is_plain:
        raise ConfigError(f"{init.name} fits the layers of a plain net; drop `norm` and `residual`", field="init")
    if config.batch is not None:
        check_fit_samples(init, config.batch)


def check_fit_samples(init: Initializer, samples: int) -> None:
    """Make sure that the first batch has the samples that its initializer learns from.

    Args:
        init: the initializer.
        samples: rows of the first batch.

    Raises:
        ConfigError: it has fewer than one step of SGD takes.
    """
    fit = init.fit
    if isinstance(fit, Autoencoder) and fit.samples_of(samples) < (fit.batch or 0):
        raise ConfigError(
            f"autoencoder learns from the first batch, which has {samples} samples, and one step takes {fit.batch}; "
            f"raise `batch`, or write autoencoder:batch={samples}",
            field="init",
        )


def _check_weights(config: ProbeConfig) -> None:
    """Weights are either drawn or read from a file, which holds one network of one shape."""
    if config.weights is None:
        if config.init is None:
            raise MissingFieldError("is missing; name an initializer, or give `weights`", field="init")
        return
    for name in _DECIDED_BY_WEIGHTS:
        if getattr(config, name) is not None:
            raise ConfigError(f"{config.weights} has the weights, the biases and their shape; drop it", field=name)
    if config.zero_init_last:
        raise ConfigError(f"{config.weights} has the weights; drop it", field="zero_init_last")
    if config.draws > 1:
        raise ConfigError(f"{config.weights} is one network, so nothing is drawn; drop it", field="draws")


def _check_widths(config: ProbeConfig) -> None:
    if config.widths is None:
        return
    if not config.widths:
        raise ConfigError("is empty; give at least one layer, as in 500,400,300", field="widths")
    if config.layers not in (None, len(config.widths)):
        raise ConfigError(
            f"is {config.layers}, but `widths` names {len(config.widths)} layers; drop one of the two", field="layers"
        )
    if config.width is not None:
        raise ConfigError("is for every layer, and `widths` for each of them; drop one of the two", field="width")


def _check_data(config: ProbeConfig) -> None:
    """Labels belong to rows of real data, and those of a data set that ships to that data set."""
    if config.weights is not None and "input" not in config.model_fields_set:
        return  # the file of weights may hold the input
    if config.standardize and config.noise is not None:
        fix = "synthetic input takes std= and mean="
        raise ConfigError(f"is for data from a file, or digits; {fix}", field="standardize")
    if config.labels is None:
        return
    if config.noise is not None:
        raise ConfigError("are for real data; a random linear teacher labels synthetic input", field="labels")
    source = config.labels_source
    if isinstance(source, Dataset) and source is not config.dataset:
        whose = f"{source.name} labels the input {source.name}"
        raise ConfigError(f"{whose}, not {config.input}; give a file", field="labels")


def _check_loss(config: ProbeConfig) -> None:
    for name in ("classes", "labels"):
        if config.objective is None and getattr(config, name) is not None:
            raise ConfigError(
                "is for a loss; give `loss` cross-entropy or mse, `train_steps` or `optimizer`", field=name
            )


_FIELDS_OF_OPTIONS = {"lr": "learning_rate"}
_SHORTER = {
    "Input should be": "must be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid tuple": "a list",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid dictionary": "a mapping",
    ", unable to interpret input": "",
}


def first_fault(error: ValidationError, fields: Sequence[str]) -> ConfigError:
    """pydantic's first complaint as an error that names the field and what it takes.

    Args:
        error: of pydantic.
        fields: all names that would be right.
    """
    fault = error.errors()[0]
    # Parts of a location in brackets name pydantic's own validators, not a part of the value.
    field = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))
    return fault_error(fault, field, fields)


def fault_error(fault: ErrorDetails, field: str, fields: Sequence[str]) -> ConfigError:
    """A complaint of pydantic's about a field, as an error of our own.

    Args:
        fault: the complaint.
        field: the field, dotted; "" where the complaint is about the whole, and then its cause may name one.
        fields: all fields there are, for a suggestion.
    """
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        if not field or cause.field == field:
            return cause
        return type(cause)(str(cause), field=field)
    if fault["type"] == "extra_forbidden":
        return UnknownNameError(unknown_field(field, fields))
    if fault["type"] == "missing":
        return MissingFieldError("is missing", field=field)
    near = _near_choice(fault) if fault["type"] == "literal_error" else ""
    return ConfigError(f"{_shorter(fault['msg'])}, not {reprlib.repr(fault['input'])}{near}", field=field)


def unknown_field(name: str, fields: Sequence[str]) -> str:
    """The error for an unknown field, with the nearest one, or with all if none is similar.

    Args:
        name: what the user wrote, a field or an option; dotted for a limit of the verdict.
        fields: all names that would be right.
    """
    wanted = _FIELDS_OF_OPTIONS.get(name, name)
    if name.startswith("thresholds."):
        wanted, fields = name.removeprefix("thresholds."), list(Thresholds.model_fields)
    near = suggestion(wanted, fields) or f" The fields are {', '.join(fields)}."
    return f"unknown field {name!r}.{near}"


def _near_choice(fault: ErrorDetails) -> str:
    """`. Did you mean 'x'?` for a text that is none of the choices."""
    choices = re.findall("'([^']*)'", fault["ctx"]["expected"])
    near = suggestion(fault["input"], choices) if isinstance(fault["input"], str) else ""
    return f".{near}" if near else ""


def _shorter(message: str) -> str:
    """A message of pydantic's in the words of all other messages: `must be at least 1`."""
    for long, short in _SHORTER.items():
        message = message.replace(long, short)
    return f"{message[0].lower()}{message[1:]}"
