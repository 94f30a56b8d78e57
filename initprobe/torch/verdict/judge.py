"""From a recorded model to its findings. Start reading here.

Every rule looks at the model. Then repetitions and consequences are dropped, and the rest is sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from initprobe.diagnosis.rule import SEVERITIES
from initprobe.results.summary import Finding
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.norms import FRESH
from initprobe.torch.verdict.observations import Observation
from initprobe.torch.verdict.odd_layer import ODD
from initprobe.torch.verdict.rulebook import MODEL_RULES, RULEBOOK

_CAUSES = {name for rule in MODEL_RULES for name in rule.causes}
_TRENDS = {name for rule in MODEL_RULES if rule.is_trend for name in rule.every_name}


def judged(case: Case) -> list[Observation]:
    """Let every rule look at a model.

    Args:
        case: the recorded model.

    Returns:
        The observations: the most severe first, then causes, then by the layer where they begin.
    """
    observations = _without_consequences(_without_repeats(list(_observed(case))))
    return sorted(_with_fresh_norms(observations), key=_rank)


def _observed(case: Case) -> Iterator[Observation]:
    for rule in MODEL_RULES:
        if rule.is_alone and (alone := list(rule.observe(case))):
            yield from alone
            return
    for rule in MODEL_RULES:
        if not rule.is_alone:
            yield from rule.observe(case)


def _rank(observation: Observation) -> tuple[int, bool, int]:
    return _severity(observation), observation.rule not in _CAUSES, observation.layer


def _severity(observation: Observation) -> int:
    return -SEVERITIES.index(observation.severity)


def _without_repeats(observations: Sequence[Observation]) -> list[Observation]:
    """The most severe observation of each trend, and of each other rule at each module."""
    kept: dict[tuple[str, str | None], Observation] = {}
    for observation in observations:
        key = (observation.rule, None if observation.rule in _TRENDS else observation.module)
        if key not in kept or _severity(observation) < _severity(kept[key]):
            kept[key] = observation
    return list(kept.values())


def _without_consequences(observations: Sequence[Observation]) -> list[Observation]:
    """The observations that no other one explains."""
    hidden: set[str] = set()
    for observation in observations:
        if observation.rule not in hidden:
            hidden |= set(observation.hides)
    odd = {
        _layer_of(observation)
        for observation in observations
        if observation.rule == ODD and observation.severity != "info"
    }
    left = [
        observation
        for observation in observations
        if observation.rule not in hidden and not (observation.alone and _layer_of(observation) in odd)
    ]
    is_found = any(observation.severity != "info" and not observation.is_last_resort for observation in left)
    return [observation for observation in left if not (is_found and observation.is_last_resort)]


def _layer_of(observation: Observation) -> str:
    """The name of its layer, also where it is about a part of a packed weight: `in_proj_weight[k]`."""
    return (observation.module or "").partition("[")[0]


def _with_fresh_norms(observations: Sequence[Observation]) -> list[Observation]:
    """Where batch norms have seen no batch, `model.train()` is the first fix of everything else."""
    fresh = next((observation for observation in observations if observation.rule == FRESH), None)
    if fresh is None or all(observation.severity == "info" for observation in observations):
        return list(observations)
    rest = [
        replace(observation, fixes=(*fresh.fixes, *observation.fixes))
        if observation.severity != "info"
        else observation
        for observation in observations
    ]
    return [
        replace(observation, severity="warning") if observation.rule == FRESH else observation for observation in rest
    ]


def finding(observation: Observation, fix: str | None, no_fix: str | None) -> Finding:
    """The record of an observation.

    Args:
        observation: what a rule observed.
        fix: the line that worked when it was tried; None if there is none.
        no_fix: the reason why there is none; None where no fix is due.

    Returns:
        The finding.
    """
    return Finding(
        rule=observation.rule,
        name=observation.rule.replace("-", " "),
        severity=observation.severity,
        layer=observation.layer,
        evidence=observation.evidence,
        cause=observation.cause or RULEBOOK[observation.rule].meaning,
        fix=fix,
        module=observation.module,
        no_fix=no_fix,
        elsewhere=observation.elsewhere,
    )
