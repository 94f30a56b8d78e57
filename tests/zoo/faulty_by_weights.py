"""Forty nets that are faulty by their weights alone, each with its input and perhaps its loss.

`FAST` are ten small ones, for every run of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from planted_nets import (
    Gate,
    InOut,
    Mixture,
    attentions,
    changed,
    clipped,
    convolutions,
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
from zoo_hand_classifiers import Patches
from zoo_hand_transformers import Language, Llama
from zoo_parts import Attention, Block, Residual, conv, he, lecun, normal, seq, xavier

Make = Callable[[], tuple[Any, ...]]


def _deep(act: Any, std: float | None, layers: int = 12) -> Make:
    """A plain net; without a std as torch draws it."""
    return lambda: (
        plain(layers, act, (lambda layer: layer) if std is None else (lambda layer: normal(layer, std))),
        rows(),
    )


def _stack(make: Any, blocks: int, std: float | None, *last: Any) -> Any:
    parts = [part for _ in range(blocks) for part in (make(), nn.ReLU())]
    model = seq(*parts, *last)
    for module in model.modules():
        if std is not None and isinstance(module, nn.modules.conv._ConvNd):
            nn.init.normal_(module.weight, std=std)
    return model


class Functional(nn.Module):
    """Activations by function, weights in a ParameterList."""

    def __init__(self, std: float, layers: int = 10, width: int = 64):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(std * torch.randn(width, width)) for _ in range(layers))

    def forward(self, x: Any) -> Any:
        for weight in self.weights:
            x = F.silu(x @ weight)
        return x


class Recurrent(nn.Module):
    """An embedding, a recurrence, and a deep read-out as torch draws it."""

    def __init__(self, kind: Any, act: Any, std: float, width: int = 48, **options: Any):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(50, width), kind(width, width, batch_first=True, **options)
        self.head = plain(12, act, lambda layer: layer)
        for parameter in self.rnn.parameters():
            nn.init.normal_(parameter, std=std)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.rnn(self.embed(tokens))[0])


def _tokens() -> Any:
    return torch.randint(0, 50, (16, 24))


class Scaled(nn.Module):
    """A weight that the code multiplies, as in StyleGAN, drawn without regard to it."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(width, width))

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight * 0.3)


def _old_weight_norm() -> tuple[Any, Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still in use
        parts = [nn.utils.weight_norm(nn.Linear(96, 96, bias=False)) for _ in range(10)]
    return seq(*[module for part in parts for module in (part, nn.ReLU())]), rows(96)


def _encoder(std: float) -> tuple[Any, Any]:
    layer = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True, norm_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=std)
    return model, torch.randn(8, 24, 48)


def _words(std: float, tied: bool) -> tuple[Any, Any]:
    return normal(Language(lambda width: Block(width, causal=True), tied=tied), std), ids()


def _gated(scale: float) -> tuple[Any, Any]:
    class Glu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = he(nn.Linear(48, 192)), lecun(nn.Linear(96, 48))

        def forward(self, x: Any) -> Any:
            return self.out(F.glu(self.inner(x), -1))

    model = seq(*[part for _ in range(8) for part in (Glu(), nn.Tanh())], nn.Linear(48, 12))
    return changed(model, lambda m: [p.mul_(scale) for p in m.parameters() if p.ndim > 1]), rows()


def _depthwise(std: float | None) -> Any:
    def pair() -> Any:
        return seq(conv(24, 24, groups=24), conv(24, 24, 1))

    return _stack(pair, 8, std, nn.AdaptiveAvgPool2d(1), nn.Flatten(), lecun(nn.Linear(24, 12)))


def _drawn(model: Any, std: float) -> Any:
    """Every weight of a product with one deviation."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=std)
    return model


FAST: dict[str, Make] = {
    "torch default ReLU": _deep(nn.ReLU, None, 14),
    "torch default GELU": _deep(nn.GELU, None, 14),
    "N(0, 0.01) tanh": _deep(nn.Tanh, 0.01, 10),
    "N(0, 0.3) ReLU": _deep(nn.ReLU, 0.3, 10),
    "one layer N(0, 8)": lambda: (changed(plain(), lambda m: m[6].weight.normal_(std=8.0)), rows()),
    "equal rows": lambda: (rowed(plain(3, nn.Tanh, xavier), 2), rows()),
    "transposed by kaiming": transposed,
    "weight norm of torch": weight_normed,
    "norm weight 60": lambda: norm_set(6, 60.0),
    "residual by He, no norm": lambda: unnormed(16),
}

SLOW: dict[str, Make] = {
    "torch default tanh": _deep(nn.Tanh, None, 20),
    "torch default SiLU": _deep(nn.SiLU, None, 16),
    "half dies": lambda: half(False),
    "dead by its bias": lambda: (clipped(plain(4), 4, -40.0), rows()),
    "tanh saturated by its bias": lambda: (clipped(plain(4, nn.Tanh, xavier), 2, 5.0), rows()),
    "norm weight 0": lambda: norm_set(9, 0.0),
    "convolutions of torch": lambda: (seq(conv(3, 24), _stack(lambda: conv(24, 24), 14, None)), images()),
    "one convolution a hundredth": lambda: (changed(convolutions(False), lambda m: m[4].weight.mul_(0.01)), images()),
    "grouped convolutions": lambda: (_stack(lambda: conv(24, 24, groups=4), 10, 0.02), torch.randn(8, 24, 12, 12)),
    "depthwise and pointwise": lambda: (_depthwise(None), torch.randn(8, 24, 12, 12)),
    "x @ W of 0.02": lambda: (seq(*[part for _ in range(8) for part in (InOut(64, 64, 0.02), nn.ReLU())]), rows(64)),
    "ParameterList, functional": lambda: (Functional(0.02), rows(64)),
    "scaled weights": lambda: (seq(*[part for _ in range(10) for part in (Scaled(), nn.ReLU())]), rows(64)),
    "old weight norm": _old_weight_norm,
    "experts fifty times too large": lambda: (Mixture(50.0), torch.randn(16, 12, 48)),
    "queries thirty times too large": sharp,
}
SLOW |= {
    "transposed, grouped, strided": lambda: (
        _stack(lambda: nn.ConvTranspose2d(24, 24, 3, 2, groups=4), 4, 0.05),
        torch.randn(4, 24, 3, 3),
    ),
    "tied embedding N(0, 1)": lambda: (word_model(), ids(), loss(500)),
    "LSTM and a deep read-out": lambda: (Recurrent(nn.LSTM, nn.ReLU, 0.5, num_layers=2), _tokens()),
    "sigmoid by Xavier": lambda: (plain(16, nn.Sigmoid, xavier), rows()),
    "gate shut": lambda: (Gate(-9.0), rows()),
    "norm-free residual of convolutions": lambda: (
        seq(conv(3, 24), *[Residual(he(conv(24, 24)), nn.ReLU(), he(conv(24, 24))) for _ in range(16)]),
        images(),
    ),
    "Llama, one gate too large": lambda: (
        changed(normal(Language(Llama, 4, placed=False, tied=False)), lambda m: m.blocks[2].mix.up.weight.mul_(40)),
        ids(),
    ),
    "ViT of torch's encoder N(0, 0.6)": lambda: (_drawn(Patches(), 0.6), torch.randn(8, 3, 32, 32)),
    "GELU residual net, norm-free": lambda: (
        seq(*[Residual(he(nn.Linear(64, 64)), nn.GELU(), he(nn.Linear(64, 64))) for _ in range(20)]),
        rows(64),
    ),
    "one branch of GPT": odd_sibling,
    "GPT N(0, 0.8)": lambda: _words(0.8, False),
    "packed attention N(0, 1)": lambda: _encoder(1.0),
    "gated by glu": lambda: _gated(0.3),
    "attentions N(0, 1)": lambda: (normal(attentions(Attention)[0], 1.0), torch.randn(8, 24, 192)),
}
