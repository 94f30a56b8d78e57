"""Gates that let nothing pass, and the memory of gated recurrences."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.torch.layer_facts import SIGMOIDS
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Observation, gathered


def _shut(case: Case) -> Iterator[Observation]:
    yield from gathered(_shut_gate(case, layer) for layer in case.layers if _is_shut_gate(case, layer))


def _is_shut_gate(case: Case, layer: Layer) -> bool:
    """Whether a sigmoid multiplies another signal and is almost 0 on average."""
    act = layer.activation
    if act is None or act.name not in SIGMOIDS or act.signal is None:
        return False
    return any(op.kind == "gate" for op in act.signal.consumers) and layer.h.mean < case.limits.shut


def _shut_gate(case: Case, layer: Layer) -> Observation:
    bias = case.bias_of(layer)
    return Observation(
        "shut-gate",
        "warning",
        layer.number,
        f"the gate lets {short(100 * layer.h.mean)}% pass on average",
        "what it multiplies is almost cut off, forward and back",
        layer.label,
        (fix_lines.zeros(bias),) if bias is not None else fix_lines.for_layers(case, [layer]),
    )


def _memory(case: Case) -> Iterator[Observation]:
    """How long a gated recurrence remembers: a number to know, and no fault."""
    for op in case.operations:
        keep, steps = op.facts.get("keep", 0.0), op.facts.get("steps", 0.0)
        if op.kind != "recurrence" or not 0 < keep < 1 or steps < 2:
            continue
        gate = "forget" if op.name.startswith("lstm") else "update"
        yield Observation(
            "short-memory",
            "info",
            case.layer_of(op),
            f"{gate} gate {keep:.2f}: memory of about {short(1 / (1 - keep))} steps; the gradient over "
            f"{steps - 1:.0f} steps falls by about {keep:.2f}^{steps - 1:.0f} = {short(keep ** (steps - 1))}",
            "a gated recurrence keeps that share of its memory at every step",
            op.label,
        )


RULES = (
    ModelRule(
        _shut,
        texts=(
            RuleText(
                name="shut-gate",
                meaning="a gate lets nothing pass, so what it multiplies learns nothing",
                measurement="mean of a sigmoid that multiplies another signal",
                remedy="a bias of 0 for the gate",
                reference="Srivastava et al. 2015, arXiv:1505.00387",
            ),
        ),
    ),
    ModelRule(
        _memory,
        texts=(
            RuleText(
                name="short-memory",
                meaning="a gated recurrence keeps a share of its memory at every step, and the gradient the same share",
                measurement=(
                    "mean of the forget gate of an LSTM or the update gate of a GRU, computed from weights and input"
                ),
                remedy="a bias of 1 or more for the forget gate",
                reference="Jozefowicz et al. 2015, PMLR 37:2342",
            ),
        ),
    ),
)
