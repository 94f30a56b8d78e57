"""Healthy nets with one thing wrong: which layer, why, which rules may say so, and whether the printed fix heals."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_hand_transformers import Experts, Language, Llama, gpt
from zoo_parts import Attention, Block, Lambda, Residual, chain, conv, he, lecun, normal, seq, xavier


@dataclass(frozen=True)
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


def _changed(model: Any, change: Callable[[Any], Any]) -> Any:
    with torch.no_grad():
        change(model)
    return model


def _plain(layers: int = 8, act: Any = nn.ReLU, draw: Any = he, width: int = 96) -> Any:
    return chain([48, *[width] * layers, 12], act, draw)


def _rows(width: int = 48, batch: int = 192) -> Any:
    return torch.randn(batch, width)


def _images() -> Any:
    return torch.randn(8, 3, 16, 16)


def _convolutions(norm: bool, eps: float = 1e-5) -> Any:
    parts: list[Any] = []
    for inner in (3, 24, 24, 24, 24, 24):
        parts += [he(conv(inner, 24)), *([nn.BatchNorm2d(24, eps=eps)] if norm else []), nn.ReLU()]
    return seq(*parts, nn.AdaptiveAvgPool2d(4), nn.Flatten(), lecun(nn.Linear(24 * 16, 12)))


def _ids() -> Any:
    return torch.randint(0, 500, (8, 32))


def _half(first: bool) -> Any:
    layers = [he(nn.Linear(96, 96)) for _ in range(16)]
    for place, layer in enumerate(layers):
        if (place < 8) == first:
            nn.init.normal_(layer.weight, std=0.5 / math.sqrt(96))
    return seq(*[part for layer in layers for part in (layer, nn.ReLU())], nn.Linear(96, 12)), _rows(96)


class Unscaled(Attention):
    """Attention whose author forgot 1/sqrt(d)."""

    def forward(self, x: Any, memory: Any = None) -> Any:
        q, k, v = (self.split(one(x)) for one in (self.q, self.k, self.v))
        return self.out(((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2))


def _attentions(kind: Any, width: int = 192) -> Any:
    model = seq(
        *[Residual(nn.LayerNorm(width), kind(width)) for _ in range(4)], nn.LayerNorm(width), nn.Linear(width, 12)
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            xavier(module)
    return model, torch.randn(8, 24, width)


def _sharp() -> Any:
    model, x = _attentions(Attention)
    return _changed(model, lambda m: m[2].branch[1].q.weight.mul_(30)), x


class Cut(nn.Module):
    """A factor of 0 where a parameter was meant."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = he(nn.Linear(48, 96)), he(nn.Linear(96, 96)), he(nn.Linear(96, 12))

    def forward(self, x: Any) -> Any:
        return self.c(F.relu(0.0 * self.b(F.relu(self.a(x)))))


class Functional(nn.Module):
    """Activations that no module makes, one layer dead by its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(he(nn.Linear(48, 48)) for _ in range(4))
        nn.init.constant_(self.layers[2].bias, -8.0)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.0)
        return x


class InOut(nn.Module):
    """x @ W with a weight of shape (in, out)."""

    def __init__(self, inner: int, outer: int, std: float):
        super().__init__()
        self.weight, self.bias = nn.Parameter(std * torch.randn(inner, outer)), nn.Parameter(torch.zeros(outer))

    def forward(self, x: Any) -> Any:
        return torch.addmm(self.bias, x, self.weight)


class Gate(nn.Module):
    def __init__(self, bias: float) -> None:
        super().__init__()
        self.first, self.value, self.gate, self.out = (
            he(nn.Linear(48, 96)),
            lecun(nn.Linear(96, 96)),
            xavier(nn.Linear(96, 96)),
            nn.Linear(96, 12),
        )
        nn.init.constant_(self.gate.bias, bias)

    def forward(self, x: Any) -> Any:
        h = F.relu(self.first(x))
        return self.out(self.value(h) * torch.sigmoid(self.gate(h)))


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = _plain(3), nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).detach())


class Mixture(nn.Module):
    """Experts of three dimensions after a norm, drawn too large."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.experts, self.out = he(nn.Linear(48, 64)), Experts(64, 4), nn.Linear(64, 12)
        with torch.no_grad():
            self.experts.up.mul_(scale)

    def forward(self, x: Any) -> Any:
        return self.out(self.experts(F.relu(self.first(x))))


def _copied() -> Any:
    block = Block(64)
    return seq(*[copy.deepcopy(block) for _ in range(4)], nn.LayerNorm(64), nn.Linear(64, 12)), torch.randn(8, 24, 64)


def _rowed(model: Any, place: int) -> Any:
    return _changed(model, lambda m: m[place].weight.copy_(m[place].weight[:1].expand_as(m[place].weight)))


def _word_model() -> Any:
    model = normal(Language(lambda width: Block(width, causal=True)))
    nn.init.normal_(model.embed.weight, std=1.0)
    return model


def _transposed() -> Any:
    parts = [nn.ConvTranspose2d(48, 48, 2, 2, bias=False) for _ in range(4)]
    for part in parts:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return seq(*[one for part in parts for one in (part, nn.ReLU())]), torch.randn(8, 48, 4, 4)


def _weight_normed() -> Any:
    wrap = nn.utils.parametrizations.weight_norm
    return seq(*[one for _ in range(10) for one in (wrap(nn.Linear(96, 96, bias=False)), nn.ReLU())]), _rows(96)


def _unnormed(blocks: int = 24) -> Any:
    return seq(
        *[Residual(he(nn.Linear(64, 64)), nn.ReLU(), he(nn.Linear(64, 64))) for _ in range(blocks)], nn.Linear(64, 12)
    ), _rows(64)


def _clipped(model: Any, place: int, value: float, share: float = 1.0) -> Any:
    count = int(share * len(model[place].bias))
    return _changed(model, lambda m: m[place].bias[:count].fill_(value))


def _odd_sibling() -> Any:
    model = gpt(6)
    return _changed(model, lambda m: m.blocks[3].down.weight.mul_(25)), _ids()


def _norm_set(place: int, value: float) -> Any:
    model = seq(
        *[part for _ in range(5) for part in (nn.LayerNorm(96), lecun(nn.Linear(96, 96)), nn.GELU())], nn.Linear(96, 12)
    )
    nn.init.constant_(model[place].weight, value)
    return model, _rows(96)


def _loss(classes: int) -> Callable[[Any], Any]:
    def cross_entropy(output: Any) -> Any:
        flat = output.reshape(-1, output.shape[-1])
        return F.cross_entropy(flat, torch.arange(len(flat)) % classes)

    return cross_entropy


FAST = [
    Bug(
        "one layer drawn N(0, 8)",
        lambda: (_changed(_plain(), lambda m: m[6].weight.normal_(std=8.0)), _rows()),
        ("6",),
        ("odd-layer",),
    ),
    Bug(
        "one layer a thousandth",
        lambda: (_changed(_plain(), lambda m: m[8].weight.mul_(1e-3)), _rows()),
        ("8",),
        ("odd-layer", *VANISHING),
    ),
    Bug("torch default ReLU x14", lambda: (_plain(14, draw=lambda layer: layer), _rows()), ("0",), VANISHING),
    Bug("Xavier for ReLU x24", lambda: (_plain(24, draw=xavier), _rows()), ("0",), VANISHING),
    Bug(
        "std .3 in a plain net x10",
        lambda: (_plain(10, draw=lambda layer: normal(layer, 0.3)), _rows()),
        ("0",),
        EXPLODING,
    ),
    Bug("first half halves", lambda: _half(True), ("0",), VANISHING),
    Bug("second half halves", lambda: _half(False), ("16",), VANISHING),
    Bug("dead by its bias", lambda: (_clipped(_plain(4), 4, -40.0), _rows()), ("4",), ("dead-layer", "dead-units")),
    Bug("half its units dead", lambda: (_clipped(_plain(4), 2, -40.0, 0.6), _rows()), ("2",), ("dead-units",)),
    Bug("dead, functional", lambda: (Functional(), _rows()), ("layers.2",), ("dead-layer", "dead-units")),
    Bug(
        "tanh saturated by its bias",
        lambda: (_clipped(_plain(4, nn.Tanh, xavier), 2, 5.0), _rows()),
        ("2",),
        ("saturated",),
    ),
    Bug(
        "ELU saturated by its bias",
        lambda: (_clipped(_plain(3, nn.ELU, lecun), 0, -7.0), _rows()),
        ("0",),
        ("saturated",),
    ),
    Bug(
        "tanh saturated by its weights",
        lambda: (_plain(4, nn.Tanh, lambda layer: normal(layer, 1.5)), _rows()),
        ("0", "2"),
        ("saturated",),
    ),
    Bug("equal rows", lambda: (_rowed(_plain(3, nn.Tanh, xavier), 2), _rows()), ("2",), UNITS),
    Bug("a constant weight", lambda: (_changed(_plain(3), lambda m: m[4].weight.fill_(0.05)), _rows()), ("4",), UNITS),
    Bug(
        "zero weights",
        lambda: (_changed(_plain(4), lambda m: m[4].weight.zero_()), _rows()),
        ("4",),
        (*UNITS, "dead-layer", "dead-units", "no-gradient", "zero-output"),
    ),
    Bug(
        "NaN in a weight",
        lambda: (_changed(_plain(3), lambda m: m[2].weight[3, 4].fill_(math.nan)), _rows()),
        ("2",),
        ("void-parameter", "overflow"),
        heals=False,
    ),
    Bug(
        "factor 0",
        lambda: (Cut(), _rows()),
        ("b", "c"),
        ("zero-output", "dead-layer", "underflow", "no-gradient"),
        heals=False,
    ),
    Bug("detached", lambda: (Detached(), _rows()), (), ("no-gradient",), heals=False),
    Bug("norm weight 60", lambda: _norm_set(6, 60.0), ("6",), ("norm-weight",)),
    Bug("norm weight 0", lambda: _norm_set(9, 0.0), ("9",), ("norm-weight",)),
    Bug(
        "batch norm weight 0 on the way",
        lambda: (_changed(_convolutions(True), lambda m: m[7].weight.zero_()), _images()),
        ("7",),
        ("norm-weight",),
    ),
    Bug(
        "eps beside a small input",
        lambda: (seq(nn.LayerNorm(48, eps=0.1), *_plain(4)), 0.01 * _rows()),
        ("0",),
        ("norm-eps", "input-scale", *VANISHING),
    ),
    Bug(
        "softmax before cross-entropy",
        lambda: (seq(*_plain(3), nn.Softmax(-1)), _rows()),
        ("7",),
        ("double-softmax",),
        {"loss": _loss(12)},
    ),
    Bug(
        "raw pixels", lambda: (_convolutions(False), 255 * torch.rand(8, 3, 16, 16)), (), ("input-scale",), heals=False
    ),
    Bug(
        "no 1/sqrt(d)",
        lambda: _attentions(Unscaled),
        ("0.branch.1", "1.branch.1", "2.branch.1", "3.branch.1"),
        ("attention-logits",),
    ),
    Bug("queries thirty times too large", _sharp, ("2.branch.1",), ("attention-logits", "odd-layer")),
    Bug("gate shut", lambda: (Gate(-9.0), _rows()), ("gate",), ("shut-gate", "saturated")),
    Bug(
        "x @ W of .02",
        lambda: (
            seq(*[part for _ in range(8) for part in (InOut(64, 64, 0.02), nn.ReLU())], nn.Linear(64, 12)),
            _rows(64),
        ),
        ("0",),
        VANISHING,
    ),
    Bug(
        "experts fifty times too large",
        lambda: (Mixture(50.0), torch.randn(16, 12, 48)),
        ("experts",),
        ("odd-layer", *EXPLODING),
    ),
    Bug(
        "fresh batch norm in evaluation",
        lambda: (_convolutions(True).eval(), 30 * _images()),
        (),
        ("fresh-batch-norm",),
    ),
]

SLOW = [
    Bug("copied blocks", _copied, ("1", "1.attention", "1.attention.q", "0.attention.q", "1.up"), ("copied-layers",)),
    Bug("one branch of GPT", _odd_sibling, ("blocks.3.down",), ("odd-layer",)),
    Bug("tied embedding N(0, 1)", lambda: (_word_model(), _ids()), ("head", "embed"), ("starting-loss", "odd-layer"), {"loss": _loss(500)}),
    Bug("transposed convolutions by kaiming", _transposed, ("0",), VANISHING),
    Bug("weight norm of torch's draw", _weight_normed, ("0",), VANISHING),
    Bug("residual branches by He, no norm", _unnormed, ("0.branch.0", "0.branch.2", "0.branch"), EXPLODING),
    Bug("one convolution a hundredth", lambda: (_changed(_convolutions(False), lambda m: m[4].weight.mul_(0.01)), _images()), ("4",), ("odd-layer", *VANISHING)),
    Bug("one Llama gate too large", lambda: (_changed(normal(Language(Llama, 4, placed=False, tied=False)), lambda m: m.blocks[2].mix.up.weight.mul_(40)), _ids()), ("blocks.2.mix.up",), ("odd-layer",)),
    Bug("one convolution of equal filters", lambda: (_rowed(_convolutions(False), 4), _images()), ("4",), UNITS),
]  # fmt: skip
BUGS = FAST + SLOW


def _deep(act: Any, draw: Any = lambda layer: layer, layers: int = 20) -> Callable[[], tuple[Any, Any]]:
    return lambda: (_plain(layers, act, draw), _rows())


SICK: dict[str, Callable[[], tuple[Any, Any]]] = {
    "torch default ReLU x20": _deep(nn.ReLU),
    "torch default tanh x20": _deep(nn.Tanh),
    "torch default GELU x20": _deep(nn.GELU),
    "torch default convolutions x14": lambda: (
        seq(conv(3, 32), *[part for _ in range(14) for part in (nn.ReLU(), conv(32, 32))]),
        _images(),
    ),
    "N(0, .01) ReLU x10": _deep(nn.ReLU, lambda layer: normal(layer, 0.01), 10),
    "N(0, 1) tanh x10": _deep(nn.Tanh, lambda layer: normal(layer, 1.0), 10),
    "N(0, .3) ReLU x16": _deep(nn.ReLU, lambda layer: normal(layer, 0.3), 16),
    "Xavier sigmoid x16": _deep(nn.Sigmoid, xavier, 16),
    "half dies": lambda: _half(False),
    "other half dies": lambda: _half(True),
    "residual by He, no norm": _unnormed,
    "constant weights": lambda: (
        _changed(_plain(5), lambda m: [p.fill_(0.02) for p in m.parameters() if p.ndim > 1]),
        _rows(),
    ),
}
