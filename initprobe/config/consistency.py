"""Which settings of an experiment exclude each other, and complaints in plain words."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from initprobe.data.datasets import Dataset
from initprobe.errors import ConfigError
from initprobe.initializers.fit_settings import Autoencoder
from initprobe.registry import suggestion

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from initprobe.config.probe_config import ProbeConfig

# What a file of weights decides.
_OF_THE_FILE = ("init", "bias_init", "layers", "width", "widths", "input_width")


def check_weights(config: ProbeConfig) -> None:
    """Weights are either drawn or read, and what is read is one network of one shape."""
    if config.weights is None:
        if config.init is None:
            raise ConfigError("init is missing; name an initializer, or give weights")
        return
    _ = config.network  # complains of a file that cannot be read
    for name in _OF_THE_FILE:
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: {config.weights} has the weights, the biases and their shape; drop it")
    if config.zero_init_last:
        raise ConfigError(f"zero_init_last: {config.weights} has the weights; drop it")
    if config.draws > 1:
        raise ConfigError(f"draws: {config.weights} is one network, and there is nothing to draw; drop it")


def check_labels(config: ProbeConfig) -> None:
    """Labels belong to rows of real data, and those of a data set that ships to that one."""
    if config.labels is None:
        return
    if config.noise is not None:
        raise ConfigError("labels: are for real data; a random linear teacher labels synthetic input")
    source = config.labels_source
    if isinstance(source, Dataset) and source is not config.dataset:
        raise ConfigError(f"labels: {source.name} labels the input {source.name}, not {config.input}; give a file")


def check_fit(config: ProbeConfig) -> None:
    """Weights that are fitted to the data take a plain net, and as many samples as a step of theirs."""
    init = config.initializer
    if init.fit is None:
        return
    if not config.is_plain:
        raise ConfigError(f"init: {init.name} fits the layers of a plain net; drop norm and residual")
    if config.batch is not None:
        check_fit_samples(config, config.batch)


def check_fit_samples(config: ProbeConfig, samples: int) -> None:
    """Make sure that the first batch has the samples that its initializer learns from.

    Raises:
        ConfigError: it has fewer than a step of SGD takes.
    """
    fit = config.initializer.fit
    if isinstance(fit, Autoencoder) and fit.samples_of(samples) < (fit.batch or 0):
        raise ConfigError(
            f"init: autoencoder learns from the first batch, whose {samples} samples are fewer than the {fit.batch} of "
            f"a step; raise batch, or write autoencoder:batch={samples}"
        )


def check_block(config: ProbeConfig) -> None:
    """Every layer is in a block, so that one more layer is never a branch of another kind."""
    layers = len(config.layer_widths)
    if layers % config.block:
        near = max(layers - layers % config.block, config.block)
        raise ConfigError(
            f"block: {layers} layers cannot be cut into blocks of {config.block}; "
            f"give a multiple of {config.block} layers, such as {near}"
        )


def check_widths(widths: tuple[int, ...], layers: int | None, width: int | None) -> None:
    if not widths:
        raise ConfigError("widths is empty; give at least one layer, as in 500,400,300")
    if layers not in (None, len(widths)):
        raise ConfigError(f"layers is {layers}, but widths names {len(widths)}; drop one of the two")
    if width is not None:
        raise ConfigError("give width (every layer) or widths (each layer), not both")


def first_fault(error: ValidationError, fields: Sequence[str]) -> str:
    """pydantic's first complaint as one line that names the field and what it takes."""
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("function", "is-instance")))
    return fault_text(fault, field, fields)


def fault_text(fault: ErrorDetails, field: str, known: Sequence[str], kind: str = "field") -> str:
    """A complaint of pydantic's in words that name the field and what it takes; `known` are the fields there are."""
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        text = str(cause)
        return text if not field or text.startswith(field) else f"{field}: {text}"
    if fault["type"] == "extra_forbidden":
        return f"unknown {kind} {field!r}.{suggestion(field, known)}"
    if fault["type"] == "missing":
        return f"{field} is missing"
    return f"{field}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {reprlib.repr(fault['input'])}"
