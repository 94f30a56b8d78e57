"""`--loss` and `--labels` of the command line: a loss between the output of a model and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from initprobe.activations.losses import LOSSES
from initprobe.data.tables import SUFFIXES, read_array, read_table
from initprobe.errors import ConfigError, InputError, at_field
from initprobe.importing import import_name
from initprobe.torch import descriptions
from initprobe.torch.input_files import Shape, as_tensor

_WANTED = "cross-entropy, mse or PACKAGE.MODULE:FUNCTION of the model's output"


class LabelLoss:
    """A loss of the first floating-point tensor of the output; of the one called `logits` where outputs have names.

    Classes are the last axis, or the second where the labels fit that, as in `torch.nn.functional.cross_entropy`.

    Attributes:
        name: `cross-entropy` or `mse`.
        labels: classes as whole numbers, or for mse the targets. None: classes at random, or targets from N(0, 1).
        seed: of the labels that are drawn.
    """

    def __init__(self, name: str, labels: Any, seed: int) -> None:
        self.name, self.labels, self.seed = name, labels, seed
        self.__name__ = name

    def __call__(self, output: Any) -> Any:
        logits = _logits(output)
        return self._squared(logits) if self.name == "mse" else self._cross_entropy(logits)

    def _generator(self) -> Any:
        return torch.Generator().manual_seed(self.seed)

    def _cross_entropy(self, logits: Any) -> Any:
        if logits.ndim < 2 or logits.shape[-1] < 2:
            raise ConfigError(
                f"cross-entropy needs logits, (samples, classes), not {descriptions.input_words([logits])}",
                field="--loss",
            )
        axis = self._axis(logits)
        shape = [size for place, size in enumerate(logits.shape) if place != axis]
        labels, classes = self.labels, logits.shape[axis]
        if labels is None:
            labels = torch.randint(0, classes, shape, generator=self._generator())
        if list(labels.shape) != shape or int(labels.min()) < 0 or int(labels.max()) >= classes:
            given, wanted = descriptions.input_words([labels]), " x ".join(map(str, shape))
            raise ConfigError(
                f"{given} of {int(labels.min())} to {int(labels.max())} do not fit logits of "
                f"{descriptions.input_words([logits])}; give {wanted} of 0 to {classes - 1}",
                field="--labels",
            )
        return F.cross_entropy(logits.movedim(axis, -1).reshape(-1, classes), labels.reshape(-1).to(logits.device))

    def _axis(self, logits: Any) -> int:
        """The axis of the classes: second if the labels fit only that, or without labels for images; else last."""
        second = [logits.shape[0], *logits.shape[2:]]
        if self.labels is None:
            return 1 if logits.ndim == 4 else logits.ndim - 1
        fits_last = list(self.labels.shape) == list(logits.shape[:-1])
        return 1 if list(self.labels.shape) == second and not fits_last else logits.ndim - 1

    def _squared(self, output: Any) -> Any:
        targets = self.labels
        if targets is None:
            targets = torch.randn(output.shape, generator=self._generator())
        if targets.shape != output.shape:
            if targets.numel() != output.numel():
                raise ConfigError(
                    f"{descriptions.input_words([targets])} do not fit "
                    f"an output of {descriptions.input_words([output])}",
                    field="--labels",
                )
            targets = targets.reshape(output.shape)
        return F.mse_loss(output, targets.to(output.device, output.dtype))


def _logits(output: Any) -> Any:
    """The tensor that the loss is computed from."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        output = [output["logits"]] if "logits" in output else list(output.values())
    outputs = output if isinstance(output, list | tuple) else []
    tensors = (entry for entry in outputs if isinstance(entry, torch.Tensor) and entry.is_floating_point())
    first = next(tensors, None)
    if first is None:
        raise ConfigError(f"the model gives a {type(output).__name__} without a tensor of real numbers", field="--loss")
    return first


def named_loss(text: str | None, labels: str | None, seed: int) -> Any:
    """The loss that `--loss` and `--labels` name.

    Args:
        text: of `--loss`; None without it.
        labels: of `--labels`; None without it.
        seed: of labels that are drawn.

    Returns:
        The loss; None without `--loss`.

    Raises:
        ConfigError: there is no such loss, or there are labels without one.
        InputError: the labels cannot be read.
    """
    if text is None:
        if labels is not None:
            raise ConfigError("belong to a loss; add --loss cross-entropy", field="--labels")
        return None
    if ":" not in text:
        with at_field("--loss"):
            name = LOSSES[text].name
        return LabelLoss(name, None if labels is None else _labels(labels, name), seed)
    if labels is not None:
        raise ConfigError(f"go with --loss cross-entropy or mse; {text} has its own", field="--labels")
    function = import_name(text, "a function", _WANTED)
    if not callable(function):
        raise ConfigError(
            f"{text} is of type {type(function).__name__}; name a function of the model's output", field="--loss"
        )
    return function


def _labels(text: str, name: str) -> Any:
    """Labels from a file, or whole numbers that are drawn, as in `64:0..9`."""
    file = Path(text)
    if file.suffix.lower() not in SUFFIXES and not file.is_file():
        shape = Shape.parse(text, "--labels")
        if shape.bounds is None:
            raise ConfigError(f"{text!r} has no range; write {text}:0..9, or name a file", field="--labels")
        return shape.drawn(torch.Generator().manual_seed(1), torch.float32)
    table = read_table(file, "float64") if file.suffix.lower() == ".csv" else read_array(file, "y")
    values = as_tensor(text, table, torch.float32, named=False)
    if name == "mse":
        return values.to(torch.float32)
    if values.is_floating_point():
        if bool((values != values.round()).any()):
            raise InputError("holds fractions; classes are 0, 1, 2, ...", file=text)
        values = values.to(torch.int64)
    return values.squeeze(-1) if values.ndim > 1 and values.shape[-1] == 1 else values
