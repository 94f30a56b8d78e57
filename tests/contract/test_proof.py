"""How often a contract fails a correct model: 1,000 seeds of five nets; and what it finds."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from zoo_hand_transformers import gpt  # noqa: E402

from initprobe.contract.judge import FALSE_ALARM, judge  # noqa: E402
from initprobe.contract.patterns import read_clauses  # noqa: E402
from initprobe.contract.rules import read_rule  # noqa: E402
from initprobe.torch.values import parameters_of  # noqa: E402


def mlp():
    return nn.Sequential(nn.Linear(30, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU(), nn.Linear(60, 5))


def convolutions():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32))


def recurrent():
    return nn.ModuleDict(
        {"words": nn.Embedding(100, 16, padding_idx=0), "lstm": nn.LSTM(16, 24), "out": nn.Linear(24, 9)}
    )


def normed():
    layers = [part for _ in range(12) for part in (nn.Linear(24, 24, bias=False), nn.LayerNorm(24))]
    net = nn.Sequential(*layers)
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
    return net


LANGUAGE = {
    "*.out.weight": "normal:std=0.02/sqrt(4)",
    "*.down.weight": "normal:std=0.02/sqrt(4)",
    "*norm*.weight": "ones",
    "*.bias": "zeros",
    "*": "normal:std=0.02",
}
NETS = {
    "mlp": (mlp, {"*.weight": "torch_linear", "0.bias": "uniform:low=-1/sqrt(30),high=1/sqrt(30)",
                  "[24].bias": "uniform:low=-1/sqrt(60),high=1/sqrt(60)"}),
    "convolutions": (convolutions, {"[03].weight": "torch_linear", "[14].weight": "ones", "[14].bias": "zeros",
                                    "0.bias": "uniform:low=-1/sqrt(27),high=1/sqrt(27)",
                                    "3.bias": "uniform:low=-1/sqrt(144),high=1/sqrt(144)"}),
    "language": (lambda: gpt(2, 32), LANGUAGE),
    "recurrent": (recurrent, {"words.*": "normal:std=1", "*": "uniform:low=-1/sqrt(24),high=1/sqrt(24)"}),
    "normed": (normed, {"*": "truncated_normal:std=0.1", "*[13579].weight": "ones", "*.bias": "zeros"}),
}  # fmt: skip


def alarms(name, seeds):
    make, rules = NETS[name]
    clauses, count = read_clauses(rules), 0
    for seed in seeds:
        torch.manual_seed(seed)
        count += bool(judge(parameters_of(make()), clauses, read_rule("any")).faults)
    return count


def allowed(nets):
    """The promised share, and 5 standard deviations of chance."""
    return nets * FALSE_ALARM + 5 * (nets * FALSE_ALARM * (1 - FALSE_ALARM)) ** 0.5


@pytest.mark.parametrize("name", NETS)
def test_a_correct_model_holds_for_a_few_seeds(name):
    assert alarms(name, range(10)) <= allowed(10)


@pytest.mark.slow
def test_false_alarms_over_a_thousand_seeds_of_five_nets():
    counts = {name: alarms(name, range(1000)) for name in NETS}
    print(counts)
    assert sum(counts.values()) <= 5000 * FALSE_ALARM
    assert all(count <= allowed(1000) for count in counts.values()), counts


@pytest.mark.slow
@pytest.mark.parametrize(("size", "error", "draws"), [(10**6, 0.02, 100), (1000, 0.3, 1000)])
def test_small_errors_are_found_as_often_as_promised(size, error, draws):
    """In a net of 148 more parameters, more than 99 of 100 such errors are found."""
    rng = np.random.default_rng(0)
    from initprobe.contract.parameter import Parameter

    others = [Parameter(f"b{i}", rng.standard_normal(30), None) for i in range(148)]
    rules, caught = read_clauses({"*": "normal:std=1"}), 0
    for draw in range(draws):
        scale = 1 + error * (-1) ** draw
        wrong = Parameter("w", rng.standard_normal(size, np.float32) * np.float32(scale), None)
        caught += "w" in {fault.parameter for fault in judge([wrong, *others], rules).faults}
    assert caught > 0.99 * draws
