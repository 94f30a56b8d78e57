"""Numbers that come from the structure of a model: what branches add, gates, and thirds of packed weights."""

import csv
import io

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch_cases import rows  # noqa: E402
from torch_nets import CausalBlock, Language, ResNet  # noqa: E402

from initprobe.reports.csv import to_csv  # noqa: E402
from initprobe.reports.json_names import json_names  # noqa: E402
from initprobe.results.run import ProbeResult  # noqa: E402
from initprobe.torch import probe  # noqa: E402

SINGLE = 1e-5  # sums of at most 1e5 squares in single precision, in any order


def probed(model, x, **options):
    return probe(model, x, threads=1, try_fixes=False, **options)


def rms(tensor):
    return float(tensor.detach().double().square().mean().sqrt())


class Branches(nn.Module):
    """A branch added in each way that code adds one. The ratios are kept as they are computed."""

    def __init__(self, width=16):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(8))
        self.drop = nn.Dropout(0.5)
        self.wide, self.shortcut = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.deep = nn.Linear(2 * width, 2 * width)
        self.ratios = {}

    def kept(self, name, branch, stream):
        self.ratios[name] = rms(branch) / rms(stream)
        return branch

    def forward(self, x):
        plain, halved, first, alpha, in_place, dropped, less, functional = self.inner
        x = x + self.kept("inner.0", plain(x), x)
        x = x + self.kept("inner.1", 0.5 * halved(x), x)
        x = self.kept("inner.2", torch.tanh(first(x)), x) + x
        x = torch.add(x, self.kept("inner.3", alpha(x), x / 3), alpha=3)
        branch = self.kept("inner.4", in_place(x), x)
        branch += x
        x = branch
        x = x + self.kept("inner.5", self.drop(dropped(x)), x)
        x = x - self.kept("inner.6", less(x), x)
        x = x + self.kept("inner.7", F.dropout(functional(x), 0.25), x)
        y = self.shortcut(x)
        return y + self.kept("deep", self.deep(F.relu(self.wide(x))), y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_branch_adds_is_a_number(dtype):
    torch.manual_seed(0)
    model = Branches().to(dtype)
    result = probed(model, rows(30, 16).to(dtype))
    measured = {layer.name: layer.branch_ratio for layer in result.layers if layer.branch_ratio is not None}
    assert measured == {name: pytest.approx(ratio, rel=SINGLE) for name, ratio in model.ratios.items()}


def test_branches_of_pictures_and_words():
    torch.manual_seed(0)
    result = probed(ResNet(), torch.randn(6, 3, 16, 16))
    ratios = {layer.name: layer.branch_ratio for layer in result.layers if layer.branch_ratio is not None}
    assert list(ratios) == [f"blocks.{block}.conv2" for block in range(3)] and all(
        0.3 < one < 3 for one in ratios.values()
    )
    result = probed(Language(), torch.randint(100, (4, 16)))
    ratios = {layer.name: layer.branch_ratio for layer in result.layers if layer.branch_ratio is not None}
    assert list(ratios) == [f"blocks.{block}.{last}" for block in range(6) for last in ("out", "down")]


def test_a_ratio_over_draws():
    torch.manual_seed(0)
    model, ratios = CausalBlock(32, 4), []
    drawn = lambda module: ratios.append(0) or [nn.init.normal_(p, std=0.1) for p in module.parameters()]  # noqa: E731
    result = probed(model, torch.randn(4, 10, 32), draws=3, reinit=drawn)
    assert len(ratios) == 3 and result.draws == 3
    down = next(layer for layer in result.layers if layer.name == "down")
    assert 0 < down.branch_ratio < 100


def test_the_gates_of_recurrences_are_numbers():
    torch.manual_seed(0)
    x = torch.randn(12, 1, 20)
    lstm, gru = nn.LSTM(20, 30, batch_first=True), nn.GRU(20, 30, batch_first=True)
    with torch.no_grad():
        lstm.bias_ih_l0[30:60] = 2
        z = x[:, 0] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + lstm.bias_hh_l0
        means = dict(zip(("input", "forget", "cell", "output"), z.sigmoid().chunk(4, -1), strict=True))
    (layer,) = probed(lstm, x).layers
    for name in ("input", "forget", "output"):
        assert getattr(layer.gates, name) == pytest.approx(float(means[name].mean()), rel=SINGLE)
    assert layer.gates.memory_steps == pytest.approx(1 / (1 - layer.gates.forget)) and layer.gates.product is None
    with torch.no_grad():
        z = x[:, 0] @ gru.weight_ih_l0.T + gru.bias_ih_l0 + gru.bias_hh_l0
    (layer,) = probed(gru, x).layers
    reset, update, _ = z.sigmoid().chunk(3, -1)
    assert layer.gates.reset == pytest.approx(float(reset.mean()), rel=SINGLE)
    assert layer.gates.update == pytest.approx(float(update.mean()), rel=SINGLE)
    assert layer.gates.memory_steps == pytest.approx(1 / (1 - layer.gates.update)) and layer.gates.forget is None


class Gated(nn.Module):
    """A gate of each kind: of its own layer, of a half of one, by `glu`, and of channels."""

    def __init__(self):
        super().__init__()
        self.own, self.value, self.split, self.glu = (nn.Linear(12, size) for size in (12, 12, 24, 24))
        self.channels = nn.Linear(12, 12)
        self.means = {}

    def forward(self, x):
        gate = torch.sigmoid(self.own(x))
        x = gate * self.value(x)
        a, b = self.split(x).chunk(2, -1)
        self.means |= {"own": gate.mean().item(), "split": b.sigmoid().mean().item()}
        x = a * b.sigmoid()
        both = self.glu(x)
        self.means["glu"] = both[..., 12:].sigmoid().mean().item()
        x = F.glu(both)
        scale = self.channels(x.mean(1, keepdim=True)).sigmoid()
        self.means["channels"] = scale.mean().item()
        return x * scale


def test_the_mean_of_a_gate_is_a_number():
    torch.manual_seed(0)
    model = Gated()
    with torch.no_grad():
        model.own.bias.fill_(-3)
    result = probed(model, torch.randn(8, 5, 12))
    means = {layer.name: layer.gates.product for layer in result.layers if layer.gates is not None}
    assert means == {name: pytest.approx(mean, rel=SINGLE) for name, mean in model.means.items()}


def test_the_numbers_are_in_every_output():
    torch.manual_seed(0)
    names = ("branch_ratio", "gates.forget", "gates.product", "gates.memory_steps", "packed.k.weight_variance")
    assert all(name in json_names() for name in names)
    block = probed(CausalBlock(32, 4), torch.randn(4, 10, 32))
    assert ProbeResult.from_json(block.to_json()) == block
    written = list(csv.DictReader(io.StringIO(to_csv(block))))
    assert all(name in written[0] for name in names)
    assert [row["branch_ratio"] != "" for row in written] == [False, True, False, True]
    recurrent = probed(nn.LSTM(20, 30), torch.randn(6, 4, 20))
    tables = block.table(), recurrent.table()
    assert "branch" in tables[0] and "/stream" in tables[0] and "rms(branch) / rms(stream)" in tables[0]
    assert all(word in tables[1] for word in ("memory", "gate", "input .", "forget .", "output .", "memory of"))
    assert not any("/stream" in table for table in (tables[1], probed(nn.Linear(3, 3), rows(5, 3)).table()))
