"""Parameters that hold no numbers, and numbers that leave the range of the dtype."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.torch.graph import Operation
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, TO_BFLOAT16, Fix, Observation

VOID = "void-parameter"
_STATUSES = {"underflow": ("underflow",), "overflow": ("overflow", "nonfinite")}

if TYPE_CHECKING:
    from initprobe.torch.lost_numbers import LostNumber
    from initprobe.torch.measure import Track


def _void(case: Case) -> Iterator[Observation]:
    """The first module with a parameter that holds NaN or infinities."""
    if not case.void:
        return
    module, words = next(iter(case.void.items()))
    number = next((layer.number for layer in case.layers if layer.label == module), 1)
    others = f"; {len(case.void) - 1} more like it" if len(case.void) > 1 else ""
    yield Observation(
        VOID,
        "error",
        number,
        f"{words}{others}: everything computed from it is void",
        MEANING,
        module or None,
        no_fix="load a checkpoint from before the parameter was lost, or draw it again",
    )


def _range(case: Case) -> Iterator[Observation]:
    """Underflow and overflow, each where it begins."""
    for rule, statuses in _STATUSES.items():
        if not case.records.has(statuses):
            continue
        forward = [layer.number for layer in case.layers if _is_any(case, _forward(layer), statuses)]
        back = [layer.number for layer in case.layers if _is_any(case, _back(layer), statuses)]
        hidden = next((op for op in case.operations if op.facts.get("hidden")), None)
        if rule == "overflow" and forward and hidden is not None:
            yield _hidden(case.layers[forward[0] - 1], hidden)
        elif forward or back:
            yield _out_of_range(case, rule, forward[0] if forward else back[-1], "forward" if forward else "back")


def _forward(layer: Layer) -> Sequence[Track | None]:
    return layer.op.weight, layer.z, layer.h


def _back(layer: Layer) -> Sequence[Track | None]:
    return [track.gradient for track in _forward(layer) if track is not None]


def _is_any(case: Case, tracks: Sequence[Track | None], statuses: Sequence[str]) -> bool:
    return any(case.records.status(track) in statuses for track in tracks)


def _out_of_range(case: Case, rule: str, number: int, way: str) -> Observation:
    layer, lost = case.layers[number - 1], case.lost
    fixes = (Fix(TO_BFLOAT16),) if case.dtype == "float16" else fix_lines.for_layers(case, [layer])
    if rule == "overflow" and lost is not None and _is_named(lost):
        return _by_call(layer, lost, () if lost.by_zero or lost.makes == "NaN" else fixes)
    what = f"on the way {way}; what is computed from it is void"
    return Observation(rule, "error", number, what, MEANING, layer.label, fixes)


def _is_named(lost: LostNumber) -> bool:
    """Whether the function is at fault, and not the size of what is summed over weights."""
    if lost.makes == "NaN":
        return lost.group not in ("product", "recurrence", "attention")
    return lost.by_zero or lost.group in ("activation", "power", "other")


def _by_call(layer: Layer, lost: LostNumber, fixes: tuple[Fix, ...]) -> Observation:
    """What a call in the model's code makes of entries without NaN."""
    if lost.group == "softmax" and lost.low == -math.inf:
        return _hidden(layer, lost)
    why, cause, advice = _reason(lost)
    what = f"{lost.name} gives {lost.makes}, {why}; what is computed from it is void"
    return Observation("overflow", "error", layer.number, what, cause, layer.label, fixes, advice)


def _reason(lost: LostNumber) -> tuple[str, str, str]:
    """Why a call makes NaN or infinity: in the evidence, as a cause, and what to do."""
    if lost.by_zero:
        advice = "keep the divisor in the model's code away from 0, as by an eps that is added to it"
        return "because its divisor has an entry of 0", "a quotient has no value where the divisor is 0", advice
    if lost.single:
        cause = f"{lost.name} divides by the number of entries less its correction of 1, which is 0"
        return "because it is taken over one entry", cause, f"take {lost.name} over more entries, or with correction=0"
    if lost.by_number:
        cause = f"{lost.name} is given NaN or infinity"
        return "because a number that it is given is not finite", cause, f"give {lost.name} a finite number"
    entries = f"of entries from {short(lost.low)} to {short(lost.high)}"
    advice = f"keep {lost.name} in the model's code away from such entries"
    return entries, f"{lost.name} has no finite value there", advice


def _hidden(layer: Layer, softmax: Operation | LostNumber) -> Observation:
    """A mask that leaves no key to a query, so that its softmax is 0 / 0."""
    return Observation(
        "overflow",
        "error",
        layer.number,
        f"{softmax.name} gives NaN, because every logit of a row is -inf; what is computed from it is void",
        "softmax has no value where a mask hides every entry of a row",
        layer.label,
        no_fix="leave one entry of each row open in the mask",
    )


RULES = (
    ModelRule(
        _void,
        texts=(
            RuleText(
                name=VOID,
                meaning="one NaN or infinity in a parameter makes all that is computed from it NaN",
                measurement="every entry of every parameter and buffer",
                remedy="a checkpoint from before the parameter was lost, or the parameter drawn again",
                reference="IEEE 754-2019",
            ),
        ),
        causes=(VOID,),
        is_alone=True,
    ),
    ModelRule(_range, names=tuple(_STATUSES)),
)
