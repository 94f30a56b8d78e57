"""What tests of checks share: what breaks a list of checks, and which of them apply."""

from __future__ import annotations

from collections.abc import Sequence

from initprobe.results.run import ProbeResult
from initprobe.sweeps.breaches import Breach, verdicts
from initprobe.sweeps.checks import Check


def breaches_of(checks: Sequence[Check], result: ProbeResult) -> tuple[Breach, ...]:
    """The breaches, in the order of the checks and of the layers."""
    return tuple(breach for check in checks for breach in verdicts(check, result) if breach is not None)


def applicable(checks: Sequence[Check], result: ProbeResult) -> frozenset[str]:
    """The checks, as text, that apply to something in the result."""
    return frozenset(str(check) for check in checks if any(True for _ in verdicts(check, result)))
