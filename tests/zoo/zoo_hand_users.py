"""By hand: nets as users write them, with the draws of torch or those customary for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, ids, images
from zoo_parts import conv, he, seq

SPECTRAL = nn.utils.parametrizations.spectral_norm


class Timed(nn.Module):
    """A block of a diffusion model's U-Net: two convolutions, a shift by the time; the last may start with 0."""

    def __init__(self, inner: int, outer: int, zero: bool):
        super().__init__()
        self.norm1, self.conv1, self.time = nn.GroupNorm(8, inner), conv(inner, outer), nn.Linear(64, outer)
        self.norm2, self.conv2 = nn.GroupNorm(8, outer), conv(outer, outer)
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)
        if zero:
            nn.init.zeros_(self.conv2.weight)
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Any, time: Any) -> Any:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.skip(x)


class Looks(nn.Module):
    """Attention over the positions of an image, by einsum, from one packed convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(8, width),
            nn.Conv2d(width, 3 * width, 1),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Any) -> Any:
        batch, width, height, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, 3, width, -1).unbind(1)
        weights = (torch.einsum("bci,bcj->bij", q, k) / math.sqrt(width)).softmax(-1)
        return x + self.out(torch.einsum("bij,bcj->bci", weights, v).view(batch, width, height, -1))


class Diffusion(nn.Module):
    def __init__(self, width: int = 32, zero: bool = False):
        super().__init__()
        self.time = seq(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        self.first, self.down, self.last = conv(3, width), conv(width, width, stride=2), conv(width, 3)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.a, self.b = Timed(width, width, zero), Timed(width, 2 * width, zero)
        self.c, self.d = Timed(2 * width, 2 * width, zero), Timed(2 * width, width, zero)
        self.looks, self.norm = Looks(2 * width), nn.GroupNorm(8, width)

    def forward(self, x: Any, step: Any) -> Any:
        angles = step[:, None] * torch.exp(-math.log(1e4) * torch.arange(16, device=x.device) / 16)
        time = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        high = self.a(self.first(x), time)
        low = self.c(self.looks(self.b(self.down(high), time)), time)
        return self.last(F.silu(self.norm(self.d(torch.cat([self.up(low), high], 1), time))))


def critic(channels: list[int], wrap: Callable[[Any], Any], slope: float = 0.2) -> nn.Module:
    """Of a GAN, without norms: halves the side at every layer, or at every second one."""
    parts: list[nn.Module] = []
    for place, (inner, outer) in enumerate(pairwise([3, *channels])):
        halves = len(channels) < 5 or place % 2 == 1
        parts += [wrap(nn.Conv2d(inner, outer, 4 if halves else 3, 2 if halves else 1, 1)), nn.LeakyReLU(slope)]
    side = 32 // 2 ** (len(channels) if len(channels) < 5 else len(channels) // 2)
    return seq(*parts, nn.Flatten(), wrap(nn.Linear(channels[-1] * side**2, 1)))


def autoencoder() -> nn.Module:
    """Convolutions down and transposed ones up, without norms, all as torch draws them."""
    return seq(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 7), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 7), nn.ReLU(), nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 3, 2, 1, 1), nn.Sigmoid(),
    )  # fmt: skip


def decoder() -> nn.Module:
    """Of a VAE of images."""
    widths = [256, 128, 64, 32]
    ups = [part for a, b in pairwise(widths) for part in (nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU())]
    return seq(nn.Linear(20, 1024), nn.ReLU(), nn.Unflatten(1, (256, 2, 2)), *ups, nn.ConvTranspose2d(32, 3, 4, 2, 1))


class Excite(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.a, self.b = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(self.b(F.silu(self.a(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """An inverted residual block of EfficientNet."""

    def __init__(self, inner: int, outer: int, stride: int = 1):
        super().__init__()
        wide, self.same = 6 * inner, inner == outer and stride == 1
        self.parts = seq(
            nn.Conv2d(inner, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            Excite(wide, inner // 4), nn.Conv2d(wide, outer, 1, bias=False), nn.BatchNorm2d(outer),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        return x + self.parts(x) if self.same else self.parts(x)


def efficient() -> nn.Module:
    blocks = [Inverted(16, 24, 2), Inverted(24, 24), Inverted(24, 40, 2), Inverted(40, 40), Inverted(40, 80, 2)]
    first = [conv(3, 16, stride=2, bias=False), nn.BatchNorm2d(16), nn.SiLU()]
    return seq(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, 100))


class Sees(nn.Module):
    """A block of a vision transformer with LayerScale, by torch's own attention."""

    def __init__(self, width: int, factor: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mix = seq(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.factor1, self.factor2 = (nn.Parameter(torch.full((width,), factor)) for _ in "ab")

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        x = x + self.factor1 * self.attention(y, y, y, need_weights=False)[0]
        return x + self.factor2 * self.mix(self.norm2(x))


class Vision(nn.Module):
    """Patches, a class token of nearly 0, positions of 0.02."""

    def __init__(self, factor: float, width: int = 96):
        super().__init__()
        self.patches, self.head, self.norm = nn.Conv2d(3, width, 8, 8), nn.Linear(width, 100), nn.LayerNorm(width)
        self.token, self.places = nn.Parameter(1e-6 * torch.randn(1, 1, width)), nn.Parameter(torch.empty(1, 17, width))
        self.blocks = seq(*[Sees(width, factor) for _ in range(6)])
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, x: Any) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Words(nn.Module):
    """AWD-LSTM: three LSTMs as torch draws them, a small embedding that is tied to the head."""

    def __init__(self, width: int = 64, inner: int = 192):
        super().__init__()
        sizes = [width, inner, inner, width]
        self.embed, self.head = nn.Embedding(500, width), nn.Linear(width, 500)
        self.layers = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairwise(sizes))
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)
        self.head.weight = self.embed.weight

    def forward(self, x: Any) -> Any:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)[0]
        return self.head(x)


class Asked(nn.Module):
    """A question, read by a GRU, conditions the convolutions of an image; its weights may start with 0."""

    def __init__(self, zero: bool, width: int = 32):
        super().__init__()
        self.embed, self.read = nn.Embedding(500, 32), nn.GRU(32, 32, batch_first=True)
        self.first, self.norm = conv(3, width, stride=2), nn.BatchNorm2d(width)
        self.films = nn.ModuleList(nn.Linear(32, 2 * width) for _ in range(3))
        self.convs = nn.ModuleList(conv(width, width, bias=False) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for _ in range(3))
        self.head = nn.Linear(width, 28)
        for film in self.films if zero else ():
            nn.init.zeros_(film.weight)
            nn.init.zeros_(film.bias)

    def forward(self, x: Any, question: Any) -> Any:
        state = self.read(self.embed(question))[1][0]
        x = F.relu(self.norm(self.first(x)))
        for film, layer, norm in zip(self.films, self.convs, self.norms, strict=True):
            gain, shift = (part[:, :, None, None] for part in film(state).chunk(2, -1))
            x = x + F.relu((1 + gain) * norm(layer(x)) + shift)
        return self.head(x.amax((2, 3)))


class Duel(nn.Module):
    """Dueling Q-learning on frames (Wang et al. 2016), as torch draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = seq(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.value, self.advantage = (seq(nn.Linear(3136, 256), nn.ReLU(), nn.Linear(256, n)) for n in (1, 6))

    def forward(self, x: Any) -> Any:
        h = self.body(x)
        value, advantage = self.value(h), self.advantage(h)
        return value + advantage - advantage.mean(1, keepdim=True)


class Crosses(nn.Module):
    """Attention on a memory: one weight makes keys and values."""

    def __init__(self, width: int = 64, heads: int = 4):
        super().__init__()
        self.norm, self.q, self.kv, self.heads = (
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            heads,
        )
        self.out = nn.Linear(width, width)

    def forward(self, x: Any, memory: Any) -> Any:
        parts = (self.q(self.norm(x)), *self.kv(memory).chunk(2, -1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(Crosses() for _ in range(4)), nn.Linear(64, 5)

    def forward(self, x: Any, memory: Any) -> Any:
        for layer in self.layers:
            x = layer(x, memory)
        return self.head(x.mean(1))


class Fire(nn.Module):
    """SqueezeNet: one convolution, then two beside each other."""

    def __init__(self, inner: int, squeezed: int, outer: int):
        super().__init__()
        self.squeeze, self.a, self.b = (
            he(nn.Conv2d(inner, squeezed, 1)), he(nn.Conv2d(squeezed, outer, 1)), he(conv(squeezed, outer)),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)


def entries() -> Iterator[Entry]:
    noised: Callable[[], Any] = lambda: (torch.randn(4, 3, 32, 32), 1000 * torch.rand(4))  # noqa: E731
    asked: Callable[[], Any] = lambda: (torch.randn(8, 3, 32, 32), torch.randint(0, 500, (8, 10)))  # noqa: E731
    plain: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "timed U-Net": (Diffusion, noised),
        "timed U-Net, zero ends": (lambda: Diffusion(zero=True), noised),
        "WGAN critic, torch default": (lambda: critic([32, 64, 128, 256], lambda layer: layer), images(8, 32)),
        "WGAN critic, spectral norm": (lambda: critic([32, 64, 128, 256], SPECTRAL), images(8, 32)),
        "SN-GAN critic": (lambda: critic([64, 64, 128, 128, 256, 256, 512], SPECTRAL, 0.1), images(4, 32)),
        "autoencoder, torch default": (autoencoder, images(16, 28, 1)),
        "VAE decoder, torch default": (decoder, lambda: torch.randn(16, 20)),
        "EfficientNet by hand": (efficient, images(8, 64)),
        "ViT, LayerScale 1e-5": (lambda: Vision(1e-5), images(8, 32)),
        "ViT, LayerScale 1": (lambda: Vision(1.0), images(8, 32)),
        "AWD-LSTM": (Words, ids(8, 24)),
        "FiLM of a question": (lambda: Asked(False), asked),
        "FiLM of a question, from 0": (lambda: Asked(True), asked),
        "dueling DQN": (Duel, images(8, 84, 4)),
        "cross-attention": (Reader, lambda: (torch.randn(4, 8, 64), torch.randn(4, 12, 64))),
        "fire x8": (
            lambda: seq(he(conv(3, 32)), nn.ReLU(), *[Fire(32, 16, 16) for _ in range(8)], nn.Conv2d(32, 10, 1)),
            images(8, 16),
        ),
    }  # fmt: skip
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
