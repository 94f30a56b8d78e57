"""Networks of which every operation is a module, so that hooks on modules see what a probe sees."""

import torch
import torch.nn.functional as F
from torch import nn


class Add(nn.Module):
    def forward(self, x, y):
        return x + y


class Times(nn.Module):
    def forward(self, x, y):
        return x * y


class Attend(nn.Module):
    """Causal attention of 8 heads on queries, keys and values."""

    def forward(self, q, k, v):
        q, k, v = (projected.unflatten(-1, (8, -1)).transpose(1, 2) for projected in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class Bottleneck(nn.Module):
    def __init__(self, inner, width, stride):
        super().__init__()
        sizes = [(inner, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k, s, k // 2, bias=False) for a, b, k, s in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b, _, _ in sizes)
        self.acts, self.add = nn.ModuleList(nn.ReLU() for _ in range(3)), Add()
        self.short = (
            nn.Sequential(nn.Conv2d(inner, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
            if stride > 1 or inner != 4 * width
            else nn.Identity()
        )

    def forward(self, x):
        h = x
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = norm(conv(h))
            h = self.acts[place](h if place < 2 else self.add(h, self.short(x)))
        return h


def resnet50():
    """He et al. 2015."""
    parts, inner = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(blocks):
            parts.append(Bottleneck(inner, width, 2 if number == 0 and width > 64 else 1))
            inner = 4 * width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class Block(nn.Module):
    """Pre-norm: attention, then GELU or a gated unit."""

    def __init__(self, width, gated):
        super().__init__()
        norm = nn.RMSNorm if gated else nn.LayerNorm
        self.norm1, self.norm2, self.add1, self.add2 = norm(width), norm(width), Add(), Add()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=not gated) for _ in range(4))
        self.attend, self.act, self.times = Attend(), nn.SiLU() if gated else nn.GELU(), Times() if gated else None
        self.up, self.down = nn.Linear(width, 4 * width, bias=not gated), nn.Linear(4 * width, width, bias=not gated)
        self.gate = nn.Linear(width, 4 * width, bias=False) if gated else None

    def forward(self, x):
        h = self.norm1(x)
        x = self.add1(x, self.out(self.attend(self.q(h), self.k(h), self.v(h))))
        h = self.norm2(x)
        h = self.times(self.act(self.gate(h)), self.up(h)) if self.gate is not None else self.act(self.up(h))
        return self.add2(x, self.down(h))


def language(gated, blocks=4, width=512, words=1000):
    """A GPT, or with `gated` a Llama, of std 0.02."""
    norm = nn.RMSNorm(width) if gated else nn.LayerNorm(width)
    model = nn.Sequential(nn.Embedding(words, width), *[Block(width, gated) for _ in range(blocks)], norm,
                          nn.Linear(width, words, bias=False))  # fmt: skip
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
    return model


def tiny(layers=200, width=16):
    parts = [nn.Linear(width, width) for _ in range(layers)]
    for part in parts:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return nn.Sequential(*[module for part in parts for module in (part, nn.ReLU())])


class Step(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear, self.add = nn.Linear(width, width), Add()
        nn.init.normal_(self.linear.weight, std=0.01)

    def forward(self, x):
        return self.add(x, self.linear(x))


def residual(layers=1000, width=16):
    return nn.Sequential(*[Step(width) for _ in range(layers)])


def words(batch=4, length=128):
    return torch.randint(0, 1000, (batch, length))
