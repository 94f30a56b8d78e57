"""The coordinate check of PyTorch models: right on networks in standard parametrization, in muP, and with a fault."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from width_nets import MLP, STANDARD, batch, fixed_by, scaled, widths_of  # noqa: E402

from initprobe.errors import ConfigError, MemoryLimitError  # noqa: E402
from initprobe.torch import width, width_study  # noqa: E402

CASES = [("mlp", "adamw"), ("mlp", "sgd"), ("resnet", "sgd"), ("resnet", "adamw"), ("transformer", "adamw")]
LARGEST = {"output": 0.05, "own_change": 0.15, "change": 0.15}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def checked(make, kind, optimizer, seed=0, widths=(), seeds=2, **settings):
    widths = widths or widths_of(kind)[:3]
    return width(make, batch(kind, seed), widths, optimizer=optimizer, seed=seed, seeds=seeds, **settings)


def far_from_theory(check):
    """The lines whose slope is further from theory than allowed and than three standard errors."""
    return [
        line
        for line in check.lines
        if line.theory is not None and abs(line.slope - line.theory) > max(LARGEST[line.quantity], 3 * line.slope_se)
    ]


def test_a_network_in_standard_parametrization_does_not_transfer_and_the_fix_is_mup():
    check = checked(MLP, "mlp", "adamw")
    assert check.transfers is False and check.findings[0].severity == "error"
    assert fixed_by(check) == {
        ("start of head.weight", "(64/width)^0.5"),
        ("learning rate of fc2.weight, fc3.weight, head.weight", "64/width"),
    }
    assert not far_from_theory(check)
    slopes = {name: check.line(name, "own_change", 1).slope for name in ("fc1", "fc2", "fc3", "head")}
    assert slopes == pytest.approx({"fc1": 0, "fc2": 1, "fc3": 1, "head": 1}, abs=0.15)


def test_the_fix_of_sgd_is_mup():
    check = checked(MLP, "mlp", "sgd")
    assert fixed_by(check) == {
        ("start of head.weight", "(64/width)^0.5"),
        ("learning rate of head.weight", "64/width"),
        ("learning rate of fc1.weight", "width/64"),
    }


@pytest.mark.parametrize(("kind", "optimizer"), CASES[:3:2])
def test_a_network_in_mup_transfers(kind, optimizer):
    check = checked(scaled(kind, optimizer), kind, optimizer, widths=widths_of(kind), seeds=3)
    assert check.transfers and check.verdict.startswith("transfers")
    assert {finding.rule for finding in check.findings} <= {"starts-small", "large-batch"}
    assert not far_from_theory(check)


class Head(nn.Module):
    """Two layers and a head, whose outputs may be pooled, given as log-probabilities, or added to a second head's."""

    def __init__(self, width, ending):
        super().__init__()
        self.ending = ending
        self.body = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head, self.other = nn.Linear(width, 4), nn.Linear(width, 4)

    def forward(self, x):
        h = self.body(x)
        logits = self.head(h)
        kinds = {
            "plain": lambda: logits,
            "log-softmax": lambda: logits.log_softmax(-1),
            "pooled": lambda: logits.mean(1),
            "part": lambda: logits[:, 0],
            "two heads": lambda: logits + self.other(h),
        }
        return kinds[self.ending]()


@pytest.mark.parametrize("ending", ["plain", "log-softmax", "pooled", "part", "two heads"])
def test_the_readout_is_the_layer_that_makes_the_output(ending):
    x = torch.randn(8, 3, 6) if ending in ("pooled", "part") else torch.randn(8, 6)
    check = width(lambda n: Head(n, ending), x, (16, 32), seeds=1, steps=1, try_fixes=False)
    kinds = {line.layer: line.kind for line in check.lines}
    assert [name for name, kind in kinds.items() if kind == "readout"] == ["output" if "two" in ending else "head"]
    assert "attention" not in kinds.values()


def test_queries_of_zero_are_no_fault():
    check = checked(scaled("transformer", "adamw"), "transformer", "adamw")
    assert check.transfers
    assert "starts-at-zero" in {finding.rule for finding in check.findings}
    assert check.line("blocks.0.q", "output").status == "zero"
    assert check.line("blocks.0: attention", "change", 3).slope < 0.1


def test_swapped_learning_rates_are_named():
    make = scaled("mlp", "adamw", ("fc1.weight", "fc2.weight"))
    check = checked(make, "mlp", "adamw")
    updates = {each.rule: each.layers for each in check.findings if each.rule.startswith("update")}
    assert updates == {"update-grows": ("fc2",), "update-falls": ("fc1",)}
    assert fixed_by(check) == {("learning rate of fc2.weight", "64/width"), ("learning rate of fc1.weight", "width/64")}


class Multiplied(nn.Module):
    """The read-out has weights of variance 1, and a factor that belongs there, or to another layer."""

    def __init__(self, units, inside=False):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(16, units), nn.Linear(units, units), nn.Linear(units, 10)
        nn.init.normal_(self.head.weight)
        self.factor, self.inside = 8 / units, inside

    def forward(self, x):
        h = torch.relu(self.fc1(x))
        h = torch.relu(self.fc2(h) * (self.factor if self.inside else 1))
        return self.head(h) * (1 if self.inside else self.factor)


@pytest.mark.parametrize(("inside", "transfers"), [(False, True), (True, False)])
def test_a_factor_counts_as_part_of_the_weights(inside, transfers):
    def make(units):
        model = Multiplied(units, inside)
        hidden = [model.fc2.weight]
        rest = [parameter for parameter in model.parameters() if parameter is not hidden[0]]
        return model, [{"params": hidden, "lr_scale": 64 / units}, {"params": rest}]

    check = checked(make, "mlp", "adam", try_fixes=False)
    assert check.transfers is transfers
    output = check.line("fc2" if inside else "head", "output")
    assert output.slope == pytest.approx(-0.5 if not inside else -1, abs=0.2)


def test_an_optimizer_of_the_model_is_used_and_no_other_beside_it():
    def make(units):
        model, groups = scaled("mlp", "adamw")(units)
        groups = [{"params": group["params"], "lr": 1e-3 * group["lr_scale"]} for group in groups]
        return model, torch.optim.AdamW(groups)

    own, given = checked(make, "mlp", None, seeds=1), checked(scaled("mlp", "adamw"), "mlp", "adamw", seeds=1)
    assert [line.slope for line in own.lines] == [line.slope for line in given.lines]
    assert own.learning_rate is None and own.optimizer == "AdamW"
    with pytest.raises(ConfigError, match="an optimizer of its own; drop --optimizer"):
        checked(make, "mlp", "sgd")


def test_nothing_is_changed():
    models = {units: MLP(units) for units in (16, 32)}
    before = {units: {name: p.clone() for name, p in model.named_parameters()} for units, model in models.items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    width(models.__getitem__, batch("mlp"), (16, 32), seeds=2)
    assert torch.equal(torch.get_rng_state(), state)
    for units, model in models.items():
        assert all(torch.equal(p, before[units][name]) and p.grad is None for name, p in model.named_parameters())


def test_the_batch_may_depend_on_the_width():
    check = width(lambda units: nn.Linear(units, 10), lambda units: torch.ones(4, units), (16, 64), seeds=2)
    assert check.line("", "own_change", 1).slope == pytest.approx(1, abs=0.01)


class Growing(nn.Module):
    """More blocks where it is wider, and an expert that gets other samples after each step."""

    def __init__(self, units):
        super().__init__()
        self.inner = nn.Linear(16, units)
        self.blocks = nn.ModuleList(nn.Linear(units, units) for _ in range(units // 32))
        self.expert, self.head, self.calls = nn.Linear(units, units), nn.Linear(units, 10), 0

    def forward(self, x):
        self.calls += 1
        h = torch.relu(self.inner(x))
        for block in self.blocks:
            h = torch.relu(block(h))
        return self.head(h + self.expert(h[: self.calls % 5 + 1]).mean(0))


def test_layers_that_cannot_be_compared_are_reported():
    check = checked(Growing, "mlp", "adamw", widths=(32, 64, 96), try_fixes=False)
    texts = {finding.rule: finding for finding in check.findings}
    assert texts["missing-layers"].layers == ("blocks.1", "blocks.2") and "expert" in texts["unmeasured"].layers
    assert check.line("expert", "own_change", 3).status == "ok" and "diverged" not in texts


def grouped(model, **settings):
    return model, [{"params": model.parameters(), **settings}]


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda units: nn.Linear(16, 10), {}, "the same shapes at widths 64 and 128"),
        (lambda units: 3, {}, "gives a int; return a torch.nn.Module"),
        (lambda units: (MLP(units), [3]), {}, "groups of parameters are a list like"),
        (lambda units: grouped(MLP(units), lr_scal=2), {}, "unknown 'lr_scal'. Did you mean 'lr_scale'"),
        (lambda units: grouped(MLP(units), lr_scale=-1), {}, "it must be 0 or above"),
        (lambda units: (MLP(units), torch.optim.SGD(MLP(units).parameters())), {}, "has none of the model's"),
        (lambda units: MLP(units).requires_grad_(False), {}, "no parameter of the model requires a gradient"),
        (lambda units: 1 / 0, {}, "cannot make a model: ZeroDivisionError"),
        (lambda units: MLP(units, 8), {}, "fails on an input of"),
        (MLP, {"widths": (64,)}, "at least two different whole numbers"),
        (MLP, {"lr": -1.0}, "must be above 0"),
        (MLP, {"steps": 0}, "must be at least 1"),
        (MLP, {"loss": lambda output: output}, "must give one number"),
    ],
)
def test_a_model_that_cannot_be_checked_is_refused_in_one_line(make, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        width(make, batch("mlp"), **{"widths": (64, 128), **settings})
    assert "\n" not in str(error.value)


def test_networks_that_would_not_fit_are_refused_before_they_are_made(monkeypatch):
    made = []

    def make(units):
        made.append((units, torch.empty(0).device.type))
        return MLP(units)

    monkeypatch.setattr(width_study, "available_bytes", lambda: 10**8)
    with pytest.raises(MemoryLimitError, match=r"needs about \d.* GB to be trained"):
        width(make, batch("mlp"), (64, 4096))
    assert all(units == 64 or device == "meta" for units, device in made)


def test_training_that_diverges_is_reported():
    check = checked(MLP, "mlp", "sgd", lr=1e30, seeds=1)
    assert check.findings[0].rule == "diverged" and "lower the learning rate" in check.verdict
    assert not check.fix and "float range" in check.fix_note


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "optimizer"), CASES)
def test_twenty_seeds_are_judged_right(kind, optimizer):
    """Three standard errors of few seeds are no strict limit: one line of a hundred may be further from theory."""
    far, count = 0, 0
    for seed in range(20):
        settings = {"widths": widths_of(kind), "seeds": 3}
        plain = checked(STANDARD[kind], kind, optimizer, seed, **settings)
        assert plain.transfers is False, (seed, plain.verdict)
        # Logits of attention are divided by sqrt(d), which no power in a parameter can change.
        assert plain.fix or kind == "transformer", (seed, plain.fix_note)
        mup = checked(scaled(kind, optimizer), kind, optimizer, seed, **settings)
        assert mup.transfers, (seed, mup.verdict)
        far += len(far_from_theory(mup))
        count += sum(line.theory is not None for line in mup.lines)
    assert far <= 0.01 * count, (far, count)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "optimizer"), [("mlp", "adamw"), ("resnet", "adamw"), ("transformer", "adamw")])
def test_swapped_rates_are_found_for_twenty_seeds(kind, optimizer):
    swapped = {
        "mlp": ("fc1.weight", "fc2.weight"),
        "resnet": ("stem.weight", "blocks.0.conv1.weight"),
        "transformer": ("emb.weight", "blocks.0.fc2.weight"),
    }[kind]
    for seed in range(20):
        check = checked(scaled(kind, optimizer, swapped), kind, optimizer, seed, widths_of(kind), 3, try_fixes=False)
        layers = {name for each in check.findings if each.rule.startswith("update") for name in each.layers}
        assert layers == {name.removesuffix(".weight") for name in swapped}, seed


def test_the_largest_seed_is_taken():
    check = width(MLP, batch("mlp", 0), (16, 32), seeds=2, seed=2**63 - 1, steps=1, try_fixes=False)
    assert all(line.status == "ok" for line in check.lines if line.quantity == "output")
