"""A fix is a claim: it is tried before it is offered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.record import Initializer

# Runs a changed experiment; True if its verdict is healthy.
Works = Callable[[ProbeConfig], bool]

# Chosen: theory has already passed the candidates, so the first usually works.
_MOST_TRIALS = 10
# Two variances this close, relative, are of one distribution under two names; `lecun:gain=1.41` is `he`.
_SAME = 0.02
# Chosen: a factor of variances that leaves the epsilon of a norm negligible, as it is for weights in common use.
_SMALL, _ROUNDING = 4.0, 1e-9


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
    if original.weights is not None or not _differ_by_init(candidate, original):
        return False
    if candidate.initializer.bias != original.initializer.bias and candidate.bias_init is None:
        return False
    return same_weights(candidate, original, candidate.nominal_sizes)


def _differ_by_init(first: ProbeConfig, second: ProbeConfig) -> bool:
    """Whether two experiments differ by their initializer at most."""
    fields = (name for name in ProbeConfig.model_fields if name != "init")
    return all(getattr(first, name) == getattr(second, name) for name in fields)


def differ_by_scale(first: ProbeConfig, second: ProbeConfig, sizes: tuple[int, ...]) -> bool:
    """Whether one small factor of all weights is all that two experiments differ by, and every norm divides it out.

    Args:
        first: one experiment.
        second: the other.
        sizes: features of the input, then units of each layer.
    """
    rule, other_rule = first.initializer, second.initializer
    if first.norm == "none" or first.block > 1 or not _differ_by_init(first, second) or _law(rule) != _law(other_rule):
        return False
    if any(each.bias_initializer.mean or each.bias_initializer.variance(*sizes[:2]) for each in (first, second)):
        return False  # the factor would change their share in z
    variances = [(rule.variance(*fans), other_rule.variance(*fans)) for fans in set(pairwise(sizes))]
    if not all(map(all, variances)):
        return False
    factors = [own / reference for own, reference in variances]
    return min(factors) >= 1 / _SMALL and max(factors) <= min(_SMALL, min(factors) * (1 + _ROUNDING))


def _law(rule: Initializer) -> tuple[object, ...]:
    """What two rules for weights share that differ by their variance."""
    return rule.distribution.name, rule.mean, rule.fit


def same_weights(first: ProbeConfig, second: ProbeConfig, sizes: tuple[int, ...]) -> bool:
    """Whether two experiments draw the weights of every layer from one distribution, up to rounding.

    Args:
        first: one experiment.
        second: the other.
        sizes: features of the input, then units of each layer.
    """
    rule, other_rule = first.initializer, second.initializer
    if _law(rule) != _law(other_rule):
        return False
    return all(
        math.isclose(rule.variance(*fans), other_rule.variance(*fans), rel_tol=_SAME) for fans in set(pairwise(sizes))
    )
