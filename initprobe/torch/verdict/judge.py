"""From a case to its findings: every rule in turn, consequences left out where their cause is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from initprobe.diagnosis.rule import SEVERITIES
from initprobe.results.summary import Finding
from initprobe.torch.verdict.case import Case, Observation
from initprobe.torch.verdict.float_range import numbers, void
from initprobe.torch.verdict.outputs import ends
from initprobe.torch.verdict.scales import scales
from initprobe.torch.verdict.trends import trends
from initprobe.torch.verdict.units import units

# What is drawn or set wrongly is the cause of what else is seen at it.
_CAUSES = (
    "void-parameter", "fresh-batch-norm", "odd-layer", "norm-weight", "norm-eps", "input-scale", "double-softmax",
    "copied-layers", "dead-layer", "symmetric",
)  # fmt: skip
_TRENDS = ("vanishing-output", "exploding-output", "vanishing-gradient", "exploding-gradient")


def judged(case: Case) -> list[Observation]:
    """What the rules see, the most severe first, then causes, then by the layer where they begin."""
    found = list(void(case))
    if not found:
        found = [*scales(case), *units(case), *ends(case), *trends(case), *numbers(case)]
    found = _with_causes(_without_repeats(found))
    return sorted(found, key=_place)


def _place(one: Observation) -> tuple[int, bool, int]:
    return -SEVERITIES.index(one.severity), one.rule not in _CAUSES, one.layer


def _without_repeats(found: Sequence[Observation]) -> list[Observation]:
    """Each rule once for trends: the most severe part; and one layer that explodes is not odd and exploding both."""
    kept: dict[tuple[str, str | None], Observation] = {}
    for one in found:
        key = (one.rule, None if one.rule in _TRENDS else one.module)
        if key not in kept or SEVERITIES.index(one.severity) > SEVERITIES.index(kept[key].severity):
            kept[key] = one
    return list(kept.values())


def _with_causes(found: Sequence[Observation]) -> list[Observation]:
    """Without what a norm of weight 0, or the zeros after a dead layer, entails."""
    rules = {one.rule for one in found}
    without: tuple[str, ...] = ()
    if any(one.rule == "norm-weight" and one.shuts for one in found):
        without = ("dead-layer", "dead-units", "no-gradient", "rank-collapse")
    elif "dead-layer" in rules:
        without = ("no-gradient", "underflow", "rank-collapse")
    odd = {one.module for one in found if one.rule == "odd-layer" and one.severity != "info"}
    kept = [one for one in found if one.rule not in without and not (one.alone and one.module in odd)]
    fresh = next((one for one in kept if one.rule == "fresh-batch-norm"), None)
    if fresh is None or all(one.severity == "info" for one in kept):
        return kept
    rest = [replace(one, cures=(*fresh.cures, *one.cures)) if one.severity != "info" else one for one in kept]
    return [replace(one, severity="warning") if one.rule == fresh.rule else one for one in rest]


def finding(one: Observation, fix: str | None, no_fix: str | None) -> Finding:
    """The record of an observation, with the line that was found to heal it or the reason why there is none."""
    return Finding(
        rule=one.rule,
        name=one.rule.replace("-", " "),
        severity=one.severity,
        layer=one.layer,
        evidence=one.evidence,
        cause=one.cause,
        fix=fix,
        module=one.module,
        no_fix=no_fix,
        elsewhere=one.elsewhere,
    )
