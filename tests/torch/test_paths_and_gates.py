"""Chains past parallel paths, recurrences, packed weights and factors: silent on what trains, right about faults."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
import zoo_hand_users  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.torch import probe  # noqa: E402


def verdict(made, **options):
    model, x = made
    return [finding for finding in probe(model, x, threads=1, **options).diagnosis if finding.severity != "info"]


def rows(batch=32, width=32):
    return torch.randn(batch, width)


class Paths(nn.Module):
    """Two parallel layers whose outputs are joined, as in SqueezeNet."""

    def __init__(self, width=32, drawn=False):
        super().__init__()
        self.a, self.b = nn.Linear(width, width // 2), nn.Linear(width, width // 2)
        for layer in (self.a, self.b) if drawn else ():
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], -1)


def paths(drawn):
    return nn.Sequential(*[Paths(drawn=drawn) for _ in range(10)], nn.Linear(32, 4)), rows()


class Pair(nn.Module):
    """One layer times the sigmoid of another."""

    def __init__(self):
        super().__init__()
        self.value, self.gate = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        return torch.sigmoid(self.gate(x)) * self.value(x)


class Graph(nn.Module):
    """Graph convolutions: the adjacency is an input, and no layer makes it."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(layers))

    def forward(self, x, adjacency):
        for layer in self.layers:
            x = F.relu(adjacency @ layer(x))
        return x


def graph(layers):
    return Graph(layers), (rows(24, 16), torch.eye(24))


class Excited(nn.Module):
    """Squeeze-and-excitation after a convolution, without a norm."""

    def __init__(self, channels=12):
        super().__init__()
        self.conv, self.a, self.b = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Linear(channels, 4),
            nn.Linear(4, 12),
        )
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return x * torch.sigmoid(self.b(F.relu(self.a(x.mean((2, 3))))))[:, :, None, None]


class Stack(nn.Module):
    def __init__(self, kind, layers, width=24):
        super().__init__()
        self.layers = nn.ModuleList(kind(width, width, batch_first=True) for _ in range(layers))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)[0]
        return self.head(x[:, -1])


class Last(nn.Module):
    """The last state of a recurrence, which conditions a net through a weight of 0."""

    def __init__(self):
        super().__init__()
        self.rnn, self.film, self.body, self.head = nn.GRU(6, 12, batch_first=True), *[nn.Linear(12, 12) for _ in "abc"]
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x, steps):
        factor = self.film(self.rnn(steps)[1][0])
        return self.head(F.relu((1 + factor) * self.body(x)))


class Causal(nn.Module):
    """A causal convolution: the padding is cut off before the activation."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.conv = nn.Conv1d(12, 12, 3, padding=2)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.constant_(self.conv.bias, bias)

    def forward(self, x):
        return F.relu(self.conv(x)[..., : x.shape[-1]])


class Attends(nn.Module):
    """Attention on a memory; keys and values from one weight, or all three with fewer heads of keys and values."""

    def __init__(self, grouped):
        super().__init__()
        self.grouped, self.norm, self.out = grouped, nn.LayerNorm(32), nn.Linear(32, 32)
        self.q, self.packed = (None, nn.Linear(32, 64)) if grouped else (nn.Linear(32, 32), nn.Linear(32, 64))

    def forward(self, x):
        y = self.norm(x)
        if self.grouped:
            q, k, v = self.packed(y).split([32, 16, 16], -1)
        else:
            q, (k, v) = self.q(y), self.packed(y).chunk(2, -1)
        q, k, v = (projected.unflatten(-1, (-1, 8)).transpose(1, 2) for projected in (q, k, v))
        k, v = (projected.repeat_interleave(q.shape[1] // projected.shape[1], 1) for projected in (k, v))
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def attends(grouped, rows=None, factor=25.0, blocks=2):
    model = nn.Sequential(*[Attends(grouped) for _ in range(blocks)], nn.Linear(32, 4))
    with torch.no_grad():
        if rows is not None:
            model[0].packed.weight[rows] *= factor
    return model, torch.randn(3, 6, 32)


class Crossed(nn.Module):
    """Torch's own attention on a memory, whose one weight is used in two products."""

    def __init__(self):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 4)

    def forward(self, x, memory):
        return self.out(x + self.attention(x, memory, memory, need_weights=False)[0])


def crossed(rows=None):
    model = Crossed()
    if rows is not None:
        with torch.no_grad():
            model.attention.in_proj_weight[rows] *= 40
    return model, (torch.randn(3, 5, 32), torch.randn(3, 7, 32))


class Scaled(nn.Module):
    """A residual branch of two layers, the last of which may be small on purpose, times a factor."""

    def __init__(self, closing, factor=1.0):
        super().__init__()
        self.branch, self.factor = (
            nn.Sequential(nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 24)),
            nn.Parameter(torch.full((24,), factor)),
        )
        nn.init.normal_(self.branch[2].weight, std=closing)

    def forward(self, x):
        return x + self.factor * self.branch(x)


def residual(closing=0.2, factor=1.0, blocks=4):
    return nn.Sequential(*[Scaled(closing, factor) for _ in range(blocks)]), rows(32, 24)


def critic(wrap):
    return zoo_hand_users.critic([8, 16, 32, 64], wrap), torch.randn(6, 3, 32, 32)


HEALTHY = {
    "parallel paths": lambda: paths(True),
    "graph": lambda: graph(2),
    "stack of two LSTMs": lambda: (Stack(nn.LSTM, 2), torch.randn(6, 9, 24)),
    "stack of four RNNs": lambda: (Stack(nn.RNN, 4), torch.randn(6, 9, 24)),
    "last state, opened by a weight of 0": lambda: (Last(), (rows(16, 12), torch.randn(16, 5, 6))),
    "causal": lambda: (nn.Sequential(*[Causal() for _ in range(3)]), torch.randn(6, 12, 20)),
    "keys and values": lambda: attends(False),
    "grouped": lambda: attends(True),
    "torch's cross-attention": crossed,
    "closing layers of a hundredth": lambda: residual(0.002, blocks=2),
    "closing layers, more blocks": lambda: residual(0.002, blocks=6),
    "LayerScale": lambda: residual(factor=1e-5),
    "critic": lambda: critic(lambda layer: layer),
    "critic, spectral norm": lambda: critic(nn.utils.parametrizations.spectral_norm),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_models_that_train_are_healthy(name):
    torch.manual_seed(0)
    assert not verdict(HEALTHY[name](), try_fixes=False)


def with_gate(kind, gate, value, layers=1):
    """An LSTM or GRU, the bias of one of whose gates is set in the last layer."""
    model = nn.Sequential(kind(12, 16, layers, batch_first=True))
    place = {"input": 0, "forget": 1, "update": 1, "output": 3}[gate]
    with torch.no_grad():
        getattr(model[0], f"bias_ih_l{layers - 1}")[16 * place : 16 * (place + 1)] = value
    return model, torch.randn(6, 9, 12)


def scaled(made, name, factor):
    with torch.no_grad():
        made[0].get_parameter(name).mul_(factor)
    return made


FAULTY = {
    "parallel paths as torch draws them": (lambda: paths(False), "vanishing-gradient", None),
    "dead before its padding is cut off": (
        lambda: (nn.Sequential(Causal(), Causal(-30.0), Causal()), torch.randn(6, 12, 20)),
        "dead-layer",
        "1.conv",
    ),
    "keys of a pair": (lambda: attends(False, slice(0, 32)), "odd-layer", "0.packed[k]"),
    "values of a pair": (lambda: attends(False, slice(32, 64)), "odd-layer", "0.packed[v]"),
    "grouped keys": (lambda: attends(True, slice(32, 48)), "odd-layer", "0.packed[k]"),
    "grouped values": (lambda: attends(True, slice(48, 64), blocks=1), "odd-layer", "0.packed[v]"),
    "values of torch's cross-attention": (
        lambda: crossed(slice(64, 96)),
        "odd-layer",
        "attention.in_proj_weight[v]",
    ),
    "one factor": (lambda: scaled(residual(factor=0.1), "2.factor", 500), "odd-layer", "2.factor"),
    "one closing layer": (lambda: scaled(residual(0.02), "1.branch.2.weight", 12), "odd-layer", "1.branch.2"),
    "nothing comes in": (lambda: with_gate(nn.LSTM, "input", -12.0), "shut-gate", "0"),
    "nothing is kept, second layer": (lambda: with_gate(nn.LSTM, "forget", -12.0, 2), "shut-gate", "0"),
    "nothing goes out": (lambda: with_gate(nn.LSTM, "output", -12.0), "shut-gate", "0"),
    "nothing is new": (lambda: with_gate(nn.GRU, "update", 12.0), "shut-gate", "0"),
    "large recurrence": (
        lambda: scaled((nn.Sequential(nn.LSTM(12, 16)), torch.randn(9, 6, 12)), "0.weight_ih_l0", 60),
        "saturated",
        "0",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faults_are_named_and_the_fix_works(name):
    torch.manual_seed(0)
    make, rule, module = FAULTY[name]
    model, x = make()
    findings = [finding for finding in verdict((model, x)) if finding.rule == rule and module in (finding.module, None)]
    assert findings and findings[0].fix, verdict((model, x))
    exec(findings[0].fix, {"model": model, "nn": nn, "torch": torch, "x": x})
    assert not verdict((model, x), try_fixes=False)


DEEP = {
    "gated pairs": lambda: (nn.Sequential(*[Pair() for _ in range(10)], nn.Linear(32, 4)), rows()),
    "graph": lambda: graph(10),
    "excited": lambda: (nn.Sequential(*[Excited() for _ in range(10)]), torch.randn(4, 12, 6, 6)),
    "stack of LSTMs": lambda: (Stack(nn.LSTM, 8), torch.randn(6, 9, 24)),
    "layers of an LSTM": lambda: (nn.Sequential(nn.LSTM(24, 24, 8, batch_first=True)), torch.randn(6, 9, 24)),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_chains_as_torch_draws_them_vanish(name):
    torch.manual_seed(0)
    assert {finding.rule for finding in verdict(DEEP[name](), try_fixes=False)} & {
        "vanishing-gradient",
        "vanishing-output",
    }


def test_biases_that_lift_a_small_signal_are_no_explosion():
    model = nn.Sequential(nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh())
    assert not verdict((model, 1e-6 * rows(32, 24)), try_fixes=False)


def test_a_signal_that_is_lost_in_parts_is_named():
    """Each residual block without norms starts a part of its own."""

    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(24, 24), nn.Linear(24, 24)
            nn.init.zeros_(self.b.bias)
            nn.init.zeros_(self.a.bias)

        def forward(self, x):
            x = 0.02 * F.relu(self.a(x))
            return x + F.relu(self.b(x))

    findings = verdict((nn.Sequential(*[Halved() for _ in range(4)], nn.Linear(24, 3)), rows(32, 24)), try_fixes=False)
    assert [finding.rule for finding in findings] == ["vanishing-output"]


def test_memory_that_adds_up_excuses_a_small_input_gate():
    """As after Tallec & Ollivier 2018, where both gates follow from the length of the memory."""
    model, x = with_gate(nn.LSTM, "input", -5.5)
    with torch.no_grad():
        model[0].bias_ih_l0[16:32] = 5.5
    assert not verdict((model, x), try_fixes=False)


def test_steps_of_time_are_no_input_of_a_layer():
    """The waves of a time embedding are, and these are small."""

    class Timed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 16)

        def forward(self, step):
            angles = step[:, None] * torch.exp(-torch.arange(8.0))
            return self.layer(torch.cat([angles.sin(), angles.cos()], -1))

    assert not verdict((Timed(), 1000 * torch.rand(32)), try_fixes=False)
