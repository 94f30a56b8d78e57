"""The rule about the input: samples that are all 0, or equal under batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import has_nothing_left, has_silent_input
from initprobe.diagnosis.rule import Observation, Rule
from initprobe.results.run import ProbeResult

_OTHER_DATA = "other data: see whether it was read, scaled or masked as you meant"

_SUBTRACTED = "batch norm subtracts what all samples share, so nothing is left of equal samples"


def _silent_input(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    if has_silent_input(result):
        yield Observation(1, "every entry of every sample is 0", "error", no_fix=_OTHER_DATA)
    elif has_nothing_left(result):
        yield Observation(1, "every sample is the same", "error", cause=_SUBTRACTED, no_fix=_OTHER_DATA)


RULES = (
    Rule(
        name="silent-input",
        meaning="the input has no signal, so the net cannot tell samples apart and W of layer 1 gets no gradient",
        measurement="mean square of the input, exactly 0; with batch norm, equal samples",
        remedy=_OTHER_DATA,
        reference="LeCun et al. 1998, Efficient BackProp, section 4.3",
        look=_silent_input,
        of_weights=True,
    ),
)
