"""A fix is a claim: it is tried before it is offered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from initprobe.config.probe_config import ProbeConfig

# Runs a changed experiment; True if its verdict is healthy.
Works = Callable[[ProbeConfig], bool]

# Chosen: theory has already passed the candidates, so the first usually works.
_MOST_TRIALS = 10
# Two variances this close, relative, are of one distribution under two names; `lecun:gain=1.41` is `he`.
_SAME = 0.02


@dataclass
class FixSearch:
    """Tries candidates for one finding, of which there are a few at most.

    Attributes:
        original: the experiment that needs the fix.
        works: runs a changed experiment.
        left: trials that may still be made.
    """

    original: ProbeConfig
    works: Works
    left: int = _MOST_TRIALS

    def first(self, candidates: Iterable[ProbeConfig]) -> ProbeConfig | None:
        """The first candidate that works; None if there is none. None is tried twice under two names."""
        tried = [self.original]
        for candidate in candidates:
            if self.left == 0:
                return None
            if any(_renamed(candidate, other) for other in tried):
                continue
            tried.append(candidate)
            self.left -= 1
            if self.works(candidate):
                return candidate
        return None


def _renamed(candidate: ProbeConfig, original: ProbeConfig) -> bool:
    """Whether two experiments differ by the name of their weights at most."""
    fields = [name for name in ProbeConfig.model_fields if name != "init"]
    if original.weights is not None or any(getattr(candidate, name) != getattr(original, name) for name in fields):
        return False
    if candidate.initializer.bias != original.initializer.bias and candidate.bias_init is None:
        return False
    return same_weights(candidate, original, candidate.nominal_sizes)


def same_weights(first: ProbeConfig, second: ProbeConfig, sizes: tuple[int, ...]) -> bool:
    """Whether two experiments draw the weights of every layer from one distribution, up to rounding.

    Args:
        first: one experiment.
        second: the other.
        sizes: features of the input, then units of each layer.
    """
    rule, other_rule = first.initializer, second.initializer
    if (rule.distribution.name, rule.mean, rule.fit) != (other_rule.distribution.name, other_rule.mean, other_rule.fit):
        return False
    return all(
        math.isclose(rule.variance(*fans), other_rule.variance(*fans), rel_tol=_SAME) for fans in set(pairwise(sizes))
    )
