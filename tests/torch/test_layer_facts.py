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
    """A branch added in each way that code adds one. The ratios are kept unrounded."""

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
        0.3 < ratio < 3 for ratio in ratios.values()
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
    assert all(word in tables[1] for word in ("memory", "gate", "input 0.", "forget 0.", "output 0.", "memory of"))
    assert not any("/stream" in table for table in (tables[1], probed(nn.Linear(3, 3), rows(5, 3)).table()))


class Unbound(nn.Module):
    """Attention as in vision models: one view of the output, unbound into three."""

    def __init__(self, width=24, heads=3):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Transposed(nn.Module):
    """Attention as in GPT-2: `x @ W` with a weight of shape (in, out), split along the last axis."""

    def __init__(self, width=24):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(width, 3 * width) / 5), nn.Parameter(torch.zeros(3 * width))
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        made = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)
        q, k, v = made.split(x.shape[-1], dim=2)
        return self.proj(F.scaled_dot_product_attention(q, k, v))


class Interleaved(nn.Module):
    """The parts of each head lie side by side, as in GPT-NeoX. Thirds of the weight are no queries, keys and values."""

    def __init__(self, width=24, heads=3):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, self.heads, -1).transpose(1, 2).chunk(3, -1)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))


class Recurrent(nn.Module):
    """A GRU by hand, which takes thirds of a product for its gates."""

    def __init__(self, width=24):
        super().__init__()
        self.inner, self.recurrent, self.head = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, 4),
        )

    def forward(self, x):
        h = x.new_zeros(x.shape[0], x.shape[-1])
        for step in x.unbind(1):
            (r, z, n), (rh, zh, nh) = self.inner(step).chunk(3, -1), self.recurrent(h).chunk(3, -1)
            z = torch.sigmoid(z + zh)
            h = z * h + (1 - z) * torch.tanh(n + torch.sigmoid(r + rh) * nh)
        return self.head(h)


PACKED = {
    "chunk": lambda: (CausalBlock(24, 3), "qkv.weight", 0),
    "unbind": lambda: (Unbound(), "qkv.weight", 0),
    "addmm": lambda: (Transposed(), "weight", 1),
    "MultiheadAttention": lambda: (Itself(), "attention.in_proj_weight", 0),
}


class Itself(nn.Module):
    """Self-attention of torch."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("kind", PACKED)
def test_thirds_of_a_packed_weight_have_their_own_numbers(kind):
    torch.manual_seed(0)
    model, name, axis = PACKED[kind]()
    weight = model.get_parameter(name)
    with torch.no_grad():
        for third, factor in zip(weight.chunk(3, axis), (1, 2, 0.5), strict=True):
            third.mul_(factor)
    x = torch.randn(4, 10, 24)
    result = probed(model, x)
    (layer,) = [layer for layer in result.layers if layer.packed is not None]
    thirds = layer.packed.q, layer.packed.k, layer.packed.v
    for third, own in zip(thirds, weight.detach().chunk(3, axis), strict=True):
        assert third.weight_variance == pytest.approx(float(own.var(correction=0)), rel=SINGLE)
    assert sum(third.preactivation_variance for third in thirds) / 3 == pytest.approx(
        layer.preactivation.variance, rel=0.05
    )  # but for the means of the thirds
    if kind == "unbind":
        for third, own in zip(thirds, model.qkv(x).detach().chunk(3, -1), strict=True):
            assert third.preactivation_variance == pytest.approx(float(own.var(correction=0)), rel=SINGLE)
    ratios = [third.preactivation_variance / thirds[0].preactivation_variance for third in thirds]
    assert ratios[1] == pytest.approx(4, rel=0.5) and ratios[2] == pytest.approx(0.25, rel=0.5)
    assert "q, k, v" in result.table()


@pytest.mark.parametrize("net", [Interleaved, Recurrent])
def test_other_thirds_are_no_queries_keys_and_values(net):
    torch.manual_seed(0)
    assert all(layer.packed is None for layer in probed(net(), torch.randn(4, 6, 24)).layers)


@pytest.mark.parametrize("third", ["q", "k", "v"])
@pytest.mark.parametrize("kind", PACKED)
def test_a_wrong_third_is_named_and_its_fix_works(kind, third):
    torch.manual_seed(0)
    model, name, axis = PACKED[kind]()
    weight = model.get_parameter(name)
    before = weight.detach().clone()
    with torch.no_grad():
        weight.chunk(3, axis)["qkv".index(third)].mul_(12)
    wrong = weight.detach().clone()
    x = torch.randn(4, 10, 24)
    result = probe(model, x, threads=1)
    finding = next(finding for finding in result.diagnosis if finding.rule == "odd-layer")
    assert (
        finding.severity == "warning" and finding.module.endswith(f"[{third}]") and f"W_{third}^2" in finding.evidence
    )
    assert torch.equal(weight, wrong) and finding.fix is not None, finding.no_fix
    exec(finding.fix, {"model": model, "nn": nn, "torch": torch})
    changed = [
        not torch.equal(third, wrong_third)
        for third, wrong_third in zip(weight.chunk(3, axis), wrong.chunk(3, axis), strict=True)
    ]
    assert changed == [name == third for name in "qkv"] and not torch.equal(weight, before)
    assert all(finding.rule != "odd-layer" for finding in probe(model, x, threads=1).diagnosis)


def test_a_third_is_compared_with_its_siblings_and_the_whole_goes_before_its_thirds():
    torch.manual_seed(0)
    model, ids = Language(), torch.randint(100, (4, 16))
    assert all(finding.rule != "odd-layer" for finding in probed(model, ids).diagnosis)
    weight = model.blocks[3].qkv.weight
    with torch.no_grad():
        weight.chunk(3)[2].mul_(8)
    (finding,) = [finding for finding in probed(model, ids).diagnosis if finding.rule == "odd-layer"]
    assert finding.module == "blocks.3.qkv[v]"
    with torch.no_grad():
        weight.chunk(3)[0].mul_(8)
        weight.chunk(3)[1].mul_(8)
    (finding,) = [finding for finding in probed(model, ids).diagnosis if finding.rule == "odd-layer"]
    assert finding.module == "blocks.3.qkv"
