"""Every rule that a verdict may name: those of `run`, and those for models of one's own, which `torch` judges by."""

from __future__ import annotations

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.diagnose import RULES
from initprobe.diagnosis.rule import Observation, Rule
from initprobe.registry import Registry
from initprobe.results.run import ProbeResult


def _never(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """Nets of `run` have no such parts."""
    return None


def _rule(name: str, meaning: str, measurement: str, remedy: str, reference: str) -> Rule:
    return Rule(name, meaning, f"{measurement}; judged in PyTorch models alone", remedy, reference, _never)


MODEL_RULES: tuple[Rule, ...] = (
    _rule(
        "norm-weight",
        "a norm decides the scale of what follows it, and its weight is 0 or far from 1",
        "root mean square of the weight of a norm; zeros at the end of a residual branch are on purpose",
        "nn.init.ones_ of the weight",
        "Ioffe & Szegedy 2015, arXiv:1502.03167",
    ),
    _rule(
        "norm-eps",
        "eps decides the scale in place of the input, so the norm does not normalize",
        "eps of a norm beside the variance of its input",
        "a smaller eps, or a larger input",
        "Ba et al. 2016, arXiv:1607.06450",
    ),
    _rule(
        "fresh-batch-norm",
        "a batch norm in evaluation mode that has seen no batch has mean 0 and variance 1, and changes nothing",
        "running statistics as they are made",
        "model.train()",
        "PyTorch documentation, BatchNorm2d",
    ),
    _rule(
        "input-scale",
        "the input is not standardized, and initializers are made for mean 0 and variance 1",
        "root mean square of an input that a layer is given as it is",
        "subtract the mean of the data and divide by its standard deviation",
        "LeCun et al. 1998, Efficient BackProp",
    ),
    _rule(
        "copied-layers",
        "layers that start from the same weights, as copy.deepcopy makes them",
        "weights of one shape that are equal entry by entry; matrices alone",
        "draw each copy anew",
        "Goodfellow et al. 2016, Deep Learning, section 8.4",
    ),
    _rule(
        "attention-logits",
        "softmax picks one key from the start, and passes next to no gradient to the others",
        "standard deviation of attention's logits, and the entropy of its weights beside that of equal ones",
        "the factor 1/sqrt(d) on products of queries and keys, once",
        "Vaswani et al. 2017, arXiv:1706.03762",
    ),
    _rule(
        "shut-gate",
        "a gate lets nothing pass, so what it multiplies learns nothing",
        "mean of a sigmoid that multiplies another signal",
        "a bias of 0 for the gate",
        "Srivastava et al. 2015, arXiv:1505.00387",
    ),
    _rule(
        "short-memory",
        "a gated recurrence keeps a share of its memory at every step, and of the gradient on its way back",
        "mean of the forget gate of an LSTM or the update gate of a GRU, made again from weights and input",
        "a bias of 1 or more for the forget gate",
        "Jozefowicz et al. 2015, PMLR 37:2342",
    ),
    _rule(
        "double-softmax",
        "cross_entropy applies softmax itself; given probabilities it cannot fall near 0",
        "what a loss is given comes from a softmax",
        "logits for cross_entropy, without a softmax",
        "PyTorch documentation, CrossEntropyLoss",
    ),
    _rule(
        "starting-loss",
        "logits are confident before anything is learned",
        "cross-entropy at the start beside ln(classes)",
        "a smaller head; a tied embedding of N(0, 1) is the usual cause",
        "Karpathy 2019, A Recipe for Training Neural Networks",
    ),
)
RULEBOOK: Registry[Rule] = Registry("rule", [*RULES.values(), *MODEL_RULES])
