"""Two sets of results, compared run by run: what changed, by how much, and whether that is allowed.

Numbers are named as in JSON: `output.variance`. `TENSOR.histogram` is the Wasserstein distance between the two
histograms of a tensor, relative to the old rms. Entries may lie anywhere within their bin, so the distance is the
smallest that the counts allow. `figures` allows the changes by rounding on another processor, on top of the tolerance.
A number that is named by itself has only its tolerance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.formatting import percent_change
from initprobe.registry import suggestion
from initprobe.reports.people_names import people_verdict
from initprobe.results.base import TENSORS
from initprobe.results.digest import digest
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import (
    COMPARED,
    FIGURES,
    HISTOGRAM,
    HISTOGRAMS,
    IN_FORMATS,
    LAYER_NUMBERS,
    LOSSES,
    MISSING,
    RATES,
    STEP,
    VERDICT,
    number_of,
    value_of,
)
from initprobe.results.run import ProbeResult
from initprobe.spec import parse_number
from initprobe.sweeps.histogram_distance import histogram_change
from initprobe.sweeps.store_kept_runs import KeptRun
from initprobe.sweeps.store_rounding import NONE, Allowance, allowance

# The numbers that the figures of a run show.
PLOTTED = (
    *(f"{tensor}.variance" for tensor in TENSORS),
    *HISTOGRAMS,
    *(name for name in LAYER_NUMBERS if name.startswith("theory.") and name.endswith("_variance")),
)
# The numbers of one step of an optimizer.
STEPPED = ("weight_step_ratio", "output_step_ratio")
_DEFAULT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Rule:
    """The largest change of a number that passes.

    Attributes:
        name: one of `COMPARED`.
        tolerance: the largest change.
        relative: the tolerance is relative to the old number.
    """

    name: str
    tolerance: float = _DEFAULT_TOLERANCE
    relative: bool = True

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers that it is about."""
        groups = {FIGURES: PLOTTED, STEP: STEPPED, VERDICT: (), MISSING: (), IN_FORMATS: ()}
        return groups.get(self.name, (self.name,))

    def allows(self, number: str, old: float | None, new: float | None) -> bool:
        """Whether a change passes; a number that only one side has does not.

        Args:
            number: its name.
            old, new: None where absent.
        """
        return size_of(number, old, new, self.relative) <= self.tolerance


def parse_rule(text: str) -> Rule:
    """A rule from `NAME`, `NAME:10%` or `NAME:0.01`.

    Raises:
        ConfigError: an unknown name, or no valid tolerance.
    """
    name, colon, allowed = (part.strip() for part in text.partition(":"))
    if name not in COMPARED:
        hint = suggestion(name, COMPARED)
        hint = hint or " Names are verdict, missing, figures, or the JSON's, as in output.variance."
        raise UnknownNameError(f"unknown number {name!r}.{hint}", field="--fail-on")
    if not colon:
        return Rule(name, relative=name != IN_FORMATS)
    if name in (VERDICT, MISSING):
        raise ConfigError(f"{name} has no tolerance; write {name} alone", field="--fail-on")
    relative = allowed.endswith("%")
    if relative and name == IN_FORMATS:
        raise ConfigError("compares shares; write a difference, formats:0.01", field="--fail-on")
    try:
        value = parse_number(allowed.removesuffix("%"))
    except ConfigError:
        value = -1.0
    if value < 0:
        raise ConfigError(f"{text} needs a tolerance of at least 0, as in {name}:10% or {name}:0.01", field="--fail-on")
    if not relative and name in (FIGURES, *HISTOGRAMS):
        raise ConfigError(
            f"{name} is judged relative to the old numbers; write a percentage, {name}:1%", field="--fail-on"
        )
    return Rule(name, value / 100 if relative else value, relative)


# Of what a run has only where it was asked for; otherwise there is nothing to compare.
_IF_THERE = (Rule(STEP), Rule(IN_FORMATS, relative=False))
DEFAULT_RULES = (Rule(VERDICT), Rule(FIGURES), *_IF_THERE)


@dataclass(frozen=True)
class Change:
    """The change of one number of one run, at the layer where it changed most.

    Attributes:
        run: name of the run.
        name: of the number; or `verdict`, or `missing`.
        layer: the layer; None for the whole run.
        old, new: the values, as text.
        size: of the change, as text; "" where it has none.
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
    """A run before and now; None where one side does not have it."""

    old: KeptRun | None
    new: KeptRun | None

    @property
    def name(self) -> str:
        """The name of the run; both names where the sides are different experiments."""
        sides = (self.old, self.new) if self.is_unlike else (self.new or self.old,)
        return " -> ".join(run.name for run in sides if run) or "the run"

    @property
    def is_unlike(self) -> bool:
        """Whether the sides are different experiments with different names."""
        return bool(self.old and self.new and self.old.config != self.new.config and self.old.name != self.new.name)


def paired(old: Sequence[KeptRun], new: Sequence[KeptRun]) -> list[Pair]:
    """Pairs of runs of the same experiment, in the new order.

    A single run on each side is a pair also where the experiments differ. Of equal runs on one side the first counts.

    Args:
        old, new: runs of both sides.
    """
    if len(old) == len(new) == 1:
        return [Pair(old[0], new[0])]
    before, now = ({run.config: run for run in reversed(runs)} for runs in (old, new))
    order = dict.fromkeys(run.config for run in (*new, *old))
    return [Pair(before.get(config), now.get(config)) for config in order]


def config_changes(old: KeptRun, new: KeptRun) -> list[str]:
    """The fields in which two experiments differ, as `init: he -> xavier`; none where one config is unknown.

    Args:
        old, new: a run of each side.
    """
    try:
        before, now = json.loads(old.config), json.loads(new.config)
    except ValueError:
        return []
    names = dict.fromkeys([*before, *now])
    changed = [(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]
    return [f"{name}: {_setting(was)} -> {_setting(is_now)}" for name, was, is_now in changed]


def _setting(value: object) -> str:
    return "default" if value is None else str(value)


class Comparison:
    """The changes that some rules do not allow, and whether each rule had something to compare."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        needed = (rule for rule in rules if all(rule is not other for other in _IF_THERE))
        self._unused = [rule for rule in needed if rule.name != MISSING]
        self._paired = self._compared = False

    def add(self, pair: Pair) -> tuple[Change, ...]:
        """The changes in a pair that the rules do not allow, in the order of the rules."""
        self._paired = self._paired or (pair.old is not None and pair.new is not None)
        if pair.old is None or pair.old.state != "done":
            return ()  # a new run, or one that failed before, is no change for the worse
        if pair.new is None or pair.new.state != "done":
            missing = Change(pair.name, MISSING, None, "there", pair.new.state if pair.new else "missing")
            return (missing,) if any(rule.name == MISSING for rule in self._rules) else ()
        self._compared = True
        old, new = pair.old.load(), pair.new.load()
        self._unused = [rule for rule in self._unused if not _applies(rule, old, new)]
        changes = [change for rule in self._rules for change in broken(pair.name, rule, old, new)]
        return tuple(dict.fromkeys(changes))

    def idle(self) -> list[str]:
        """One line per rule that had nothing to compare."""
        if not self._paired:
            return ["no run is in both OLD and NEW, so nothing was compared; if NEW is the baseline, keep it"]
        if not self._compared and self._unused:
            return ["no run is done in both OLD and NEW, so nothing was compared"]
        return [f"--fail-on {rule.name}: no run has this number, so nothing was compared" for rule in self._unused]


def _applies(rule: Rule, old: ProbeResult, new: ProbeResult) -> bool:
    """Whether at least one side has a number of the rule."""
    if rule.name == VERDICT:
        return True
    if rule.name == IN_FORMATS:
        return bool(old.formats or new.formats)
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
    """The changes between two results that a rule does not allow.

    Args:
        run: name of the run.
        rule: the rule.
        old: the result before.
        new: the result now.
    """
    if rule.name == VERDICT:
        verdicts = digest(old).verdict, digest(new).verdict
        if verdicts[0] != verdicts[1]:
            yield Change(run, VERDICT, None, *map(people_verdict, verdicts))
        return
    if rule.name in (*RATES, *LOSSES):
        values = number_of(old, rule.name), number_of(new, rule.name)
        if not rule.allows(rule.name, *values):
            yield _change(run, rule, rule.name, None, *values)
        return
    if rule.name == IN_FORMATS:
        yield from _formats(run, rule, old, new)
        return
    if len(old.layers) != len(new.layers) and rule.numbers:
        yield Change(run, "layers", None, str(len(old.layers)), str(len(new.layers)))
        return
    rounding = allowance(old) if rule.name == FIGURES else NONE
    for number in rule.numbers:
        excess, layer, before, now = max(_excesses(rule, number, old, new, rounding), key=itemgetter(0))
        if excess > rule.tolerance:
            yield _change(run, rule, number, layer, before, now)


def _formats(run: str, rule: Rule, old: ProbeResult, new: ProbeResult) -> Iterator[Change]:
    """Per format and tensor: the layer whose share that becomes 0, subnormal or leaves the range changed most."""
    before, now = _lost_shares(old), _lost_shares(new)
    for form, tensor in dict.fromkeys(key[:2] for key in (*before, *now)):
        places = [key for key in dict.fromkeys((*before, *now)) if key[:2] == (form, tensor)]
        name = f"{IN_FORMATS}.{form}.{tensor}"
        worst = max(places, key=lambda key: size_of(name, before.get(key), now.get(key), rule.relative))
        values = before.get(worst), now.get(worst)
        if not rule.allows(name, *values):
            yield _change(run, rule, name, worst[2], *values)


def _lost_shares(result: ProbeResult) -> dict[tuple[str, str, int], float]:
    """By format, tensor and layer: the share of entries that become 0 or subnormal, or leave the range."""
    return {
        (form.name, tensor.tensor, tensor.layer): tensor.lost + tensor.subnormal
        for form in result.formats
        for tensor in form.tensors
    }


def _excesses(
    rule: Rule, number: str, old: ProbeResult, new: ProbeResult, rounding: Allowance
) -> Iterator[tuple[float, int, float | None, float | None]]:
    """Per layer: the size of the change beyond that by rounding, the layer, and the number before and now."""
    for layer, before, now in _layers(number, old, new):
        size, allowed = size_of(number, before, now, rule.relative), rounding.of(number, layer)
        yield 0.0 if math.isinf(allowed) else size - allowed, layer, before, now


def _layers(number: str, old: ProbeResult, new: ProbeResult) -> Iterator[tuple[int, float | None, float | None]]:
    for before, now in zip(old.layers, new.layers, strict=True):
        yield before.layer, *_values(number, before, now)


def _values(number: str, old: LayerStats, new: LayerStats) -> tuple[float | None, float | None]:
    """A number before and now; for a histogram, 0 and the distance."""
    tensor, _, statistic = number.partition(".")
    if statistic == HISTOGRAM:
        return histogram_change(old.tensor(tensor), new.tensor(tensor))
    return value_of(old, number), value_of(new, number)


def size_of(number: str, old: float | None, new: float | None, relative: bool) -> float:
    """The size of a change; 0 for no change, infinite where only one side has the number.

    Args:
        number: its name.
        old: one value.
        new: the other.
        relative: whether the size is a share of the old value.
    """
    if old is None or new is None:
        return 0.0 if old is new else math.inf
    if (distance := abs(new - old)) == 0 or not relative or number in HISTOGRAMS:
        return distance
    return distance / abs(old) if old else math.inf


def _change(run: str, rule: Rule, number: str, layer: int | None, old: float | None, new: float | None) -> Change:
    size = size_of(number, old, new, rule.relative)
    text = "" if math.isinf(size) else percent_change(size) if rule.relative else f"{size:.3g}"
    if number in HISTOGRAMS and old is not None and new is not None:
        return Change(run, number, layer, "unshifted", f"shifted by {new:.3g} rms", text)
    return Change(run, number, layer, _text(old), _text(new), text)


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
