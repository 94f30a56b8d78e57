"""Findings that are known: which of them an ignore speaks of, until when, and what is left to count.

An ignore names a rule, and perhaps where: `dead-units`, `dead-units@3`, `saturated@2-5,9`, `dead-layer@encoder.*`. A
number or a range says at which layer a finding begins, as its words do ("saturated from layer 3"); the layers right
after it that are no better belong to it, one further on does not. A pattern names modules, and those alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.diagnose import RULES, all_places
from initprobe.diagnosis.rule import place_of
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.formatting import visible
from initprobe.registry import suggestion
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding, Ignored
from initprobe.torch.verdict.rulebook import RULEBOOK

_LAYERS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True)
class Ignore:
    """One thing that does not count.

    Attributes:
        rule: of `diagnosis`; in a sweep's checks also a number's name.
        layers: first and last of each range of layers.
        modules: patterns of module names. It speaks of every place where there are neither layers nor modules.
        reason: why, in words.
        until: the last day of it; None for no end.
        source: the option, or file and line, that it comes from.
        run: whether it speaks of the run with this configuration.
    """

    rule: str
    layers: tuple[tuple[int, int], ...]
    modules: tuple[str, ...]
    reason: str
    until: date | None
    source: str
    run: Callable[[ProbeResult], bool] = lambda result: True

    @property
    def mark(self) -> Ignored:
        """What a finding says that it ignores."""
        return Ignored(reason=self.reason, until=self.until and self.until.isoformat())

    def names(self, module: str | None) -> bool:
        """Whether a module is one of those that it names."""
        return module is not None and any(fnmatchcase(module, pattern) for pattern in self.modules)

    def covers(self, rule: str, layer: int | None, module: str | None = None) -> bool:
        """Whether it speaks of what a rule says of this place."""
        if rule != self.rule:
            return False
        everywhere = not (self.layers or self.modules)
        numbered = layer is not None and any(first <= layer <= last for first, last in self.layers)
        return everywhere or numbered or self.names(module)


def make_ignore(rule: str, at: Iterable[str], reason: str | None, until: str | None, source: str,
                numbers: Sequence[str] = ()) -> Ignore:  # fmt: skip
    """An ignore from its parts; `numbers` are names that are allowed beside those of rules.

    Raises:
        ConfigError: an unknown rule, a place or day that is none, or no reason.
    """
    places = [part.strip() for part in at]
    if "" in places:
        raise ConfigError(f"{source}: names no place; write RULE@3, RULE@2-5, RULE@encoder.*, or RULE alone")
    if not (reason and reason.strip()):
        raise ConfigError(f"{source}: give a reason, so that others know why it is ignored")
    found = [(part, _LAYERS.fullmatch(part)) for part in places]
    layers = tuple(_range(part, numbered, source) for part, numbered in found if numbered)
    modules = tuple(part for part, numbered in found if not numbered)
    return Ignore(_rule(rule, numbers, source), layers, modules, visible(reason.strip()), _day(until, source), source)


def as_pattern(module: str) -> str:
    """A pattern for one module: `[3]` for one that has a number for its name, which alone would be a layer's."""
    return f"[{module[0]}]{module[1:]}" if _LAYERS.fullmatch(module) else module


def parse_target(text: str) -> tuple[str, list[str]]:
    """`RULE@3,7` to the rule and its places."""
    rule, at, places = text.partition("@")
    return rule.strip(), places.split(",") if at else []


def _rule(name: str, numbers: Sequence[str], source: str) -> str:
    if name in numbers:
        return name
    try:
        return RULEBOOK[name].name
    except UnknownNameError:
        hint = suggestion(name, [*RULEBOOK, *numbers]) or f" The rules are {', '.join(RULEBOOK)}."
        raise UnknownNameError(f"{source}: unknown rule {name!r}.{hint}") from None


def _range(text: str, found: re.Match[str], source: str) -> tuple[int, int]:
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last:
        raise ConfigError(f"{source}: {text} is no range of layers; they count from 1, as in 2-5")
    return first, last


def _day(text: str | None, source: str) -> date | None:
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ConfigError(f"{source}: {text!r} is no day; write it as 2027-03-01")


def today() -> date:
    """The day in UTC, the same wherever it is asked."""
    return datetime.now(UTC).date()


def expired(ignores: Iterable[Ignore]) -> list[str]:
    """A line for every ignore whose last day is over; it ignores nothing any more."""
    now = today()
    return [
        f"{one.source}: expired on {one.until}; correct what it ignores, or give it a later day"
        for one in ignores
        if one.until and one.until < now
    ]


def living(ignores: Iterable[Ignore]) -> list[Ignore]:
    """Those whose last day is not over."""
    now = today()
    return [one for one in ignores if one.until is None or now <= one.until]


def apply(
    result: ProbeResult, ignores: Sequence[Ignore], thresholds: Thresholds | None = None
) -> tuple[ProbeResult, set[Ignore]]:
    """The result with its findings marked that are ignored, after those that count; and what ignored something."""
    limits = thresholds or thresholds_of(result)
    mine = [one for one in living(ignores) if one.run(result)]
    used: set[Ignore] = set()
    found = [marked for finding in result.diagnosis for marked in _marked(result, finding, mine, limits, used)]
    ordered = sorted(found, key=lambda finding: (finding.ignored is not None, place_of(finding)))
    return result.model_copy(update={"diagnosis": tuple(ordered)}), used


def thresholds_of(result: ProbeResult) -> Thresholds:
    """The limits that a net of `run` was judged by; of a user's own model, the usual ones."""
    given = result.config.get("thresholds")
    return Thresholds(**given) if isinstance(given, dict) else Thresholds()


def _marked(
    result: ProbeResult, finding: Finding, ignores: Sequence[Ignore], limits: Thresholds, used: set[Ignore]
) -> list[Finding]:
    """The finding, and what else its rule sees where that is ignored: one known place hides no other."""
    if finding.ignored is not None:
        return [finding]
    marked: list[Finding] = []
    places = following(result, finding, limits, lambda one: _is_one_module(_excuse(one, ignores), one))
    for place in places:
        ignore = _excuse(place, ignores)
        if ignore is None:
            return [*marked, place]
        used.add(ignore)
        marked.append(place.model_copy(update={"ignored": ignore.mark}))
        if not (ignore.layers or ignore.modules):
            break
    return marked


def _excuse(finding: Finding, ignores: Iterable[Ignore]) -> Ignore | None:
    return next((one for one in ignores if one.covers(finding.rule, finding.layer, finding.module)), None)


def _is_one_module(ignore: Ignore | None, finding: Finding) -> bool:
    return ignore is not None and ignore.names(finding.module)


def following(
    result: ProbeResult, finding: Finding, limits: Thresholds, alone: Callable[[Finding], bool]
) -> Iterator[Finding]:
    """The finding, then every other place where its rule holds, in the rule's own order.

    A layer that directly follows and is no better belongs to the finding, unless `alone` says that it names one module.
    """
    yield finding
    if result.modules:
        yield from _recorded_places(finding, alone)
        return  # the rules for PyTorch models need the operations, which a result does not hold
    in_order, last = RULES[finding.rule].from_layer_on, finding
    for place in all_places(result, finding, limits):
        if place.layer == finding.layer or (in_order and place.layer < finding.layer):
            continue
        if not in_order or place.layer != last.layer + 1 or alone(last):
            yield place
        last = place


def _recorded_places(finding: Finding, alone: Callable[[Finding], bool]) -> Iterator[Finding]:
    """The further places that the finding itself records. No fix was tried at them."""
    last = finding
    for place in finding.elsewhere:
        update = {**dict(place), "fix": None, "no_fix": "no fix was tried here", "elsewhere": ()}
        following_on = finding.model_copy(update=update)
        if place.layer != last.layer + 1 or alone(last):
            yield following_on
        last = following_on
