"""For the command line: the coordinate check of a function by name. Every error is one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from initprobe.errors import ConfigError
from initprobe.importing import import_name
from initprobe.prediction.width_check import WidthPlan
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.torch import libraries
from initprobe.torch.input_files import given_inputs
from initprobe.torch.loading import working_directory_first
from initprobe.torch.losses import named_loss
from initprobe.torch.width_study import Progress, checked

_FORM = "PACKAGE.MODULE:FACTORY, where FACTORY takes a width, as in mynet:make"


@dataclass(frozen=True)
class WidthRequest:
    """What to check.

    Attributes:
        target: `package.module:factory`; the factory takes a width.
        inputs: as `Request.inputs`; a function may take the width.
        shapes: as `Request.shapes`; the word `width` stands for the width.
        loss: as `Request.loss`; None for cross-entropy.
        labels: of the loss.
        dtype: of the model and its input; None for that of the model.
        evaluation: put the model into evaluation mode.
        seed: of everything random.
    """

    target: str
    inputs: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    loss: str | None = None
    labels: str | None = None
    dtype: str | None = None
    evaluation: bool = False
    seed: int = 0


def check_request(
    request: WidthRequest, plan: WidthPlan, threads: int | None = None, progress: Progress | None = None
) -> CoordinateCheck:
    """The coordinate check, with the working directory on the import path.

    Args:
        request: the function, its input and loss.
        plan: widths, seeds and steps.
        threads: of PyTorch; None for those it has.
        progress: called with (networks done, total networks).

    Raises:
        ConfigError: the request is wrong, or the code of the model fails.
        MemoryLimitError: the largest network would not fit in memory.
    """
    if libraries.library_of(request.target):
        raise ConfigError(f"{request.target} has one width; write a function that takes a width, {_FORM}")
    with working_directory_first(), _threads(threads):
        maker = import_name(request.target, "a function that takes a width", _FORM)
        if isinstance(maker, nn.Module) or not callable(maker):
            raise ConfigError(f"{request.target} is of type {type(maker).__name__}; name a function that takes a width")
        loss = named_loss(request.loss or "cross-entropy", request.labels, request.seed)

        def make(width: int) -> Any:
            made = maker(width)
            model = made[0] if isinstance(made, tuple) and made else made
            if isinstance(model, nn.Module):
                _prepare(model, request)
            return made

        def inputs(model: Any, width: int) -> Any:
            shapes = [at_width(shape, width) for shape in request.shapes]
            dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
            return given_inputs(model, request.inputs, shapes, request.seed, dtype, width)

        return checked(make, inputs, loss, plan, request.seed, request.target, progress)


def _prepare(model: Any, request: WidthRequest) -> None:
    if request.dtype is not None:
        model.to(getattr(torch, request.dtype))
    if request.evaluation:
        model.eval()


def at_width(shape: str, width: int) -> str:
    """An `--input-shape` with the width in place of the word: `64,width` is `64,128` at width 128.

    Args:
        shape: as typed, with the word `width`.
        width: in its place.
    """
    name, equals, sizes = shape.rpartition("=")
    return f"{name}{equals}{sizes.replace('width', str(width))}"


class _threads:
    """PyTorch works with so many threads inside; None changes nothing."""

    def __init__(self, threads: int | None) -> None:
        self._threads, self._before = threads, torch.get_num_threads()

    def __enter__(self) -> None:
        if self._threads is not None:
            if self._threads < 1:
                raise ConfigError(f"must be at least 1, not {self._threads}", field="--threads")
            torch.set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
