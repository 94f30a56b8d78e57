"""A PyTorch model gets the same table, figures, verdict and gates as a net of `run`."""

import copy
import csv
import io
import math
import random
import re

import numpy as np
import pytest

import initprobe
from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError, InputError, UnknownNameError
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.reports.console import console
from initprobe.reports.csv import to_csv
from initprobe.reports.run_table import print_result
from initprobe.results.base import TENSORS
from initprobe.results.run import ProbeResult
from initprobe.sweeps.store_diff import Comparison, paired, parse_rule
from initprobe.sweeps.store_kept_runs import kept_runs
from initprobe.testing import assert_healthy

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_nets import (  # noqa: E402
    Attending,
    Autoencoder,
    Detached,
    Functional,
    Language,
    ResNet,
    Silenced,
    Tagger,
    bottleneck,
    encoder,
    generator,
    mlp,
    normed,
)

from initprobe.torch import probe  # noqa: E402
from initprobe.torch.paths import path  # noqa: E402


def seeded(make, *args, **options):
    torch.manual_seed(0)
    return make(*args, **options)


def images(batch=8):
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def rows(batch=200, width=100):
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(1))


def rules(result):
    return {finding.rule for finding in result.diagnosis if finding.severity != "info"}


def built(arrays, act):
    """The saved network in PyTorch, whose weights are the other way round."""
    parts = []
    for number in range(1, sum(name.startswith("W") for name in arrays) + 1):
        fan_in, fan_out = arrays[f"W{number}"].shape
        linear = nn.Linear(fan_in, fan_out, dtype=torch.from_numpy(arrays["x"]).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(arrays[f"W{number}"].T.copy()))
            linear.bias.copy_(torch.from_numpy(arrays[f"b{number}"]))
        parts += [linear, act()]
    return nn.Sequential(*parts)


@pytest.mark.parametrize(("init", "act", "module"), [("xavier", "tanh", nn.Tanh), ("he", "relu", nn.ReLU)])
def test_saved_weights_give_the_numbers_of_run(init, act, module):
    config = ProbeConfig(
        init=init, act=act, layers=6, width=80, batch=300, draws=1, bias_init="normal:std=0.1", dtype="float64"
    )
    ours, arrays = initprobe.run(config), first_network(prepare(config))
    x, g = (torch.from_numpy(arrays[name]) for name in "xg")
    theirs = probe(built(arrays, module), x, loss=lambda y: (y * g).sum())
    for mine, yours in zip(ours.layers, theirs.layers, strict=True):
        for tensor in TENSORS:
            a, b = mine.tensor(tensor), yours.tensor(tensor)
            for name in ("mean", "variance", "rms", "min", "max", "zero_fraction"):
                assert getattr(b, name) == pytest.approx(getattr(a, name), rel=1e-6, abs=1e-6 * a.rms), (tensor, name)
            assert np.array(list(b.percentiles.model_dump().values())) == pytest.approx(
                np.array(list(a.percentiles.model_dump().values())), rel=1e-6, abs=1e-6 * a.rms
            )
        assert yours.correlation == pytest.approx(mine.correlation, abs=1e-6)
        assert yours.output.saturated_fraction == mine.output.saturated_fraction
        assert yours.output.dead_fraction == mine.output.dead_fraction
        assert yours.gradient_to_weight_ratio == pytest.approx(mine.gradient_to_weight_ratio, rel=1e-6)
        assert (yours.fan_in, yours.fan_out) == (mine.fan_in, mine.fan_out)
    assert rules(theirs) == rules(ours)


def test_float32_gives_the_same_verdict():
    config = ProbeConfig(init="he", act="relu", layers=4, width=60, batch=100, draws=1)
    ours, arrays = initprobe.run(config), first_network(prepare(config))
    x, g = (torch.from_numpy(arrays[name]) for name in "xg")
    theirs = probe(built(arrays, nn.ReLU), x, loss=lambda y: (y * g).sum())
    for tensor in TENSORS:
        assert theirs.series(tensor) == pytest.approx(ours.series(tensor), rel=1e-6)


def test_torch_defaults_and_gelu_vanish_and_the_fix_works():
    model = seeded(mlp, nn.GELU, layers=12)
    result = probe(model, rows())
    assert "vanishing-gradient" in rules(result)
    fix = next(finding.fix for finding in result.diagnosis if finding.rule == "vanishing-gradient")
    assert fix.startswith("for i in range(") and "].weight, std=0.15" in fix
    exec(fix)
    assert probe(model, rows()).healthy


def test_planted_bug_is_named():
    model = seeded(Functional)
    assert probe(model, rows()).healthy
    nn.init.normal_(model.blocks[3].fc.weight, std=10)
    result = probe(model, rows())
    finding = result.diagnosis[0]
    assert (finding.rule, finding.module, finding.layer) == ("odd-layer", "blocks.3.fc", 4)
    assert finding.fix.startswith("nn.init.normal_(model.blocks[3].fc.weight, std=0.14")  # that of its siblings
    assert "odd layer from layer 4 (blocks.3.fc)".upper()[:9] in result.table() and "blocks.3.fc" in result.table()
    exec(finding.fix)
    assert probe(model, rows()).healthy


def test_planted_bug_in_weights_that_are_never_called():
    model = seeded(encoder)
    nn.init.normal_(model.layers[1].self_attn.out_proj.weight, std=10)
    finding = next(f for f in probe(model, torch.randn(8, 10, 32)).diagnosis if f.rule == "odd-layer")
    assert (finding.module, finding.layer) == ("layers.1.self_attn.out_proj", 6)
    assert finding.fix.startswith("nn.init.normal_(model.layers[1].self_attn.out_proj.weight, std=")


def test_a_norm_undoes_an_odd_layer():
    model = seeded(ResNet)
    nn.init.normal_(model.blocks[1].conv1.weight, std=10)
    finding = next(f for f in probe(model, images()).diagnosis if f.rule == "odd-layer")
    assert (finding.module, finding.severity, finding.fix) == ("blocks.1.conv1", "info", None)
    assert "norm" in finding.cause


def test_convolutions_norms_and_reused_in_place_modules():
    model = seeded(ResNet)
    result = probe(model, images())
    assert result.healthy, result.table()
    names = [layer.name for layer in result.layers]
    assert names[:3] == ["stem.0", "blocks.0.conv1", "blocks.0.conv2"] and names[-1] == "fc"
    assert (result.layers[1].fan_in, result.layers[1].fan_out, result.layers[1].kind) == (72, 72, "convolution")
    assert result.layers[0].preactivation.variance == pytest.approx(1, abs=1e-3)  # what batch norm gives
    labels = [module.label for module in result.modules]
    assert "blocks.0.relu" in labels and "blocks.0.relu#2" in labels
    relu = next(module for module in result.modules if module.label == "blocks.0.relu")
    assert relu.input.min < 0 and relu.output.min == 0  # taken before it was overwritten
    assert relu.kind == "activation" and relu.layer == 2


def test_gradients_around_in_place_modules_are_those_without():
    """Against a copy whose activations leave their input alone, and against autograd itself."""
    model = seeded(ResNet)
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    in_place, separate = probe(model, images()), probe(plain, images())
    for a, b in zip(in_place.modules, separate.modules, strict=True):
        for gradient in ("input_gradients", "output_gradients"):
            for x, y in zip(getattr(a, gradient), getattr(b, gradient), strict=True):
                assert (x is None) == (y is None)
                assert x is None or x.variance == pytest.approx(y.variance, rel=1e-5)
        if a.weight_gradient:
            assert a.weight_gradient.rms == pytest.approx(b.weight_gradient.rms, rel=1e-5)


def test_gradients_are_those_of_autograd():
    model, x = seeded(mlp, nn.Tanh, layers=2, width=10), rows(20, 10)
    result = probe(model, x, loss=lambda y: (y**2).mean())
    z = model[0](x)
    h = model[1](z)
    h.retain_grad()
    z.retain_grad()
    (model[3](model[2](h)) ** 2).mean().backward()
    first = result.layers[0]
    assert first.output_gradient.variance == pytest.approx(float(h.grad.var(unbiased=False)), rel=1e-5)
    assert first.preactivation_gradient.variance == pytest.approx(float(z.grad.var(unbiased=False)), rel=1e-5)
    weight = float(model[0].weight.grad.square().mean().sqrt())
    assert first.weight_gradient.rms == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder(training, norm_first):
    """In evaluation mode too, where its fast path would go round the modules."""
    model = seeded(encoder, norm_first=norm_first, dropout=0.0).train(training)
    x = torch.randn(8, 10, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[:, 8:] = True
    result = probe(model, {"src": x, "src_key_padding_mask": mask})
    assert result.healthy, result.table()
    names = ["self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"]
    assert [layer.name for layer in result.layers[:4]] == [f"layers.0.{name}" for name in names]
    assert result.layers[1].weight_gradient.variance > 0
    assert result.layers[2].output.zero_fraction > 0.3  # after a functional ReLU
    assert result.coverage.share == 1


SOUND = {
    "language model": (Language, lambda rng: torch.randint(100, (4, 32), generator=rng)),
    "layer norm": (normed, lambda rng: torch.randn(64, 100, generator=rng)),
    "transposed convolutions": (generator, lambda rng: torch.randn(8, 100, 1, 1, generator=rng)),
    "bottleneck": (bottleneck, lambda rng: torch.rand(32, 784, generator=rng)),
}


@pytest.mark.parametrize("name", SOUND)
def test_models_that_train_well_have_nothing_above_info(name):
    make, given = SOUND[name]
    result = probe(seeded(make), given(torch.Generator().manual_seed(1)))
    assert result.healthy, result.table()


def test_functional_activations_are_recorded():
    """As modules are, with the same numbers."""
    result = probe(seeded(Functional), rows())
    assert all(layer.output.zero_fraction > 0.3 for layer in result.layers)
    assert all(layer.output.dead_fraction is not None and layer.activation == "relu" for layer in result.layers)
    varied = probe(seeded(Varied), rows(20, 10))
    assert [layer.activation for layer in varied.layers] == ["gelu", "tanh", "leaky_relu", "sigmoid"]
    assert varied.layers[1].output.saturated_fraction is not None


class Varied(nn.Module):
    """Functions, methods, arguments by place and by name, and a submodule with the name of a function."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(10, 10) for _ in range(4))
        self.tanh = nn.Identity()

    def forward(self, x):
        x = self.tanh(self.b(torch.nn.functional.gelu(self.a(x), approximate="tanh"))).tanh()
        return torch.sigmoid(self.d(torch.nn.functional.leaky_relu(self.c(x), 0.3)))


def test_tuples_whole_numbers_recurrence_and_tied_weights():
    model = seeded(Tagger)
    result = probe(model, torch.randint(50, (4, 7), generator=torch.Generator().manual_seed(1)))
    embed, rnn, head = result.modules
    assert embed.inputs == () and embed.input is None and embed.output.variance > 0.5
    assert len(rnn.outputs) == 3 and len(rnn.output_gradients) == 3
    assert rnn.output_gradients[0].variance > 0 and rnn.output_gradients[2] is None  # the cell's state is not used
    assert embed.weight == head.weight and embed.weight_gradient == head.weight_gradient
    assert (embed.kind, rnn.kind, head.kind) == ("other", "other", "linear")


def test_frozen_parameters():
    model = seeded(mlp, nn.ReLU, layers=3)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    result = probe(model, rows())
    assert result.layers[0].weight_gradient.variance is None and result.layers[0].weight_gradient.status == "ok"
    assert result.layers[0].output_gradient.variance > 0
    assert result.modules[0].weight_gradient is None and result.modules[0].input_gradient.variance > 0
    assert not model[0].weight.requires_grad
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert probe(model, rows()).layers[0].output_gradient.variance > 0


def test_a_parameter_that_a_module_is_given():
    """As with learned queries: its gradient is taken too, and no hook stays on it. What is never called is named."""

    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.query = nn.Parameter(torch.randn(20, 10))
            self.fc, self.spare, self.drop = nn.Linear(10, 10), nn.Linear(10, 10), nn.Dropout()

        def forward(self, x):
            return self.fc(self.query) * x

    model = seeded(Learned)
    for draws in (1, 2):
        result = probe(model, rows(20, 10), draws=draws, reinit=lambda model: None)
        assert result.modules[0].input_gradient.variance > 0
        assert not model.query._backward_hooks
    assert result.coverage.not_judged == ("spare (never used)",)
    assert result.coverage.share == pytest.approx((200 + 110) / (200 + 220))
    assert result.is_partial and "in the 73.8% that was judged" in result.table()


def test_without_any_gradient_it_says_so():
    model = seeded(Tagger)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    result = probe(model, torch.zeros(4, 7, dtype=torch.int64))
    assert "so there are no gradients" in result.notes[-1] and result.layers[0].output_gradient.variance is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_probed(dtype):
    model = seeded(mlp, nn.ReLU, layers=3).to(getattr(torch, dtype))
    result = probe(model, rows().to(getattr(torch, dtype)))
    assert result.layers[0].output.variance == pytest.approx(
        probe(seeded(mlp, nn.ReLU, layers=3), rows()).layers[0].output.variance, rel=0.03
    )
    assert {layer.status for layer in result.layers} == {"ok"} and result.config["dtype"] == dtype


def test_half_precision_gives_out_by_its_own_range():
    """The same numbers are in range for float32."""
    for scale, status, rule in ((1e-4, "underflow", "underflow"), (6e5, "overflow", "overflow")):
        wide = seeded(mlp, nn.ReLU, layers=4)
        with torch.no_grad():
            wide[4].weight *= scale
            wide[4].bias *= scale
        half = copy.deepcopy(wide).half()
        assert {layer.preactivation.status for layer in probe(wide, rows()).layers} == {"ok"}
        result = probe(half, rows().half())
        assert result.layers[2].preactivation.status == status, result.layers[2].preactivation
        finding = next(finding for finding in result.diagnosis if finding.rule == rule)
        assert finding.fix == "model.to(torch.bfloat16)"


def test_parametrized_weights_and_bare_modules():
    model = nn.utils.parametrizations.weight_norm(seeded(nn.Linear, 30, 20))
    result = probe(model, rows(50, 30))
    assert result.layers[0].weight_gradient.variance > 0
    assert [module.kind for module in result.modules] == ["linear"]
    assert (result.layers[0].fan_in, result.layers[0].name) == (30, "")


def test_checkpointed_segments_are_counted_once():
    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp(nn.Tanh, layers=2)

        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)

    model = seeded(Saving)
    result, plain = probe(model, rows()), probe(model.inner, rows())
    assert [module.call for module in result.modules] == [1] * 4
    assert result.series("output_gradient") == plain.series("output_gradient")


def state_of(model):
    """Everything about a model and the world that a probe must not change."""
    tensors = {name: (id(t), t.clone()) for name, t in (*model.named_parameters(), *model.named_buffers())}
    return {
        "tensors": tensors,
        "grads": [(id(p.grad), None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        "flags": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()],
        "tensor hooks": [len(p._backward_hooks or ()) for p in model.parameters()],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "recording": torch.is_grad_enabled(),
    }


def assert_same(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for first, second in zip(a, b, strict=True):
            assert_same(first, second)
    else:
        assert a == b


class Failing(nn.Module):
    def forward(self, x):
        torch.rand(1)
        raise RuntimeError("on purpose")


def reset(model):
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model.eval()
    model.requires_grad_(False).requires_grad_(True)


@pytest.mark.parametrize("reinit", [None, reset])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [None, "forward", "loss"])
def test_the_model_is_left_unchanged(reinit, training, fails):
    model = seeded(ResNet).train(training)
    model.blocks[0].eval()
    model.stem[0].weight.requires_grad_(False)
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    called = []
    model.fc.register_forward_hook(lambda *_: called.append(1))
    x, loss = images(), (lambda y: 1 / 0) if fails == "loss" else None
    if fails == "forward":
        model.fc = nn.Sequential(model.fc, Failing())
    kept, before = x.clone(), state_of(model)
    if fails:
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            probe(model, x, reinit=reinit, loss=loss)
    else:
        probe(model, x, reinit=reinit, draws=2 if reinit else 1)
    assert_same(before, state_of(model))
    assert torch.equal(x, kept) and not x.requires_grad and called


def test_nothing_is_kept_alive():
    """No activation outlives the probe, and none is held while it runs but by autograd."""
    import gc
    import weakref

    model, born = seeded(mlp, nn.ReLU, layers=3), []
    model[1].register_forward_hook(lambda _, __, output: born.append(weakref.ref(output)))
    result = probe(model, rows())
    gc.collect()
    assert born and born[0]() is None and result.layers


def test_the_same_model_gives_the_same_result_at_any_number_of_threads():
    model = seeded(ResNet)
    one_thread, two_threads = (probe(model, images(), threads=count) for count in (1, 2))
    assert (
        one_thread.layers == two_threads.layers
        and one_thread.modules == two_threads.modules
        and one_thread.diagnosis == two_threads.diagnosis
    )


def test_dropout_is_seeded_and_draws_are_averaged():
    model = nn.Sequential(nn.Linear(50, 50), nn.Dropout(), nn.Linear(50, 5))
    torch.manual_seed(3)
    first = probe(model, rows(20, 50))
    torch.rand(5)
    assert probe(model, rows(20, 50)).layers == first.layers
    assert probe(model, rows(20, 50), seed=1).layers != first.layers
    result = probe(model, rows(20, 50), draws=5, reinit=reset)
    assert result.draws == 5 and len(set(result.layers[0].weight.variance_by_draw)) == 5
    assert result.layers[0].output.variance_sd > 0
    replaced = probe(model, rows(20, 50), draws=2, reinit=lambda m: setattr(m, "0", nn.Linear(50, 50).to("cpu")) or m)
    assert replaced.draws == 2


def test_wrong_arguments_are_refused():
    model = nn.Linear(5, 5)
    for arguments, words in (
        ({"draws": 3}, "needs reinit"),
        ({"draws": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"loss": lambda y: y}, "one number"),
        ({"loss": "mse"}, "loss must be a function, not 'mse'"),
        ({"reinit": 3}, "reinit must be a function, not 3"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**63}, "seed must be at least 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            probe(model, rows(9, 5), **arguments)
    with pytest.raises(ConfigError, match="must be a torch"):
        probe(lambda x: x, rows())
    with pytest.raises(ConfigError, match="uses no weights"):
        probe(nn.ReLU(), rows())
    with pytest.raises(ConfigError, match=r"not ndarray\. torch.as_tensor\(x\)"):
        probe(model, np.zeros((9, 5)))
    with pytest.raises(ConfigError, match="x is empty: its shape is 0 x 5"):
        probe(model, rows(0, 5))
    with pytest.raises(ConfigError, match="weight: is on the meta device"):
        probe(nn.Linear(5, 5, device="meta"), rows(9, 5))
    with pytest.raises(ConfigError, match=r"weight .*: not judged; the model multiplies"):
        probe(nn.Linear(5, 5, dtype=torch.complex64), rows(9, 5).to(torch.complex64))
    with pytest.raises(ConfigError, match="not initialized yet"):
        probe(nn.LazyLinear(5), rows())


def test_another_order_in_another_draw_is_refused():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.calls = nn.Linear(5, 5), nn.Linear(5, 5), 0

        def forward(self, x):
            self.calls += 1
            return self.b(self.a(x)) if self.calls == 1 else self.a(self.b(x))

    with pytest.raises(ConfigError, match="draw 2 calls other modules"):
        probe(Fickle(), rows(9, 5), draws=2, reinit=reset)


def test_zeros_on_purpose_are_no_fault():
    """The last layer of a branch, or of the net, may start at 0. A net whose middle is 0 is dead."""
    model = seeded(ResNet)
    for block in model.blocks:
        nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(model.fc.weight)
    nn.init.zeros_(model.fc.bias)
    assert probe(model, images()).healthy
    dead = seeded(mlp, nn.ReLU, layers=4)
    for layer in (dead[2], dead[4]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert "dead-layer" in rules(probe(dead, rows()))


def test_dead_channels():
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()))
    with torch.no_grad():
        model[0].bias[:7] = -100
    result = probe(model, images())
    assert result.layers[0].output.dead_fraction == 7 / 8
    finding = next(finding for finding in result.diagnosis if finding.rule == "dead-units")
    assert (finding.module, finding.fix) == ("0", "nn.init.zeros_(model[0].bias)")


def test_everything_else_works_on_it(tmp_path):
    result = probe(seeded(mlp, nn.ReLU, layers=3), rows())
    assert ProbeResult.from_json(result.to_json()) == result
    assert [axes.get_title() is not None for axes in result.figure().axes] == [True] * 3
    for kind in ("output", "gradient", "depth"):
        assert result.figure(kind).axes
    assert result._repr_html_().startswith("<pre ")
    rows_of = csv.DictReader(to_csv(result).splitlines())
    assert [[row[name] for name in ("name", "kind", "activation")] for row in rows_of] == [
        [str(place), "linear", "ReLU"] for place in (0, 2, 4)
    ]
    worse = seeded(mlp, nn.ReLU, layers=3)
    nn.init.normal_(worse[2].weight, std=10)
    for name, probed in (("old", result), ("new", probe(worse, rows()))):
        (tmp_path / f"{name}.json").write_text(probed.to_json())
    with kept_runs([tmp_path / "old.json"]) as old, kept_runs([tmp_path / "new.json"]) as new:
        (pair,) = paired(old, new)
        comparison = Comparison([parse_rule("verdict"), parse_rule("figures")])
        changes = {change.name: change for change in comparison.add(pair)}
    assert changes["verdict"].new == "odd layer" and changes["weight.variance"].layer == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.3.fc", "model.blocks[3].fc"),
        ("0", "model[0]"),
        ("", "model"),
        ("heads.a-b.fc", 'model.get_submodule("heads.a-b.fc")'),
    ],
)
def test_names_as_python_finds_them(name, expected):
    assert path(name) == expected


def test_a_net_of_run_has_no_modules():
    result = initprobe.run(ProbeConfig(init="he", act="relu", layers=2, width=20, batch=20))
    assert result.modules == () and result.notes == () and result.layers[0].name is None


def test_assert_healthy():
    model = seeded(mlp, nn.ReLU, layers=3)
    nn.init.kaiming_normal_(model[0].weight, nonlinearity="relu")
    assert assert_healthy(seeded(Functional), rows(), allow=("rank-collapse",)).healthy
    nn.init.normal_(model[2].weight, std=10)
    with pytest.raises(AssertionError) as failure:
        assert_healthy(model, rows())
    message = str(failure.value)
    assert "odd layer from layer 2 (2)" in message and "fix: nn.init.normal_(model[2].weight, std=0.0" in message
    assert "dL/dW" in message
    assert not assert_healthy(model, rows(), allow="odd-layer").healthy
    with pytest.raises(UnknownNameError, match="Did you mean 'odd-layer'"):
        assert_healthy(model, rows(), allow=("odd-layr",))


def test_a_layer_used_twice_is_numbered():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(10, 10)

        def forward(self, x):
            return self.fc(self.fc(x).relu())

    result = probe(seeded(Twice), rows(20, 10))
    assert [layer.name for layer in result.layers] == [module.label for module in result.modules] == ["fc", "fc#2"]
    assert result.layers[0].weight_gradient == result.layers[1].weight_gradient  # it has one


def test_any_mode_that_the_caller_is_in():
    """Also with input that knows no gradient, overwritten by the first module."""
    model = seeded(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 3)))
    model[1].requires_grad_(False)
    expected = probe(model, rows(20, 10))
    assert expected.modules[0].input_gradient.variance > 0
    with torch.inference_mode():
        x = rows(20, 10).clone()
        assert probe(model, x).layers == expected.layers
        assert torch.equal(x, rows(20, 10))
    with torch.no_grad():
        assert probe(model, rows(20, 10)).layers == expected.layers


def test_the_loss_is_in_the_notes():
    labels = torch.arange(20) % 10
    result = probe(seeded(nn.Linear, 10, 10), rows(20, 10), loss=lambda y: nn.functional.cross_entropy(y, labels))
    assert result.notes[0].startswith("loss at the start: 2.") and result.layers[0].output_gradient.rms < 0.1


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: nn.Conv2d(8, 16, 3), (72, 144)),
        (lambda: nn.Conv2d(8, 16, 3, groups=8), (9, 18)),
        (lambda: nn.ConvTranspose2d(8, 16, 4, 2), (32, 256)),
        (lambda: nn.Conv1d(8, 16, 5), (40, 80)),
        (lambda: nn.Linear(7, 9), (7, 9)),
    ],
)
def test_fan_in_keeps_the_variance(make, expected):
    """What it is for: with Var(W) = 1 / fan_in and no bias, the output has the variance of the input."""
    module = seeded(make)
    nn.init.normal_(module.weight, std=expected[0] ** -0.5)
    nn.init.zeros_(module.bias)
    shape = {"Linear": (4000, 7), "Conv1d": (64, 8, 50)}.get(type(module).__name__, (16, 8, 40, 40))
    layer = probe(module, torch.randn(shape, generator=torch.Generator().manual_seed(1))).layers[0]
    assert (layer.fan_in, layer.fan_out) == expected
    # The weights' own mean square has a relative SD of sqrt(2 / entries), and edges see fewer of them.
    assert layer.output.variance == pytest.approx(1, abs=5 * math.sqrt(2 / module.weight.numel()) + 0.1)


def test_compiled_models_are_looked_into():
    model = seeded(mlp, nn.ReLU, layers=2)
    wrapped = torch.nn.Module()
    wrapped._orig_mod = model
    assert [layer.name for layer in probe(wrapped, rows()).layers] == ["0", "2"]


def test_variances_agree_with_hooks_by_hand():
    model, x, variances = seeded(ResNet), images(), {}
    hooked = copy.deepcopy(model)
    for name, module in hooked.named_modules():
        module.register_forward_hook(
            lambda _, __, y, name=name: variances.update({name: float(y.detach().double().var(unbiased=False))})
        )
    hooked(x)
    for module in probe(model, x).modules:
        if module.label in variances and not module.name.endswith("relu"):  # which is called twice
            assert module.output.variance == pytest.approx(variances[module.name], rel=1e-6)
    assert math.isfinite(variances["fc"])


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("length", [20, 32])  # with 32, its matrix of weights has as many entries as its output
def test_the_output_of_attention_is_not_its_matrix_of_weights(whole, length):
    result = probe(seeded(Attending, whole), torch.randn(8, length, 32, generator=torch.Generator().manual_seed(1)))
    assert "error" not in {finding.severity for finding in result.diagnosis}, result.table()
    assert result.layers[1].output.variance == result.layers[1].preactivation.variance


def test_a_tensor_of_another_width_is_not_the_output_of_a_linear_layer():
    class Apart(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.drop = nn.Linear(32, 16), nn.Dropout(0.5)

        def forward(self, x):
            return self.fc(x), self.drop(x.repeat(1, 1, 2))

    layer = probe(seeded(Apart), torch.randn(8, 20, 32)).layers[0]
    assert layer.output.variance == layer.preactivation.variance


@pytest.mark.parametrize(
    ("make", "loss", "layer"),
    [
        (Detached, None, 1),
        (Silenced, None, 2),  # whose input is 0
        (lambda: mlp(nn.Tanh, layers=2, width=10), lambda y: (y * 0).sum(), 2),
        (lambda: mlp(nn.Tanh, layers=2, width=10), lambda y: y.detach().sum(), 2),
    ],
)
def test_a_weight_without_a_gradient_is_an_error(make, loss, layer):
    result = probe(seeded(make), rows(20, 10), loss=loss)
    finding = next(finding for finding in result.diagnosis if finding.rule == "no-gradient")
    assert (finding.severity, finding.layer, finding.fix) == ("error", layer, None), result.table()


def test_a_silent_recurrence_before_a_layer_is_an_error():
    model = seeded(Tagger)
    for parameter in model.rnn.parameters():
        nn.init.zeros_(parameter)
    assert "dead-layer" in rules(probe(model, torch.randint(50, (4, 7))))


def test_gates_at_zero_are_no_fault():
    class Rezero(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.scale = nn.Linear(10, 10), nn.Linear(10, 3), nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return self.b(x + self.scale * self.a(x))

    model = seeded(Rezero)
    assert probe(model, rows(20, 10)).healthy
    model.scale.requires_grad_(False)  # it stays closed
    assert "no-gradient" in rules(probe(model, rows(20, 10)))


@pytest.mark.parametrize(("value", "what"), [(math.nan, "NaN"), (math.inf, "infinities")])
def test_a_parameter_that_is_no_number_is_named_and_nothing_else(value, what):
    model = seeded(mlp, nn.Tanh, layers=5)
    with torch.no_grad():
        model[6].weight[3, 4] = value
    (finding,) = probe(model, rows()).diagnosis
    assert (finding.rule, finding.layer, finding.module) == ("void-parameter", 4, "6")
    assert finding.evidence.startswith(f"weight of model[6] holds {what}:")
    normed_ = seeded(normed)
    normed_[1].bias.data[0] = value
    (finding,) = probe(normed_, rows()).diagnosis
    assert finding.module == "1" and "bias of model[1]" in finding.evidence


def test_an_odd_head_leads_and_heads_are_no_chain():
    model = seeded(Autoencoder)
    assert probe(model, rows()).healthy
    with torch.no_grad():
        model.lv.weight *= 100
    result = probe(model, rows())
    assert (result.diagnosis[0].rule, result.diagnosis[0].module) == ("odd-layer", "lv"), result.table()
    assert "exploding-gradient" not in rules(result)


def test_an_input_that_is_no_number_is_refused_by_its_place():
    x = rows(9, 5)
    x[2, 3] = math.nan
    with pytest.raises(InputError, match="row 3, column 4: nan"):
        probe(nn.Linear(5, 5), x)
    with pytest.raises(InputError, match=r"entry \[0, 2, 3\]: -inf"):
        probe(nn.Linear(5, 5), torch.where(x.isnan(), -math.inf, x)[None])
    mask = nn.Transformer.generate_square_subsequent_mask(10)  # whose infinities mean something else
    assert probe(seeded(encoder), {"src": torch.randn(8, 10, 32), "mask": mask}).healthy


def fixes(result):
    return [finding.fix for finding in result.diagnosis if finding.fix]


def apply_fix(model, result):
    """Do as the first fix says."""
    exec(fixes(result)[0], {"nn": nn, "model": model, "torch": torch})


def test_a_norm_at_fault_is_named_and_no_weights_before_it():
    model = seeded(lambda: nn.Sequential(*[
        part for _ in range(2) for part in (nn.Linear(100, 100), nn.BatchNorm1d(100), nn.ReLU())
    ], nn.Linear(100, 10)))  # fmt: skip
    with torch.no_grad():
        model[4].weight *= 1000
    result = probe(model, rows())
    assert set(fixes(result)) == {"nn.init.ones_(model[4].weight)"}, result.table()
    apply_fix(model, result)
    assert probe(model, rows()).healthy
    model[4].running_var.fill_(1e6)
    result = probe(model.eval(), rows())
    assert rules(result) and set(fixes(result)) == {"model.train()"}, result.table()


def test_a_layer_dead_through_its_bias_gets_another_bias():
    model = seeded(mlp, nn.ReLU, layers=4)
    nn.init.constant_(model[2].bias, -5)
    result = probe(model, rows())
    finding = next(finding for finding in result.diagnosis if finding.rule == "dead-layer")
    first, second = finding.fix.split("\n")  # zeros have hidden that torch's default vanishes
    assert first == "nn.init.zeros_(model[2].bias)" and second.startswith("for i in range(0, 7, 2): nn.init.kaiming")
    apply_fix(model, result)
    assert probe(model, rows()).healthy


def tiny(act):
    model = seeded(mlp, act, layers=12)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    return model


@pytest.mark.parametrize("act", [nn.Sigmoid, nn.Softplus, nn.Hardsigmoid])
def test_no_fix_where_no_constant_gain_holds(act):
    result = probe(tiny(act), rows())
    assert rules(result) and not fixes(result), result.table()


@pytest.mark.parametrize("act", [nn.PReLU, nn.GELU, nn.Mish, nn.ELU, nn.SELU, nn.ReLU6, nn.Softsign])
def test_a_fix_that_is_offered_holds(act):
    model = tiny(act)
    result = probe(model, rows())
    assert (act is not nn.PReLU) or "a=0.25" in fixes(result)[0]
    apply_fix(model, result)
    assert probe(model, rows()).healthy


def test_the_judged_share_is_printed():
    result = probe(seeded(Tagger), torch.randint(50, (4, 7)))
    assert result.coverage.share == 1
    assert result.notes == ("one parameter under several names: embed.weight = head.weight",)
    assert [(layer.name, layer.kind) for layer in result.layers] == [
        ("embed", "embedding"), ("rnn", "recurrence"), ("head", "linear"),
    ]  # fmt: skip
    assert "judged    100% of 3.0k parameters" in result.table()


def test_lines_are_folded_on_a_terminal_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    result, shown = probe(seeded(Functional), rows()), Terminal()
    print_result(result, console(shown, color=False))
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown.getvalue())
    assert max(map(len, plain.splitlines())) <= 80 < max(map(len, result.table().splitlines()))
    assert plain.split() == result.table().split()


def test_long_names_leave_room_for_the_numbers():
    model = seeded(nn.Sequential)
    for number in range(3):
        model.add_module(f"a_stage_with_a_very_long_name_{number}_and_a_projection_{number}", nn.Linear(10, 10))
        model.add_module(f"act{number}", nn.ReLU())
    table = probe(model, rows(20, 10)).table()
    shown = [line for line in table.splitlines() if "…" in line]
    assert len(shown) == 3 and all("ojection_" in line for line in shown)
    assert max(map(len, shown)) <= 80 + 2 * len(" theory")
