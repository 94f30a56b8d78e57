"""From a result to its findings: each rule in turn. Start reading here.

Rates and trends are judged, not one ratio. A variance that falls as a power of depth (Xavier + tanh) is no collapse.
One draw does not decide where draws differ by a factor of ten (ReLU + He at depth).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import initprobe.diagnosis
from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis import (
    correlation,
    float_range,
    fluctuations,
    inputs,
    normed_scales,
    number_formats,
    signal,
    units,
    weight_scales,
    width,
)
from initprobe.diagnosis.correlation import RANK_COLLAPSE
from initprobe.diagnosis.kinds_of_net import has_nothing_left, has_silent_input
from initprobe.diagnosis.rule import Observation, Rule, modules_with_rules, place_of
from initprobe.registry import Registry
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding

# Findings of one severity that begin at the same layer come in the order of their rules here. Others follow.
_ORDER = (
    inputs,
    signal,
    units,
    correlation,
    fluctuations,
    width,
    weight_scales,
    normed_scales,
    float_range,
    number_formats,
)
# Those of `initprobe width` judge another kind of result.
_WITHOUT = {"diagnose", "width_sizes", "width_verdict"}
_MODULES = modules_with_rules(initprobe.diagnosis, _ORDER, _WITHOUT)
RULES: Registry[Rule] = Registry("rule", [rule for module in _MODULES for rule in module.RULES])


def diagnose(
    result: ProbeResult,
    fix: Callable[[], str | None] = lambda: None,
    thresholds: Thresholds | None = None,
    *,
    apart: Callable[[], str | None] = lambda: None,
) -> ProbeResult:
    """Judge a net of `run`.

    Args:
        result: what was measured.
        fix: finds a command line without these findings; called at most once, and only if something is wrong.
        thresholds: limits of the verdict; None for the defaults.
        apart: finds a command line under which inputs stay different; called if rank collapse is the worst finding.

    Returns:
        The result with its findings: most severe first, then an odd layer, then by the layer where they begin.
    """
    limits = thresholds or Thresholds()
    observed = [(rule, first) for rule in _rules_for(result) if (first := next(rule.look(result, limits), None))]
    healthy = all(observation.severity == "info" for _, observation in observed)
    counting = [rule.name for rule, observation in observed if observation.severity != "info"]
    alike = counting == [RANK_COLLAPSE] or (healthy and any(rule.name == RANK_COLLAPSE for rule, _ in observed))
    remedy = (apart() if alike else None) or (None if healthy else fix())
    fixed = [RANK_COLLAPSE] if healthy else counting
    findings = [
        _finding(result, rule, observation, remedy if rule.name in fixed else None) for rule, observation in observed
    ]
    return result.model_copy(update={"healthy": healthy, "diagnosis": tuple(sorted(findings, key=place_of))})


def _rules_for(result: ProbeResult) -> list[Rule]:
    """The rules that apply to this result: without a signal, only those that judge the weights or the input."""
    silent = has_silent_input(result) or has_nothing_left(result)
    return [rule for rule in RULES.values() if rule.of_weights or not silent]


def all_places(result: ProbeResult, finding: Finding, thresholds: Thresholds) -> Iterator[Finding]:
    """Yield all places where the rule of a finding holds, in the rule's own order, each as a finding.

    Args:
        result: of a net of `run`.
        finding: of that result; its fix is kept.
        thresholds: limits of the verdict.
    """
    rule = RULES[finding.rule]
    return (_finding(result, rule, observation, finding.fix) for observation in rule.look(result, thresholds))


def _finding(result: ProbeResult, rule: Rule, observation: Observation, remedy: str | None) -> Finding:
    return Finding(
        rule=rule.name,
        name=rule.name.replace("-", " "),
        severity=observation.severity,
        layer=observation.layer,
        evidence=observation.evidence,
        cause=observation.cause or rule.meaning,
        fix=remedy,
        no_fix=observation.no_fix or None,
        module=result.layers[observation.layer - 1].name,
    )
