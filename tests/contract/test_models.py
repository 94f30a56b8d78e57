"""Contracts and locks of PyTorch models: the bugs that they were made for, by name."""

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from zoo_hand_transformers import gpt  # noqa: E402

from initprobe.contract.check import check_contract, check_lock  # noqa: E402
from initprobe.contract.document import json_schema, read_contract  # noqa: E402
from initprobe.contract.judge import judge  # noqa: E402
from initprobe.contract.lock import lock_text  # noqa: E402
from initprobe.contract.recognise import recognise  # noqa: E402
from initprobe.errors import ConfigError  # noqa: E402
from initprobe.testing import assert_init  # noqa: E402
from initprobe.torch.values import parameters_of  # noqa: E402

GPT = {
    "*.out.weight": "normal:std=0.02/sqrt(8)",
    "*.down.weight": "normal:std=0.02/sqrt(8)",
    "*norm*.weight": "ones",
    "*.bias": "zeros",
}


def rules_of(model):
    return {name: group.rule for group in recognise(parameters_of(model)) for name in group.names}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return gpt()


def test_a_model_as_meant_holds_its_contract(model):
    report = assert_init(model, GPT, default="normal:std=0.02")
    assert not report.faults and report.judged


def test_a_residual_scale_that_never_applied(model):
    """transformers#47458: the scale was keyed to a name that did not match."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02)
    with pytest.raises(AssertionError) as fault:
        assert_init(model, GPT, default="normal:std=0.02")
    (line,) = [line for line in str(fault.value).splitlines() if "out.weight" in line]
    assert line.startswith(
        "blocks.*.attention.out.weight (4 parameters, first blocks.0.attention.out.weight): meant normal:"
    )
    assert "the std is 2.8" in line and line.endswith("standard errors; it looks like normal:std=0.02")


def test_packed_queries_keys_and_values_at_half_the_variance():
    """pytorch#166378: Xavier's fans counted the packed weight as one."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(64, 4)
    report = judge_one(attention, {"in_proj_weight": "uniform:std=sqrt(2/128)"})
    assert [entry.parameter for entry in report.faults] == ["in_proj_weight"]


def judge_one(model, rules):
    from initprobe.contract.patterns import read_clauses
    from initprobe.contract.rules import read_rule

    return judge(parameters_of(model), read_clauses(rules), read_rule("any"))


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_weight_norm_whose_init_is_thrown_away(norm):
    """hifi-gan#145: what was written to `weight` is computed anew from its parts."""
    torch.manual_seed(0)
    layer = norm(nn.Linear(100, 100))
    with torch.no_grad():
        layer.weight.normal_(0, 0.01)
    with pytest.raises(AssertionError, match=r"weight: meant normal:std=\.01"):
        assert_init(layer, {"weight": "normal:std=.01"}, default="any")


def test_norms_of_one_plus_weight():
    """transformers PR 40796: a norm that computes (1 + w) was filled with w = 1."""
    layer = nn.LayerNorm(30)
    with pytest.raises(AssertionError, match=r"weight: meant zeros \(all 0\), has 30 x 1"):
        assert_init(layer, {"weight": "zeros"}, default="any")


def test_two_factors_of_zero_are_reported():
    """litgpt#1229: with A and B both zero LoRA never learns."""
    factors = nn.ParameterDict({"a": nn.Parameter(torch.zeros(8, 64)), "b": nn.Parameter(torch.zeros(64, 8))})
    with pytest.raises(AssertionError, match="a: meant torch_linear"):
        assert_init(factors, {"a": "torch_linear", "b": "zeros"})


def test_ties_clones_and_equal_seeds_are_reported():
    torch.manual_seed(0)
    model = nn.ModuleDict({"embed": nn.Embedding(50, 20), "head": nn.Linear(20, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    model["one"] = nn.Linear(20, 20)
    model["two"] = copy.deepcopy(model["one"])
    copies = assert_init(model, {}, default="any").copies
    assert copies.ties == (("embed.weight", "head.weight"),)
    assert ("one.weight", "two.weight") in copies.clones


def test_the_padding_row_of_an_embedding_is_no_fault():
    torch.manual_seed(0)
    assert_init(nn.Embedding(5, 4000, padding_idx=0), {"weight": "normal:std=1"})


@pytest.mark.parametrize("layer", [nn.Linear, nn.Conv2d, nn.ConvTranspose2d])
def test_fans_are_those_of_the_operation(layer):
    torch.manual_seed(0)
    made = layer(64, 32) if layer is nn.Linear else layer(64, 32, 3)
    fan_in = made.weight[0].numel() if layer is not nn.ConvTranspose2d else 64 * 9
    with torch.no_grad():
        made.weight.normal_(0, math.sqrt(2 / fan_in))
    assert_init(made, {"weight": "he"}, default="any")


def test_a_parameter_without_a_rule_is_named(model):
    with pytest.raises(ConfigError, match="no pattern covers"):
        assert_init(model, {"*.bias": "zeros"})


def test_rules_are_recognised(model):
    rules = rules_of(model)
    assert {rule for name, rule in rules.items() if name.endswith(("out.weight", "down.weight"))} == {
        "normal:std=0.02/sqrt(8)"
    }
    assert {rule for name, rule in rules.items() if name.endswith(".bias")} == {"zeros"}
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(90, 80), nn.LayerNorm(80), nn.Linear(80, 70, bias=False))
    nn.init.orthogonal_(net[2].weight, 2.0)
    assert rules_of(net) == {
        "0.weight": "torch_linear",
        "0.bias": "torch_linear",
        "1.weight": "ones",
        "1.bias": "zeros",
        "2.weight": "orthogonal:gain=2",
    }


def test_recognised_rules_are_a_contract(model, tmp_path):
    path = tmp_path / "init.lock"
    path.write_text(lock_text(parameters_of(model)))
    contract = read_contract(path)
    assert not judge(parameters_of(model), contract.clauses).faults
    assert len(contract.clauses) < len(parameters_of(model)) / 2


def test_a_lock_holds_for_another_seed_and_not_for_another_init(model, tmp_path):
    path = tmp_path / "init.lock"
    path.write_text(lock_text(parameters_of(model)))
    torch.manual_seed(9)
    other = gpt()
    assert check_lock(parameters_of(other), path).holds
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1 if parameter.ndim > 1 else 1.0)
    assert check_lock(parameters_of(other), path).report.faults


def test_measured_rules_allow_for_both_errors(tmp_path):
    """A std that no rule names: the lock's own error counts too. Of 60 pairs, each holds with the promised chance."""
    torch.manual_seed(0)
    alarms = 0
    for _ in range(60):
        first, second = (nn.Linear(37, 41, bias=False) for _ in range(2))
        for layer in (first, second):
            nn.init.normal_(layer.weight, std=0.0123456)
        (tmp_path / "init.lock").write_text(lock_text(parameters_of(first)))
        alarms += not check_lock(parameters_of(second), tmp_path / "init.lock").holds
    assert alarms <= 60 * 0.01 + 5 * (60 * 0.01) ** 0.5


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\nparameters:\n  a: hee\n", 3),
        ("version: 1\nparamaters:\n  a: he\n", 2),
        ("version: 1\nparameters: [a]\n", 2),
        ("version: 0\n", 1),
        ("version: true\n", 1),
        ("version: 1\ndefault: lsuv\n", 2),
    ],
)
def test_a_fault_of_the_file_has_its_line(text, line, tmp_path):
    path = tmp_path / "init.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"init.yaml:{line}: "):
        read_contract(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 2\n", "1: version 2 is of a newer initprobe; this one reads `version: 1`"),
        (
            "version: 1\n<<<<<<< HEAD\nparameters:\n  a: ones\n=======\nparameters: {}\n>>>>>>> x\n",
            "2: git left a conflict",
        ),
    ],
)
def test_a_newer_format_and_a_conflict_are_named(text, fault, tmp_path):
    path = tmp_path / "init.lock"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_contract(path)
    assert str(error.value).startswith(f"{path}:{fault}")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("rules", "place", "text"),
    [
        ("  '*.bias': zeros\n  '*.wieght': he\n", ":4", "'*.wieght' matches no parameter. Did you mean 'weight'?"),
        ("  '*.bias': 3 x zeros\ndefault: any\n", ":3", "'*.bias' covers 1 parameter, not 3"),
        ("  '*.bias': he\ndefault: any\n", ":3", "takes its scale from fan_in and fan_out"),
        ("  '0.*': ones\n  '*.bias': zeros\n  '1.*ias': ones\ndefault: any\n", ":5", "equally specific"),
        ("  '*.bias': zeros\n", "", "no pattern covers 0.weight, 1.weight;"),
        ("  '*.bias': 0\n", ":3", "a rule is text"),
    ],
)
def test_a_rule_that_does_not_fit_the_model_has_its_line(rules, place, text, tmp_path):
    path = tmp_path / "init.yaml"
    path.write_text(f"version: 1\nparameters:\n{rules}")
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3))
    with pytest.raises(ConfigError) as fault:
        check_contract(parameters_of(net), path)
    assert str(fault.value).startswith(f"{path}{place}: ") and text in str(fault.value)


def stack(layers, **more):
    torch.manual_seed(0)
    blocks = nn.ModuleList(nn.Linear(30, 30, bias=False) for _ in range(layers))
    return parameters_of(nn.ModuleDict({"h": blocks, "norm": nn.LayerNorm(30), **more}))


def test_parameters_added_or_removed_since_the_lock_are_one_line(tmp_path):
    path = tmp_path / "init.lock"
    path.write_text(lock_text(stack(4)))
    assert "4 x ~torch_linear" in path.read_text()
    assert check_lock(stack(4), path).holds
    (line,) = check_lock(stack(5), path).changes
    assert line == "h.*.weight covers 5 parameters, 4 in the lock; --update-lock writes the lock anew"
    (line,) = check_lock(stack(4, head=nn.Linear(30, 30)), path).changes
    assert line == "new since the lock: head.weight, head.bias; --update-lock writes the lock anew"
    path.write_text(lock_text(stack(4, head=nn.Linear(30, 30))))
    (line,) = check_lock(stack(4), path).changes
    assert line == "gone since the lock: head.weight, head.bias; --update-lock writes the lock anew"


def test_a_lock_of_very_many_unlike_parameters_is_read_again(tmp_path):
    path = tmp_path / "init.lock"
    net = nn.ParameterList(nn.Parameter(torch.full((2,), float(number))) for number in range(400))
    path.write_text(lock_text(parameters_of(net)))
    assert check_lock(parameters_of(net), path).holds


def test_a_lock_with_an_optional_pattern_that_covers_nothing_holds(model, tmp_path):
    (tmp_path / "a.lock").write_text(lock_text(parameters_of(model)).rstrip() + '\noptional:\n  "*.rotary": ones\n')
    assert check_lock(parameters_of(model), tmp_path / "a.lock").holds


SPELLINGS = (("kaiming_uniform_:a=sqrt(5)", True), ("normal_:std=1", True), ("Zeros", True), ("ANY", True))


def test_the_schema_takes_contracts_and_locks(model, tmp_path):
    from jsonschema import Draft202012Validator
    from ruamel.yaml import YAML

    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(YAML(typ="safe", pure=True).load(lock_text(parameters_of(model))))
    for rule, good in (("normal:std=0.02/sqrt(24)", True), ("12 x ones", True), ("hee", False), (3, False), *SPELLINGS):
        assert validator.is_valid({"version": 1, "parameters": {"a": rule}}) is good, rule
    assert not validator.is_valid({"version": 1, "paramaters": {}})


def test_a_pattern_of_a_parameter_that_may_be_absent(model, tmp_path):
    rules = {"*.rotary.weight": "any", "*.bias": "zeros"}
    assert assert_init(model, {}, "any", optional=rules).judged
    with pytest.raises(AssertionError, match=r"bias"):
        assert_init(model, {}, "any", optional={"*.bias": "ones"})
    with pytest.raises(ConfigError, match=r"'\*\.bias' is under parameters and under optional"):
        assert_init(model, {"*.bias": "ones"}, "any", optional=rules)
    path = tmp_path / "init.yaml"
    path.write_text("version: 1\ndefault: any\nparameters:\noptional:\n  '*.rotary.weight': ones\n  '*.bias': zeros\n")
    assert check_contract(parameters_of(model), path).holds


def test_defaults_of_torch_are_one_rule_for_weights_and_biases():
    torch.manual_seed(0)
    model = nn.ModuleList(
        [nn.Linear(40, 30), nn.Conv2d(6, 20, 3, groups=2), nn.ConvTranspose1d(8, 40, 3), nn.Bilinear(5, 50, 30)]
    )
    model.append(nn.LSTM(20, 30, 2))
    assert_init(model, {"*": "torch_linear"})
    assert set(rules_of(model).values()) == {"torch_linear"}


def test_recognised_shapes_and_bounds():
    torch.manual_seed(0)
    net = nn.ParameterDict({
        "limit": nn.Parameter(torch.empty(80, 90).uniform_(-0.1, 0.1)),
        "bounds": nn.Parameter(torch.empty(900).uniform_(-7, -2.2)),
        "cut": nn.Parameter(nn.init.trunc_normal_(torch.empty(80, 90), std=0.02, a=-0.04, b=0.04)),
        "fan_out": nn.Parameter(nn.init.kaiming_normal_(torch.empty(500, 40), mode="fan_out")),
        "steps": nn.Parameter(torch.arange(1.0, 17).log().repeat(64)),
        "empty": nn.Parameter(torch.empty(0)),
    })  # fmt: skip
    rules = rules_of(net)
    assert rules.pop("steps").startswith("~moments:mean=1.91")
    assert rules == {
        "limit": "uniform:limit=0.1",
        "bounds": "uniform:low=-7,high=-2.2",
        "cut": "truncated_normal:std=0.02",
        "fan_out": "he_normal:mode=fan_out",
        "empty": "any",
    }


def test_a_time_step_bias_that_is_overwritten_is_no_longer_as_locked(tmp_path):
    """mad-lab#3, zoology#32: a distribution of no known name is compared by mean and std."""

    def mixer():
        layer = nn.Linear(4, 256)
        with torch.no_grad():
            layer.bias.copy_(torch.empty(256).uniform_(-6, -2).exp().expm1().log() ** 3)
        return layer

    torch.manual_seed(0)
    path = tmp_path / "init.lock"
    path.write_text(lock_text(parameters_of(mixer())))
    assert "~moments:mean=" in path.read_text()
    assert all(check_lock(parameters_of(mixer()), path).holds for _ in range(20))
    other = mixer()
    nn.init.normal_(other.bias, -4, 1)
    (fault,) = check_lock(parameters_of(other), path).report.faults
    assert fault.parameter == "bias"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Parameter(torch.empty(3, device="meta")), "has no values on the meta device"),
        (lambda: nn.Parameter(torch.eye(3).to_sparse(), requires_grad=False), "is sparse"),
        (lambda: nn.Parameter(torch.zeros(3, dtype=torch.complex64)), "is complex"),
        (nn.parameter.UninitializedParameter, "has no values yet: run the model once"),
    ],
)
def test_parameters_without_comparable_values_have_a_reason(make, reason):
    net = nn.ParameterDict({"a": make(), "b": nn.Parameter(torch.ones(3))})
    with pytest.raises(ConfigError, match=f"^a {reason}.*; the rule `any` leaves it unjudged"):
        assert_init(net, {"*": "ones"})
    assert assert_init(net, {"a": "any", "b": "ones"}).unjudged == ("a",)
    assert rules_of(net) == {"a": "any", "b": "ones"}
    assert rules_of(nn.ParameterList([make(), nn.Parameter(torch.ones(3))])) == {"0": "any", "1": "ones"}


def test_shared_memory_is_a_tie_and_a_spectral_norm_stays_as_it_was():
    torch.manual_seed(0)
    net = nn.ModuleList([nn.utils.parametrizations.spectral_norm(nn.Linear(20, 30)), nn.Linear(20, 20)])
    net.append(nn.Linear(20, 20))
    net[2].weight = nn.Parameter(net[1].weight.data)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert assert_init(net, {}, "any").copies.ties == (("1.weight", "2.weight"),)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("normal(std=0.02)", "normal(std=0.02): write normal:std=0.02"),
        ("zeros()", "write zeros"),
        (0.02, "a rule is text"),
        ("kaiming_uniform_:a=sqrt(5)", None),
    ],
)
def test_rules_are_read_as_people_write_them(rule, text):
    torch.manual_seed(0)
    if text is None:
        assert assert_init(nn.Linear(60, 50), {"weight": rule}, "any")
        return
    with pytest.raises(ConfigError) as fault:
        assert_init(nn.Linear(3, 3), {"weight": rule}, "any")
    assert str(fault.value).startswith("weight: ") and text in str(fault.value)


def test_a_tied_parameter_is_covered_by_any_of_its_names():
    torch.manual_seed(0)
    net = nn.ModuleDict({"embed": nn.Embedding(50, 20), "head": nn.Linear(20, 50, bias=False)})
    net["head"].weight = net["embed"].weight
    assert assert_init(net, {"head.weight": "normal:std=1"}).judged[0].parameter == "embed.weight"
    assert assert_init(net, {"embed.*": "zeros", "head.weight": "normal:std=1"}).judged
