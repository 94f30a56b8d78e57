"""Parts that networks written by hand share: draws of weights, attention, blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def seq(*parts: Any) -> nn.Sequential:
    return nn.Sequential(*parts)


def he(layer: Any, mode: str = "fan_in") -> Any:
    """He et al. 2015: variance 2 / fan_in, no bias."""
    nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    return unbiased(layer)


def xavier(layer: Any, gain: float = 1.0) -> Any:
    nn.init.xavier_normal_(layer.weight, gain)
    return unbiased(layer)


def lecun(layer: Any) -> Any:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return unbiased(layer)


def unbiased(layer: Any) -> Any:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def orthogonal(layer: Any, gain: float = math.sqrt(2)) -> Any:
    nn.init.orthogonal_(layer.weight, gain)
    return unbiased(layer)


def normal(model: nn.Module, std: float = 0.02) -> nn.Module:
    """As BERT and GPT-2 are drawn: every matrix with one deviation, no bias."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
    return model


def shrunk(model: nn.Module, endings: tuple[str, ...], blocks: int) -> nn.Module:
    """GPT-2's way: what closes a branch is smaller by the root of the number of branches."""
    for name, parameter in model.named_parameters():
        if name.endswith(endings):
            with torch.no_grad():
                parameter.div_(math.sqrt(2 * blocks))
    return model


def chain(
    sizes: list[int], act: Callable[[], nn.Module], draw: Callable[[Any], Any] = lambda layer: layer
) -> nn.Sequential:
    """Linear layers with an activation between them, none at the end."""
    pairs = [part for a, b in pairwise(sizes) for part in (draw(nn.Linear(a, b)), act())]
    return seq(*pairs[:-1])


class Residual(nn.Module):
    """x + scale f(x)."""

    def __init__(self, *parts: nn.Module, scale: float = 1.0):
        super().__init__()
        self.branch, self.scale = seq(*parts), scale

    def forward(self, x: Any) -> Any:
        return x + self.scale * self.branch(x)


class Attention(nn.Module):
    """Of several heads, by the function, or by hand; on another sequence if one is given."""

    def __init__(self, width: int, heads: int = 4, causal: bool = False, by_hand: bool = False):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.causal, self.by_hand = heads, causal, by_hand

    def forward(self, x: Any, memory: Any = None) -> Any:
        memory = x if memory is None else memory
        q, k, v = (self.split(projected) for projected in (self.q(x), self.k(memory), self.v(memory)))
        if self.by_hand:
            logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            if self.causal:
                after = torch.ones(logits.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
                logits = logits.masked_fill(after, -math.inf)
            attended = logits.softmax(-1) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(attended.transpose(1, 2).flatten(2))

    def split(self, x: Any) -> Any:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """A block of a transformer: attention, then two linear layers; norms before, after, or neither."""

    def __init__(
        self, width: int, causal: bool = False, place: str = "before", by_hand: bool = False, act: Any = nn.GELU
    ):
        super().__init__()
        self.norm1, self.norm2, self.place = nn.LayerNorm(width), nn.LayerNorm(width), place
        self.attention = Attention(width, causal=causal, by_hand=by_hand)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), act(), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        if self.place == "after":
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.mix(x))
        x = x + self.attention(self.norm1(x))
        return x + self.mix(self.norm2(x))

    def mix(self, x: Any) -> Any:
        return self.down(self.act(self.up(x)))


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *given: Any) -> Any:
        return self.function(*given)


def conv(inner: int, outer: int, side: int = 3, stride: int = 1, **options: Any) -> nn.Conv2d:
    """A convolution that keeps the size but for its stride."""
    return nn.Conv2d(inner, outer, side, stride, side // 2, **options)


def normed(inner: int, outer: int, side: int = 3, stride: int = 1, act: Any = nn.ReLU) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return seq(he(conv(inner, outer, side, stride, bias=False), "fan_out"), nn.BatchNorm2d(outer), act())
