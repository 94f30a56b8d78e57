"""Parameters that hold no numbers, and numbers that leave the range of the dtype."""

from __future__ import annotations

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
    layer = case.layers[number - 1]
    maker = _undefined(case) if rule == "overflow" and way == "forward" else None
    if maker is not None and maker.given is not None:
        low, high = short(maker.given.low), short(maker.given.high)
        return Observation(
            rule,
            "error",
            number,
            f"{maker.name} gives NaN, of entries from {low} to {high}; what is computed from it is void",
            f"{maker.name} has no value there",
            layer.label,
            no_fix=f"keep {maker.name} in the model's code away from such entries",
        )
    return Observation(
        rule,
        "error",
        number,
        f"on the way {way}; what is computed from it is void",
        MEANING,
        layer.label,
        (Fix(TO_BFLOAT16),) if case.dtype == "float16" else fix_lines.for_layers(case, [layer]),
    )


def _hidden(layer: Layer, softmax: Operation) -> Observation:
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


def _undefined(case: Case) -> Operation | None:
    """The function that makes the first NaN of finite numbers, if no entry has left the range before."""
    for op in case.operations:
        lost = next((track for track in (op.given, op.output) if track is not None and track.nonfinite), None)
        if lost is None:
            continue
        if lost.infinite:
            return None
        made = [op] if lost is op.output else [step for signal in op.inputs for step in signal.steps]
        functions = [each for each in made if each.kind == "activation" and each.given is not None]
        return next((each for each in reversed(functions) if each.given and not each.given.nonfinite), None)
    return None


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
