"""Networks of one width: made by the user's function, trained for a few steps, and measured before each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from initprobe.diagnosis.width_sizes import Family, LayerSizes, NetworkSizes
from initprobe.errors import ConfigError
from initprobe.prediction.width_scaling import Scaling
from initprobe.registry import suggestion
from initprobe.torch.arguments import called, input_tensors
from initprobe.torch.inventory import Inventory, inventory
from initprobe.torch.nested import tensors
from initprobe.torch.passes import recording, watching
from initprobe.torch.restore import left_as_found, mapped, seed_everything
from initprobe.torch.size_recorder import Size, SizeRecorder, gap, rms
from initprobe.torch.structure import Layer, Structure, structure_of
from initprobe.torch.width_rows import attention_sizes, output_signals, readout, stream_sizes, whole

_SCALING = ("linear", "relu", "leaky_relu", "prelu")  # activations that keep a factor of their input
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        steps: of the optimizer.
        optimizer: `sgd`, `adam` or `adamw`, where the model brings none of its own.
        learning_rate: of groups that name none.
    """

    steps: int
    optimizer: str
    learning_rate: float


@dataclass(frozen=True)
class Trained:
    """A model with the optimizer that trains it."""

    model: Any
    optimizer: Any

    @property
    def family(self) -> Family | None:
        """How an update depends on the gradient: in proportion, or by its sign; None for another optimizer."""
        if isinstance(self.optimizer, torch.optim.SGD):
            return "sgd"
        return "adam" if isinstance(self.optimizer, torch.optim.Adam) else None

    def rates(self) -> dict[int, float]:
        """The learning rate of each parameter, by its id."""
        groups = self.optimizer.param_groups
        return {id(parameter): float(group["lr"]) for group in groups for parameter in group["params"]}


Change = Callable[[Trained], object]


def with_optimizer(made: Any, training: Training, target: str) -> Trained:
    """The model and its optimizer, from what the user's function returned.

    Args:
        made: a model; or a model and an optimizer, or groups of parameters as `torch.optim` takes them. A group may
            have `lr_scale`, a factor of the learning rate.
        training: the optimizer for what brings none.
        target: what the user typed, for errors.

    Raises:
        ConfigError: it returned something else.
    """
    model, rest = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise ConfigError(
            f"{target}(width) gives a {kind}; return a torch.nn.Module, or a module and an optimizer or groups of "
            "parameters"
        )
    groups = [{"params": list(model.parameters())}] if rest is None else rest
    optimizer = groups if isinstance(groups, torch.optim.Optimizer) else _optimizer(groups, training, target)
    trained = Trained(model, optimizer)
    _check_learning(trained, target)
    return trained


def _check_learning(trained: Trained, target: str) -> None:
    """Refuse a model that no step changes, and rates that are no rates."""
    rates, learning = trained.rates(), [p for p in trained.model.parameters() if p.requires_grad]
    if not learning:
        raise ConfigError(f"{target}(width): no parameter of the model requires a gradient")
    if not any(id(parameter) in rates for parameter in learning):
        raise ConfigError(f"{target}(width): the optimizer has none of the model's parameters that require a gradient")
    wrong = [rate for rate in rates.values() if not 0 <= rate < math.inf]
    if wrong:
        raise ConfigError(f"{target}(width): a group has the learning rate {wrong[0]}; it must be 0 or above")


def _optimizer(groups: Any, training: Training, target: str) -> Any:
    rate = training.learning_rate
    try:
        scaled = [
            {"lr": rate * group.get("lr_scale", 1.0)} | {key: held for key, held in group.items() if key != "lr_scale"}
            for group in groups
        ]
        made = OPTIMIZERS[training.optimizer](scaled, lr=rate)
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f'{target}(width): groups of parameters are a list like [{{"params": [...], "lr_scale": 0.5}}]; {error}'
        ) from None
    known = [*made.defaults, "params", "param_names", "lr_scale", "name"]
    unknown = next((key for group in made.param_groups for key in group if key not in known), None)
    if unknown is not None:
        raise ConfigError(f"{target}(width): a group has an unknown {unknown!r}.{suggestion(str(unknown), known)}")
    return made


def rescaled(trained: Trained, scaling: Scaling, factor: float) -> None:
    """Change a model in place: entries and learning rates times powers of `factor`, the width over the smallest.

    Args:
        trained: the model and its optimizer.
        scaling: exponents, by parameter.
        factor: the width over the smallest width.
    """
    parameters = dict(trained.model.named_parameters())
    with torch.no_grad():
        for name, power in scaling.starts.items():
            parameters[name].mul_(factor**power)
    powers = {id(parameters[name]): power for name, power in scaling.rates.items()}
    for group in list(trained.optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in powers]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in powers]
        for parameter in moved:
            changed = {key: held for key, held in group.items() if key != "params"}
            changed["lr"] = group["lr"] * factor ** powers[id(parameter)]
            trained.optimizer.add_param_group({**changed, "params": [parameter]})
    trained.optimizer.param_groups[:] = [group for group in trained.optimizer.param_groups if group["params"]]


@contextmanager
def _optimizer_kept(optimizer: Any) -> Iterator[None]:
    """Restore the groups of an optimizer, and what it remembers of each parameter."""
    groups = [{**group, "params": list(group["params"])} for group in optimizer.param_groups]
    state = copy.deepcopy(dict(optimizer.state))
    try:
        yield
    finally:
        optimizer.param_groups[:] = groups
        optimizer.state.clear()
        optimizer.state.update(state)


def measured(trained: Trained, x: Any, loss: Any, steps: int, seed: int, change: Change | None = None) -> NetworkSizes:
    """Train a network on one batch, and measure it before each step and after the last. It is left unchanged.

    Args:
        trained: the model with its optimizer.
        x: the batch.
        loss: from the output to a scalar.
        steps: how many.
        seed: of everything random, as dropout, before each pass: all passes drop the same entries.
        change: made to the model first, and undone too.

    Raises:
        ConfigError: the loss is no scalar.
    """
    parts = inventory(trained.model)
    with left_as_found(parts, parameters=True), _optimizer_kept(trained.optimizer), recording():
        if change is not None:
            change(trained)
        course = _Course(trained, parts, x, loss, seed)
        first = course.begin()
        later = [course.step() for _ in range(steps)]
    return NetworkSizes(tuple(_rows(course, first, later)), tuple(course.losses))


class _Course:
    """Passes forward and back with steps between."""

    def __init__(self, trained: Trained, parts: Inventory, x: Any, loss: Any, seed: int) -> None:
        self.trained, self.parts, self.losses = trained, parts, list[float]()
        self.outputs: list[Any] = []
        self.output_changes: list[float] = []
        self.rates = trained.rates()
        self.weights: dict[str, Any] = {}
        self.updates: list[dict[str, float]] = []
        self._x, self._loss, self._seed = x, loss, seed

    def begin(self) -> tuple[SizeRecorder, Structure]:
        """The pass before training; its recorder keeps the tensors of layers."""
        recorder = self._pass(None)
        structure = structure_of(recorder.operations)
        recorder.keep_only(set(_kept(structure)))
        self.before = recorder
        names = {layer.op.leaf for layer in structure.layers if layer.op.leaf is not None}
        self.weights = {name: self.parts.parameters[name].detach().clone() for name in names}
        return recorder, structure

    def step(self) -> SizeRecorder:
        """One step of the optimizer, then the next pass."""
        self.trained.optimizer.step()
        held = self.parts.parameters
        self.updates.append({name: rms(held[name].detach() - weight) for name, weight in self.weights.items()})
        return self._pass(self.before)

    def _pass(self, before: SizeRecorder | None) -> SizeRecorder:
        recorder = SizeRecorder(self.trained.model, before)
        seed_everything(self._seed)
        with watching(recorder, self.parts):
            given = mapped(lambda tensor: tensor.clone(), self._x)
            recorder.begin(list(input_tensors(given)), self.parts.all_parameters.items())
            with recorder:
                output = called(self.trained.model, given)
                recorder.module = ""
                recorder.listening = False
                loss = self._loss(output)
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
                raise ConfigError("must give one number, a tensor that depends on the output", field="--loss")
            recorder.finish(list(tensors(output)))
            self._note_output(next(tensors(output)), before is None)
            self.losses.append(float(loss.detach()))
            self.trained.optimizer.zero_grad()
            loss.backward()
        return recorder

    def _note_output(self, output: Any, is_first: bool) -> None:
        if is_first:
            self.output, self.output_rms = output.detach().clone(), rms(output)
        else:
            self.output_changes.append(gap(output, self.output))


def _kept(structure: Structure) -> Iterator[int]:
    """Numbers of the tracks whose tensors are compared."""
    for layer in structure.layers:
        yield layer.h.number
        if layer.op.output is not None:
            yield layer.op.output.number
    for join in structure.joins:
        if join.op.output is not None:
            yield join.op.output.number


def _rows(
    course: _Course, first: tuple[SizeRecorder, Structure], later: Sequence[SizeRecorder]
) -> Iterator[LayerSizes]:
    recorder, structure = first
    rows = [_layer(course, recorder, later, layer) for layer in structure.layers]
    signals = output_signals(recorder)
    last = readout(signals, structure)
    for row, layer in zip(rows, structure.layers, strict=True):
        if layer is last:
            yield replace(row, kind="readout")
        else:
            yield replace(row, is_inner=last is None and layer is structure.layers[-1])
    yield from attention_sizes(recorder, later, {signal.number for signal in signals})
    yield from stream_sizes(structure, later)
    if last is None:
        yield LayerSizes("output", "readout", course.output_rms, None, tuple(course.output_changes))


def _layer(course: _Course, recorder: SizeRecorder, later: Sequence[SizeRecorder], layer: Layer) -> LayerSizes:
    op = layer.op
    factor = recorder.factors.get(op.number, 1.0)
    at_product = factor if layer.h is layer.z and not layer.norm else 1.0
    product, h = op.output, layer.h
    assert isinstance(product, Size) and isinstance(h, Size)
    act = layer.activation.activation if layer.activation else None
    given = recorder.given.get(op.number)
    entering = None if given is None else rms(given)
    return LayerSizes(
        name=layer.label,
        kind="layer",
        output=at_product * h.rms,
        gradient=None if h.gradient_rms is None else h.gradient_rms / at_product,
        changes=tuple(at_product * change for change in whole([each.changes for each in later], h.number)),
        own_changes=tuple(_own_changes(course, layer, factor, entering)),
        fan_in=op.fans[0],
        fan_out=op.fans[1],
        weight=factor * op.weight.rms if isinstance(op.weight, Size) else None,
        rate=_rate(course, layer, factor),
        rows=_rows_of(product, op.axis),
        given=entering,
        given_changes=whole([each.given_changes for each in later], op.number),
        product=factor * product.rms,
        product_gradient=None if product.gradient_rms is None else product.gradient_rms / factor,
        is_normed=layer.norm is not None,
        keeps_scale=layer.activation is None or (act is not None and act.name in _SCALING),
        parameter=op.leaf,
    )


def _own_changes(course: _Course, layer: Layer, factor: float, given: float | None) -> Iterator[float]:
    """The change of z if the update of the weight is aligned with the input. It is a sum of fan_in equal terms."""
    if layer.op.leaf is not None:
        for updates in course.updates:
            yield factor * layer.op.fans[0] * updates[layer.op.leaf] * (1.0 if given is None else given)


def _rows_of(product: Size, axis: int) -> int:
    """Samples times positions of a layer."""
    return max(product.entries // product.shape[axis], 1) if product.shape else 1


def _rate(course: _Course, layer: Layer, factor: float) -> float | None:
    """The learning rate of the product of weight and factor."""
    leaf = layer.op.leaf
    rate = None if leaf is None else course.rates.get(id(course.parts.parameters[leaf]))
    if rate is None:
        return None
    return rate * (factor**2 if course.trained.family == "sgd" else factor)
