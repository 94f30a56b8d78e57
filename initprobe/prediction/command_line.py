"""A config written as an `initprobe run` command line."""

from __future__ import annotations

import shlex

from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.optimizers import default_rate
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec

_DEFAULTS = (
    *("layers", "width", "input_width", "batch", "batches", "draws", "seed", "dtype"),
    *("norm", "block", "branch_scale"),
)
_LOSS_FIELDS = ("loss", "classes", "labels", "train_steps", "optimizer", "learning_rate")
_FLAGS = ("residual", "zero_init_last", "standardize", "full_weight_gradient")


def command_line(config: ProbeConfig) -> str:
    """The `initprobe run` line of an experiment: what differs from the defaults is named."""
    source = ["--init", str(config.init)] if config.weights is None else ["--weights", str(config.weights)]
    words = ["initprobe", "run", *source, "--act", str(config.act)]
    if config.bias_init is not None:
        words += ["--bias-init", _name(config.bias_init)]
    if config.widths is not None:
        words += ["--widths", ",".join(map(str, config.widths))]
    for field in (*_DEFAULTS, *_LOSS_FIELDS):
        value = getattr(config, field)
        if value != _default(config, field):
            words += [f"--{field.replace('_', '-')}", str(value)]
    if str(config.input) != "gaussian" and config.input != config.weights:
        words += ["--input", str(config.input)]
    words += [f"--{flag.replace('_', '-')}" for flag in _FLAGS if getattr(config, flag)]
    if config.formats:
        words += ["--formats", ",".join(config.formats)]
    changed = config.thresholds.model_dump(exclude_defaults=True)
    words += [word for name, value in changed.items() for word in ("--threshold", f"{name}={value:g}")]
    return shlex.join(words)


def _default(config: ProbeConfig, field: str) -> object:
    """The value of a field that is not typed; that of the learning rate depends on the optimizer."""
    if field == "learning_rate" and config.optimizer is not None:
        return default_rate(config.optimizer)
    return ProbeConfig.model_fields[field].default


def _name(spec: Spec | Initializer) -> str:
    return str(spec) if isinstance(spec, Spec) else spec.name
