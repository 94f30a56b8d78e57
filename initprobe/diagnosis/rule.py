"""What a rule is: its text, and the function that looks at a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import NamedTuple

from initprobe.config.thresholds import Thresholds
from initprobe.results.base import Severity
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding


class Observation(NamedTuple):
    """What a rule observed.

    Attributes:
        layer: the layer where it begins.
        evidence: the numbers in words.
        severity: how severe they are.
        cause: why, where it is not the rule's usual meaning.
        no_fix: why no other network helps; empty where one may.
    """

    layer: int
    evidence: str
    severity: Severity
    cause: str = ""
    no_fix: str = ""


Look = Callable[[ProbeResult, Thresholds], Iterator[Observation]]


@dataclass(frozen=True)
class RuleText:
    """One thing that can be wrong, in words.

    Attributes:
        name: stable id.
        meaning: what it is, in a sentence.
        measurement: which numbers it looks at.
        remedy: what helps.
        reference: source.
    """

    name: str
    meaning: str
    measurement: str
    remedy: str
    reference: str

    @property
    def aliases(self) -> tuple[str, ...]:
        """A rule has one name."""
        return ()

    @property
    def make(self) -> None:
        """A rule has no parameters."""


@dataclass(frozen=True)
class Rule(RuleText):
    """A rule that judges a net of `run`.

    Attributes:
        look: yields the observations in a result, the first of which becomes a finding. The others are asked for only
            where that one is ignored: one ignored layer hides no other.
        of_weights: it judges the weights or the input alone, so it holds for an input without signal too.
        from_layer_on: it names the first layer at which something holds; the layers directly after belong to it.
    """

    look: Look
    of_weights: bool = False
    from_layer_on: bool = False


SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


def each_layer(
    result: ProbeResult, holds: Callable[[LayerStats], bool], words: Callable[[LayerStats], str], severity: Severity
) -> Iterator[Observation]:
    """An observation of each layer where something holds, first to last.

    Args:
        result: what was measured.
        holds: whether the rule is broken at a layer.
        words: the evidence of that layer.
        severity: of every observation.
    """
    for layer in result.layers:
        if holds(layer):
            yield Observation(layer.layer, words(layer), severity)


def place_of(finding: Finding) -> tuple[int, bool, int]:
    """Sort key: most severe first; then `odd-layer`, the cause of other findings; then by layer."""
    return -SEVERITIES.index(finding.severity), finding.rule != "odd-layer", finding.layer


def modules_with_rules(package: ModuleType, first: Sequence[ModuleType], without: set[str]) -> list[ModuleType]:
    """The modules of a package that have a tuple `RULES`: in a given order, then all others by name.

    Args:
        package: a package.
        first: the modules whose order matters.
        without: names of modules that have no rules, and read them or would be loaded for nothing.
    """
    names = sorted(info.name for info in iter_modules(package.__path__) if info.name not in without)
    modules = [import_module(f"{package.__name__}.{name}") for name in names]
    return [*first, *(module for module in modules if module not in first and hasattr(module, "RULES"))]
