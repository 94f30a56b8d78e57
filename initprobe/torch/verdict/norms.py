"""Norms that do not normalize. A weight is 0 or far from 1, eps is above the variance, or no batch was seen yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.results.summary import Place
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.paths import path
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case, module_of
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Fix, Observation

FRESH = "fresh-batch-norm"
_DEFAULT_EPS = 1e-5
_NO_VARIANCE = 1e-30  # of an input that is constant
_OF_EPS = math.sqrt(0.5)  # standard deviation that a unit with a variance of eps has behind its norm
_ROUNDING = 2.0**-40  # of a mean square in float32: less is no variance
_DEEPEST = 6  # operations between a norm and the sum that its branch ends in


@dataclass(frozen=True)
class _NormWeight:
    """A norm, the name of its weight, and the root mean square of that."""

    op: Operation
    name: str
    size: float

    @property
    def rank(self) -> tuple[bool, float]:
        """0 first, then by the distance from 1."""
        return self.size != 0, -abs(math.log(self.size)) if self.size else 0.0


def _weights(case: Case) -> Iterator[Observation]:
    limit = case.limits.odd_norm
    odd = [
        norm
        for norm in _norm_weights(case)
        if norm.size > limit or (norm.size < 1 / limit and not (norm.op.signal and _ends_branch(norm.op.signal)))
    ]
    if not odd:
        return
    names = [norm.name for norm in odd]
    odd.sort(key=lambda norm: norm.rank)
    first, *further = (_weight_place(case, norm) for norm in odd)
    shuts = odd[0].size == 0
    yield Observation(
        "norm-weight",
        "error" if shuts and not case.moved.get(odd[0].name) else "warning",
        first.layer,
        f"{first.evidence}{_more(further)}",
        "a norm decides the scale of what follows it: "
        + ("it passes nothing on" if shuts else "every layer after it gets this scale"),
        first.module,
        tuple(_ones(names)),
        hides=("dead-layer", "dead-units", "no-gradient", "rank-collapse") if shuts else (),
        elsewhere=tuple(further),
    )


def _norm_weights(case: Case) -> Iterator[_NormWeight]:
    """Each weight of a norm once."""
    names: set[str] = set()
    for op in case.operations:
        if op.kind != "norm" or op.signal is None:
            continue
        leaf, track = op.leaf, op.weight
        if track is None and op.output is not None and 0.5 < op.output.square < 2 and op.signal.scales:
            step = op.signal.scales[0]
            leaf, track = step.leaf or min(step.names, default=None), step.weight
        if leaf is not None and track is not None and leaf not in names:
            names.add(leaf)
            yield _NormWeight(op, leaf, math.sqrt(track.square))


def _weight_place(case: Case, norm: _NormWeight) -> Place:
    holder = norm.name.rpartition(".")[0] if norm.name.endswith(".weight") else norm.name
    evidence = f"the weight of {path(holder)} has root mean square {short(norm.size)}, where norms are made with 1"
    return Place(layer=case.layer_of(norm.op), module=holder, evidence=evidence)


def _ends_branch(signal: Signal, depth: int = _DEEPEST) -> bool:
    """Whether a sum or a product with another signal takes it, also in another arrangement or in part."""
    return any(
        op.kind in ("sum", "gate")
        or (depth and op.kind in ("part", "other", "cat") and op.signal and _ends_branch(op.signal, depth - 1))
        for op in signal.consumers
    )


def _ones(names: Sequence[str]) -> Iterator[Fix]:
    plain = [name for name in names if name.endswith("weight") or "." not in name]
    if plain:
        yield fix_lines.ones(plain)


def _eps(case: Case) -> Iterator[Observation]:
    decided = [(op, spread) for op in case.operations if (spread := _spread_below_eps(case, op)) is not None]
    if not decided:
        return
    decided.sort(key=lambda entry: -(entry[0].eps or 0) / entry[1])
    worst = {module_of(op): (op, spread) for op, spread in reversed(decided)}  # of each module the smallest variance
    modules = list(dict.fromkeys(module_of(op) for op, _ in decided))
    settable = [name for name, module in case.modules.items() if name in worst and hasattr(module, "eps")]
    line = fix_lines.over(f"{{}}.eps = {_DEFAULT_EPS:g}", [path(name) for name in settable]) if settable else ""
    norms = [op for op in case.operations if op.kind == "norm" and _is_small(op)]  # also where only rounding is left
    weights = fix_lines.for_layers(case, [layer for layer in case.layers if layer.norm in norms])
    first, *further = (_eps_place(case, *worst[name]) for name in modules)
    yield Observation(
        "norm-eps",
        "warning",
        first.layer,
        f"{first.evidence}{_more(further)}",
        MEANING,
        first.module,
        (*((Fix(line),) if line else ()), *weights),
        elsewhere=tuple(further),
    )


def _spread_below_eps(case: Case, op: Operation) -> float | None:
    """The square of what a norm divides by, where eps is far above it; None for every other operation."""
    if op.kind != "norm" or op.eps is None or op.given is None or not op.training or op.name == "normalize":
        return None
    spread = min(op.given.square if op.name == "rms_norm" else op.given.variance, _spread_by_output(op))
    decides = spread > _NO_VARIANCE and op.eps > case.limits.norm_depth * spread and not _is_looked_up(op)
    return spread if decides else None


def _spread_by_output(op: Operation) -> float:
    """The same by what the norm returns, `w^2 v / (v + eps)`; infinite where some unit is normalised.

    Biases before a batch norm give each unit a mean of its own. It counts in the variance of the input, but the norm
    removes it. A unit with a variance above eps has an entry above 0.7.
    """
    if op.output is None or op.eps is None or op.given is None or not _is_small(op):
        return math.inf
    share = (op.output.square if op.name == "rms_norm" else op.output.variance) / _weight(op)
    spread = op.eps * share / (1 - share)
    return spread if spread > _ROUNDING * op.given.square else math.inf


def _is_small(op: Operation) -> bool:
    """Whether no unit that a norm returns has the size that its weight says."""
    return op.output is not None and max(-op.output.low, op.output.high) < _OF_EPS * math.sqrt(_weight(op))


def _weight(op: Operation) -> float:
    """Mean square of the weight of a norm."""
    return op.weight.square if op.weight is not None else 1.0


def _eps_place(case: Case, op: Operation, spread: float) -> Place:
    evidence = f"eps {op.eps:g} against a variance of {short(spread)} of its input"
    return Place(layer=case.layer_of(op), module=module_of(op), evidence=evidence)


def _is_looked_up(op: Operation) -> bool:
    """Whether the input is an embedding, which is drawn small on purpose (RWKV) and learns at once."""
    return len(op.inputs) == 1 and op.inputs[0].op.name in ("embedding", "embedding_bag")


def _more(places: Sequence[Place]) -> str:
    return f"; {len(places)} more like it" if places else ""


def _fresh(case: Case) -> Iterator[Observation]:
    """Batch norms in evaluation mode that have not seen a batch."""
    names = [name for name, module in case.modules.items() if _is_fresh(module)]
    if names:
        yield Observation(
            FRESH,
            "info",
            1,
            f"{len(names)} batch norms in evaluation mode have mean 0 and variance 1, the first {path(names[0])}",
            "they have seen no batch, so they change nothing",
            names[0],
            (Fix("model.train()"),),
        )


def _is_fresh(module: Any) -> bool:
    # A module searches long for an attribute that it lacks.
    if getattr(module, "training", True) or "num_batches_tracked" not in module._buffers:
        return False
    counted = module.num_batches_tracked
    mean, variance = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    if counted is None or mean is None or variance is None:
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


RULES = (
    ModelRule(
        _weights,
        texts=(
            RuleText(
                name="norm-weight",
                meaning="a norm decides the scale of what follows it, and its weight is 0 or far from 1",
                measurement=(
                    "root mean square of the weight of a norm; zeros at the end of a residual branch are on purpose"
                ),
                remedy="nn.init.ones_ of the weight",
                reference="Ioffe & Szegedy 2015, arXiv:1502.03167",
            ),
        ),
        causes=("norm-weight",),
    ),
    ModelRule(
        _eps,
        texts=(
            RuleText(
                name="norm-eps",
                meaning="eps decides the scale in place of the input, so the norm does not normalize",
                measurement="eps of a norm beside the variance of its input",
                remedy="a smaller eps, or a larger input",
                reference="Ba et al. 2016, arXiv:1607.06450",
            ),
        ),
        causes=("norm-eps",),
    ),
    ModelRule(
        _fresh,
        texts=(
            RuleText(
                name=FRESH,
                meaning=(
                    "a batch norm in evaluation mode that has seen no batch has mean 0 and variance 1, "
                    "and changes nothing"
                ),
                measurement="running statistics at their initial values",
                remedy="model.train()",
                reference="PyTorch documentation, BatchNorm2d",
            ),
        ),
        causes=(FRESH,),
    ),
)
