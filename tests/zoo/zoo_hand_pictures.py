"""By hand: segmentation, generators, detection."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, images, rows
from zoo_parts import Attention, Block, Lambda, conv, he, normed, seq, xavier


class Unet(nn.Module):
    """Two levels down and up, skips by concatenation; with a time for diffusion."""

    def __init__(self, norm: Any = nn.BatchNorm2d, timed: bool = False, outer: int = 2):
        super().__init__()
        pair = lambda a, b: seq(he(conv(a, b)), norm(b), nn.SiLU(), he(conv(b, b)), norm(b), nn.SiLU())  # noqa: E731
        self.a, self.b, self.c = pair(3, 16), pair(16, 32), pair(32, 64)
        self.up1, self.up2 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.d, self.e, self.out = pair(64, 32), pair(32, 16), nn.Conv2d(16, outer, 1)
        self.time = seq(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64)) if timed else None

    def forward(self, x: Any, time: Any = None) -> Any:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        if self.time is not None:
            angles = time[:, None] * torch.exp(-torch.arange(16, device=x.device) / 2)
            c = c + self.time(torch.cat([angles.sin(), angles.cos()], -1))[:, :, None, None]
        d = self.d(torch.cat([self.up1(c), b], 1))
        return self.out(self.e(torch.cat([self.up2(d), a], 1)))


def generator(last: int = 3) -> nn.Module:
    """DCGAN, with its own draw: N(0, 0.02) and norms of N(1, 0.02)."""
    up = lambda a, b: [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]  # noqa: E731
    model = seq(
        nn.ConvTranspose2d(100, 128, 4, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(True),
        *up(128, 64),
        *up(64, 32),
        nn.ConvTranspose2d(32, last, 4, 2, 1),
        nn.Tanh(),
    )
    return _dcgan(model)


def discriminator(spectral: bool = False) -> nn.Module:
    wrap = nn.utils.parametrizations.spectral_norm if spectral else lambda layer: layer

    def down(a: int, b: int) -> list[nn.Module]:
        return [
            wrap(nn.Conv2d(a, b, 4, 2, 1)),
            *([] if spectral else [nn.BatchNorm2d(b)]),
            nn.LeakyReLU(0.2, True),
        ]

    model = seq(
        wrap(nn.Conv2d(3, 32, 4, 2, 1)),
        nn.LeakyReLU(0.2, True),
        *down(32, 64),
        *down(64, 128),
        wrap(nn.Conv2d(128, 1, 4)),
        nn.Flatten(),
    )
    return model if spectral else _dcgan(model)


def _dcgan(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return model


class Equalized(nn.Module):
    """A linear layer of StyleGAN: N(0, 1) weights that are scaled when they are used."""

    def __init__(self, inner: int, outer: int, bias: float = 0.0):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(outer, inner)), nn.Parameter(torch.full((outer,), bias))

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight * self.weight.shape[1] ** -0.5, self.bias)


class Style(nn.Module):
    """A mapping net, a constant, and convolutions whose weights a style modulates and demodulates."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.map = seq(
            *[
                part
                for _ in range(4)
                for part in (Equalized(64, 64), nn.LeakyReLU(0.2), Lambda(lambda h: math.sqrt(2) * h))
            ]
        )
        self.start, self.weights = (
            nn.Parameter(torch.randn(1, width, 4, 4)),
            nn.ParameterList(torch.randn(width, width, 3, 3) for _ in range(3)),
        )
        self.styles = nn.ModuleList(Equalized(64, width, 1.0) for _ in range(3))
        self.colour = Equalized(width, 3)

    def forward(self, z: Any) -> Any:
        w, x = self.map(z * z.square().mean(-1, keepdim=True).rsqrt()), self.start.expand(len(z), -1, -1, -1)
        for weight, style in zip(self.weights, self.styles, strict=True):
            kernel = weight[None] * style(w)[:, None, :, None, None]
            kernel = kernel * (kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
            x = F.interpolate(x, scale_factor=2)
            x = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel.flatten(0, 1), padding=1, groups=len(z)).view(
                len(z), -1, *x.shape[2:]
            )
            x = math.sqrt(2) * F.leaky_relu(x, 0.2)
        return self.colour(x.permute(0, 2, 3, 1))


class Masked(nn.Conv2d):
    """PixelCNN's convolution, which sees only what comes before."""

    def forward(self, x: Any) -> Any:
        mask = torch.ones_like(self.weight)
        mask[:, :, self.kernel_size[0] // 2, self.kernel_size[1] // 2 + 1 :] = 0
        mask[:, :, self.kernel_size[0] // 2 + 1 :] = 0
        return F.conv2d(x, self.weight * mask, self.bias, padding=self.padding)


class Detector(nn.Module):
    """DETR: convolutions, an encoder, queries that attend to it, two heads."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.body = seq(
            normed(3, 32, 3, 2), normed(32, 64, 3, 2), normed(64, 64, 3, 2), xavier(nn.Conv2d(64, width, 1))
        )
        self.encoder, self.queries = (
            seq(*[Block(width, place="after", act=nn.ReLU) for _ in range(2)]),
            nn.Parameter(torch.randn(10, width)),
        )
        self.own, self.cross = Attention(width), Attention(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.mix = seq(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, width))
        self.classes, self.boxes = nn.Linear(width, 11), seq(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.xavier_uniform_(p)
        nn.init.normal_(self.queries)

    def forward(self, x: Any) -> Any:
        memory = self.encoder(self.body(x).flatten(2).transpose(1, 2))
        target = torch.zeros_like(self.queries).expand(len(x), -1, -1)
        target = self.norm1(target + self.own(target + self.queries))
        target = self.norm2(target + self.cross(target + self.queries, memory))
        target = self.norm3(target + self.mix(target))
        return self.classes(target), self.boxes(target).sigmoid()


class Pyramid(nn.Module):
    """RetinaNet: top-down sums, heads that are shared; the last bias says that objects are rare."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([normed(3, 32, 3, 2), normed(32, 64, 3, 2), normed(64, 128, 3, 2)])
        self.sides = nn.ModuleList(xavier(nn.Conv2d(c, 64, 1)) for c in (32, 64, 128))
        self.head = seq(*[part for _ in range(2) for part in (he(conv(64, 64)), nn.ReLU())], conv(64, 9))
        nn.init.normal_(self.head[-1].weight, std=0.01)
        nn.init.constant_(self.head[-1].bias, -math.log(99))

    def forward(self, x: Any) -> Any:
        held = []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            held.append(side(x))
        for low in (1, 0):
            held[low] = held[low] + F.interpolate(held[low + 1], scale_factor=2)
        return [self.head(features) for features in held]


def entries() -> Iterator[Entry]:
    plain = {
        "U-Net batch norm": (Unet, images(4, 32)),
        "U-Net group norm": (lambda: Unet(lambda c: nn.GroupNorm(8, c)), images(2, 32)),
        "diffusion U-Net": (
            lambda: Unet(lambda c: nn.GroupNorm(8, c), True, 3),
            lambda: (torch.randn(4, 3, 32, 32), torch.rand(4)),
        ),
        "DCGAN generator": (generator, lambda: torch.randn(32, 100, 1, 1)),
        "DCGAN discriminator": (discriminator, images(32, 32)),
        "SNGAN discriminator": (lambda: discriminator(True), images(32, 32)),
        "StyleGAN2 generator": (Style, rows(16, 64)),
        "PixelCNN": (
            lambda: seq(
                he(Masked(1, 32, 7, padding=3)),
                nn.ReLU(),
                *[part for _ in range(4) for part in (he(Masked(32, 32, 3, padding=1)), nn.ReLU())],
                nn.Conv2d(32, 256, 1),
            ),
            images(4, 28, 1),
        ),
        "DETR": (Detector, images(8, 64)),
        "RetinaNet": (Pyramid, images(8, 64)),
    }
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
