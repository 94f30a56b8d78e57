"""Healthy nets with one planted bug: its layer and cause, rules that may name it, and whether the fix heals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from planted_nets import (
    Cut,
    Detached,
    Functional,
    Gate,
    InOut,
    Mixture,
    Unscaled,
    attentions,
    changed,
    clipped,
    convolutions,
    copied,
    half,
    ids,
    images,
    loss,
    norm_set,
    odd_sibling,
    plain,
    rowed,
    rows,
    sharp,
    transposed,
    unnormed,
    weight_normed,
    word_model,
)
from torch import nn
from zoo_hand_transformers import Language, Llama
from zoo_parts import conv, lecun, normal, seq, xavier


@dataclass(frozen=True, eq=False)
class Bug:
    """A fault that was planted.

    Attributes:
        name: of the net and the fault.
        make: the net with its fault, and its input.
        modules: any of these is the place; empty if there is no one place.
        rules: any of these is the cause.
        options: of `probe`.
        heals: a line of PyTorch can heal it.
    """

    name: str
    make: Callable[[], tuple[Any, Any]]
    modules: tuple[str, ...]
    rules: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    heals: bool = True


VANISHING, EXPLODING = ("vanishing-output", "vanishing-gradient"), ("exploding-output", "exploding-gradient")
UNITS = ("symmetric", "equal-units")


FAST = [
    Bug(
        "one layer drawn N(0, 8)",
        lambda: (changed(plain(), lambda m: m[6].weight.normal_(std=8.0)), rows()),
        ("6",),
        ("odd-layer",),
    ),
    Bug(
        "one layer a thousandth",
        lambda: (changed(plain(), lambda m: m[8].weight.mul_(1e-3)), rows()),
        ("8",),
        ("odd-layer", *VANISHING),
    ),
    Bug("torch default ReLU x14", lambda: (plain(14, draw=lambda layer: layer), rows()), ("0", "2", "4"), VANISHING),
    Bug("Xavier for ReLU x24", lambda: (plain(24, draw=xavier), rows()), ("0",), VANISHING),
    Bug(
        "std 0.3 in a plain net x10",
        lambda: (plain(10, draw=lambda layer: normal(layer, 0.3)), rows()),
        ("0",),
        EXPLODING,
    ),
    Bug("first half halves", lambda: half(True), ("0",), VANISHING),
    Bug("second half halves", lambda: half(False), ("16",), VANISHING),
    Bug("dead by its bias", lambda: (clipped(plain(4), 4, -40.0), rows()), ("4",), ("dead-layer", "dead-units")),
    Bug("half its units dead", lambda: (clipped(plain(4), 2, -40.0, 0.6), rows()), ("2",), ("dead-units",)),
    Bug("dead, functional", lambda: (Functional(), rows()), ("layers.2",), ("dead-layer", "dead-units")),
    Bug(
        "tanh saturated by its bias",
        lambda: (clipped(plain(4, nn.Tanh, xavier), 2, 5.0), rows()),
        ("2",),
        ("saturated",),
    ),
    Bug(
        "ELU saturated by its bias",
        lambda: (clipped(plain(3, nn.ELU, lecun), 0, -7.0), rows()),
        ("0",),
        ("saturated",),
    ),
    Bug(
        "tanh saturated by its weights",
        lambda: (plain(4, nn.Tanh, lambda layer: normal(layer, 1.5)), rows()),
        ("0", "2"),
        ("saturated",),
    ),
    Bug("equal rows", lambda: (rowed(plain(3, nn.Tanh, xavier), 2), rows()), ("2",), UNITS),
    Bug("a constant weight", lambda: (changed(plain(3), lambda m: m[4].weight.fill_(0.05)), rows()), ("4",), UNITS),
    Bug(
        "zero weights",
        lambda: (changed(plain(4), lambda m: m[4].weight.zero_()), rows()),
        ("4",),
        (*UNITS, "dead-layer", "dead-units", "no-gradient", "zero-output"),
    ),
    Bug(
        "NaN in a weight",
        lambda: (changed(plain(3), lambda m: m[2].weight[3, 4].fill_(math.nan)), rows()),
        ("2",),
        ("void-parameter", "overflow"),
        heals=False,
    ),
    Bug(
        "factor 0",
        lambda: (Cut(), rows()),
        ("b", "c"),
        ("zero-output", "dead-layer", "underflow", "no-gradient"),
        heals=False,
    ),
    Bug("detached", lambda: (Detached(), rows()), (), ("no-gradient",), heals=False),
    Bug("norm weight 60", lambda: norm_set(6, 60.0), ("6",), ("norm-weight",)),
    Bug("norm weight 0", lambda: norm_set(9, 0.0), ("9",), ("norm-weight",)),
    Bug(
        "batch norm weight 0 on the way",
        lambda: (changed(convolutions(True), lambda m: m[7].weight.zero_()), images()),
        ("7",),
        ("norm-weight",),
    ),
    Bug(
        "eps beside a small input",
        lambda: (seq(nn.LayerNorm(48, eps=0.1), *plain(4)), 0.01 * rows()),
        ("0",),
        ("norm-eps", "input-scale", *VANISHING),
    ),
    Bug(
        "softmax before cross-entropy",
        lambda: (seq(*plain(3), nn.Softmax(-1)), rows()),
        ("7",),
        ("double-softmax",),
        {"loss": loss(12)},
    ),
    Bug("raw pixels", lambda: (convolutions(False), 255 * torch.rand(8, 3, 16, 16)), (), ("input-scale",), heals=False),
    Bug(
        "no 1/sqrt(d)",
        lambda: attentions(Unscaled),
        ("0.branch.1", "1.branch.1", "2.branch.1", "3.branch.1"),
        ("attention-logits",),
    ),
    Bug("queries thirty times too large", sharp, ("2.branch.1",), ("attention-logits", "odd-layer")),
    Bug("gate shut", lambda: (Gate(-9.0), rows()), ("gate",), ("shut-gate", "saturated")),
    Bug(
        "x @ W of 0.02",
        lambda: (
            seq(*[part for _ in range(8) for part in (InOut(64, 64, 0.02), nn.ReLU())], nn.Linear(64, 12)),
            rows(64),
        ),
        ("0",),
        VANISHING,
    ),
    Bug(
        "experts fifty times too large",
        lambda: (Mixture(50.0), torch.randn(16, 12, 48)),
        ("experts", "experts.up"),
        ("odd-layer", *EXPLODING),
    ),
    Bug(
        "fresh batch norm in evaluation",
        lambda: (normal(convolutions(True), 0.01).eval(), images()),
        (),
        ("fresh-batch-norm",),
    ),
]

SLOW = [
    Bug("copied blocks", copied, ("1", "1.attention", "1.attention.q", "0.attention.q", "1.up"), ("copied-layers",)),
    Bug("one branch of GPT", odd_sibling, ("blocks.3.down",), ("odd-layer",)),
    Bug(
        "tied embedding N(0, 1)",
        lambda: (word_model(), ids()),
        ("head", "embed"),
        ("starting-loss", "odd-layer"),
        {"loss": loss(500)},
    ),
    Bug("transposed convolutions by kaiming", transposed, ("0",), VANISHING),
    Bug("weight norm of torch's draw", weight_normed, ("0",), VANISHING),
    Bug("residual branches by He, no norm", unnormed, ("0", "1", "0.branch.0", "0.branch.2", "0.branch"), EXPLODING),
    Bug(
        "one convolution a hundredth",
        lambda: (changed(convolutions(False), lambda m: m[4].weight.mul_(0.01)), images()),
        ("4",),
        ("odd-layer", *VANISHING),
    ),
    Bug(
        "one Llama gate too large",
        lambda: (
            changed(normal(Language(Llama, 4, placed=False, tied=False)), lambda m: m.blocks[2].mix.up.weight.mul_(40)),
            ids(),
        ),
        ("blocks.2.mix.up",),
        ("odd-layer",),
    ),
    Bug("one convolution of equal filters", lambda: (rowed(convolutions(False), 4), images()), ("4",), UNITS),
]
BUGS = FAST + SLOW


def _deep(act: Any, draw: Any = lambda layer: layer, layers: int = 20) -> Callable[[], tuple[Any, Any]]:
    return lambda: (plain(layers, act, draw), rows())


FAULTY: dict[str, Callable[[], tuple[Any, Any]]] = {
    "torch default ReLU x20": _deep(nn.ReLU),
    "torch default tanh x20": _deep(nn.Tanh),
    "torch default GELU x20": _deep(nn.GELU),
    "torch default convolutions x14": lambda: (
        seq(conv(3, 32), *[part for _ in range(14) for part in (nn.ReLU(), conv(32, 32))]),
        images(),
    ),
    "N(0, 0.01) ReLU x10": _deep(nn.ReLU, lambda layer: normal(layer, 0.01), 10),
    "N(0, 1) tanh x10": _deep(nn.Tanh, lambda layer: normal(layer, 1.0), 10),
    "N(0, 0.3) ReLU x16": _deep(nn.ReLU, lambda layer: normal(layer, 0.3), 16),
    "Xavier sigmoid x16": _deep(nn.Sigmoid, xavier, 16),
    "half dies": lambda: half(False),
    "other half dies": lambda: half(True),
    "residual by He, no norm": unnormed,
    "constant weights": lambda: (
        changed(plain(5), lambda m: [p.fill_(0.02) for p in m.parameters() if p.ndim > 1]),
        rows(),
    ),
}
