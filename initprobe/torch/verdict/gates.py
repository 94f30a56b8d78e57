"""Gates that let nothing pass, and the gates and memory of recurrences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import percent, short
from initprobe.torch.graph import Operation
from initprobe.torch.layer_facts import GATES, SIGMOIDS
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Fix, Observation, gathered


def _shut(case: Case) -> Iterator[Observation]:
    gates = [_shut_gate(case, layer) for layer in case.layers if _is_shut_gate(case, layer)]
    yield from gathered([*gates, *_shut_in_recurrences(case)])


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


def _recurrences(case: Case) -> Iterator[Operation]:
    """The first call of each recurrence."""
    labels: set[str] = set()
    for op in case.operations:
        if op.kind == "recurrence" and op.label not in labels:
            labels.add(op.label)
            yield op


def _shut_in_recurrences(case: Case) -> Iterator[Observation]:
    """Gates of recurrences that let nothing in, keep nothing, or give nothing out."""
    for op in _recurrences(case):
        kind = _kind(op)
        for suffix in _suffixes(op):
            means = {gate: op.facts[name] for gate in GATES.get(kind, ()) if (name := f"{gate}{suffix}") in op.facts}
            for gate, share, words in _passing(kind, means, op.facts.get("steps", 1.0)):
                if share < case.limits.shut:
                    yield _shut_recurrence(case, op, suffix, gate, words)


def _kind(op: Operation) -> str:
    return op.name.removesuffix("_cell")


def _suffixes(op: Operation) -> list[str]:
    """The suffixes of the parameters of each layer and direction, as `_l0_reverse`; none of a cell's."""
    every = (re.fullmatch(r"saturated(_l\d+(?:_reverse)?|)", name) for name in op.facts)
    return [match[1] for match in every if match]


def _part_words(suffix: str) -> str:
    """` of l1_reverse`; empty for the first layer."""
    return "" if suffix in ("", "_l0") else f" of {suffix.lstrip('_')}"


def _passing(kind: str, means: Mapping[str, float], steps: float) -> Iterator[tuple[str, float, str]]:
    """Each gate, the share that passes it, and words for it.

    What comes in adds up over the steps that are remembered. So input gates may be small where memory is long, as after
    Tallec & Ollivier 2018 (arXiv:1804.11188).
    """
    if kind == "lstm":
        held = min(steps, 1 / max(1 - means["forget"], 1e-12))
        yield "input", means["input"] * held, f"the input gate lets {_percent(means['input'])} in on average"
        yield "forget", means["forget"], f"the forget gate keeps {_percent(means['forget'])} of the memory per step"
        yield "output", means["output"], f"the output gate lets {_percent(means['output'])} out on average"
    elif kind == "gru":
        new = 1 - means["update"]
        yield "update", new * steps, f"the update gate lets {_percent(new)} in on average"


def _percent(share: float) -> str:
    return f"{short(100 * share)}%"


def _shut_recurrence(case: Case, op: Operation, suffix: str, gate: str, words: str) -> Observation:
    place = GATES[_kind(op)].index(gate)
    names = [
        name for side in ("ih", "hh") if (name := f"{op.label}.bias_{side}{suffix}".lstrip(".")) in case.parameters
    ]
    lines = []
    for name in names:
        size = case.parameters[name].shape[0] // len(GATES[_kind(op)])
        lines.append(f"nn.init.zeros_({path(name)}[{place * size}:{(place + 1) * size}])")
    return Observation(
        "shut-gate",
        "warning",
        case.layer_of(op),
        f"{words}{_part_words(suffix)}",
        "nothing comes through the recurrence, forward and back" if gate != "forget" else "the memory is empty",
        op.label,
        (Fix("\n".join(lines), tuple(names)),) if lines else (),
        hides=("short-memory",) if gate == "forget" else (),
    )


def _saturated(case: Case) -> Iterator[Observation]:
    yield from gathered(_each_saturated(case))


def _each_saturated(case: Case) -> Iterator[Observation]:
    """Recurrences whose weights drive most gates to their flat ends, on both sides."""
    for op in _recurrences(case):
        share, suffix = max(((op.facts[f"saturated{suffix}"], suffix) for suffix in _suffixes(op)), default=(0.0, ""))
        if not share > case.limits.saturated:
            continue
        what = "gates and candidates" if _kind(op) in GATES else "outputs"
        is_module = hasattr(case.modules.get(op.label), "reset_parameters")
        yield Observation(
            "saturated",
            "warning",
            case.layer_of(op),
            f"{percent(share)}% of the {what}{_part_words(suffix)} are saturated, as many high as low",
            "the weights of the recurrence are too large",
            op.label,
            (Fix(f"{path(op.label)}.reset_parameters()", (f"{op.label}.".lstrip("."),)),) if is_module else (),
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
                measurement="mean of a sigmoid that multiplies another signal, and of the gates of LSTM and GRU",
                remedy="a bias of 0 for the gate",
                reference="Srivastava et al. 2015, arXiv:1505.00387",
            ),
        ),
        causes=("shut-gate",),
    ),
    ModelRule(_saturated, names=("saturated",)),
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
