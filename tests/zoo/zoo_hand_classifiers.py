"""By hand: classifiers of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, images
from zoo_parts import Block, Residual, conv, he, lecun, normal, normed, seq, xavier


def pooled(channels: int, classes: int = 10) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


class Basic(nn.Module):
    """A residual block: `after` (2015), `before` (2016), or without norms by Fixup, SkipInit or ReZero."""

    def __init__(self, inner: int, outer: int, stride: int, kind: str, depth: int = 9):
        super().__init__()
        self.kind, self.plain = kind, kind in ("fixup", "skipinit", "rezero")
        self.conv1, self.conv2 = he(conv(inner, outer, 3, stride, bias=False)), he(conv(outer, outer, bias=False))
        if not self.plain:
            self.norm1, self.norm2 = nn.BatchNorm2d(inner if kind == "before" else outer), nn.BatchNorm2d(outer)
        self.short = he(conv(inner, outer, 1, stride, bias=False)) if inner != outer else nn.Identity()
        if kind == "fixup":
            nn.init.zeros_(self.conv2.weight)
            with torch.no_grad():
                self.conv1.weight.mul_(depth**-0.5)
            self.bias = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(4))
        self.alpha = nn.Parameter(torch.full((1,), 1.0 if kind == "fixup" else 0.0)) if self.plain else None
        if kind == "zero gamma":
            nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Any) -> Any:
        if self.kind == "fixup":
            h = self.conv2(F.relu(self.conv1(x + self.bias[0]) + self.bias[1]) + self.bias[2])
            return F.relu(self.short(x) + self.alpha * h + self.bias[3])
        if self.plain:
            return self.short(x) + self.alpha * self.conv2(F.relu(self.conv1(F.relu(x))))
        if self.kind == "before":
            return self.short(x) + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return F.relu(self.short(x) + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def resnet(kind: str, blocks: int = 3, classes: int = 10) -> nn.Module:
    """Three stages of 16, 32 and 64 channels."""
    parts: list[nn.Module] = [he(conv(3, 16, bias=False))]
    if kind in ("after", "zero gamma"):
        parts += [nn.BatchNorm2d(16), nn.ReLU()]
    inner = 16
    for outer in (16, 32, 64):
        for number in range(blocks):
            parts.append(Basic(inner, outer, 2 if number == 0 and outer > 16 else 1, kind))
            inner = outer
    if kind == "before":
        parts += [nn.BatchNorm2d(64), nn.ReLU()]
    head = nn.Linear(64, classes)
    if kind == "fixup":
        nn.init.zeros_(head.weight)
    return seq(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class Bottleneck(nn.Module):
    """ResNet-50's block."""

    def __init__(self, inner: int, width: int, stride: int):
        super().__init__()
        self.body = seq(
            normed(inner, width, 1), normed(width, width, 3, stride), normed(width, 4 * width, 1, act=nn.Identity)
        )
        self.short = (
            normed(inner, 4 * width, 1, stride, nn.Identity) if stride > 1 or inner != 4 * width else nn.Identity()
        )

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.short(x))


def resnet50(classes: int = 1000) -> nn.Module:
    """He et al. 2015, 53 convolutions."""
    parts, inner = [normed(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(blocks):
            parts.append(Bottleneck(inner, width, 2 if number == 0 and width > 64 else 1))
            inner = 4 * width
    return seq(*parts, *pooled(2048, classes))


class Standardized(nn.Conv2d):
    """A convolution whose weights are standardized, of gain for ReLU (Brock et al. 2021)."""

    def forward(self, x: Any) -> Any:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.var((1, 2, 3), keepdim=True) * w[0].numel() + 1e-4).sqrt()
        return F.conv2d(x, w * math.sqrt(2 / (1 - 1 / math.pi)), self.bias, self.stride, self.padding)


class NormFree(nn.Module):
    def __init__(self, width: int, beta: float, alpha: float = 0.2):
        super().__init__()
        self.conv1, self.conv2 = Standardized(width, width, 3, padding=1), Standardized(width, width, 3, padding=1)
        self.gain, self.beta, self.alpha = nn.Parameter(torch.zeros(())), beta, alpha

    def forward(self, x: Any) -> Any:
        h = F.relu(x / self.beta)
        return x + self.alpha * self.gain * self.conv2(F.relu(self.conv1(h)))


class Dense(nn.Module):
    """DenseNet's layer: what is new beside what was there."""

    def __init__(self, inner: int, growth: int = 12):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inner), he(conv(inner, growth, bias=False))

    def forward(self, x: Any) -> Any:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet() -> nn.Module:
    parts: list[nn.Module] = [he(conv(3, 24, bias=False))]
    inner = 24
    for stage in range(3):
        for _ in range(4):
            parts.append(Dense(inner))
            inner += 12
        if stage < 2:
            parts += [nn.BatchNorm2d(inner), nn.ReLU(), he(conv(inner, inner // 2, 1, bias=False)), nn.AvgPool2d(2)]
            inner //= 2
    return seq(*parts, nn.BatchNorm2d(inner), nn.ReLU(), *pooled(inner))


class Squeeze(nn.Module):
    """Channels that are weighed by a gate (Hu et al. 2018)."""

    def __init__(self, width: int):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Any) -> Any:
        return x * self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()


class Branches(nn.Module):
    """Branches side by side, joined by concatenation."""

    def __init__(self, inner: int):
        super().__init__()
        self.ways = nn.ModuleList(
            [
                normed(inner, 16, 1),
                seq(normed(inner, 16, 1), normed(16, 24)),
                seq(nn.MaxPool2d(3, 1, 1), normed(inner, 8, 1)),
            ]
        )

    def forward(self, x: Any) -> Any:
        return torch.cat([way(x) for way in self.ways], 1)


class Patches(nn.Module):
    """A vision transformer, a mixer or a pooling one."""

    def __init__(self, kind: str = "vit", width: int = 64, blocks: int = 4):
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 16, width))
        make = {"vit": lambda: Block(width), "mixer": lambda: Mixer(width, 16)}[kind]
        self.blocks, self.norm, self.head = (
            seq(*[make() for _ in range(blocks)]),
            nn.LayerNorm(width),
            nn.Linear(width, 10),
        )

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x + self.place)).mean(1))


class Mixer(nn.Module):
    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = seq(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.within = seq(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Any) -> Any:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


def _vgg(norm: bool) -> nn.Module:
    parts, inner = [], 3
    for outer in (32, 32, 64, 64, 128, 128):
        parts += [he(conv(inner, outer)), *([nn.BatchNorm2d(outer)] if norm else []), nn.ReLU(), nn.MaxPool2d(2)]
        inner = outer
    return seq(*parts, nn.Flatten(), he(nn.Linear(128, 128)), nn.ReLU(), nn.Linear(128, 10))


def _lenet(act: Any, draw: Any) -> nn.Module:
    return seq(
        draw(nn.Conv2d(1, 6, 5)),
        act(),
        nn.AvgPool2d(2),
        draw(nn.Conv2d(6, 16, 5)),
        act(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        draw(nn.Linear(256, 120)),
        act(),
        draw(nn.Linear(120, 84)),
        act(),
        draw(nn.Linear(84, 10)),
    )


def _separable(blocks: int = 6) -> nn.Module:
    def block() -> nn.Module:
        return Residual(
            nn.Conv2d(64, 64, 7, padding=3, groups=64),
            nn.GroupNorm(1, 64),
            nn.Conv2d(64, 256, 1),
            nn.GELU(),
            nn.Conv2d(256, 64, 1),
        )

    return seq(nn.Conv2d(3, 64, 4, 4), nn.GroupNorm(1, 64), *[block() for _ in range(blocks)], *pooled(64))


def entries() -> Iterator[Entry]:
    small = images(16, 32)
    plain = {
        "LeNet tanh": (lambda: _lenet(nn.Tanh, xavier), images(32, 28, 1)),
        "LeNet ReLU, torch default": (lambda: _lenet(nn.ReLU, lambda layer: layer), images(32, 28, 1)),
        "VGG pooled": (lambda: _vgg(False), images(8, 64)),
        "VGG pooled, norms": (lambda: _vgg(True), images(16, 64)),
        "all-convolutional": (
            lambda: seq(
                *[
                    part
                    for a, b, s in ((3, 48, 1), (48, 48, 2), (48, 96, 1), (96, 96, 2), (96, 96, 1))
                    for part in (he(conv(a, b, 3, s)), nn.ReLU())
                ],
                he(conv(96, 10, 1)),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            ),
            small,
        ),
        **{
            f"ResNet-20 {kind}": (lambda kind=kind: resnet(kind), small)
            for kind in ("after", "before", "zero gamma", "fixup", "skipinit", "rezero")
        },
        "ResNet-50 by hand": (resnet50, images(8, 64)),
        "wide ResNet": (
            lambda: seq(
                conv(3, 64), *[Basic(64, 64, 1, "before") for _ in range(4)], nn.BatchNorm2d(64), nn.ReLU(), *pooled(64)
            ),
            small,
        ),
        "NF-ResNet": (
            lambda: seq(
                Standardized(3, 32, 3, 1, 1),
                *[NormFree(32, math.sqrt(1 + 0.04 * i)) for i in range(6)],
                nn.ReLU(),
                *pooled(32),
            ),
            small,
        ),
        "DenseNet": (densenet, small),
        "SE net": (
            lambda: seq(normed(3, 32), *[Residual(normed(32, 32), Squeeze(32)) for _ in range(4)], *pooled(32)),
            small,
        ),
        "Inception": (
            lambda: seq(normed(3, 32), Branches(32), Branches(48), nn.MaxPool2d(2), Branches(48), *pooled(48)),
            small,
        ),
        "depthwise ConvNeXt": (lambda: normal(_separable()), images(8, 64)),
        "MobileNet v1": (
            lambda: seq(
                normed(3, 32, 3, 2),
                *[
                    part
                    for _ in range(5)
                    for part in (
                        he(nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False), "fan_out"),
                        nn.BatchNorm2d(32),
                        nn.ReLU6(),
                        normed(32, 32, 1, act=nn.ReLU6),
                    )
                ],
                *pooled(32),
            ),
            small,
        ),
        "convolutional autoencoder": (
            lambda: seq(
                he(conv(1, 16, 3, 2)),
                nn.ReLU(),
                he(conv(16, 32, 3, 2)),
                nn.ReLU(),
                nn.ConvTranspose2d(32, 16, 2, 2),
                nn.ReLU(),
                nn.ConvTranspose2d(16, 1, 2, 2),
                nn.Sigmoid(),
            ),
            images(16, 28, 1),
        ),
        "ViT": (lambda: normal(Patches()), small),
        "MLP-Mixer": (lambda: Patches("mixer"), small),
        "super-resolution": (
            lambda: seq(
                he(conv(3, 32)),
                *[Residual(he(conv(32, 32)), nn.ReLU(), lecun(conv(32, 32)), scale=0.1) for _ in range(6)],
                lecun(conv(32, 48)),
                nn.PixelShuffle(4),
            ),
            images(4, 24),
        ),
    }
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
