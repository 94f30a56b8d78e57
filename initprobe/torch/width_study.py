"""`width(make, x)`: the coordinate check of a PyTorch model that a function makes at any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from initprobe.data.machine import available_bytes
from initprobe.diagnosis.width_sizes import Family, NetworkSizes
from initprobe.errors import ConfigError, MemoryLimitError
from initprobe.formatting import counted, listed
from initprobe.importing import user_code
from initprobe.prediction.width_check import Subject, WidthPlan, coordinate_check, widths_of
from initprobe.prediction.width_defaults import DEFAULT_SEEDS, DEFAULT_STEPS, DEFAULT_WIDTHS
from initprobe.prediction.width_scaling import Scaling
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.results.environment import environment
from initprobe.torch.arguments import called, input_tensors, seed_of_draw
from initprobe.torch.descriptions import input_words, torch_version
from initprobe.torch.inventory import inventory
from initprobe.torch.losses import LabelLoss
from initprobe.torch.parameters import check_tensors
from initprobe.torch.restore import random_states_kept, seed_everything
from initprobe.torch.width_networks import Trained, Training, measured, rescaled, with_optimizer

Make = Callable[[int], object]
Inputs = Callable[[Any, int], Any]
Progress = Callable[[int, int], object]
# Copies of the parameters in training: gradients, two moments of Adam, what is restored, and the update.
_COPIES = 6
# Copies of the outputs of layers: those of autograd, those kept, gradients, and differences.
_PASSES = 5
_SHARE = 0.9  # of the free memory


class WidthStudy:
    """The networks of all widths and seeds of one function.

    Attributes:
        target: name of the function, for errors.
        families: how the optimizers depend on the gradient.
        optimizers: their names.
        brought: the function gives an optimizer of its own.
        inputs: words for the input of the first width.
    """

    def __init__(
        self, make: Make, inputs: Inputs, loss: Any, plan: WidthPlan, seed: int, target: str, progress: Progress | None
    ) -> None:
        self.target, self._make, self._inputs, self._loss, self._plan = target, make, inputs, loss, plan
        self._seed, self._progress, self._done = seed, progress, 0
        self._training = Training(plan.steps, plan.named_optimizer, plan.rate)
        self.families: set[Family | None] = set()
        self.optimizers: dict[str, None] = {}
        self.brought, self.inputs, self.title = False, "", ""

    def measure(self, scaling: Scaling) -> list[list[NetworkSizes]]:
        """Make and measure every network, the smallest first, so that memory is known before the largest is made."""
        smallest = self._plan.widths[0]
        with random_states_kept():
            if not scaling:
                self._check()
            return [
                [self._network(width, number, scaling, width / smallest) for number in range(self._plan.seeds)]
                for width in self._plan.widths
            ]

    def _network(self, width: int, number: int, scaling: Scaling, factor: float) -> NetworkSizes:
        trained = self._trained(width, number)
        x = self._batch(trained, width)
        self.inputs = self.inputs or input_words(list(input_tensors(x)))
        with user_code(f"{self.target}({width})"):
            change = partial(rescaled, scaling=scaling, factor=factor)
            sizes = measured(trained, x, self._loss, self._plan.steps, self._seed, change)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, len(self._plan.widths) * self._plan.seeds))
        return sizes

    def _batch(self, trained: Trained, width: int) -> Any:
        """The batch, which is the same for all seeds."""
        seed_everything(self._seed)
        return self._inputs(trained.model, width)

    def _trained(self, width: int, number: int) -> Trained:
        seed_everything(seed_of_draw(self._seed, number))
        with user_code(f"{self.target}({width}) cannot make a model"):
            made = self._make(width)
        trained = with_optimizer(made, self._training, self.target)
        self.brought = isinstance(made, tuple) and isinstance(made[1], torch.optim.Optimizer)
        if self.brought and (self._plan.optimizer or self._plan.learning_rate):
            raise ConfigError(f"{self.target} gives an optimizer of its own; drop --optimizer and --lr")
        check_tensors(inventory(trained.model))
        self.families.add(trained.family)
        self.optimizers[type(trained.optimizer).__name__] = None
        self.title = self.title or type(trained.model).__name__
        return trained

    def _check(self) -> None:
        """Refuse a function that ignores its argument, and networks that would not fit in memory."""
        widths = self._plan.widths
        small, large = (_shapes(self._abstract(width)) for width in (widths[0], widths[-1]))
        if small == large:
            raise ConfigError(
                f"{self.target} makes the same shapes at widths {widths[0]} and {widths[-1]}; it must use its argument"
            )
        needed = _COPIES * _bytes(large) + _PASSES * self._activations() * widths[-1] // widths[0]
        if needed > _SHARE * (available := available_bytes()):
            raise MemoryLimitError(
                f"{self.target}({widths[-1]}) needs about {needed / 1e9:,.1f} GB to be trained, and "
                f"{available / 1e9:,.1f} GB is free; lower `widths` or the input",
                field="widths",
            )

    def _abstract(self, width: int) -> Any:
        """The model without memory for its entries, if the function can make one on no device."""
        seed_everything(self._seed)
        try:
            with torch.device("meta"):
                return with_optimizer(self._make(width), self._training, self.target).model
        except ConfigError:
            raise
        except Exception:  # such code reads entries, so it needs a device
            return self._trained(width, 0).model

    def _activations(self) -> int:
        """Bytes of the outputs of all layers at the smallest width."""
        width = self._plan.widths[0]
        trained = self._trained(width, 0)
        x = self._batch(trained, width)
        total = 0

        def count(_: Any, __: Any, output: Any) -> None:
            nonlocal total
            total += output.nbytes if isinstance(output, torch.Tensor) else 0

        with user_code(f"{self.target}({width}) fails on an input of {input_words(list(input_tensors(x)))}"):
            handles = [module.register_forward_hook(count) for module in trained.model.modules()]
            try:
                with torch.no_grad():
                    output = called(trained.model, x)
            finally:
                for handle in handles:
                    handle.remove()
        with user_code(f"{self.target}({width}): --loss fails on its output"):
            self._loss(output)
        return total


def _shapes(model: Any) -> dict[str, tuple[tuple[int, ...], int]]:
    return {name: (tuple(p.shape), p.element_size()) for name, p in model.named_parameters()}


def _bytes(shapes: dict[str, tuple[tuple[int, ...], int]]) -> int:
    return sum(math.prod(shape) * size for shape, size in shapes.values())


def width(
    make: Make,
    x: Any,
    widths: Sequence[int] = DEFAULT_WIDTHS,
    *,
    loss: Any = None,
    steps: int = DEFAULT_STEPS,
    optimizer: str | None = None,
    lr: float | None = None,
    seeds: int = DEFAULT_SEEDS,
    seed: int = 0,
    try_fixes: bool = True,
) -> CoordinateCheck:
    """The coordinate check of a PyTorch model: how sizes and their changes depend on the width.

    Args:
        make: from a width to a model. With it may come an optimizer, or groups of parameters as `torch.optim` takes
            them. A group may have `lr_scale`, a factor of the learning rate.
        x: the batch, or a function from a width to it. It is a tensor, a tuple of arguments or a mapping of keyword
            arguments.
        widths: at least two.
        loss: from the output to a scalar; None for cross-entropy with random classes.
        steps: of the optimizer, on the same batch.
        optimizer: `sgd`, `adam` or `adamw` (the default), where `make` gives none.
        lr: learning rate; None for 0.1 (sgd) or 0.001.
        seeds: networks per width.
        seed: of everything random.
        try_fixes: scale what does not transfer, and measure again.

    Returns:
        The slopes of log rms against log width, and the verdict.

    Raises:
        ConfigError: the function, the input or an argument cannot be used.
        MemoryLimitError: the largest network would not fit in memory.
    """
    plan = WidthPlan(widths_of(widths), seeds, steps, optimizer, lr, try_fixes)
    inputs = x if callable(x) and not isinstance(x, torch.Tensor) else None
    loss = LabelLoss("cross-entropy", None, seed) if loss is None else loss
    name = getattr(make, "__name__", "make")
    return checked(make, lambda _, width: x if inputs is None else inputs(width), loss, plan, seed, name)


def checked(
    make: Make, inputs: Inputs, loss: Any, plan: WidthPlan, seed: int, target: str, progress: Progress | None = None
) -> CoordinateCheck:
    """As `width`, with a plan.

    Args:
        make: from a width to a model.
        inputs: from the model and its width to the batch.
        loss: from the output to a scalar.
        plan: widths, seeds and steps.
        seed: of everything random.
        target: name of the function, for errors.
        progress: called with (networks done, total networks).
    """
    study = WidthStudy(make, inputs, loss, plan, seed, target, progress)

    def subject() -> Subject:
        name = listed(list(study.optimizers))
        rate = None if study.brought else plan.rate
        words = name if rate is None else f"{name} with learning rate {rate:g}"
        return Subject(
            title=f"{study.title} of {target}",
            setting=(
                f"input {study.inputs}, {words}, {counted(plan.steps, 'step')} on one batch, "
                f"{counted(plan.seeds, 'seed')}"
            ),
            config={
                "source": "torch", "model": target, "input": study.inputs, "loss": _loss_name(loss), "seed": seed,
            },
            family=next(iter(study.families)) if len(study.families) == 1 else None,
            optimizer=name,
            learning_rate=rate,
            environment=environment(torch.get_num_threads(), torch_version()),
        )  # fmt: skip

    return coordinate_check(plan, study.measure, subject)


def _loss_name(loss: Any) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))
