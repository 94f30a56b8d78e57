"""Nets with one planted bug each, for `planted.py`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_hand_transformers import Experts, Language, gpt
from zoo_parts import Attention, Block, Residual, chain, conv, he, lecun, normal, seq, xavier


def changed(model: Any, change: Callable[[Any], Any]) -> Any:
    with torch.no_grad():
        change(model)
    return model


def plain(layers: int = 8, act: Any = nn.ReLU, draw: Any = he, width: int = 96) -> Any:
    return chain([48, *[width] * layers, 12], act, draw)


def rows(width: int = 48, batch: int = 192) -> Any:
    return torch.randn(batch, width)


def images() -> Any:
    return torch.randn(8, 3, 16, 16)


def convolutions(norm: bool, eps: float = 1e-5) -> Any:
    parts: list[Any] = []
    for inner in (3, 24, 24, 24, 24, 24):
        parts += [he(conv(inner, 24)), *([nn.BatchNorm2d(24, eps=eps)] if norm else []), nn.ReLU()]
    return seq(*parts, nn.AdaptiveAvgPool2d(4), nn.Flatten(), lecun(nn.Linear(24 * 16, 12)))


def ids() -> Any:
    return torch.randint(0, 500, (8, 32))


def half(first: bool) -> Any:
    layers = [he(nn.Linear(96, 96)) for _ in range(16)]
    for place, layer in enumerate(layers):
        if (place < 8) == first:
            nn.init.normal_(layer.weight, std=0.5 / math.sqrt(96))
    return seq(*[part for layer in layers for part in (layer, nn.ReLU())], nn.Linear(96, 12)), rows(96)


class Unscaled(Attention):
    """Attention whose author forgot 1/sqrt(d)."""

    def forward(self, x: Any, memory: Any = None) -> Any:
        q, k, v = (self.split(projection(x)) for projection in (self.q, self.k, self.v))
        return self.out(((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2))


def attentions(kind: Any, width: int = 192) -> Any:
    model = seq(
        *[Residual(nn.LayerNorm(width), kind(width)) for _ in range(4)], nn.LayerNorm(width), nn.Linear(width, 12)
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            xavier(module)
    return model, torch.randn(8, 24, width)


def sharp() -> Any:
    model, x = attentions(Attention)
    return changed(model, lambda m: m[2].branch[1].q.weight.mul_(30)), x


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
            x = F.relu(layer(x))
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
        self.body, self.head = plain(3), nn.Linear(12, 5)

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


def copied() -> Any:
    block = Block(64)
    return seq(*[copy.deepcopy(block) for _ in range(4)], nn.LayerNorm(64), nn.Linear(64, 12)), torch.randn(8, 24, 64)


def rowed(model: Any, place: int) -> Any:
    return changed(model, lambda m: m[place].weight.copy_(m[place].weight[:1].expand_as(m[place].weight)))


def word_model() -> Any:
    model = normal(Language(lambda width: Block(width, causal=True)))
    nn.init.normal_(model.embed.weight, std=1.0)
    return model


def transposed() -> Any:
    parts = [nn.ConvTranspose2d(48, 48, 2, 2, bias=False) for _ in range(4)]
    for part in parts:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return seq(*[module for part in parts for module in (part, nn.ReLU())]), torch.randn(8, 48, 4, 4)


def weight_normed() -> Any:
    wrap = nn.utils.parametrizations.weight_norm
    return seq(*[module for _ in range(10) for module in (wrap(nn.Linear(96, 96, bias=False)), nn.ReLU())]), rows(96)


def unnormed(blocks: int = 24) -> Any:
    return seq(
        *[Residual(he(nn.Linear(64, 64)), nn.ReLU(), he(nn.Linear(64, 64))) for _ in range(blocks)], nn.Linear(64, 12)
    ), rows(64)


def clipped(model: Any, place: int, value: float, share: float = 1.0) -> Any:
    count = int(share * len(model[place].bias))
    return changed(model, lambda m: m[place].bias[:count].fill_(value))


def odd_sibling() -> Any:
    model = gpt(6)
    return changed(model, lambda m: m.blocks[3].down.weight.mul_(25)), ids()


def norm_set(place: int, value: float) -> Any:
    model = seq(
        *[part for _ in range(5) for part in (nn.LayerNorm(96), lecun(nn.Linear(96, 96)), nn.GELU())], nn.Linear(96, 12)
    )
    nn.init.constant_(model[place].weight, value)
    return model, rows(96)


def loss(classes: int) -> Callable[[Any], Any]:
    def cross_entropy(output: Any) -> Any:
        flat = output.reshape(-1, output.shape[-1])
        return F.cross_entropy(flat, torch.arange(len(flat)) % classes)

    return cross_entropy
