"""`initialize` sets each weight by theory, by data or by a contract, and never what it was asked to keep."""

import math
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.cli.app import cli  # noqa: E402
from initprobe.errors import ConfigError  # noqa: E402
from initprobe.testing import assert_init  # noqa: E402
from initprobe.torch import initialize, probe  # noqa: E402
from initprobe.torch.init_code import run  # noqa: E402
from initprobe.torch.init_layers import METHODS  # noqa: E402

THEORY = [method for method in METHODS if method != "contract"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def bits(model):
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in model.state_dict().items()}


def plain(layers=6, width=64):
    return nn.Sequential(*[part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())])


def std(tensor):
    """Root mean square, and five standard errors of it for normal entries."""
    return pytest.approx(tensor.detach().double().square().mean().sqrt().item(), rel=5 / math.sqrt(2 * tensor.numel()))


class Parts(nn.Module):
    """One of each kind of layer whose fans are easy to get wrong."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(32, 32, 4, 2, 1)
        self.grouped = nn.Conv2d(32, 32, 3, 2, 1, groups=4)
        self.norm = nn.BatchNorm2d(32)
        self.wrapped = nn.utils.parametrizations.weight_norm(nn.Linear(32, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.lstm = nn.LSTM(32, 32, batch_first=True)
        self.head = nn.Linear(32, 10)
        self.spare = nn.Parameter(torch.full((3,), 7.0))

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.up(x))))
        x = torch.tanh(self.wrapped(self.norm(x).flatten(2).transpose(1, 2)))
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.lstm(x)[0])


class Words(nn.Module):
    """A tied read-out, a padding row, and a norm that computes (1 + w)."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(60, 32, padding_idx=0)
        self.gain = nn.Parameter(torch.full((32,), 0.7))
        self.head = nn.Linear(32, 60, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return self.head(x * (1 + self.gain))


def test_fans_are_counted_from_the_operation():
    model = Parts()
    outcome = initialize(model, torch.randn(4, 32, 6, 6))
    assert math.sqrt(2 / 128) == std(model.up.weight)  # 4 x 4 taps, stride 2 in both directions: 4 of 16 meet
    assert math.sqrt(2 / 72) == std(model.grouped.weight)  # 8 channels in each group
    assert 1 / math.sqrt(32) == std(model.wrapped.weight)
    assert 1 / math.sqrt(32) == std(model.attention.in_proj_weight)
    for gate in model.lstm.weight_hh_l0.chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(32), atol=1e-5)
    assert model.lstm.bias_ih_l0.tolist() == [0.0] * 32 + [1.0] * 32 + [0.0] * 64
    assert model.norm.weight.eq(1).all() and not model.up.bias.any()
    assert outcome.left == ("spare",) and model.spare.eq(7).all()
    assert "wrapped.weight" in outcome.changed


def test_tied_weights_padding_and_norms_beside_one():
    model = Words()
    initialize(model, torch.randint(0, 60, (8, 12)))
    assert model.head.weight is model.embed.weight
    assert not model.embed.weight[0].any() and not model.gain.any()
    assert 1 / math.sqrt(32) == std(model.embed.weight[1:])


def test_half_precision_is_initialized():
    model = nn.LSTM(16, 16, batch_first=True).to(torch.bfloat16)
    initialize(model, torch.randn(4, 6, 16, dtype=torch.bfloat16))
    gate = model.weight_hh_l0.detach()[:16].float()
    assert torch.allclose(gate @ gate.T, torch.eye(16), atol=2**-5)


def test_branches_without_a_norm_add_up_to_one():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return x + self.outer(torch.relu(self.inner(x)))

    model = nn.Sequential(*[Block() for _ in range(16)])
    initialize(model, torch.randn(32, 64))
    product = float(model[3].inner.weight.detach().std() * model[3].outer.weight.detach().std()) * 64
    assert product == pytest.approx(math.sqrt(2 / 16), rel=10 / math.sqrt(2 * 64 * 64))


def test_what_starts_at_zero_on_purpose_stays():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(32, 32), nn.Linear(32, 32)
            nn.init.zeros_(self.outer.weight)

        def forward(self, x):
            return x + self.outer(torch.relu(self.inner(x)))

    model = nn.Sequential(*[Block() for _ in range(4)])
    initialize(model, torch.randn(8, 32))
    assert not any(block.outer.weight.any() for block in model)


@pytest.mark.parametrize("method", THEORY)
def test_kept_parameters_stay_bit_for_bit(method):
    model = plain()
    before = bits(model)
    outcome = initialize(model, torch.randn(8, 64), method, keep=["0.*"], contract={"*4.weight": "normal:std=0.5"})
    after = bits(model)
    kept = {"0.weight", "0.bias", "4.weight"}
    assert set(outcome.kept) == kept
    assert {name for name in before if before[name] == after[name]} == kept


def test_kept_parametrized_weights_stay():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 4))
    before = bits(model)
    initialize(model, torch.randn(8, 16), keep=["0.weight"])
    assert {name for name, held in bits(model).items() if held == before[name]} == {
        "0.parametrizations.weight.original0",
        "0.parametrizations.weight.original1",
    }


@pytest.mark.parametrize("method", THEORY)
def test_the_code_is_the_same_and_idempotent(method):
    model, x = plain(), torch.randn(32, 64)
    code = initialize(model, x, method).code
    assert "initprobe import" not in code and "import initprobe" not in code
    once = []
    for times in (1, 2):
        for _ in range(times):
            torch.manual_seed(5)
            run(code, model)
        once.append(bits(model))
    assert once[0] == once[1]
    if method != "lsuv":  # which scales what it has drawn
        torch.manual_seed(5)
        initialize(model, x, method)
        assert bits(model) == once[0]


def test_lsuv_gives_variance_one():
    model, x = plain(4), 3 * torch.randn(64, 64) + 1
    initialize(model, x, "lsuv")
    for layer, activation in zip(model[::2], model[1::2], strict=True):
        z = layer(x).detach()
        assert float(z.var(correction=0)) == pytest.approx(1, rel=0.02)
        x = activation(z)


def test_a_contract_is_drawn_and_holds():
    model = Parts()
    rules = {
        "*": "normal:std=0.1",
        "*bias*": "zeros",
        "norm.weight": "ones",
        "up.weight": "uniform:low=-0.2,high=0.2",
        "head.weight": "orthogonal",
        "wrapped.weight": "he_normal",
        "spare": "any",
    }
    outcome = initialize(model, None, "contract", contract=rules, keep=["grouped.*"])
    assert model.spare.eq(7).all() and "grouped.weight" in outcome.kept
    held = {**rules, "grouped.*": "any", "grouped.bias": "any"}
    assert_init(model, held)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "forwards"}, "unknown method 'forwards'"),
        ({"keep": ["nothing.*"]}, "'nothing.\\*' matches no parameter"),
        ({"method": "contract"}, "needs contract="),
        ({"contract": {"*": "norml"}}, "norml"),
    ],
)
def test_faults_change_nothing(options, message):
    model = plain(2)
    before = bits(model)
    with pytest.raises(ConfigError, match=message):
        initialize(model, torch.randn(4, 64), **options)
    assert bits(model) == before


NET = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(48, 48)
        self.act = nn.GELU()

    def forward(self, x):
        return self.act(self.fc(x))

def make():
    return nn.Sequential(*[Block() for _ in range(12)], nn.Linear(48, 5))
"""
CHECK = """
import mynet_to_fix, torch
from init import init
from initprobe.torch import probe
model = init(mynet_to_fix.make())
assert probe(model, torch.randn(64, 48), threads=1).healthy
"""


def fixed(*options):
    arguments = ["torch", "mynet_to_fix:make", "--input-shape", "64,48", "--no-figures", "--quiet", "--threads", "1"]
    return CliRunner().invoke(cli, [*arguments, *options])


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet_to_fix.py").write_text(NET)
    yield tmp_path
    sys.modules.pop("mynet_to_fix", None)


def test_fix_writes_code_that_works_in_a_fresh_process(directory):
    done = fixed("--fix", "init.py")
    assert done.exit_code == 0, done.output
    assert "init.py: init(model) sets 13 weights and 13 biases by the method" in done.output
    text = (directory / "init.py").read_text()
    assert "for i in range(12):" in text and "gelu follows" in text and "import initprobe" not in text
    subprocess.run([sys.executable, "-c", CHECK], check=True, cwd=directory)


def test_fix_writes_nothing_where_no_fix_works(directory):
    done = fixed("--fix", "init.py", "--keep", "*.weight")
    assert done.exit_code == 1
    assert "init.py is not written: no initialization makes the model healthy" in done.output
    assert not (directory / "init.py").exists()


def test_keep_needs_fix(directory):
    done = fixed("--keep", "*.weight")
    assert isinstance(done.exception, ConfigError) and "--keep: give --fix too" in str(done.exception)


def test_probe_stays_the_same():
    """`initialize` is loaded beside `probe`, lazily."""
    import initprobe.torch

    assert set(initprobe.torch.__all__) == {"Initialized", "initialize", "probe", "width"}
    assert initprobe.torch.probe is probe


def test_what_keep_names_stays_also_under_its_second_name():
    model = Words()
    before = model.embed.weight.detach().clone()
    outcome = initialize(model, torch.randint(0, 60, (8, 12)), keep=["head.*"])
    assert torch.equal(model.embed.weight, before) and outcome.kept == ("embed.weight",)


def test_a_parametrization_without_an_inverse_is_refused_before_anything_is_changed():
    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    nn.utils.parametrize.register_parametrization(model[1], "weight", Symmetric())
    before = bits(model)
    with pytest.raises(ConfigError, match=r"1\.weight: its parametrization takes no values by right_inverse"):
        initialize(model, None, "contract", contract={"*.weight": "he"})
    assert bits(model) == before
    initialize(model, None, "contract", contract={"*.weight": "he", "*.bias": "torch_linear", "1.weight": "any"})
    assert bits(model) != before
    for method in THEORY:
        assert set(initialize(model, torch.randn(8, 20), method).changed) == {"0.weight", "0.bias", "1.bias"}


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(32, 32))

    def forward(self, x):
        return x @ self.w.T


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_lsuv_reaches_views_attention_and_computed_weights():
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(32, 32)),
        nn.ReLU(),
        Transposed(),
        nn.utils.weight_norm(nn.Linear(32, 32)),
        SelfAttention(32, 4, batch_first=True),
        nn.Linear(32, 32),
    )
    x = torch.randn(8, 12, 32)
    outcome = initialize(model, x, "lsuv")
    assert outcome.code.count("measured on the input") == 6 and not outcome.left
    for layer in model:
        x = layer(x)
        if not isinstance(layer, nn.ReLU):
            assert x.var().item() == pytest.approx(1, abs=0.02), layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lsuv_scales_no_rounding_up(bias, dtype):
    """Biases take out the mean of sigmoids; without biases the samples collapse, and the head keeps theory's scale."""
    layers = [part for _ in range(12) for part in (nn.Linear(20, 20, bias=bias), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(20, 1, bias=bias)).to(dtype)
    x = torch.randn(64, 20, dtype=dtype)
    outcome = initialize(model, x, "lsuv")
    assert outcome.unscaled == (() if bias else ("24.weight",)) and outcome.left == ()
    assert ("samples hardly differ" in outcome.code) is not bias
    assert model[-1].weight.abs().max() < 20  # std about 1; rounding scaled up would give it 2e4
    if bias:
        assert float(model(x).detach().var(correction=0)) == pytest.approx(1, abs=0.01)
        run(outcome.code, model)
        assert 0.1 < float(model(x).detach().var(correction=0)) < 10


def test_a_deep_sigmoid_net_becomes_a_net_of_tanh():
    model = nn.Sequential(*(part for _ in range(12) for part in (nn.Linear(64, 64), nn.Sigmoid())))
    model.append(nn.Linear(64, 4)).double()
    x = torch.randn(64, 64).double()
    outcome = initialize(model, x)
    twin = nn.Sequential(*(part for _ in range(12) for part in (nn.Linear(64, 64), nn.Tanh())), nn.Linear(64, 4))
    twin.double()
    for place in range(0, 25, 2):
        factor = 0.5 if place in (0, 24) else 0.25
        twin[place].weight.data = factor * model[place].weight.data
        nn.init.zeros_(twin[place].bias)
    # 64 terms of mean size 0.4 make a sum of 26, whose 64 roundings of 2^-53 are at most 2e-13. The bias has as many.
    # At the edge of chaos an error keeps its mean size over depth, so 13 layers give at most 5e-12.
    assert torch.allclose(model(x), twin(x), rtol=0, atol=1e-11)
    assert probe(model, x, try_fixes=False).healthy
    again = nn.Sequential(*model)
    run(outcome.code, again)
    assert probe(again, x, try_fixes=False).healthy


def test_the_outcome_shows_itself():
    model = plain(2, 16)
    done = initialize(model, torch.randn(8, 16), keep=["2.*"])
    assert repr(done) == "<Initialized: critical: 2 weights set, 2 kept>"
    assert "set       0.weight, 0.bias" in done.table() and "def init(model):" in done._repr_html_()
    report = assert_init(model, {"0.weight": "he", "2.weight": "torch_linear"}, default="any")
    assert repr(report) == "<Report: 2 parameters as meant; 2 parameters not judged>" and str(report) in report.table()
    assert "he" in report._repr_html_()
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert list(done.to_dataframe()["outcome"]) == ["set", "set", "kept", "kept"]
    assert list(report.to_dataframe()["holds"]) == [True, True]
