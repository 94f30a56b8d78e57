"""Small networks that isolate one kind of operation each, to hold predictions to the mean of many draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, ids, images, rows, steps
from zoo_parts import Attention, Block, Lambda, Residual, chain, conv, he, lecun, normal, seq, xavier

WIDE = 128


def _flat(channels: int, side: int) -> list[nn.Module]:
    """A linear layer on all positions."""
    return [nn.Flatten(), he(nn.Linear(channels * side**2, WIDE)), nn.ReLU(), lecun(nn.Linear(WIDE, 10))]


def _head(width: int = WIDE) -> nn.Module:
    return lecun(nn.Linear(width, width))


class Words(nn.Module):
    """Embeddings of words and places, summed, a norm and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(500, WIDE), nn.Embedding(32, WIDE)
        self.norm, self.out = nn.LayerNorm(WIDE), _head()
        nn.init.normal_(self.place.weight, std=0.5)

    def forward(self, words: Any) -> Any:
        return self.out(self.norm(self.word(words) + self.place.weight[: words.shape[1]]))


class Gated(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = (lecun(nn.Linear(WIDE, WIDE)) for _ in range(3))

    def forward(self, x: Any) -> Any:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Cat(nn.Module):
    """Two branches of other scales side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = (
            he(nn.Linear(WIDE, WIDE)),
            lecun(nn.Linear(WIDE, WIDE)),
            lecun(nn.Linear(2 * WIDE, 64)),
        )

    def forward(self, x: Any) -> Any:
        return self.out(torch.cat([3 * torch.relu(self.a(x)), self.b(x).tanh()], -1))


def rms_norm() -> nn.Module:
    """By hand, as in Llama."""
    return Lambda(lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt())


def _up(kernel: int, stride: int, padding: int) -> nn.Module:
    layer = nn.ConvTranspose2d(32, 32, kernel, stride, padding, bias=False)
    nn.init.normal_(layer.weight, std=math.sqrt(2 * stride**2 / (32 * kernel**2)))
    return layer


def _biased(layer: Any) -> Any:
    nn.init.normal_(layer.bias, std=0.5)
    return layer


def _small(width: int = 32) -> list[nn.Module]:
    return [he(conv(width, width)), nn.ReLU()]


def _rows(part: Any, times: int = 3) -> nn.Module:
    """A part several times, then a layer; `part` makes a list of modules."""
    return seq(*[module for _ in range(times) for module in part()], _head())


def _images(part: Any, times: int = 3) -> nn.Module:
    """A part for images several times, then linear layers on all positions."""
    return seq(*[module for _ in range(times) for module in part()], *_flat(32, 8))


def _turned() -> nn.Module:
    return Lambda(lambda x: x.transpose(1, 2))


def _linear() -> nn.Module:
    return he(nn.Linear(WIDE, WIDE))


def _activations() -> dict[str, Any]:
    return {
        "ReLU": lambda: chain([WIDE] * 6, nn.ReLU, he),
        "GELU, torch's draw": lambda: chain([WIDE] * 5, nn.GELU),
        "SELU": lambda: chain([WIDE] * 5, nn.SELU, lecun),
        "tanh, biases": lambda: chain([WIDE] * 5, nn.Tanh, lambda m: _biased(xavier(m, 1.5))),
        "sigmoid": lambda: chain([WIDE] * 4, nn.Sigmoid, lambda m: xavier(m, 2.0)),
        "softplus": lambda: chain([WIDE] * 3, nn.Softplus, xavier),
        "no activation": lambda: chain([WIDE] * 4, nn.Identity, lecun),
        "widths": lambda: chain([WIDE, 256, 64, 256, 32], nn.ReLU, he),
        "batch norm": lambda: _rows(lambda: [nn.Linear(WIDE, WIDE), nn.BatchNorm1d(WIDE), nn.ReLU()]),
        "layer norm": lambda: _rows(lambda: [nn.Linear(WIDE, WIDE), nn.LayerNorm(WIDE), nn.GELU()]),
        "root mean square norm": lambda: _rows(lambda: [xavier(nn.Linear(WIDE, WIDE)), rms_norm(), nn.SiLU()]),
        "residual": lambda: _rows(lambda: [Residual(_linear(), nn.ReLU(), _head())]),
        "residual, norms before": lambda: _rows(
            lambda: [Residual(nn.LayerNorm(WIDE), _linear(), nn.ReLU(), _head(), scale=0.5)]
        ),
        "gate": lambda: _rows(lambda: [Gated()], 2),
        "cat": Cat,
        "dropout": lambda: _rows(lambda: [_linear(), nn.ReLU(), nn.Dropout(0.3)]),
    }


def _pictures() -> dict[str, Any]:
    return {
        "convolutions": lambda: _images(_small, 2),
        "strides": lambda: seq(he(conv(32, 64, 3, 2)), nn.ReLU(), he(conv(64, 64, 1, 2)), nn.ReLU(), *_flat(64, 2)),
        "large kernel": lambda: _images(lambda: [he(conv(32, 32, 7)), nn.ReLU()], 1),
        "patches": lambda: seq(lecun(nn.Conv2d(32, 64, 4, 4)), nn.GELU(), *_flat(64, 2)),
        "depthwise": lambda: _images(
            lambda: [nn.Conv2d(32, 32, 3, 1, 1, groups=32), he(conv(32, 32, 1)), nn.ReLU()], 1
        ),
        "groups": lambda: _images(lambda: [he(nn.Conv2d(32, 32, 3, 1, 1, groups=4)), nn.ReLU()], 1),
        "max pooling": lambda: seq(*_small(), nn.MaxPool2d(2), *_small(), nn.MaxPool2d(2), *_flat(32, 2)),
        "max pooling, overlap": lambda: seq(*_small(), nn.MaxPool2d(3, 2, 1), *_small(), *_flat(32, 4)),
        "average pooling": lambda: seq(*_small(), nn.AvgPool2d(2), *_small(), *_flat(32, 4)),
        "global pooling": lambda: seq(
            *_small(), *_small(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), he(nn.Linear(32, 64))
        ),
        "batch norm, images": lambda: _images(lambda: [he(conv(32, 32)), nn.BatchNorm2d(32), nn.ReLU()]),
        "group norm": lambda: _images(lambda: [he(conv(32, 32)), nn.GroupNorm(4, 32), nn.ReLU()]),
    }


def _sequences() -> dict[str, Any]:
    return {
        "attention": lambda: seq(Attention(WIDE), _head()),
        "causal attention": lambda: seq(Attention(WIDE, causal=True), _head()),
        "attention by hand": lambda: seq(Attention(WIDE, by_hand=True), _head()),
        "blocks, norms before": lambda: seq(Block(WIDE), Block(WIDE), nn.LayerNorm(WIDE), _head()),
        "blocks, norms after": lambda: seq(normal(Block(WIDE, place="after")), Block(WIDE, place="after"), _head()),
        "across positions": lambda: seq(
            _turned(), he(nn.Linear(16, 64)), nn.ReLU(), lecun(nn.Linear(64, 16)), _turned(), _head()
        ),
        "mean over positions": lambda: seq(_head(), nn.GELU(), Lambda(lambda x: x.mean(1)), _head()),
        "one token": lambda: seq(_head(), nn.GELU(), Lambda(lambda x: x[:, 0]), _head()),
    }


def _others() -> dict[str, tuple[Any, Any]]:
    return {
        "inputs with a mean": (lambda: chain([WIDE] * 4, nn.GELU, he), lambda: 2 + torch.randn(64, WIDE)),
        "correlated inputs": (
            lambda: chain([WIDE] * 5, nn.ReLU, he),
            lambda: torch.randn(1, WIDE) + 0.3 * torch.randn(64, WIDE),
        ),
        "inputs of many lengths": (
            lambda: chain([WIDE] * 4, nn.Tanh, lambda m: xavier(m, 1.5)),
            lambda: 3 * torch.rand(64, 1) * torch.randn(64, WIDE),
        ),
        "transposed": (
            lambda: seq(_up(2, 2, 0), nn.ReLU(), _up(4, 2, 1), nn.ReLU(), _up(3, 1, 1)),
            images(8, 4, 32),
        ),
        "words": (Words, ids(8)),
    }


def entries() -> Iterator[Entry]:
    """One network per kind of operation."""
    groups = ((_activations(), rows(64, WIDE)), (_pictures(), images(8, 8, 32)), (_sequences(), steps(8, 16, WIDE)))
    for makers, given in groups:
        yield from (Entry(name, "part", make, given) for name, make in makers.items())
    yield from (Entry(name, "part", make, given) for name, (make, given) in _others().items())
