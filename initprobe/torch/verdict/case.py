"""What the rules look at, and what they say: a model as it was recorded, and observations of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from initprobe.config.thresholds import ModelThresholds
from initprobe.results.base import Severity
from initprobe.results.summary import Place
from initprobe.torch.graph import Operation, Signal, back_from
from initprobe.torch.structure import Layer, Structure

if TYPE_CHECKING:
    from initprobe.torch.inventory import Inventory
    from initprobe.torch.layer_stats import LayerRecords
    from initprobe.torch.operations import Recorder

TO_BFLOAT16 = "model.to(torch.bfloat16)"


@dataclass(frozen=True)
class Cure:
    """A line of PyTorch that may heal a model.

    Attributes:
        line: with `model`, `nn`, `torch` and `x` in reach.
        touches: names of the parameters that it writes to.
        standardize: the input's mean and standard deviation, where it is the input that the line changes.
    """

    line: str
    touches: tuple[str, ...] = ()
    standardize: tuple[float, float] | None = None


@dataclass(frozen=True)
class Observation:
    """What a rule saw.

    Attributes:
        rule: its id.
        severity: info, warning or error.
        layer: the number of the layer where it begins.
        evidence: the numbers in words.
        cause: why.
        module: what is at fault.
        cures: what may heal it, the likeliest first.
        no_fix: why nothing does, where that is known.
        shuts: it lets nothing pass, so that zeros elsewhere are its consequence.
        alone: it speaks of the scale of one layer, which may be odd beside others.
        elsewhere: further places of the same rule, with the numbers there.
    """

    rule: str
    severity: Severity
    layer: int
    evidence: str
    cause: str
    module: str | None
    cures: tuple[Cure, ...] = ()
    no_fix: str = ""
    shuts: bool = False
    alone: bool = False
    elsewhere: tuple[Place, ...] = ()


def gathered(observations: Iterable[Observation]) -> Iterator[Observation]:
    """The first observation of a rule, with the places of the others; nothing for none."""
    every = list(observations)
    if every:
        yield replace(
            every[0], elsewhere=tuple(Place(layer=o.layer, module=o.module, evidence=o.evidence) for o in every[1:])
        )


@dataclass
class Case:
    """A model as it was recorded.

    Attributes:
        held: the model and its parts.
        recorder: all operations.
        structure: how they hang together.
        limits: of the verdict.
        moved: whether the gradient of a parameter is anything but 0, by name; None without one.
        differentiated: there was a way back.
        void: what is wrong with parameters that hold no numbers, by module.
        records: statuses and statistics of tensors.
        loss: the value at the start, where there is a loss.
        training: the mode that the model was in.
    """

    held: Inventory
    recorder: Recorder
    structure: Structure
    limits: ModelThresholds
    moved: Mapping[str, bool | None]
    differentiated: bool
    void: Mapping[str, str]
    records: LayerRecords
    loss: float | None = None
    training: bool = True
    dtype: str | None = None

    @property
    def layers(self) -> list[Layer]:
        """The layers, first to last."""
        return self.structure.layers

    @property
    def operations(self) -> Sequence[Operation]:
        """Every operation, in order."""
        return self.structure.operations

    @cached_property
    def lines(self) -> dict[tuple[int, float, bool], tuple[str, str]]:
        """Lines that draw the weight of a layer anew, as they were written for the layer, a std and by name or not."""
        return {}

    @property
    def model(self) -> Any:
        """The model."""
        return self.held.model

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by its first name."""
        return self.held.parameters

    def layer_of(self, op: Operation) -> int:
        """The number of the layer that an operation belongs to, or that came last before it."""
        return max(bisect_right(self._starts, op.number), 1)

    @cached_property
    def _starts(self) -> list[int]:
        return [layer.op.number for layer in self.layers]

    def bias_of(self, layer: Layer) -> str | None:
        """The bias of a layer, or of the norm that z comes from."""
        ops = [layer.op, *layer.signal.steps]
        if layer.norm is not None and layer.norm.signal is not None:
            ops = [*ops, layer.norm, *layer.norm.signal.steps]
        used = [name for op in ops if op.kind in ("layer", "shift", "norm", "scale") for name in op.names]
        biases = [name for name in used if name != layer.op.leaf and "bias" in name.rpartition(".")[2]]
        return biases[-1] if biases else None

    @cached_property
    def opened(self) -> set[str]:
        """Parameters of 0 that training sets in motion, at once or once others have moved (ReZero, Fixup, LoRA)."""
        users = self._zero_users()
        found = {name for name in users if self.moved.get(name)}
        while True:
            above = self._above(found, users)
            more = {
                name
                for name, ops in users.items()
                if name not in found and any(_is_fed(op) and id(op.signal) in above for op in ops)
            }
            if not more:
                return found
            found |= more

    @cached_property
    def opening(self) -> set[int]:
        """Ids of signals whose gradient is 0 until such a parameter has moved."""
        return self._above(self.opened, self._zero_users())

    def _zero_users(self) -> dict[str, list[Operation]]:
        """What parameters of 0 that learn, none of them a bias, are used for."""
        found: dict[str, list[Operation]] = {}
        for op in self.operations:
            if op.kind not in ("layer", "scale", "norm", "gate", "sum"):
                continue
            for name in op.names:
                if "bias" not in name.rpartition(".")[2] and self.is_zero(name):
                    found.setdefault(name, []).append(op)
        return found

    def is_zero(self, name: str) -> bool:
        """A parameter of which every entry is 0, and that learns."""
        parameter = self.parameters.get(name)
        if parameter is None or not parameter.requires_grad:
            return False
        known = self._zeros.get(name)
        if known is None:
            known = self._zeros[name] = not bool(parameter.detach().any())
        return known

    @cached_property
    def _zeros(self) -> dict[str, bool]:
        return {}

    def _above(self, names: Iterable[str], users: Mapping[str, Sequence[Operation]]) -> set[int]:
        found: set[int] = set()
        waiting: list[Signal] = []
        for name in names:
            for op in users[name]:
                waiting += [op.signal] if op.kind == "scale" and op.signal else op.inputs
                waiting += _partners(op.signal)
        waiting += [op.signal for op in self.operations if op.chance and op.signal]
        while waiting:
            signal = waiting.pop()
            if id(signal) not in found:
                found.add(id(signal))
                waiting += signal.inputs
        return found

    @cached_property
    def used(self) -> set[int]:
        """Ids of signals that the output or the loss is made of."""
        ends = [*self.recorder.results, *(one for op in self.operations if op.kind == "loss" for one in op.inputs)]
        found: set[int] = set()
        while ends:
            signal = ends.pop()
            if id(signal) not in found:
                found.add(id(signal))
                ends += signal.inputs
        return found

    def is_explained(self, layer: Layer) -> bool:
        """What is 0 at a layer is so until a parameter of 0 has moved."""
        return id(layer.signal) in self.opening | self.silenced or bool(layer.op.names & self.opened)

    @cached_property
    def silenced(self) -> set[int]:
        """Ids of signals that are given nothing but zeros until such a parameter has moved."""
        users, found = self._zero_users(), set[int]()
        waiting = [op.signal for name in self.opened for op in users[name] if op.signal]
        while waiting:
            for op in waiting.pop().consumers:
                silent = op.output is None or op.output.sketch.peak == 0
                fed = op.given is not None and op.given.sketch.peak == 0
                if op.signal is not None and id(op.signal) not in found and (silent or fed) and op.kind != "sum":
                    found.add(id(op.signal))
                    waiting += [op.signal] if silent else []
        return found


def _partners(signal: Signal | None, depth: int = 4) -> list[Signal]:
    """What is multiplied with a signal of 0, and gets no gradient for that."""
    if signal is None or not depth:
        return []
    found: list[Signal] = []
    for op in signal.consumers:
        found += op.inputs if op.kind in ("gate", "product") else []
        if op.kind in ("norm", "part", "other", "gate", "layer", "softmax"):
            found += _partners(op.signal, depth - 1)
    return found


def _is_fed(op: Operation) -> bool:
    return op.given is None or op.given.sketch.peak > 0


def decades(value: float) -> float:
    """log10, NaN for what is 0 or no number."""
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


def back_path(signal: Signal, kinds: Sequence[str]) -> Iterator[Signal]:
    """The signal and those it was made of through operations of these kinds with one input each."""
    yield signal
    while signal.op.kind in kinds and len(signal.inputs) == 1:
        signal = signal.inputs[0]
        yield signal


@dataclass(frozen=True)
class Trend:
    """The part of a profile that changes most at a steady rate.

    Attributes:
        start: where it begins, as a place in the profile.
        end: where it ends.
        rate: decades per step, by the median of the slopes of all pairs in the part (Theil 1950, Sen 1968).
        decades: what its slower half keeps up over the whole part: all of an exponential, at most .6 of 1/l.
    """

    start: int
    end: int
    rate: float
    decades: float

    @property
    def steps(self) -> int:
        """Steps in the part."""
        return self.end - self.start


def sustained(profile: Sequence[float], sign: int, least: int = 2) -> Trend | None:
    """The steadiest change of a profile of logs in one direction, over parts of at least so many steps."""
    values = np.asarray(profile, dtype=float) * sign
    best: tuple[float, int, int] = (0.0, 0, 0)
    for steps in range(least, len(values)):
        # A part keeps up no more than it rises, so most need no closer look; rounding is far below the margin.
        if not np.fmax.reduce(values[steps:] - values[:-steps]) * (1 + 1e-9) > best[0]:
            continue
        found = _steady(values, steps)
        place = int(np.argmax(found)) if len(found) else 0
        if len(found) and found[place] > best[0]:
            best = float(found[place]), place, place + steps
    if best[0] <= 0:
        return None
    start, end = _trimmed(values, best[1], best[2], best[0], least)
    return Trend(start, end, sign * _slope(values[start : end + 1]), sign * best[0])


def _steady(values: Any, steps: int) -> Any:
    """What the slower half of each part of so many steps keeps up over the part; 0 where the halves disagree."""
    starts, ends = values[:-steps], values[steps:]
    found = np.full(len(starts), np.inf)
    for half in {steps // 2, steps - steps // 2}:
        middles = values[half : len(values) - (steps - half)]
        early, late = (middles - starts) / half, (ends - middles) / (steps - half)
        found = np.minimum(found, np.minimum(early, late) * steps)
    return np.where(np.isfinite(found), found, 0.0)


def _trimmed(values: Any, start: int, end: int, total: float, least: int) -> tuple[int, int]:
    """Without steps at the ends that are less than half as steep."""
    rate = total / (end - start)
    while end - start > least and values[start + 1] - values[start] < rate / 2:
        start += 1
    while end - start > least and values[end] - values[end - 1] < rate / 2:
        end -= 1
    return start, end


def _slope(values: Any) -> float:
    """The median slope of all pairs."""
    places = np.arange(len(values))
    first, second = np.triu_indices(len(values), 1)
    slopes = (values[second] - values[first]) / (places[second] - places[first])
    return float(np.median(slopes))


__all__ = [
    "Case", "Cure", "Observation", "Trend", "back_from", "back_path", "decades", "gathered", "sustained",
]  # fmt: skip
