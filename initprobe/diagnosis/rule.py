"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from initprobe.config.thresholds import Thresholds
from initprobe.results.base import Severity
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding


@dataclass(frozen=True)
class Observation:
    """What a rule saw: the layer where it begins, the numbers in words, how severe they are, and why if not as ever.

    `module` is at fault where it is another one than that which holds the layer's weights.
    """

    layer: int
    evidence: str
    severity: Severity
    cause: str = ""
    module: str | None = None


Look = Callable[[ProbeResult, Thresholds], Observation | None]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        name: stable id.
        meaning: what it is, in a sentence.
        measurement: which numbers it looks at.
        remedy: what helps.
        reference: where it is from.
        look: a result to what was seen, or None.
    """

    name: str
    meaning: str
    measurement: str
    remedy: str
    reference: str
    look: Look

    @property
    def aliases(self) -> tuple[str, ...]:
        """A rule has one name."""
        return ()

    @property
    def make(self) -> None:
        """A rule has no parameters."""


SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
VOID_RULE = "void-parameter"


def place_of(finding: Finding) -> tuple[int, bool, int]:
    """Most severe first; of equal ones, one layer drawn wrongly, which is the cause of what else is seen; by layer."""
    return -SEVERITIES.index(finding.severity), finding.rule != "odd-layer", finding.layer
