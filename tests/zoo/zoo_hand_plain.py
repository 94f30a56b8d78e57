"""By hand: plain nets, autoencoders, fields, flows and policies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, images, rows
from zoo_parts import Lambda, Residual, chain, he, lecun, normal, orthogonal, seq, xavier


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = seq(he(nn.Linear(64, 128)), nn.ReLU())
        self.mean, self.log_variance = xavier(nn.Linear(128, 16)), xavier(nn.Linear(128, 16))
        self.decoder = seq(he(nn.Linear(16, 128)), nn.ReLU(), xavier(nn.Linear(128, 64)))

    def forward(self, x: Any) -> Any:
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()), mean, log_variance


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.bias = xavier(nn.Linear(64, 32)), nn.Parameter(torch.zeros(64))

    def forward(self, x: Any) -> Any:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t(), self.bias)


class Sine(nn.Module):
    def __init__(self, inner: int, outer: int, omega: float = 30.0, first: bool = False):
        super().__init__()
        self.linear, self.omega = nn.Linear(inner, outer), omega
        bound = 1 / inner if first else math.sqrt(6 / inner) / omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Any) -> Any:
        return torch.sin(self.omega * self.linear(x))


def siren(layers: int = 4, width: int = 128) -> nn.Module:
    """Sitzmann et al. 2020, with their draw."""
    last = nn.Linear(width, 3)
    nn.init.uniform_(last.weight, -math.sqrt(6 / width) / 30, math.sqrt(6 / width) / 30)
    return seq(Sine(2, width, first=True), *[Sine(width, width) for _ in range(layers)], last)


class Nerf(nn.Module):
    """Mildenhall et al. 2020: encoded positions, a skip by concatenation, density and colour."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.first, self.second = chain([39, *[width] * 4], nn.ReLU, he), chain([width + 39, *[width] * 3], nn.ReLU, he)
        self.density, self.colour = xavier(nn.Linear(width, 1)), chain([width, 64, 3], nn.ReLU, he)

    def forward(self, x: Any) -> Any:
        angles = (x[..., None] * 2.0 ** torch.arange(6, device=x.device)).flatten(1)
        code = torch.cat([x, angles.sin(), angles.cos()], -1)
        h = torch.relu(self.second(torch.cat([torch.relu(self.first(code)), code], -1)))
        return torch.cat([self.colour(h).sigmoid(), self.density(h)], -1)


class Fourier(nn.Module):
    """Random features of Tancik et al. 2020, fixed, before a plain net."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("directions", 3 * torch.randn(2, 64))
        self.net = chain([128, 128, 128, 3], nn.ReLU, he)

    def forward(self, x: Any) -> Any:
        angles = x @ self.directions
        return self.net(math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], -1))


class Highway(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.change, self.gate = he(nn.Linear(width, width)), xavier(nn.Linear(width, width))
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Any) -> Any:
        gate = self.gate(x).sigmoid()
        return gate * torch.relu(self.change(x)) + (1 - gate) * x


class Policy(nn.Module):
    """Actor and critic of PPO: orthogonal, a last layer of 0.01 so that the first actions are even."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = seq(
            orthogonal(nn.Linear(17, 64)),
            nn.Tanh(),
            orthogonal(nn.Linear(64, 64)),
            nn.Tanh(),
            orthogonal(nn.Linear(64, 6), 0.01),
        )
        self.critic = seq(
            orthogonal(nn.Linear(17, 64)),
            nn.Tanh(),
            orthogonal(nn.Linear(64, 64)),
            nn.Tanh(),
            orthogonal(nn.Linear(64, 1), 1.0),
        )

    def forward(self, x: Any) -> Any:
        return self.actor(x), self.critic(x)


class Dueling(nn.Module):
    """Mnih et al. 2015 with two streams (Wang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = seq(
            he(nn.Conv2d(4, 32, 8, 4)),
            nn.ReLU(),
            he(nn.Conv2d(32, 64, 4, 2)),
            nn.ReLU(),
            he(nn.Conv2d(64, 64, 3)),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.value, self.edge = chain([3136, 256, 1], nn.ReLU, he), chain([3136, 256, 6], nn.ReLU, he)

    def forward(self, x: Any) -> Any:
        h = self.body(x)
        edge = self.edge(h)
        return self.value(h) + edge - edge.mean(1, keepdim=True)


class Operator(nn.Module):
    """A branch net of a function and a trunk net of a place (Lu et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.trunk = chain([64, 64, 64], nn.Tanh, xavier), chain([2, 64, 64], nn.Tanh, xavier)

    def forward(self, function: Any, place: Any) -> Any:
        return (self.branch(function) * self.trunk(place)).sum(-1) / 8


class Coupling(nn.Module):
    """Affine couplings of a flow (Dinh et al. 2017). The last layer starts at 0, so the flow is the identity."""

    def __init__(self, flows: int = 4) -> None:
        super().__init__()
        self.nets = nn.ModuleList(chain([32, 64, 64], nn.ReLU, he) for _ in range(flows))
        for net in self.nets:
            nn.init.zeros_(net[-1].weight)

    def forward(self, x: Any) -> Any:
        volume = 0.0
        for net in self.nets:
            a, b = x.chunk(2, -1)
            shift, scale = net(a).chunk(2, -1)
            x, volume = torch.cat([b * scale.tanh().exp() + shift, a], -1), volume + scale.tanh().sum(-1)
        return x, volume


class Film(nn.Module):
    """Features that another input scales and shifts: 1 + gamma, so that it starts near the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = he(nn.Linear(64, 128)), he(nn.Linear(128, 128)), xavier(nn.Linear(128, 10))
        self.control = xavier(nn.Linear(8, 256), 0.1)

    def forward(self, x: Any, control: Any) -> Any:
        scale, shift = self.control(control).chunk(2, -1)
        return self.out(torch.relu(self.second(torch.relu(self.first(x) * (1 + scale) + shift))))


def entries() -> Iterator[Entry]:
    plain = {
        "MLP He ReLU x8": (lambda: chain([64, *[128] * 8, 10], nn.ReLU, he), rows()),
        "MLP Xavier tanh x5": (lambda: chain([64, *[128] * 5, 10], nn.Tanh, xavier), rows()),
        "MLP LeCun SELU x12": (lambda: chain([64, *[128] * 12, 10], nn.SELU, lecun), rows(256)),
        "MLP orthogonal ReLU x6": (lambda: chain([64, *[128] * 6, 10], nn.ReLU, orthogonal), rows()),
        "MLP torch default, tutorial": (lambda: chain([64, 128, 64, 10], nn.ReLU), rows()),
        "MLP He SiLU x4": (lambda: chain([64, *[128] * 4, 10], nn.SiLU, he), rows()),
        "MLP LayerNorm x8": (
            lambda: seq(
                *[p for _ in range(8) for p in (nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU())], nn.Linear(64, 10)
            ),
            rows(),
        ),
        "MLP BatchNorm dropout x4": (
            lambda: seq(
                *[p for _ in range(4) for p in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5))],
                nn.Linear(64, 10),
            ),
            rows(),
        ),
        "logistic regression": (lambda: nn.Linear(64, 10), rows()),
        "maxout": (
            lambda: seq(
                *[
                    p
                    for _ in range(3)
                    for p in (xavier(nn.Linear(64, 128)), Lambda(lambda z: z.unflatten(-1, (64, 2)).amax(-1)))
                ],
                nn.Linear(64, 10),
            ),
            rows(),
        ),
        "residual MLP x12": (
            lambda: seq(
                *[
                    Residual(nn.LayerNorm(64), he(nn.Linear(64, 128)), nn.ReLU(), lecun(nn.Linear(128, 64)))
                    for _ in range(12)
                ],
                nn.LayerNorm(64),
                nn.Linear(64, 10),
            ),
            rows(),
        ),
        "highway x10": (lambda: seq(*[Highway() for _ in range(10)], nn.Linear(64, 10)), rows()),
        "autoencoder sigmoid": (lambda: seq(chain([784, 128, 32, 128, 784], nn.ReLU, he), nn.Sigmoid()), rows(64, 784)),
        "autoencoder tied": (Tied, rows()),
        "VAE": (Vae, rows()),
        "regression with sigmoid": (lambda: seq(chain([13, 64, 16, 64, 1], nn.ReLU), nn.Sigmoid()), rows(64, 13)),
        "SIREN": (siren, lambda: 2 * torch.rand(512, 2) - 1),
        "NeRF": (Nerf, lambda: 2 * torch.rand(256, 3) - 1),
        "Fourier features": (Fourier, lambda: torch.rand(256, 2)),
        "PINN": (lambda: chain([2, *[50] * 5, 1], nn.Tanh, xavier), lambda: 2 * torch.rand(256, 2) - 1),
        "PPO actor-critic": (Policy, rows(256, 17)),
        "dueling DQN": (Dueling, images(8, 84, 4)),
        "DeepONet": (Operator, lambda: (torch.randn(128, 64), torch.rand(128, 2))),
        "RealNVP": (Coupling, rows()),
        "FiLM": (Film, lambda: (torch.randn(64, 64), torch.randn(64, 8))),
        "score MLP": (lambda: chain([3, 128, 128, 128, 2], nn.SiLU), rows(256, 3)),
        "skip-gram": (
            lambda: seq(normal(nn.Embedding(500, 64), 0.1), nn.Linear(64, 500)),
            lambda: torch.randint(0, 500, (256,)),
        ),
    }
    for name, (make, given) in plain.items():
        yield Entry(name, "by hand", make, given)
