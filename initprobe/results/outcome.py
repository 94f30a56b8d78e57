"""The outcome of a result: the findings that count, the most severe of them, and whether the net survives."""

from __future__ import annotations

from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding

SURVIVES = "survives"


def counted(result: ProbeResult) -> list[Finding]:
    """The findings that are not ignored, most severe first."""
    return [finding for finding in result.diagnosis if finding.ignored is None]


def verdict_of(result: ProbeResult) -> Finding | None:
    """The most severe finding above info that is not ignored; None for a net that survives."""
    return next((finding for finding in counted(result) if finding.severity != "info"), None)


def survives(result: ProbeResult) -> bool:
    """Whether no finding above info counts."""
    return result.healthy or (len(counted(result)) < len(result.diagnosis) and verdict_of(result) is None)
