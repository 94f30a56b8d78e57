"""Two sets of results compared run by run: what changed, by how much, and whether that is more than was allowed.

Numbers have their names of the JSON, as in `output.variance`. `TENSOR.histogram` is how far the entries of a tensor
have moved: the Wasserstein distance between the two histograms, as a share of the old rms. Within a bin entries may lie
anywhere, so only the distance that the counts prove counts. `figures` allows what rounding on another processor may do
to a run on top of the tolerance; a number asked for by name has its tolerance alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from initprobe.arrays import Array
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.results.base import TENSORS, Histogram
from initprobe.results.digest import digest
from initprobe.results.layers import LayerStats, TensorStats
from initprobe.results.named_numbers import (
    COMPARED,
    FIGURES,
    HISTOGRAM,
    HISTOGRAMS,
    LAYER_NUMBERS,
    LOSSES,
    MISSING,
    RATES,
    VERDICT,
    number_of,
    value_of,
)
from initprobe.results.run import ProbeResult
from initprobe.spec import parse_number
from initprobe.sweeps.store.kept_runs import Kept
from initprobe.sweeps.store.rounding import NONE, Allowance, allowance

# What the pictures of a run are drawn from.
PLOTTED = (
    *(f"{tensor}.variance" for tensor in TENSORS),
    *HISTOGRAMS,
    *(name for name in LAYER_NUMBERS if name.startswith("theory.") and name.endswith("_variance")),
)
_DEFAULT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Rule:
    """What may not change, or by how much it may.

    Attributes:
        name: of `COMPARED`.
        tolerance: the largest change that passes.
        relative: it is a share of the old number, not a distance.
    """

    name: str
    tolerance: float = _DEFAULT_TOLERANCE
    relative: bool = True

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers that it speaks of."""
        return PLOTTED if self.name == FIGURES else () if self.name in (VERDICT, MISSING) else (self.name,)

    def allows(self, number: str, old: float | None, new: float | None) -> bool:
        """Whether a number may change so; one that is there on one side only may not."""
        return size_of(number, old, new, self.relative) <= self.tolerance


def parse_rule(text: str) -> Rule:
    """A rule from `NAME`, `NAME:10%` or `NAME:0.01`.

    Raises:
        ConfigError: an unknown name, or a tolerance that is none.
    """
    name, colon, allowed = (part.strip() for part in text.partition(":"))
    if name not in COMPARED:
        hint = suggestion(name, COMPARED)
        hint = hint or " Names are verdict, missing, figures, or the JSON's, as in output.variance."
        raise UnknownNameError(f"--fail-on: unknown number {name!r}.{hint}")
    if not colon:
        return Rule(name)
    if name in (VERDICT, MISSING):
        raise ConfigError(f"--fail-on {text}: {name} has no tolerance; write --fail-on {name}")
    relative = allowed.endswith("%")
    try:
        value = parse_number(allowed.removesuffix("%"))
    except ConfigError:
        value = -1.0
    if value < 0:
        raise ConfigError(f"--fail-on {text}: give a tolerance of at least 0, as in {name}:10% or {name}:0.01")
    if not relative and name in (FIGURES, *HISTOGRAMS):
        raise ConfigError(f"--fail-on {text}: is judged relative to the old numbers; write a percentage, {name}:1%")
    return Rule(name, value / 100 if relative else value, relative)


DEFAULT_RULES = (Rule(VERDICT), Rule(FIGURES))


@dataclass(frozen=True)
class Change:
    """What changed in one number of one run; of all layers the one where it changed most.

    Attributes:
        run: the run, in words.
        name: the number, `verdict` or `missing`.
        layer: the layer; None for what speaks of the whole run.
        old: before, in words.
        new: now, in words.
        size: of the change, in words; empty where it has none.
    """

    run: str
    name: str
    layer: int | None
    old: str
    new: str
    size: str = ""

    def __str__(self) -> str:
        at = f" at layer {self.layer}" if self.layer else ""
        return f"{self.run}: {self.name}{at} was {self.old}, is {self.new}{f' ({self.size})' if self.size else ''}"


@dataclass(frozen=True)
class Pair:
    """A run and what it was before; None where one side does not have it."""

    old: Kept | None
    new: Kept | None

    @property
    def name(self) -> str:
        """The run, in words."""
        kept = self.new or self.old
        return (kept.name if kept else "") or "the run"


def paired(old: Sequence[Kept], new: Sequence[Kept]) -> list[Pair]:
    """Runs of the same experiment, in the new order; a single run on both sides is a pair, whatever it is.

    Of runs kept twice the first counts.
    """
    if len(old) == len(new) == 1:
        return [Pair(old[0], new[0])]
    before, now = ({one.config: one for one in reversed(runs)} for runs in (old, new))
    order = dict.fromkeys([*(one.config for one in new), *(one.config for one in old)])
    return [Pair(before.get(config), now.get(config)) for config in order]


def config_changes(old: Kept, new: Kept) -> list[str]:
    """What sets two experiments apart, as `init: he -> xavier`; nothing where one left no result to tell from."""
    try:
        before, now = json.loads(old.config), json.loads(new.config)
    except ValueError:
        return []
    names = dict.fromkeys([*before, *now])
    return [f"{name}: {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


class Comparison:
    """Pairs of runs before some rules, and what the rules found to compare."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._idle = [rule for rule in rules if rule.name != MISSING]
        self._met = self._compared = False

    def add(self, pair: Pair) -> tuple[Change, ...]:
        """What the rules do not allow in a pair, in their order."""
        self._met = self._met or (pair.old is not None and pair.new is not None)
        if pair.old is None or pair.old.state != "done":
            return ()  # a run that is new, or works at last, is no change for the worse
        if pair.new is None or pair.new.state != "done":
            gone = Change(pair.name, MISSING, None, "there", pair.new.state if pair.new else "missing")
            return (gone,) if any(rule.name == MISSING for rule in self._rules) else ()
        self._compared = True
        old, new = pair.old.load(), pair.new.load()
        self._idle = [rule for rule in self._idle if not _speaks(rule, old, new)]
        found = [change for rule in self._rules for change in broken(pair.name, rule, old, new)]
        return tuple(dict.fromkeys(found))

    def idle(self) -> list[str]:
        """What was asked for and found nothing to compare, a line for each."""
        if not self._met:
            return ["no run is in both OLD and NEW, so nothing was compared; keep NEW as the baseline if it is one"]
        if not self._compared and self._idle:
            return ["no run is done in both OLD and NEW, so nothing was compared"]
        return [f"--fail-on {rule.name}: no run has this number, so nothing was compared" for rule in self._idle]


def _speaks(rule: Rule, old: ProbeResult, new: ProbeResult) -> bool:
    """Whether there is something to compare: a number that one side has at least."""
    if rule.name == VERDICT:
        return True
    if rule.name in (*RATES, *LOSSES):
        return any(number_of(result, rule.name) is not None for result in (old, new))
    layers = (layer for result in (old, new) for layer in result.layers)
    return any(_has(layer, number) for layer in layers for number in rule.numbers)


def _has(layer: LayerStats, number: str) -> bool:
    tensor, _, statistic = number.partition(".")
    if statistic == HISTOGRAM:
        return layer.tensor(tensor).histogram is not None
    return value_of(layer, number) is not None


def broken(run: str, rule: Rule, old: ProbeResult, new: ProbeResult) -> Iterator[Change]:
    """What one rule does not allow between two results of `run`."""
    if rule.name == VERDICT:
        verdicts = digest(old).verdict, digest(new).verdict
        if verdicts[0] != verdicts[1]:
            yield Change(run, VERDICT, None, *verdicts)
        return
    if rule.name in (*RATES, *LOSSES):
        values = number_of(old, rule.name), number_of(new, rule.name)
        if not rule.allows(rule.name, *values):
            yield _change(run, rule, rule.name, None, *values)
        return
    if len(old.layers) != len(new.layers) and rule.numbers:
        yield Change(run, "layers", None, str(len(old.layers)), str(len(new.layers)))
        return
    rounding = allowance(old) if rule.name == FIGURES else NONE
    for number in rule.numbers:
        excess, layer, before, now = max(_excesses(rule, number, old, new, rounding), key=itemgetter(0))
        if excess > rule.tolerance:
            yield _change(run, rule, number, layer, before, now)


def _excesses(
    rule: Rule, number: str, old: ProbeResult, new: ProbeResult, rounding: Allowance
) -> Iterator[tuple[float, int, float | None, float | None]]:
    """Of each layer the size of its change beyond what rounding may do, the layer, and the number before and now."""
    for layer, before, now in _layers(number, old, new):
        size, allowed = size_of(number, before, now, rule.relative), rounding.of(number, layer)
        yield 0.0 if math.isinf(allowed) else size - allowed, layer, before, now


def _layers(number: str, old: ProbeResult, new: ProbeResult) -> Iterator[tuple[int, float | None, float | None]]:
    for before, now in zip(old.layers, new.layers, strict=True):
        yield before.layer, *_values(number, before, now)


def _values(number: str, old: LayerStats, new: LayerStats) -> tuple[float | None, float | None]:
    """A number before and now; for a histogram 0 and how far the entries have moved."""
    tensor, _, statistic = number.partition(".")
    if statistic == HISTOGRAM:
        return moved(old.tensor(tensor), new.tensor(tensor))
    return value_of(old, number), value_of(new, number)


def size_of(number: str, old: float | None, new: float | None, relative: bool) -> float:
    """The size of a change, 0 for none; infinite where only one side has the number."""
    if old is None or new is None:
        return 0.0 if old is new else math.inf
    distance = abs(new - old)
    if not relative or number in HISTOGRAMS or distance == 0:
        return distance
    return distance / abs(old) if old else math.inf


def _change(run: str, rule: Rule, number: str, layer: int | None, old: float | None, new: float | None) -> Change:
    size = size_of(number, old, new, rule.relative)
    words = "" if math.isinf(size) else f"{100 * size:.3g}%" if rule.relative else f"{size:.3g}"
    if number in HISTOGRAMS and old is not None and new is not None:
        return Change(run, number, layer, "here", f"{new:.3g} rms from there", words)
    return Change(run, number, layer, _word(old), _word(new), words)


def _word(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def moved(old: TensorStats, new: TensorStats) -> tuple[float | None, float | None]:
    """0 and the Wasserstein distance of two histograms over the old rms; None for a side without a histogram."""
    if old.histogram is None or new.histogram is None:
        return (None if old.histogram is None else 0.0), (None if new.histogram is None else 0.0)
    distance = _wasserstein(old.histogram, new.histogram)
    return 0.0, distance / old.rms if old.rms else math.inf if distance else 0.0


def _wasserstein(one: Histogram, other: Histogram) -> float:
    """The least area between two cumulative distributions of these counts, wherever entries lie within their bins."""
    curves = [_cumulative(histogram) for histogram in (one, other)]
    x = np.union1d(*(edges for edges, _ in curves))
    (low, high), (other_low, other_high) = (_bounds(x, *curve) for curve in curves)
    gap = np.maximum(np.maximum(low - other_high, other_low - high), 0.0)
    return float(np.sum(gap * np.diff(x)))


def _bounds(x: Array, edges: Array, shares: Array) -> tuple[Array, Array]:
    """Of each interval of `x` the least and the most share of the entries that may lie below a point of it."""
    bins = np.searchsorted(edges, (x[:-1] + x[1:]) / 2)
    return shares[np.maximum(bins - 1, 0)] * (bins > 0), shares[np.minimum(bins, len(shares) - 1)]


def _cumulative(histogram: Histogram) -> tuple[Array, Array]:
    """Edges of the bins, and the share of the entries below each."""
    low, high, counts = histogram.low, histogram.high, np.array(histogram.counts)
    if low == high:  # all in one place: a step
        high, counts = math.nextafter(low, math.inf), np.array([1])
    edges = np.linspace(low, high, len(counts) + 1)
    return edges, np.concatenate([[0], np.cumsum(counts) / counts.sum()])
