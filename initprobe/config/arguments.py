"""The arguments of `ProbeConfig`, for type checkers: its fields accept more types than they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from initprobe.activations.record import Activation
from initprobe.config.thresholds import Thresholds
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec

Named = str | Spec | Mapping[str, Any]


class ConfigChanges(TypedDict, total=False):
    """The optional arguments of `ProbeConfig`, each described in its docstring."""

    init: Named | Initializer | Callable[..., Any] | None
    weights: str | Path | None
    bias_init: Named | Initializer | None
    layers: int | None
    width: int | None
    widths: Sequence[int] | None
    input_width: int | None
    input: Named | Path
    standardize: bool
    batch: int | None
    batches: int
    draws: int
    seed: int
    norm: str
    residual: bool
    block: int
    branch_scale: float | str
    zero_init_last: bool
    loss: str
    classes: int | None
    labels: str | Spec | Path | None
    train_steps: int
    learning_rate: float
    optimizer: Literal["sgd", "adam", "adamw"] | None
    dtype: Literal["float32", "float64"]
    full_weight_gradient: bool
    formats: str | Sequence[str]
    thresholds: Thresholds | Mapping[str, float]


class ConfigFields(ConfigChanges):
    """All arguments of `ProbeConfig`."""

    act: Named | Activation | Callable[..., Any]
