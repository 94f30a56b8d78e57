"""By hand: sets, graphs, tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, rows, steps
from zoo_parts import Attention, Lambda, Residual, chain, he, lecun, seq, xavier


class DeepSet(nn.Module):
    def __init__(self, pool: str = "mean") -> None:
        super().__init__()
        self.each, self.all, self.pool = chain([16, 64, 64], nn.ReLU, he), chain([64, 64, 1], nn.ReLU, he), pool

    def forward(self, x: Any) -> Any:
        h = self.each(x)
        return self.all(h.mean(1) if self.pool == "mean" else h.amax(1))


class GraphConvolution(nn.Module):
    """Kipf & Welling 2017 on one dense graph of 200 nodes."""

    def __init__(self, kind: str = "gcn") -> None:
        super().__init__()
        graph = (torch.rand(200, 200) < 0.05).float()
        graph = ((graph + graph.t()) > 0).float() + torch.eye(200)
        degree = graph.sum(1)
        self.register_buffer("mix", graph / (degree[:, None] * degree[None]).sqrt())
        self.first, self.second, self.kind = xavier(nn.Linear(64, 32)), xavier(nn.Linear(32, 7)), kind
        self.score = nn.Parameter(xavier(nn.Linear(64, 1)).weight.detach().clone())

    def forward(self, x: Any) -> Any:
        if self.kind == "gcn":
            return self.mix @ self.second(torch.relu(self.mix @ self.first(x)))
        h = self.first(x)  # Velickovic et al. 2018
        left, right = h @ self.score[0, :32], h @ self.score[0, 32:]
        logits = F.leaky_relu(left[:, None] + right[None], 0.2).masked_fill(self.mix == 0, -math.inf)
        return self.second(F.elu(logits.softmax(-1) @ h))


class Messages(nn.Module):
    """Messages along edges, summed where they arrive, a recurrent update (Gilmer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.update = chain([64, 64, 32], nn.ReLU, he), nn.GRUCell(32, 32)
        self.register_buffer("ends", torch.randint(0, 100, (2, 400)))
        self.out = nn.Linear(32, 1)

    def forward(self, x: Any) -> Any:
        start, end = self.ends
        for _ in range(3):
            message = self.edge(torch.cat([x[start], x[end]], -1))
            x = self.update(torch.zeros_like(x).index_add(0, end, message), x)
        return self.out(x)


class Equivariant(nn.Module):
    """E(n)-equivariant messages (Satorras et al. 2021): distances, a gate, and coordinates that move."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.node = chain([65, 64, 32], nn.SiLU), chain([64, 64, 32], nn.SiLU)
        self.gate, self.move = nn.Linear(32, 1), nn.Linear(32, 1, bias=False)
        nn.init.xavier_uniform_(self.move.weight, 0.001)

    def forward(self, h: Any, place: Any) -> Any:
        apart = place[:, :, None] - place[:, None]
        pairs = torch.cat([h[:, :, None].expand(-1, -1, 12, -1), h[:, None].expand(-1, 12, -1, -1)], -1)
        message = F.silu(self.edge(torch.cat([pairs, apart.square().sum(-1, keepdim=True)], -1)))
        message = message * self.gate(message).sigmoid()
        place = place + (apart * self.move(message)).mean(2)
        return h + self.node(torch.cat([h, message.sum(2) / 12], -1)), place


class Tables(nn.Module):
    """Categories by embeddings beside numbers; `interact` by dot products, as DLRM does."""

    def __init__(self, interact: bool = False) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(50, 16) for _ in range(4))
        for table in self.embed:
            nn.init.normal_(table.weight, std=1.0)
        self.numbers, self.interact = chain([13, 64, 16], nn.ReLU, he), interact
        self.top = chain([16 + 10 if interact else 80, 64, 1], nn.ReLU, he)

    def forward(self, numbers: Any, categories: Any) -> Any:
        parts = [self.numbers(numbers), *(table(categories[:, i]) for i, table in enumerate(self.embed))]
        if not self.interact:
            return self.top(torch.cat(parts, -1))
        stack = torch.stack(parts, 1)
        upper = torch.triu_indices(5, 5, 1)
        return self.top(torch.cat([parts[0], (stack @ stack.transpose(1, 2))[:, upper[0], upper[1]] / 4], -1))


class Trend(nn.Module):
    """N-BEATS: blocks that take from what is left and add to the forecast."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(chain([48, 128, 128, 60], nn.ReLU, lecun) for _ in range(blocks))

    def forward(self, x: Any) -> Any:
        forecast = 0.0
        for block in self.blocks:
            back, ahead = block(x).split([48, 12], -1)
            x, forecast = x - 0.5 * back, forecast + ahead
        return forecast


class TableTransformer(nn.Module):
    """A token for each feature (Gorishniy et al. 2021)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.randn(13, width) / 8), nn.Parameter(torch.randn(13, width) / 8)
        self.blocks = seq(
            *[
                Residual(nn.LayerNorm(width), part)
                for _ in range(3)
                for part in (Attention(width), chain([width, 128, width], nn.GELU))
            ]
        )
        self.head = seq(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(x[..., None] * self.scale + self.shift).mean(1))


def _tables(batch: int = 128) -> Any:
    return torch.randn(batch, 13), torch.randint(0, 50, (batch, 4))


def _point_net() -> nn.Module:
    each = seq(
        nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64), nn.ReLU(), nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128), nn.ReLU()
    )
    return seq(each, Lambda(lambda h: h.amax(-1)), nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def entries() -> Iterator[Entry]:
    plain = {
        "DeepSets mean": (DeepSet, steps(64, 10, 16)),
        "DeepSets max": (lambda: DeepSet("max"), steps(64, 10, 16)),
        "PointNet": (_point_net, lambda: torch.randn(16, 3, 64)),
        "GCN": (GraphConvolution, rows(200, 64)),
        "GAT": (lambda: GraphConvolution("gat"), rows(200, 64)),
        "MPNN": (Messages, rows(100, 32)),
        "EGNN": (Equivariant, lambda: (torch.randn(8, 12, 32), torch.randn(8, 12, 3))),
        "entity embeddings": (Tables, _tables),
        "DLRM": (lambda: Tables(True), _tables),
        "N-BEATS": (Trend, rows(64, 48)),
        "FT-Transformer": (TableTransformer, rows(64, 13)),
    }
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
