"""The rule of `run` about small floating-point formats, for a recorded model."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.diagnosis.number_formats import LOST, lost_in_formats
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation


def _lost(case: Case) -> Iterator[Observation]:
    for lost in lost_in_formats(case.formats):
        label = case.layers[lost.layer - 1].label
        yield Observation(LOST, lost.severity, lost.layer, lost.evidence, MEANING, label, no_fix=lost.no_fix)


RULES = (ModelRule(_lost, names=(LOST,)),)
