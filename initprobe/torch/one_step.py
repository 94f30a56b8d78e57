"""One step of an optimizer on a PyTorch model: how far layers move, and the largest curvature of the loss.

The model is left unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch

from initprobe.arrays import Array, finite
from initprobe.data.machine import available_bytes
from initprobe.diagnosis.width_sizes import LayerSizes
from initprobe.engine.curvature import VECTORS, largest_eigenvalue
from initprobe.engine.optimizers import ADAPTIVE, NOT_FOUND, default_rate
from initprobe.errors import ConfigError
from initprobe.registry import suggestion
from initprobe.results.step import StepStats
from initprobe.torch.arguments import Arguments, called, copied
from initprobe.torch.passes import recording
from initprobe.torch.restore import left_as_found, seed_everything
from initprobe.torch.width_networks import OPTIMIZERS, Trained, measured

_NO_SECOND_DERIVATIVE = "an operation of the model has no second derivative"
_SHARE_OF_MEMORY = 0.5
_LARGEST_RATE = torch.finfo(torch.float32).max


class Optimizing(NamedTuple):
    """The step that is asked for.

    Attributes:
        name: `sgd`, `adam` or `adamw`.
        rate: the learning rate; None for 0.1, or 0.001 for Adam.
    """

    name: str
    rate: float | None

    @property
    def learning_rate(self) -> float:
        """The learning rate."""
        return default_rate(self.name) if self.rate is None else self.rate


def checked(name: str | None, rate: float | None, loss: object) -> Optimizing | None:
    """The step that is asked for; None for none.

    Args:
        name: of the optimizer; None for none.
        rate: the learning rate; None for the default.
        loss: None where there is none.

    Raises:
        ConfigError: the optimizer is unknown, the rate is not a positive number, or there is no loss.
    """
    if name is None:
        if rate is not None:
            raise ConfigError("is for a step; give `optimizer` too", field="lr")
        return None
    if name not in OPTIMIZERS:
        near = suggestion(str(name), list(OPTIMIZERS))
        raise ConfigError(f"{name!r} is not one of {', '.join(OPTIMIZERS)}.{near}", field="optimizer")
    if rate is not None and not (isinstance(rate, Real) and 0 < rate <= _LARGEST_RATE):
        raise ConfigError(f"must be above 0 and at most {_LARGEST_RATE:.3g}, not {rate!r}", field="lr")
    if loss is None:
        raise ConfigError("needs a loss; give `loss` too", field="optimizer")
    return Optimizing(name, rate)


def one_step(arguments: Arguments, step: Optimizing) -> tuple[StepStats, dict[str, dict[str, float | None]]]:
    """Do one step and undo it.

    Args:
        arguments: the model, its input and its loss.
        step: the optimizer and its rate.

    Returns:
        The step, and by layer label the fields of `LayerStats` that say how far the layer moved.

    Raises:
        ConfigError: no parameter learns.
    """
    learning = [p for p in arguments.parts.parameters.values() if p.requires_grad]
    if not learning:
        raise ConfigError("no parameter of the model requires a gradient, so no step changes it", field="optimizer")
    optimizer = OPTIMIZERS[step.name](learning, lr=step.learning_rate)
    x = copied(arguments.parts, arguments.x)
    sizes = measured(Trained(arguments.model, optimizer), x, arguments.loss, 1, arguments.seed)
    curvature, note = _curvature(arguments, step, learning)
    stats = StepStats(
        optimizer=step.name,
        learning_rate=step.learning_rate,
        loss_before=finite(sizes.losses[0]),
        loss_after=finite(sizes.losses[1]),
        largest_curvature=curvature,
        highest_rate=2 / curvature if curvature is not None and curvature > 0 else None,
        curvature_note=note,
    )
    return stats, dict(_moved(sizes.layers))


def _moved(rows: tuple[LayerSizes, ...]) -> Iterator[tuple[str, dict[str, float | None]]]:
    for row in rows:
        moved = row.changes[0] / row.output if row.output and row.changes else None
        yield row.name, {"weight_step_ratio": _weight_ratio(row), "output_step_ratio": _finite(moved)}


def _weight_ratio(row: LayerSizes) -> float | None:
    """rms(change of W) / rms(W), of which `own_changes` is a multiple."""
    if not (row.own_changes and row.weight and row.fan_in):
        return None
    given = 1.0 if row.given is None else row.given
    return _finite(row.own_changes[0] / (row.fan_in * given * row.weight)) if given else None


def _finite(value: float | None) -> float | None:
    return None if value is None else finite(value)


def _curvature(arguments: Arguments, step: Optimizing, learning: list[Any]) -> tuple[float | None, str | None]:
    """The largest curvature, or the reason why there is none."""
    if step.name != "sgd":
        return None, ADAPTIVE
    count = sum(parameter.numel() for parameter in learning)
    needed, free = 8 * (VECTORS + 6) * count, available_bytes()
    if needed > _SHARE_OF_MEMORY * free:
        return None, f"it takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    with left_as_found(arguments.parts, parameters=False), recording():
        seed_everything(arguments.seed)
        try:
            curvature = _largest(arguments, learning, count)
        except (RuntimeError, NotImplementedError):
            return None, _NO_SECOND_DERIVATIVE
    return curvature, NOT_FOUND if curvature is None else None


def _largest(arguments: Arguments, learning: list[Any], count: int) -> float | None:
    """By products of the Hessian with vectors, through one graph."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        assert arguments.loss is not None
        loss = arguments.loss(called(arguments.model, copied(arguments.parts, arguments.x)))
        gradients = torch.autograd.grad(loss, learning, create_graph=True, allow_unused=True)
        used = [(g, p) for g, p in zip(gradients, learning, strict=True) if g is not None and g.requires_grad]

        def product(vector: Array) -> Array:
            parts = torch.from_numpy(np.ascontiguousarray(vector)).split([p.numel() for p in learning])
            given = dict(zip(map(id, learning), parts, strict=True))
            along = [given[id(p)].reshape(p.shape).to(p) for _, p in used]
            changes = torch.autograd.grad([g for g, _ in used], learning, along, retain_graph=True, allow_unused=True)
            flat = [
                torch.zeros(p.numel(), dtype=torch.float64) if c is None else c.detach().double().cpu().reshape(-1)
                for c, p in zip(changes, learning, strict=True)
            ]
            return np.asarray(torch.cat(flat))

        return largest_eigenvalue(product, count, arguments.seed)
