"""The cross-entropy at the start: two softmaxes or sigmoids, or logits that are confident before they learn."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.diagnosis.rule import RuleText
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case, back_path, module_of
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Fix, Observation

DOUBLE, START = "double-softmax", "starting-loss"
_SOFTMAX_MODULES = ("Softmax", "Softmax2d", "Softmin")
_POSITIVE_MODULES = ("Sigmoid", "ReLU", "Softplus")
_BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
_LARGEST_STD = 0.02  # of a head that is drawn again: what GPT-2 takes for its embedding and head


def _observe(case: Case) -> Iterator[Observation]:
    """The first loss that something is wrong with."""
    for op in case.operations:
        if op.kind != "loss":
            continue
        squashed = _squashed(op)
        if squashed is not None:
            yield _below_by_activation(case, op, squashed)
            return
        if op.name not in ("cross_entropy", "nll_loss"):
            continue
        softmax = _softmax_before(op.inputs[0]) if op.inputs else None
        if op.name == "cross_entropy" and softmax is not None:
            yield _double(case, op, softmax)
            return
        observation = _start(case, op)
        if observation is not None:
            yield observation
            return


def _softmax_before(signal: Signal) -> Operation | None:
    """The softmax that made what a loss is given; None for logits and for log-probabilities."""
    softmax = next((made.op for made in back_path(signal, ("other", "part")) if made.op.kind == "softmax"), None)
    return None if softmax is None or softmax.name == "log_softmax" else softmax


def _double(case: Case, loss: Operation, softmax: Operation) -> Observation:
    name = module_of(softmax)
    is_module = type(case.modules.get(name)).__name__ in _SOFTMAX_MODULES
    line = f"{path(name)} = nn.Identity()" if is_module and name else ""
    return Observation(
        DOUBLE,
        "warning",
        len(case.layers),
        f"{softmax.name} before {loss.name}: the loss starts at {loss.facts['value']:.4g} "
        f"and cannot fall below {_floor(loss.facts['classes']):.3g}",
        "cross_entropy takes logits and applies softmax itself",
        name or None,
        (Fix(line),) if line else (),
        "" if line else "leave the softmax out of the model's code, or take nll_loss of log_softmax",
    )


def _squashed(loss: Operation) -> Operation | None:
    """The activation without negative values whose output a binary loss takes for logits; None where there is none.

    A sigmoid of them is at least 1/2, so a sample of class 0 costs at least ln 2.
    """
    if loss.name not in _BINARY or not loss.inputs:
        return None
    acts = [step for step in loss.inputs[0].steps if step.kind == "activation" and step.activation is not None]
    last = next((act for act in acts if act.output is not None and act.output is loss.given), None)
    if loss.name == "binary_cross_entropy":  # which takes probabilities
        is_sigmoid = last is not None and last.name == "sigmoid"
        last = next((act for act in acts if is_sigmoid and last and act.output is last.given), None)
    is_positive = last is not None and last.activation is not None and last.activation.bounds[0] >= 0
    return last if is_positive else None


def _below_by_activation(case: Case, loss: Operation, act: Operation) -> Observation:
    name = module_of(act)
    is_module = type(case.modules.get(name)).__name__ in _POSITIVE_MODULES
    line = f"{path(name)} = nn.Identity()" if is_module and name else ""
    return Observation(
        DOUBLE,
        "warning",
        len(case.layers),
        f"{act.name} before {_sigmoid_words(loss)}: a sample of class 0 cannot fall below ln 2 = 0.693",
        f"probabilities of class 1 are at least 1/2, because {act.name} gives no negative logits",
        name or None,
        (Fix(line),) if line else (),
        "" if line else f"leave {act.name} out of the model's code",
    )


def _sigmoid_words(loss: Operation) -> str:
    is_own = loss.name == "binary_cross_entropy_with_logits"
    return f"{loss.name}, which applies sigmoid itself" if is_own else f"the sigmoid that {loss.name} is given"


def _floor(classes: float) -> float:
    """The smallest loss where probabilities are taken for logits: with 1 for the right class and 0 for the rest."""
    return math.log(math.e + classes - 1) - 1


def _start(case: Case, loss: Operation) -> Observation | None:
    classes, value = loss.facts["classes"], loss.facts["value"]
    chance = math.log(classes) if classes > 1 else 0.0
    if not chance or not value > chance + case.limits.loss_excess:
        return None
    heads = (layer for layer in reversed(case.layers) if layer.head and layer.op.fans[1] == classes)
    head = next(heads, case.layers[-1])
    tied = _tied(case, head.op.leaf)
    also = f"; it is tied to {tied}" if tied else ""
    return Observation(
        START,
        "warning",
        head.number,
        f"cross-entropy {value:.4g} at the start, chance is ln {classes:.0f} = {chance:.4g}{also}",
        "logits of this size are confident before anything is learned",
        head.label,
        (fix_lines.drawn(head.op.leaf, _head_std(head)),) if head.op.leaf else (),
    )


def _head_std(head: Layer) -> float:
    """Of weights that make logits of variance 1 at most."""
    given = head.op.given.square if head.op.given else 1.0
    return min(_LARGEST_STD, 1 / math.sqrt(max(head.op.fans[0] * given, 1e-30)))


def _tied(case: Case, leaf: str | None) -> str:
    """The other names of a parameter."""
    if leaf is None:
        return ""
    own, every = case.parameters.get(leaf), case.inventory.all_parameters.items()
    return ", ".join(path(name) for name, parameter in every if parameter is own and name != leaf)


RULES = (
    ModelRule(
        _observe,
        texts=(
            RuleText(
                name=DOUBLE,
                meaning="the loss applies softmax or sigmoid itself; on probabilities it cannot come near 0",
                measurement="what a loss takes for logits comes from a softmax, a sigmoid or a ReLU",
                remedy="logits for cross_entropy, without a softmax or sigmoid",
                reference="PyTorch documentation, CrossEntropyLoss",
            ),
            RuleText(
                name=START,
                meaning="logits are confident before anything is learned",
                measurement="cross-entropy at the start beside ln(classes)",
                remedy="a smaller head; a tied embedding of N(0, 1) is the usual cause",
                reference="Karpathy 2019, A Recipe for Training Neural Networks",
            ),
        ),
        causes=(DOUBLE,),
    ),
)
