"""Ignores: known findings that do not count, each with a reason and perhaps a last day.

An ignore names a rule, and may name places: `dead-units`, `dead-units@3`, `saturated@2-5,9`, `dead-layer@encoder.*`. A
number or a range names the layer at which a finding begins, as in "saturated from layer 3". The layers directly after
it that are no better belong to the same finding; a later layer does not. A pattern names modules.
"""

from __future__ import annotations

import glob
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
    """A rule, or a number of a check, that does not count at some places.

    Attributes:
        rule: name of a rule; in the checks of a sweep also the name of a number.
        layers: first and last layer of each range.
        modules: patterns of module names. With neither layers nor modules it covers every place.
        reason: why it is ignored.
        until: the last day; None for no end.
        source: the option, or file and line, that it was given in.
        run: whether it covers the run with this result.
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
        """The mark on a finding that is ignored by it."""
        return Ignored(reason=self.reason, until=self.until and self.until.isoformat())

    def names(self, module: str | None) -> bool:
        """Whether one of its patterns matches a module."""
        return module is not None and any(pattern == module or fnmatchcase(module, pattern) for pattern in self.modules)

    def covers(self, rule: str, layer: int | None, module: str | None = None) -> bool:
        """Whether it covers a finding of a rule at a place.

        Args:
            rule: name of the finding's rule.
            layer: number of the layer; None for no layer.
            module: name of the module; None for no module.
        """
        if rule != self.rule:
            return False
        everywhere = not (self.layers or self.modules)
        in_range = layer is not None and any(first <= layer <= last for first, last in self.layers)
        return everywhere or in_range or self.names(module)


def make_ignore(rule: str, at: Iterable[str], reason: str | None, until: str | None, source: str,
                numbers: Sequence[str] = ()) -> Ignore:  # fmt: skip
    """An ignore from its parts.

    Args:
        rule: name of a rule, or one of `numbers`.
        at: layers, ranges of layers and patterns of modules; none for every place.
        reason: why it is ignored; needed.
        until: the last day, as `2027-03-01`; None for no end.
        source: the option, or file and line, for errors.
        numbers: names that are allowed beside those of rules.

    Raises:
        ConfigError: an unknown rule, a wrong place or day, or no reason.
    """
    places = [part.strip() for part in at]
    if "" in places:
        raise ConfigError("names no place; write RULE@3, RULE@2-5, RULE@encoder.*, or RULE alone", file=source)
    if not (reason and reason.strip()):
        raise ConfigError("give a reason, so that others know why it is ignored", file=source)
    matches = [(part, _LAYERS.fullmatch(part)) for part in places]
    layers = tuple(_range(part, match, source) for part, match in matches if match)
    modules = tuple(part for part, match in matches if not match)
    return Ignore(_rule(rule, numbers, source), layers, modules, visible(reason.strip()), _day(until, source), source)


def as_pattern(module: str) -> str:
    """A pattern that matches one module; a module named `3` becomes `[3]`, because `3` alone would mean a layer."""
    return f"[{module[0]}]{module[1:]}" if _LAYERS.fullmatch(module) else glob.escape(module)


def parse_target(text: str) -> tuple[str, list[str]]:
    """The rule and the places of `RULE@3,7`."""
    rule, at, places = text.partition("@")
    return rule.strip(), places.split(",") if at else []


def _rule(name: str, numbers: Sequence[str], source: str) -> str:
    if name in numbers:
        return name
    try:
        return RULEBOOK[name].name
    except UnknownNameError:
        hint = suggestion(name, [*RULEBOOK, *numbers]) or f" The rules are {', '.join(RULEBOOK)}."
        raise UnknownNameError(f"unknown rule {name!r}.{hint}", file=source) from None


def _range(text: str, match: re.Match[str], source: str) -> tuple[int, int]:
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last:
        raise ConfigError(f"{text} is no range of layers; they count from 1, as in 2-5", file=source)
    return first, last


def _day(text: str | None, source: str) -> date | None:
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no day; write it as 2027-03-01", file=source)


def today() -> date:
    """The current day in UTC, the same on all machines."""
    return datetime.now(UTC).date()


def expired(ignores: Iterable[Ignore]) -> list[str]:
    """A line for every ignore whose last day has passed; it has no effect any more."""
    now = today()
    return [
        f"{ignore.source}: expired on {ignore.until}; correct what it ignores, or give it a later day"
        for ignore in ignores
        if ignore.until and ignore.until < now
    ]


def living(ignores: Iterable[Ignore]) -> list[Ignore]:
    """The ignores whose last day has not passed."""
    now = today()
    return [ignore for ignore in ignores if ignore.until is None or now <= ignore.until]


def apply(
    result: ProbeResult, ignores: Sequence[Ignore], thresholds: Thresholds | None = None
) -> tuple[ProbeResult, set[Ignore]]:
    """Mark the findings of a result that are ignored.

    Args:
        result: of a run.
        ignores: any; those that have expired or cover other runs have no effect.
        thresholds: of the verdict; None for those of the result.

    Returns:
        The result, its ignored findings marked and after those that count; and the ignores that marked one.
    """
    limits = thresholds or thresholds_of(result)
    applicable = [ignore for ignore in living(ignores) if ignore.run(result)]
    used: set[Ignore] = set()
    findings = [marked for finding in result.diagnosis for marked in _marked(result, finding, applicable, limits, used)]
    ordered = sorted(findings, key=lambda finding: (finding.ignored is not None, place_of(finding)))
    return result.model_copy(update={"diagnosis": tuple(ordered)}), used


def thresholds_of(result: ProbeResult) -> Thresholds:
    """The thresholds that a net of `run` was judged by; the defaults for a PyTorch model."""
    given = result.config.get("thresholds")
    return Thresholds(**given) if isinstance(given, dict) else Thresholds()


def _marked(
    result: ProbeResult, finding: Finding, ignores: Sequence[Ignore], limits: Thresholds, used: set[Ignore]
) -> list[Finding]:
    """The finding; where it is ignored, also the next places of its rule: an ignored place hides no other."""
    if finding.ignored is not None:
        return [finding]
    marked: list[Finding] = []
    places = following(result, finding, limits, lambda place: _names_module(_ignore_of(place, ignores), place))
    for place in places:
        ignore = _ignore_of(place, ignores)
        if ignore is None:
            return [*marked, place]
        used.add(ignore)
        marked.append(place.model_copy(update={"ignored": ignore.mark}))
        if not (ignore.layers or ignore.modules):
            break
    return marked


def _ignore_of(finding: Finding, ignores: Iterable[Ignore]) -> Ignore | None:
    matching = (ignore for ignore in ignores if ignore.covers(finding.rule, finding.layer, finding.module))
    return next(matching, None)


def _names_module(ignore: Ignore | None, finding: Finding) -> bool:
    return ignore is not None and ignore.names(finding.module)


def following(
    result: ProbeResult, finding: Finding, limits: Thresholds, alone: Callable[[Finding], bool]
) -> Iterator[Finding]:
    """The finding, then every later place where its rule holds, in the order of the rule.

    A layer that directly follows and is no better belongs to the finding.

    Args:
        result: of a run.
        finding: of that result.
        limits: thresholds of the verdict.
        alone: whether a place is named by one module, so that the next layer does not belong to it.
    """
    yield finding
    if result.is_of_model:
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
