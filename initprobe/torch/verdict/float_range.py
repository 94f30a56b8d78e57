"""Numbers that are none or leave the dtype, and inputs that become alike or unlike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import TO_BFLOAT16, Case, Cure, Observation

if TYPE_CHECKING:
    from initprobe.torch.measure import Track


def void(case: Case) -> Iterator[Observation]:
    """Parameters that hold NaN or infinities."""
    if not case.void:
        return
    module, words = next(iter(case.void.items()))
    number = next((layer.number for layer in case.layers if layer.label == module), 1)
    others = f"; {len(case.void) - 1} more like it" if len(case.void) > 1 else ""
    yield Observation(
        "void-parameter",
        "error",
        number,
        f"{words}{others}: whatever is computed from it is void",
        "one NaN or infinity in a parameter makes all that is computed from it NaN",
        module or None,
        no_fix="load a checkpoint from before the parameter was lost, or draw it anew",
    )


def numbers(case: Case) -> Iterator[Observation]:
    """The statuses of tensors, and how alike inputs are on their way."""
    for rule, statuses in (("underflow", ("underflow",)), ("overflow", ("overflow", "nonfinite"))):
        found = _lost(case, rule, statuses) if case.records.has(statuses) else None
        if found is not None:
            yield found
    yield from _alike(case)
    yield from _tailed(case)


def _lost(case: Case, rule: str, statuses: Sequence[str]) -> Observation | None:
    forward = [layer.number for layer in case.layers if _any(case, _forward(layer), statuses)]
    back = [layer.number for layer in case.layers if _any(case, _back(layer), statuses)]
    if not forward and not back:
        return None
    number = forward[0] if forward else back[-1]
    way = "forward" if forward else "back"
    layer = case.layers[number - 1]
    cure = (Cure(TO_BFLOAT16),) if case.dtype == "float16" else fix_lines.for_layers(case, [layer])
    kind = "fell below the normal range of" if rule == "underflow" else "grew beyond"
    return Observation(
        rule, "error", number, f"on the way {way}; what is computed from it is void", f"numbers {kind} the dtype",
        layer.label, cure,
    )  # fmt: skip


def _forward(layer: Layer) -> Sequence[Track | None]:
    return layer.op.weight, layer.z, layer.h


def _back(layer: Layer) -> Sequence[Track | None]:
    return [track.gradient for track in _forward(layer) if track is not None]


def _any(case: Case, tracks: Sequence[Track | None], statuses: Sequence[str]) -> bool:
    return any(case.records.status(track) in statuses for track in tracks)


def _chains(case: Case) -> Iterator[list[Layer]]:
    """Chains on the main way."""
    yield from (chain for chain in case.structure.chains if not chain[0].beside)


def _cosine(layer: Layer) -> float:
    known = [value for value in layer.z.correlations if value is not None]
    return sum(known) / len(known) if known else math.nan


def _alike(case: Case) -> Iterator[Observation]:
    """Inputs that differ at the start of a chain and not at its end; or alike ones that become unlike."""
    for chain in _chains(case):
        cosines = [_cosine(layer) for layer in chain]
        first, last = cosines[0], cosines[-1]
        place = next((k for k, c in enumerate(cosines) if c > 1 - case.limits.indistinct), 0)
        if len(chain) > 2 and place and first <= 1 - case.limits.indistinct < last:
            layer = chain[place]
            yield Observation(
                "rank-collapse",
                "info",
                layer.number,
                f"cosine {cosines[place]:.3f} between two inputs, {last:.4f} at the last layer; q(1 - c) = "
                f"{short(layer.z.square * (1 - cosines[place]))}",
                "different inputs become indistinguishable, which the variance does not show",
                layer.label,
            )
            return
        plain = not any(layer.reset or layer.norm for layer in chain)
        if plain and len(chain) > 3 and first >= 0.3 and last <= case.limits.decorrelated * first:
            yield Observation(
                "chaotic",
                "warning",
                chain[0].number,
                f"the cosine between two inputs falls from {first:.2f} at {chain[0].label} to {last:.2f} at "
                f"{chain[-1].label}",
                "like inputs become unlike, so what one example teaches says nothing of its neighbour",
                chain[0].label,
                fix_lines.for_layers(case, chain),
            )
            return


def _tailed(case: Case) -> Iterator[Observation]:
    """A plain chain of dense layers in which few entries carry the whole gradient."""
    for chain in _chains(case):
        if any(layer.reset or layer.norm or layer.op.name != "linear" for layer in chain) or len(chain) < 3:
            continue
        for layer, ratio in _tails(case, chain):
            if ratio > case.limits.tail:
                words = "the median of |dL/dz| is 0" if math.isinf(ratio) else (
                    f"rms of dL/dz is {short(ratio)} times its median"
                )  # fmt: skip
                yield Observation(
                    "heavy-tailed-gradient",
                    "warning",
                    layer.number,
                    f"{words}: few entries carry all of it",
                    "a few units carry the whole gradient while the typical one gets next to none",
                    layer.label,
                    fix_lines.for_layers(case, chain),
                )
                return


def _tails(case: Case, chain: Sequence[Layer]) -> Iterator[tuple[Layer, float]]:
    """rms over median of |dL/dz|, for a distribution symmetric about 0; not of layers whose units may be off."""
    layers = [layer for layer in chain if _is_never_off(layer)]
    for layer, tensor in zip(layers, case.records.stats_of([layer.z.gradient for layer in layers]), strict=True):
        if tensor and tensor.percentiles and tensor.rms:
            median = (tensor.percentiles.p75 - tensor.percentiles.p25) / 2
            yield layer, tensor.rms / median if median > 0 else math.inf


def _is_never_off(layer: Layer) -> bool:
    act = layer.activation
    return act is not None and act.activation is not None and act.activation.dead_below is None


RULES = (
    RuleText(
        name="void-parameter",
        meaning="one NaN or infinity in a parameter makes all that is computed from it NaN",
        measurement="every entry of every parameter and buffer",
        remedy="a checkpoint from before the parameter was lost, or the parameter drawn anew",
        reference="IEEE 754-2019",
    ),
)
