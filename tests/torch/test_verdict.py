"""The verdict on models of one's own: silent on what trains, right about what is faulty, and every fix works."""

import copy
import random

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_cases import FAULTY, HEALTHY, Attention, attending, normed_branch, rows  # noqa: E402

from initprobe.engine.threads import Workers, workers  # noqa: E402
from initprobe.errors import ConfigError  # noqa: E402
from initprobe.torch import probe  # noqa: E402
from initprobe.torch.measure import SmallTensors, Track  # noqa: E402
from initprobe.torch.verdict.rulebook import RULEBOOK  # noqa: E402

SEEDS = [0, pytest.param(1, marks=pytest.mark.slow)]


def above_info(result):
    return [finding for finding in result.diagnosis if finding.severity != "info"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "size"), [(name, size) for name, (_, sizes) in HEALTHY.items() for size in sizes])
def test_models_that_train_are_healthy(name, size, seed):
    torch.manual_seed(seed)
    model, x = HEALTHY[name][0](size)
    result = probe(model, x, threads=1)
    assert result.healthy and result.coverage.share == 1, result.table()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_model_is_named_and_the_fix_works(name, seed):
    torch.manual_seed(seed)
    model, x, loss, rule, module = FAULTY[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = probe(model, x, loss=loss, threads=1)
    finding = next(
        (finding for finding in result.diagnosis if finding.rule == rule and finding.severity != "info"), None
    )
    assert finding is not None, result.table()
    assert module is None or finding.module == module, result.table()
    assert finding.fix, (finding.no_fix, result.table())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    names = {"model": model, "nn": nn, "torch": torch, "x": x}
    exec(finding.fix, names)
    again = probe(model, names["x"], loss=loss, threads=1)
    assert not above_info(again), again.table()


@pytest.mark.parametrize("dies_first", [True, False])
def test_the_part_that_dies_is_located(dies_first):
    """Forward and back, whichever half it is."""
    torch.manual_seed(0)
    model, x, *_ = FAULTY["first half dies" if dies_first else "second half dies"]()
    starts = {finding.rule: finding.layer for finding in above_info(probe(model, x, threads=1))}
    start = 1 if dies_first else 9
    assert abs(starts["vanishing-output"] - start) <= 1 and abs(starts["vanishing-gradient"] - start) <= 1


def test_scaled_attention_is_silent():
    model, x, *_ = attending(scaled=True)
    assert probe(model, x, threads=1).healthy


@pytest.mark.parametrize(("bias", "keep"), [(0.0, 0.5), (1.0, 0.73), (3.0, 0.95)])
def test_gates_of_recurrences(bias, keep):
    """The mean forget gate, and the memory that follows from it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(9, 24, batch_first=True), nn.Linear(24, 1)
            with torch.no_grad():
                self.rnn.bias_ih_l0.zero_()[24:48] = bias
                self.rnn.bias_hh_l0.zero_()

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    torch.manual_seed(0)
    result = probe(Net(), torch.randn(8, 20, 9), threads=1)
    finding = next(finding for finding in result.diagnosis if finding.rule == "short-memory")
    assert result.healthy and finding.severity == "info" and finding.module == "rnn"
    assert float(finding.evidence.split("gate ")[1].split(":")[0]) == pytest.approx(keep, abs=0.02)
    assert "over 19 steps" in finding.evidence and result.coverage.share == 1


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrences_are_judged(make):
    torch.manual_seed(0)
    result = probe(make(6, 8, num_layers=2, bidirectional=True), torch.randn(5, 4, 6), threads=1)
    assert result.layers[0].kind == "recurrence" and result.coverage.share == 1


@pytest.mark.parametrize("make", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_are_judged(make):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = make(6, 8), nn.Linear(8, 2)

        def forward(self, x):
            state = None
            for step in x.unbind(1):
                state = self.cell(step, state)
            return self.out(state[0] if isinstance(state, tuple) else state)

    torch.manual_seed(0)
    result = probe(Net(), torch.randn(5, 4, 6), threads=1)
    assert result.coverage.share == 1 and [layer.name for layer in result.layers][:2] == ["cell", "cell#2"]


def test_every_number_is_that_of_plain_hooks_in_float64():
    """Functional products, sums and activations too, forward and back."""
    torch.manual_seed(0)
    model, x = normed_branch(4, 32)
    model, x = model.double(), x.double()
    outputs, hooked = {}, copy.deepcopy(model)
    for name, module in hooked.named_modules():
        if isinstance(module, nn.Linear | nn.GELU | nn.RMSNorm):

            def after(module, given, output, name=name):
                outputs[name] = output
                output.retain_grad()

            module.register_forward_hook(after)
    output = hooked(x)
    output.backward(torch.ones_like(output))
    result = probe(model, x, loss=lambda y: y.sum(), threads=1)
    for module in result.modules:
        assert module.output.variance == pytest.approx(
            float(outputs[module.name].detach().var(unbiased=False)), rel=1e-6
        )
        gradient = outputs[module.name].grad
        assert module.output_gradient.variance == pytest.approx(float(gradient.var(unbiased=False)), rel=1e-6)
    for layer in result.layers:
        weight = hooked.get_submodule(layer.name).weight
        assert layer.weight_gradient.rms == pytest.approx(float(weight.grad.square().mean().sqrt()), rel=1e-6)


def test_a_factor_of_zero_is_no_gate():
    class Gained(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight * 0.0, self.bias * 0.0)

    torch.manual_seed(0)
    result = probe(nn.Sequential(nn.Linear(9, 9), nn.ReLU(), Gained(9, 9), nn.ReLU(), nn.Linear(9, 2)), rows(20, 9))
    (finding,) = above_info(result)
    assert (finding.rule, finding.module, finding.fix) == ("dead-layer", "2", None)
    assert "constant" in finding.cause and finding.no_fix == "the factor is in the model's code"


def test_spectral_norm_says_why_there_is_no_fix():
    wrap = nn.utils.parametrizations.spectral_norm
    torch.manual_seed(0)
    model = nn.Sequential(*[p for _ in range(9) for p in (wrap(nn.Linear(40, 40, bias=False)), nn.ReLU())])
    findings = above_info(probe(model, rows(64, 40), threads=1))
    assert findings and all(finding.fix is None and "spectral norm undoes" in finding.no_fix for finding in findings)


def test_unused_parts_are_no_fault():
    class Ended(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            h = torch.tanh(self.a(x))
            self.b(h)
            return self.c(h)

    result = probe(Ended(), rows(20, 8))
    (finding,) = result.diagnosis
    assert result.healthy and (finding.rule, finding.module) == ("no-gradient", "b") and "not used" in finding.evidence


def test_attention_of_torch_is_seen_inside():
    torch.manual_seed(0)
    model = nn.MultiheadAttention(24, 3, batch_first=True)
    with torch.no_grad():
        model.in_proj_weight[:48].mul_(6)
    for weights in (True, False):
        x = torch.randn(4, 10, 24)
        result = probe(model, {"query": x, "key": x, "value": x, "need_weights": weights}, threads=1)
        assert [layer.name for layer in result.layers] == ["in_proj_weight", "out_proj"]
        assert "attention-logits" in {finding.rule for finding in above_info(result)}, result.table()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_statistics_on_a_device_are_those_of_numpy(dtype):
    """By the same code, on the processor: zeros, extremes, buckets, and a mean far from 0."""
    torch.manual_seed(0)
    for tensor in (torch.randn(40, 300), 100 + torch.randn(40, 300), torch.randn(40, 300).relu()):
        with workers(1) as pool:
            few = SmallTensors(pool)
            here, there = (Track.like(tensor.to(dtype), 0, few, True) for _ in range(2))
            here.measure(tensor.to(dtype), cosines=True)
            few.empty()
        there.begin_draw()
        there._add_there(tensor.to(dtype), cosines=True)
        assert there.counts.tolist() == here.counts.tolist()
        assert there.variance == pytest.approx(here.variance, rel=1e-6) and there.zeros == here.zeros
        assert list(there.correlations) == [pytest.approx(here.correlations[0], abs=1e-6)]


def test_without_trials_there_is_no_fix():
    torch.manual_seed(0)
    model, x, *_ = FAULTY["equal rows"]()
    result = probe(model, x, try_fixes=False)
    assert above_info(result) and all(finding.fix is None for finding in result.diagnosis)


def test_an_interrupt_in_a_trial_leaves_the_model_unchanged():
    torch.manual_seed(0)
    model, x, *_ = FAULTY["second half dies"]()
    passes = []

    def interrupted(module, given, output):
        passes.append(1)
        if len(passes) == 2:
            raise KeyboardInterrupt

    model[0].register_forward_hook(interrupted)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    random.seed(5)
    state = random.getstate()
    with pytest.raises(KeyboardInterrupt):
        probe(model, x, threads=1)
    assert len(passes) == 2 and random.getstate() == state
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_a_fix_of_a_tied_weight_names_its_other_place():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm, self.head = nn.Embedding(60, 48), nn.LayerNorm(48), nn.Linear(48, 60, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.norm(self.embed(ids)))

    torch.manual_seed(0)
    ids = torch.randint(60, (4, 12))
    loss = lambda y: nn.functional.cross_entropy(y.flatten(0, 1), ids.roll(1, 1).flatten())  # noqa: E731
    model = Tied()
    result = probe(model, ids, loss=loss, threads=1)
    (finding,) = above_info(result)
    assert finding.rule == "starting-loss" and "ln 60 = 4.094" in finding.evidence and "tied to" in finding.evidence
    exec(finding.fix, {"model": model, "nn": nn, "torch": torch})
    assert probe(model, ids, loss=loss, threads=1).healthy


def test_fused_attention_counts_as_attention():
    class Fused(Attention):
        def forward(self, x):
            batch, length, width = x.shape
            q, k, v = (w(x).view(batch, length, 2, -1).transpose(1, 2) for w in (self.q, self.k, self.v))
            attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
            return x + self.o(attended.transpose(1, 2).reshape(batch, length, width))

    torch.manual_seed(0)
    assert {finding.rule for finding in above_info(probe(Fused(128, 2, True), torch.randn(4, 24, 128)))} == {
        "attention-logits"
    }


def test_a_gradient_that_a_fused_operation_leaves_undefined_is_no_gradient():
    """On a CUDA device the hook of an LSTM's unused output is called with None."""
    track = Track.like(torch.ones(3, 4), 1, SmallTensors(Workers(0)), fine=False)
    track(None)
    assert track.gradient is None


@pytest.mark.parametrize("loss", [None, lambda y: y.square().mean()])
def test_reentrant_checkpoints_are_refused_in_one_line(loss):
    """torch allows no gradients of single tensors through them."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(torch.utils.checkpoint.checkpoint(torch.tanh, self.a(x), use_reentrant=True))

    with pytest.raises(ConfigError, match=r"^reentrant .* use_reentrant=False\)$"):
        probe(Net(), rows(6, 8), loss=loss)


def test_a_cause_that_a_rule_explains_is_said_in_the_words_of_the_rule():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    (finding,) = above_info(probe(model, rows(20, 8), threads=1))
    assert finding.rule == "void-parameter" and finding.cause == RULEBOOK["void-parameter"].meaning


def test_a_fix_reaches_the_read_out_that_explodes_too():
    """The line for the hidden layers alone would leave the finding at the last layer, and no fix be printed."""
    torch.manual_seed(0)
    hidden = [part for _ in range(3) for part in (nn.Linear(64, 64), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(64, 2))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=5)
    first = probe(model, torch.randn(16, 64)).diagnosis[0]
    assert first.rule == "exploding-output" and first.fix is not None and "model[6]" in first.fix
    exec(first.fix, {"model": model, "nn": nn})
    assert probe(model, torch.randn(16, 64)).healthy


@pytest.mark.parametrize(
    "act, std, factor", [(nn.ReLU, 0.05, 0.5), (nn.Identity, 0.05, 1), (nn.Tanh, 0.05, 1), (nn.Sigmoid, 0.1, 1 / 16)]
)
def test_the_product_of_a_trend_counts_the_activation(act, std, factor):
    """`64 x 0.05^2 x 0.5 (E[phi'^2]) = 0.08` is the share that each layer keeps, within its measured spread."""
    torch.manual_seed(0)
    model = nn.Sequential(*[part for _ in range(10) for part in (nn.Linear(64, 64), act())])
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std) if parameter.ndim > 1 else nn.init.zeros_(parameter)
    findings = probe(model, torch.randn(64, 64), threads=1, try_fixes=False).diagnosis
    evidence = next(finding.evidence for finding in findings if finding.rule == "vanishing-gradient")
    weights, _, rest = evidence.partition("^2")
    product, kept = float(rest.partition(" = ")[2].partition(":")[0]), float(rest.split("keeps ")[1].partition("%")[0])
    assert weights.startswith("64 x ") and ("(E[phi'^2])" in rest) == (factor < 1)
    assert product == pytest.approx(kept / 100, rel=0.1) == pytest.approx(64 * std**2 * factor, rel=0.2)
