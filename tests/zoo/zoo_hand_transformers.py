"""By hand: transformers, state spaces, mixtures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, ids, steps
from zoo_parts import Attention, Block, Residual, chain, he, normal, seq, shrunk, xavier

WORDS = 500


class Language(nn.Module):
    """Words and places, blocks, a norm, a head that may be the embedding."""

    def __init__(
        self,
        block: Any,
        blocks: int = 4,
        width: int = 64,
        tied: bool = True,
        placed: bool = True,
        last: Any = nn.LayerNorm,
        length: int = 32,
    ):
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.place = nn.Embedding(length, width) if placed else None
        self.blocks, self.norm = nn.ModuleList(block(width) for _ in range(blocks)), last(width)
        self.head = nn.Linear(width, WORDS, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, words: Any) -> Any:
        x = self.embed(words)
        if self.place is not None:
            x = x + self.place.weight[: words.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def gpt(blocks: int = 4, width: int = 64, **options: Any) -> nn.Module:
    """GPT-2's draw."""
    model = Language(lambda d: Block(d, causal=True, **options), blocks, width)
    return shrunk(normal(model), ("out.weight", "down.weight"), blocks)


class Norm(nn.Module):
    """Root mean square of 1, times a weight."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Any) -> Any:
        return self.weight * x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


class Llama(nn.Module):
    """Rotated queries and keys, a gated unit, norms of root mean square."""

    def __init__(self, width: int, experts: int = 0):
        super().__init__()
        self.norm1, self.norm2, self.attention = Norm(width), Norm(width), Attention(width, causal=True)
        self.mix = Experts(width, experts) if experts else Gated(width)
        self.attention.split = self.rotated  # type: ignore[method-assign]

    def rotated(self, x: Any) -> Any:
        x = x.unflatten(-1, (4, -1)).transpose(1, 2)
        half = x.shape[-1] // 2
        angles = torch.arange(x.shape[-2], device=x.device)[:, None] * 10000.0 ** (
            -torch.arange(half, device=x.device) / half
        )
        a, b = x.chunk(2, -1)
        return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.mix(self.norm2(x))


class Gated(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.gate, self.up, self.down = (
            nn.Linear(width, 2 * width, bias=False),
            nn.Linear(width, 2 * width, bias=False),
            nn.Linear(2 * width, width, bias=False),
        )

    def forward(self, x: Any) -> Any:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """Two of several experts for each token, weighed by a router; weights of three dimensions."""

    def __init__(self, width: int, experts: int):
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width) / math.sqrt(width))
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width) / math.sqrt(2 * width))

    def forward(self, x: Any) -> Any:
        weights, chosen = self.router(x).softmax(-1).topk(2)
        gates = torch.zeros(*x.shape[:-1], len(self.up), device=x.device, dtype=x.dtype).scatter(-1, chosen, weights)
        h = F.gelu(torch.einsum("btd,edf->btef", x, self.up))
        return torch.einsum("btef,efd,bte->btd", h, self.down, gates)


class Selective(nn.Module):
    """Mamba: a gate, a depthwise convolution, a scan whose steps depend on the input."""

    def __init__(self, width: int, states: int = 8):
        super().__init__()
        self.norm, self.inward = Norm(width), nn.Linear(width, 4 * width, bias=False)
        self.conv = nn.Conv1d(2 * width, 2 * width, 4, padding=3, groups=2 * width)
        self.project, self.step = nn.Linear(2 * width, 2 * states + 4, bias=False), nn.Linear(4, 2 * width)
        self.log_decay, self.skip = (
            nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(2 * width, 1)),
            nn.Parameter(torch.ones(2 * width)),
        )
        self.outward, self.states = nn.Linear(2 * width, width, bias=False), states
        nn.init.uniform_(self.step.weight, -0.5, 0.5)
        steps_ = torch.exp(torch.rand(2 * width) * math.log(100) + math.log(0.001))
        with torch.no_grad():
            self.step.bias.copy_(steps_ + torch.log(-torch.expm1(-steps_)))

    def forward(self, x: Any) -> Any:
        u, gate = self.inward(self.norm(x)).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        b, c, low = self.project(u).split([self.states, self.states, 4], -1)
        step = F.softplus(self.step(low))
        keep = torch.exp(step[..., None] * -self.log_decay.exp())
        add = (step * u)[..., None] * b[:, :, None]
        state, held = 0.0, []
        for t in range(x.shape[1]):
            state = keep[:, t] * state + add[:, t]
            held.append((state * c[:, t, None]).sum(-1))
        y = torch.stack(held, 1) + self.skip * u
        return x + self.outward(y * F.silu(gate))


class Linearized(nn.Module):
    """Attention without softmax: a kernel of 1 + elu, sums that run along the sequence."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix = Residual(nn.LayerNorm(width), chain([width, 4 * width, width], nn.GELU))

    def forward(self, x: Any) -> Any:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        q, k = 1 + F.elu(q), 1 + F.elu(k)
        memory = torch.einsum("btd,bte->btde", k, v).cumsum(1)
        attended = torch.einsum("btd,btde->bte", q, memory) / (q * k.cumsum(1)).sum(-1, keepdim=True)
        return self.mix(x + self.out(attended))


class Mix(nn.Module):
    """RWKV's channels: a shift in time, a squared ReLU, a gate."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.ratio = nn.LayerNorm(width), nn.Parameter(torch.rand(width))
        self.key, self.value, self.gate = (
            xavier(nn.Linear(width, 2 * width, bias=False)),
            nn.Linear(2 * width, width, bias=False),
            nn.Linear(width, width, bias=False),
        )

    def forward(self, x: Any) -> Any:
        h = self.norm(x)
        before = F.pad(h, (0, 0, 1, -1))
        h = h * self.ratio + before * (1 - self.ratio)
        return x + self.gate(h).sigmoid() * self.value(torch.relu(self.key(h)).square())


class Rezero(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.attention, self.mix, self.alpha = (
            Attention(width),
            chain([width, 2 * width, width], nn.ReLU),
            nn.Parameter(torch.zeros(())),
        )

    def forward(self, x: Any) -> Any:
        x = x + self.alpha * self.attention(x)
        return x + self.alpha * self.mix(x)


class Translator(nn.Module):
    """torch's own nn.Transformer, drawn by Xavier as its documents say."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.net, self.head = (
            nn.Embedding(WORDS, 64),
            nn.Transformer(64, 4, 3, 3, 128, 0.0, batch_first=True),
            nn.Linear(64, WORDS),
        )
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, source: Any, target: Any) -> Any:
        return self.head(self.net(8 * self.embed(source), 8 * self.embed(target)))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = Block(64), nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        for _ in range(4):
            x = self.block(x)
        return self.head(x.mean(1))


class Contrast(nn.Module):
    """Two towers, unit vectors, a learned temperature (CLIP)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.scale = (
            chain([64, 128, 32], nn.GELU, he),
            chain([48, 128, 32], nn.GELU, he),
            nn.Parameter(torch.tensor(math.log(14.3))),
        )

    def forward(self, a: Any, b: Any) -> Any:
        return self.scale.exp() * F.normalize(self.a(a), dim=-1) @ F.normalize(self.b(b), dim=-1).t()


def _encoder(drawn: bool, **options: Any) -> nn.Module:
    """torch copies one layer for all; `drawn` draws each again."""
    layer = nn.TransformerEncoderLayer(64, 4, 256, 0.0, batch_first=True, **options)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    if drawn:
        for p in model.parameters():
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)
    return model


def _bert() -> nn.Module:
    model = Language(lambda d: Block(d, place="after", by_hand=True), last=nn.Identity)
    model.norm = nn.Identity()
    return normal(model)


def _pairs() -> Any:
    return ids()(), ids()()


def entries() -> Iterator[Entry]:
    yield Entry("torch encoder, copied", "by hand", lambda: _encoder(False), steps(), copies=True)
    yield Entry(
        "torch encoder pre-LN, copied", "by hand", lambda: _encoder(False, norm_first=True), steps(), copies=True
    )
    plain = {
        "torch encoder, drawn": (lambda: _encoder(True), steps()),
        "torch encoder pre-LN, drawn": (lambda: _encoder(True, norm_first=True), steps()),
        "GPT pre-LN x4": (gpt, ids()),
        "GPT pre-LN x12": (lambda: gpt(12), ids()),
        "GPT by hand softmax": (lambda: gpt(4, by_hand=True), ids()),
        "GPT untied": (lambda: normal(Language(lambda d: Block(d, causal=True), tied=False)), ids()),
        "BERT post-LN": (_bert, ids()),
        "Llama": (lambda: normal(Language(Llama, placed=False, tied=False, last=Norm)), ids()),
        "Llama x12": (lambda: normal(Language(Llama, 12, placed=False, tied=False, last=Norm)), ids()),
        "mixture of experts": (lambda: normal(Language(lambda d: Llama(d, 4), placed=False, last=Norm)), ids()),
        "Mamba": (lambda: Language(Selective, 3, placed=False, tied=False, last=Norm), ids(2, 16)),
        "linear attention": (lambda: normal(Language(Linearized)), ids()),
        "RWKV channels": (lambda: Language(Mix, tied=False, placed=False), ids()),
        "ReZero transformer": (lambda: seq(*[Rezero(64) for _ in range(6)], nn.Linear(64, 10)), steps()),
        "translator": (Translator, _pairs),
        "universal transformer": (Shared, steps()),
        "CLIP towers": (Contrast, lambda: (torch.randn(32, 64), torch.randn(32, 48))),
    }
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
