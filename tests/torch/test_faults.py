"""Faults that stand in a model's code, inputs of unusual layouts, and fixes that must reach every layer at fault."""

import io

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.errors import InputError  # noqa: E402
from initprobe.reports.console import console  # noqa: E402
from initprobe.reports.run_table import print_result  # noqa: E402
from initprobe.torch import probe  # noqa: E402


class Between(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, function, width=32):
        super().__init__()
        self.first, self.last = nn.Linear(16, width), nn.Linear(width, 4)
        self.function = function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def alarms(model, x, **options):
    """The findings above info, by rule."""
    result = probe(model, x, threads=1, **options)
    return {finding.rule: finding for finding in result.diagnosis if finding.severity != "info"}, result


def plain(depth, width=64, act=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(
        *[part for _ in range(depth) for part in (nn.Linear(width, width), act())], nn.Linear(width, 4)
    )


def filled(model, fill):
    for parameter in model.parameters():
        fill(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize(
    "fill, rule",
    [
        (nn.init.zeros_, "dead-layer"),
        (nn.init.zeros_, "symmetric"),
        (lambda p: nn.init.constant_(p, 0.05), "symmetric"),
        (lambda p: nn.init.normal_(p, std=1e-4), "vanishing-output"),
    ],
)
def test_a_fix_reaches_every_layer_at_fault(fill, rule):
    """Also those behind the place where the signal is lost, which show no rate of their own."""
    model = filled(plain(14, 32), fill)
    found, _ = alarms(model, torch.randn(16, 32))
    assert found[rule].fix
    with torch.no_grad():
        exec(found[rule].fix, {"model": model, "nn": nn, "torch": torch})
    assert rule not in alarms(model, torch.randn(16, 32), try_fixes=False)[0]


@pytest.mark.parametrize("bias", [True, False])
def test_weights_too_small_for_the_eps_of_their_norm_are_drawn_again(bias):
    """A smaller eps is tried first; the usual one cannot be the fix."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *[part for _ in range(4) for part in (nn.Linear(32, 32, bias), nn.BatchNorm1d(32), nn.ReLU())]
    )
    for layer in model[::3]:
        nn.init.normal_(layer.weight, std=1e-6)
    rows = torch.randn(64, 32)
    fix = alarms(model, rows)[0]["norm-eps"].fix
    assert fix and "kaiming_normal_" in fix
    exec(fix, {"model": model, "nn": nn, "torch": torch})
    assert "norm-eps" not in alarms(model, rows, try_fixes=False)[0]


@pytest.mark.parametrize("kept", [0, 2])
def test_a_norm_of_mostly_constant_units_is_not_decided_by_eps(kept):
    torch.manual_seed(0)
    model, rows = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)), torch.randn(32, 64)
    rows[:, kept:] = rows[0, kept:]
    assert "norm-eps" not in alarms(model, rows)[0]


def test_a_softmax_between_layers_is_part_of_a_chain():
    """The gradient falls by four decades per layer; such a net stays at chance at learning rates of .001 and .01."""
    found, _ = alarms(plain(5, act=lambda: nn.Softmax(-1)), torch.randn(32, 64))
    assert "in place of each softmax" in found["vanishing-gradient"].no_fix


def test_a_function_without_gradient_is_named():
    table = torch.randn(32, 32)
    found, _ = alarms(Between(lambda z: table[z.argmax(-1)]), torch.randn(16, 16))
    assert "through argmax only" in found["no-gradient"].evidence
    found, _ = alarms(Between(lambda z: z * (z > 0)), torch.randn(16, 16))  # which takes z otherwise too
    assert not found


def test_a_function_that_makes_nan_is_named():
    found, _ = alarms(Between(torch.log), torch.randn(16, 16))
    assert found["overflow"].evidence.startswith("log gives NaN, of entries from -")


@pytest.mark.parametrize(
    "function, evidence, advice",
    [
        (lambda z: z.relu() / 0 * 0, "div gives NaN, because its divisor has an entry of 0", "divisor"),
        (lambda z: z / z.relu(), "div gives infinity, because its divisor has an entry of 0", "divisor"),
        (lambda z: 1 / z.relu(), "div gives infinity, because its divisor has an entry of 0", "divisor"),
        (lambda z: z * float("nan"), "mul gives NaN, because a number that it is given", "a finite number"),
        (lambda z: z.sqrt(), "sqrt gives NaN, of entries from -", "keep sqrt"),
        (lambda z: z.relu().log(), "log gives infinity, of entries from 0 to", "keep log"),
        (lambda z: (z * 1e4).exp(), "exp gives infinity, of entries from -", "keep exp"),
        (lambda z: z / z[:, :1].std(1, keepdim=True), "std gives NaN, because it is taken over one", "="),
        (lambda z: (z - torch.inf).log_softmax(-1), "log_softmax gives NaN, because every logit of", "open"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:std.*degrees of freedom:UserWarning")
def test_the_call_that_makes_nan_or_infinity_is_named(function, evidence, advice):
    """Not the function that comes before it, and also behind the last layer."""
    torch.manual_seed(0)
    for model in (Between(function), nn.Sequential(nn.Linear(16, 32), Between(function, 32).last, Applied(function))):
        found, _ = alarms(model, torch.randn(16, 16))
        assert found["overflow"].evidence.startswith(evidence) and advice in found["overflow"].no_fix


def test_a_call_before_the_first_layer_is_named():
    model = nn.Sequential(Applied(torch.log), nn.Linear(16, 4))
    assert alarms(model, torch.randn(16, 16).relu())[0]["overflow"].evidence.startswith(
        "log gives infinity, of entries"
    )


def test_infinities_on_purpose_and_weights_too_large_are_not_named():
    masked = Between(lambda z: (z + torch.ones(16, 32).tril().log()).softmax(-1))
    assert "overflow" not in alarms(masked, torch.randn(16, 16))[0]
    large = filled(plain(3, act=nn.ReLU), lambda p: nn.init.constant_(p, 1e30))
    assert "on the way forward" in alarms(large, torch.randn(16, 64))[0]["overflow"].evidence


def test_a_mask_that_hides_a_row_is_named():
    hidden = torch.zeros(32, dtype=torch.bool)
    for rows, is_faulty in (([], False), ([2, 5], True)):
        mask = hidden.repeat(16, 1)
        mask[rows] = True
        model = Between(lambda z, mask=mask: z.masked_fill(mask, -torch.inf).softmax(-1))
        found, _ = alarms(model, torch.randn(16, 16))
        assert ("every logit of a row is -inf" in getattr(found.get("overflow"), "evidence", "")) == is_faulty


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("to", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
def test_a_buffer_may_be_sparse(to):
    model = Between(lambda z: model.edges @ z)
    model.register_buffer("edges", to(torch.eye(20)))
    assert not alarms(model, torch.randn(20, 16))[0]
    model.edges = to(torch.full((20, 20), torch.nan))
    assert "void-parameter" in alarms(model, torch.randn(20, 16))[0]


def test_the_largest_of_very_many_entries_has_a_bounded_cost():
    found, result = alarms(Between(lambda z: z.reshape(4, -1, 32).amax(1)), torch.randn(4 * 40_000, 16))
    assert not found
    assert result.layers[1].model_theory.restarted == "amax of more than 32768 entries"


def test_a_norm_over_one_entry_is_named():
    found, _ = alarms(Between(lambda z: F.layer_norm(z.unsqueeze(-1), (1,)).squeeze(-1)), torch.randn(16, 16))
    assert "layer_norm gives the same for every input" in found["no-gradient"].evidence


@pytest.mark.parametrize(
    "head, loss, is_faulty",
    [
        ([nn.Sigmoid()], F.binary_cross_entropy_with_logits, True),
        ([nn.ReLU()], F.binary_cross_entropy_with_logits, True),
        ([nn.Sigmoid(), nn.Sigmoid()], F.binary_cross_entropy, True),
        ([nn.Sigmoid()], F.binary_cross_entropy, False),
        ([nn.Tanh()], F.binary_cross_entropy_with_logits, False),
        ([], F.binary_cross_entropy_with_logits, False),
    ],
)
def test_logits_that_cannot_be_negative(head, loss, is_faulty):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), *head)
    labels = (torch.arange(32) % 2).float()
    found, _ = alarms(model, torch.randn(32, 16), loss=lambda y: loss(y.squeeze(-1), labels))
    assert ("double-softmax" in found) == is_faulty


def test_frozen_weights_are_noted():
    model = plain(2)
    model[0].weight.requires_grad = False
    assert any("requires_grad=False): 0.weight" in note for note in alarms(model, torch.randn(8, 64))[1].notes)


def test_sparse_and_nested_inputs():
    adjacency = (torch.rand(20, 20) < 0.2).float().to_sparse()
    model = Between(lambda z: F.relu(torch.sparse.mm(adjacency, z)))
    assert not alarms(model, torch.randn(20, 16))[0]

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(16, 4)

        def forward(self, x, edges):
            return torch.sparse.mm(edges, self.inner(x))

    assert not alarms(Graph(), (torch.randn(20, 16), adjacency))[0]
    with pytest.raises(InputError, match="a stored entry of a sparse tensor is nan"):
        probe(Graph(), (torch.randn(20, 16), adjacency * float("nan")))
    nested = torch.nested.nested_tensor([torch.randn(2, 16), torch.randn(3, 16)], layout=torch.jagged)
    with pytest.raises(InputError, match="is a nested tensor"):
        probe(nn.Linear(16, 4), nested)


def test_a_log_gets_a_hundred_rows_of_a_deep_model():
    model = plain(102, 4)
    result = probe(model, torch.randn(8, 4), try_fixes=False, threads=1)
    rows = {}
    for verbose in (False, True):
        text = io.StringIO()
        print_result(result, console(text), verbose)
        rows[verbose] = sum(line.split()[1:2] == ["100"] for line in text.getvalue().splitlines())
        assert ("layers like these: -v shows all" in text.getvalue()) != verbose
    assert rows[False] < rows[True]


def test_a_fix_of_another_finding_is_said_to_be_one():
    """The first finding has no fix: the line that is printed does not heal it."""
    result = probe(Between(torch.log), torch.randn(16, 16), threads=1)
    first = result.diagnosis[0]
    other = first.model_copy(update={"rule": "dead-units", "name": "dead units", "fix": "x = 1", "no_fix": None})
    text = result.model_copy(update={"diagnosis": (first, other)}).table()
    assert f"no fix    for {first.name}: {first.no_fix}; the next lines are for dead units\nfix       x = 1" in text
