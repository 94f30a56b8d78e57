"""By hand: recurrent nets, convolutions over time, sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, ids, steps
from zoo_parts import Attention, Block, Lambda, Residual, chain, he, normal, orthogonal, seq, xavier

WORDS = 500


class Recurrent(nn.Module):
    """An embedding, a recurrent net, a head on its last or on each step."""

    def __init__(self, kind: Any, each: bool = False, **options: Any):
        super().__init__()
        self.embed, self.net = nn.Embedding(WORDS, 64), kind(64, 64, batch_first=True, **options)
        self.head, self.each = nn.Linear(64 * (2 if options.get("bidirectional") else 1), 20), each

    def forward(self, x: Any) -> Any:
        h = self.net(self.embed(x))[0]
        return self.head(h if self.each else h[:, -1])


def recurrent(kind: Any, forget: float = 0.0, **options: Any) -> nn.Module:
    """Orthogonal from step to step, Xavier from the input; a forget gate that starts open (Jozefowicz et al. 2015)."""
    model = Recurrent(kind, **options)
    for name, weight in model.net.named_parameters():
        if "weight_hh" in name:
            for part in weight.split(64):
                nn.init.orthogonal_(part)
        elif "weight_ih" in name:
            for part in weight.split(64):
                nn.init.xavier_uniform_(part)
        else:
            nn.init.zeros_(weight)
            if forget and "bias_ih" in name:
                nn.init.constant_(weight[64:128], forget)
    return model


class Cells(nn.Module):
    """A cell that is called step by step."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cell, self.head, self.long = kind(32, 64), nn.Linear(64, 10), kind is nn.LSTMCell

    def forward(self, x: Any) -> Any:
        h = x.new_zeros(len(x), 64)
        state: Any = (h, h) if self.long else h
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if self.long else state)


class Seq2Seq(nn.Module):
    """Additive attention over an encoder's steps (Bahdanau et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(WORDS, 64), nn.Embedding(WORDS, 64)
        self.encoder, self.cell = nn.GRU(64, 32, batch_first=True, bidirectional=True), nn.GRUCell(128, 64)
        self.query, self.key, self.score = (
            nn.Linear(64, 64),
            nn.Linear(64, 64, bias=False),
            nn.Linear(64, 1, bias=False),
        )
        self.head = nn.Linear(128, WORDS)

    def forward(self, source: Any, target: Any) -> Any:
        memory = self.encoder(self.source(source))[0]
        keys, state, held = self.key(memory), memory.mean(1), []
        for step in self.target(target).unbind(1):
            weights = self.score(torch.tanh(keys + self.query(state)[:, None])).softmax(1)
            context = (weights * memory).sum(1)
            state = self.cell(torch.cat([step, context], -1), state)
            held.append(self.head(torch.cat([state, context], -1)))
        return torch.stack(held, 1)


class ConvLstm(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.gates, self.out, self.width = (
            xavier(nn.Conv2d(1 + width, 4 * width, 3, padding=1)),
            nn.Conv2d(width, 1, 1),
            width,
        )

    def forward(self, x: Any) -> Any:
        h = c = x.new_zeros(len(x), self.width, *x.shape[-2:])
        for step in x.unbind(1):
            i, f, o, g = self.gates(torch.cat([step, h], 1)).chunk(4, 1)
            c = (f + 1).sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.out(h)


class Dilated(nn.Module):
    """WaveNet: tanh times sigmoid, dilated, residual and skip."""

    def __init__(self, layers: int = 6, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.both = nn.ModuleList(xavier(nn.Conv1d(width, 2 * width, 2, dilation=2**i)) for i in range(layers))
        self.closing, self.skips = (
            nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers)),
            nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers)),
        )
        self.out = seq(nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, 64, 1))

    def forward(self, x: Any) -> Any:
        x, total = self.first(x), 0.0
        for i, (both, close, skip) in enumerate(zip(self.both, self.closing, self.skips, strict=True)):
            a, b = both(F.pad(x, (2**i, 0))).chunk(2, 1)
            h = a.tanh() * b.sigmoid()
            x, total = x + close(h), total + skip(h)
        return self.out(total)


class Temporal(nn.Module):
    """A block of a TCN: causal, weight-normed, with a skip."""

    def __init__(self, inner: int, outer: int, dilation: int):
        super().__init__()
        wrap = nn.utils.parametrizations.weight_norm
        self.a, self.b = (
            wrap(he(nn.Conv1d(inner, outer, 3, dilation=dilation))),
            wrap(he(nn.Conv1d(outer, outer, 3, dilation=dilation))),
        )
        self.short, self.pad = nn.Conv1d(inner, outer, 1) if inner != outer else nn.Identity(), 2 * dilation

    def forward(self, x: Any) -> Any:
        h = F.relu(self.b(F.pad(F.relu(self.a(F.pad(x, (self.pad, 0)))), (self.pad, 0))))
        return F.relu(h + self.short(x))


class Sound(nn.Module):
    """wav2vec: raw samples, convolutions with a norm, then a transformer."""

    def __init__(self) -> None:
        super().__init__()
        parts, inner = [], 1
        for side, stride in ((10, 5), (8, 4), (4, 2)):
            parts += [
                he(nn.Conv1d(inner, 64, side, stride, bias=False)),
                nn.GroupNorm(64 if inner == 1 else 1, 64),
                nn.GELU(),
            ]
            inner = 64
        self.body, self.norm, self.blocks = seq(*parts), nn.LayerNorm(64), seq(*[Block(64) for _ in range(3)])
        normal(self.blocks)

    def forward(self, x: Any) -> Any:
        return self.blocks(self.norm(self.body(x[:, None]).transpose(1, 2)))


class Conformer(nn.Module):
    """Half a step of a plain branch, attention, a gated convolution, half a step more."""

    def __init__(self, width: int):
        super().__init__()
        branch = lambda: Residual(nn.LayerNorm(width), chain([width, 4 * width, width], nn.SiLU), scale=0.5)  # noqa: E731
        self.first, self.attention, self.last = branch(), Residual(nn.LayerNorm(width), Attention(width)), branch()
        self.conv = seq(
            nn.Conv1d(width, 2 * width, 1),
            nn.GLU(1),
            nn.Conv1d(width, width, 7, padding=3, groups=width),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
        )
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Any) -> Any:
        x = self.attention(self.first(x))
        x = x + self.conv(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.norm2(self.last(x))


class Fixpoint(nn.Module):
    """The same layer until it settles: a deep equilibrium, or a universal transformer's block."""

    def __init__(self, times: int = 8) -> None:
        super().__init__()
        self.inject, self.again, self.out, self.times = (
            nn.Linear(64, 64),
            orthogonal(nn.Linear(64, 64), 0.8),
            nn.Linear(64, 10),
            times,
        )

    def forward(self, x: Any) -> Any:
        u = self.inject(x)
        z = torch.zeros_like(u)
        for _ in range(self.times):
            z = torch.tanh(self.again(z) + u)
        return self.out(z)


class Spectral(nn.Module):
    """A Fourier neural operator: complex weights on the lowest modes, beside a plain convolution."""

    def __init__(self, width: int = 32, modes: int = 8) -> None:
        super().__init__()
        self.lift, self.drop, self.modes = nn.Conv1d(1, width, 1), nn.Conv1d(width, 1, 1), modes
        self.weights = nn.ParameterList(torch.randn(width, width, modes, dtype=torch.cfloat) / width for _ in range(3))
        self.plain = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))

    def forward(self, x: Any) -> Any:
        x = self.lift(x)
        for weight, plain in zip(self.weights, self.plain, strict=True):
            low = torch.einsum("bix,iox->box", torch.fft.rfft(x)[..., : self.modes], weight)
            x = F.gelu(torch.fft.irfft(low, n=x.shape[-1]) + plain(x))
        return self.drop(x)


def entries() -> Iterator[Entry]:
    plain = {
        "LSTM, torch default": (lambda: Recurrent(nn.LSTM), ids()),
        "GRU, torch default": (lambda: Recurrent(nn.GRU), ids()),
        "LSTM forget 1": (lambda: recurrent(nn.LSTM, 1.0), ids()),
        "GRU orthogonal": (lambda: recurrent(nn.GRU), ids()),
        "RNN orthogonal": (lambda: recurrent(nn.RNN), ids()),
        "BiLSTM tagger": (lambda: Recurrent(nn.LSTM, True, bidirectional=True), ids()),
        "LSTM two layers": (lambda: Recurrent(nn.LSTM, True, num_layers=2), ids()),
        "LSTM cell": (lambda: Cells(nn.LSTMCell), steps(8, 16, 32)),
        "GRU cell": (lambda: Cells(nn.GRUCell), steps(8, 16, 32)),
        "seq2seq, attention": (Seq2Seq, lambda: (ids(4, 12)(), ids(4, 8)())),
        "ConvLSTM": (ConvLstm, lambda: torch.randn(4, 6, 1, 16, 16)),
        "WaveNet": (Dilated, lambda: torch.randn(4, 1, 128)),
        "TCN": (
            lambda: seq(Temporal(32, 32, 1), Temporal(32, 32, 2), Temporal(32, 32, 4), nn.Conv1d(32, 10, 1)),
            lambda: torch.randn(8, 32, 64),
        ),
        "wav2vec": (Sound, lambda: torch.randn(4, 2000)),
        "Conformer": (lambda: seq(*[Conformer(64) for _ in range(3)], nn.Linear(64, 30)), steps()),
        "deep equilibrium": (Fixpoint, lambda: torch.randn(64, 64)),
        "Fourier operator": (Spectral, lambda: torch.randn(8, 1, 64)),
        "text CNN": (
            lambda: seq(
                nn.Embedding(WORDS, 64),
                Lambda(lambda x: x.transpose(1, 2)),
                he(nn.Conv1d(64, 64, 5)),
                nn.ReLU(),
                nn.AdaptiveMaxPool1d(1),
                nn.Flatten(),
                nn.Linear(64, 5),
            ),
            ids(),
        ),
        "bag of words": (lambda: seq(nn.EmbeddingBag(WORDS, 64), nn.Linear(64, 5)), ids()),
        "DLinear": (
            lambda: seq(Lambda(lambda x: x - x.mean(1, keepdim=True)), nn.Linear(48, 12)),
            lambda: torch.randn(64, 48),
        ),
        "PatchTST": (
            lambda: seq(
                Lambda(lambda x: x.unfold(1, 8, 8)),
                nn.Linear(8, 64),
                *[Block(64) for _ in range(3)],
                nn.Flatten(),
                nn.Linear(384, 12),
            ),
            lambda: torch.randn(32, 48),
        ),
    }
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
