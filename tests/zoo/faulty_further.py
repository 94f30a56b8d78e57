"""Twenty further nets with faulty weights, with kinds of layers that are rare in the panel of forty."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from faulty_by_weights import Make, Recurrent, _deep, _drawn, _stack, _tokens
from planted_nets import ids, images, plain, rows
from torch import nn
from torch.nn.utils import parametrizations
from zoo_parts import Residual, conv, normal, seq, xavier


class Mixed(nn.Module):
    """A product of the transpose of a weight, then einsum."""

    def __init__(self, std: float, width: int = 64) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(std * torch.randn(width, width)) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return torch.einsum("bi,oi->bo", F.gelu(x @ self.a.T), self.b)


class Packed(nn.Module):
    """Attention with one weight for queries, keys and values, and a residual stream without norms."""

    def __init__(self, std: float, width: int = 48) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(width, 4, batch_first=True)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        _drawn(self, std)

    def forward(self, x: Any) -> Any:
        x = x + self.mix(x, x, x, need_weights=False)[0]
        return x + self.outer(F.gelu(self.inner(x)))


class Tied(nn.Module):
    """One table for words and read-out, ten layers between."""

    def __init__(self, std: float, width: int = 64) -> None:
        super().__init__()
        self.table = nn.Embedding(500, width)
        self.inner = _between(width)
        self.head = nn.Linear(width, 500, bias=False)
        self.head.weight = self.table.weight
        _drawn(self, std)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.inner(self.table(tokens)))


class Siamese(nn.Module):
    """The same layer used eight times."""

    def __init__(self, std: float, width: int = 64) -> None:
        super().__init__()
        self.shared, self.head = normal(nn.Linear(width, width), std), nn.Linear(width, 8)

    def forward(self, x: Any) -> Any:
        for _ in range(8):
            x = torch.tanh(self.shared(x))
        return self.head(x)


class Unet(nn.Module):
    """Strides down, transposed convolutions up, shortcuts by concatenation."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(inner, 24, 3, 2, 1) for inner in (3, 24, 24))
        self.up = nn.ModuleList(nn.ConvTranspose2d(inner, 24, 4, 2, 1) for inner in (24, 48, 48))
        self.head = nn.Conv2d(24, 3, 1)
        _drawn(self, std)

    def forward(self, x: Any) -> Any:
        kept = []
        for layer in self.down:
            x = F.relu(layer(x))
            kept.append(x)
        for place, layer in enumerate(self.up):
            x = F.relu(layer(x if place == 0 else torch.cat([x, kept[-1 - place]], 1)))
        return self.head(x)


class Bags(nn.Module):
    """Bags of words, then a deep net."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.bag, self.rest = nn.EmbeddingBag(500, 48, mode="mean"), plain(10)
        normal(self.bag, std)
        _drawn(self.rest, std)

    def forward(self, tokens: Any) -> Any:
        return self.rest(self.bag(tokens))


def _between(width: int) -> Any:
    return seq(*[part for _ in range(10) for part in (nn.Linear(width, width), nn.ReLU())])


def _normed_convolutions() -> Any:
    return _stack(lambda: parametrizations.weight_norm(nn.Conv2d(24, 24, 3, padding=1)), 12, None)


def _old_norm_transposed() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still in use
        parts = [nn.utils.weight_norm(nn.ConvTranspose1d(24, 24, 4, 2, 1), dim=1) for _ in range(5)]
    return seq(*[each for part in parts for each in (part, nn.LeakyReLU(0.1))])


FURTHER: dict[str, Make] = {
    "sigmoid 24 layers N(0, 0.1)": _deep(nn.Sigmoid, 0.1, 24),
    "sigmoid 10 layers by Xavier": lambda: (plain(10, nn.Sigmoid, xavier), rows()),
    "ELU as torch draws it": _deep(nn.ELU, None, 20),
    "SELU by He": lambda: (plain(24, nn.SELU, lambda layer: normal(layer, 0.3)), rows()),
    "Mish N(0, 0.02)": _deep(nn.Mish, 0.02, 10),
    "hardswish N(0, 0.4)": _deep(nn.Hardswish, 0.4, 12),
    "leaky ReLU N(0, 0.02)": _deep(nn.LeakyReLU, 0.02, 10),
    "transposed strided up": lambda: (
        _stack(lambda: nn.ConvTranspose2d(16, 16, 4, 2, 1), 5, 0.01),
        torch.randn(4, 16, 2, 2),
    ),
    "strided down": lambda: (
        seq(_stack(lambda: nn.Conv1d(24, 24, 4, 2, 1), 6, 0.4), nn.Flatten(), nn.Linear(48, 4)),
        torch.randn(16, 24, 128),
    ),
    "grouped and dilated": lambda: (
        _stack(lambda: nn.Conv1d(32, 32, 3, padding=2, dilation=2, groups=8), 12, 0.05),
        torch.randn(8, 32, 64),
    ),
    "x @ w.T and einsum": lambda: (seq(*[Mixed(0.02) for _ in range(6)]), rows(64)),
    "packed attention, no norm": lambda: (seq(*[Packed(0.4) for _ in range(8)]), torch.randn(8, 16, 48)),
    "weight-normed convolutions": lambda: (_normed_convolutions(), torch.randn(4, 24, 10, 10)),
    "old weight norm, transposed": lambda: (_old_norm_transposed(), torch.randn(8, 24, 8)),
    "tied table N(0, 0.01)": lambda: (Tied(0.01), ids()),
    "one layer eight times": lambda: (Siamese(0.01), rows(64)),
    "U-net N(0, 2)": lambda: (Unet(2.0), images()),
    "bags of words N(0, 0.02)": lambda: (Bags(0.02), torch.randint(0, 500, (32, 12))),
    "GRU and a deep read-out": lambda: (Recurrent(nn.GRU, nn.Tanh, 0.02, num_layers=2), _tokens()),
    "residual convolutions N(0, 0.3)": lambda: (
        _drawn(seq(conv(3, 24), *[Residual(conv(24, 24), nn.SiLU(), conv(24, 24)) for _ in range(10)]), 0.3),
        images(),
    ),
}
