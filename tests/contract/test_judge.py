"""Contracts in NumPy: false alarms as rare as promised, errors of the promised size found, patterns that fit."""

import numpy as np
import pytest

from initprobe.contract.judge import FALSE_ALARM, judge
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import read_clauses
from initprobe.contract.rules import read_rule
from initprobe.errors import ConfigError

RULES = [
    "normal:std=0.02",
    "normal:std=0.02,mean=1",
    "uniform:std=0.1",
    "truncated_normal:std=0.02",
    "he",
    "xavier_uniform",
    "torch_linear",
    "lecun",
]


def parameter(name, values, fans=None):
    return Parameter(name, values, fans)


def drawn(text, shape, rng, name="w"):
    """A parameter drawn by a rule, in float32."""
    fans = shape if len(shape) > 1 else None
    rows = shape if len(shape) > 1 else (1, *shape)
    return parameter(name, read_rule(text).initializer.sample(rng, rows, rows, np.float32).reshape(shape), fans)


def report(parameters, rules, default=None):
    return judge(parameters, read_clauses(rules), None if default is None else read_rule(default))


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("shape", [(300, 200), (40, 50)])
def test_a_parameter_as_meant_agrees_with_its_rule(text, shape):
    rng = np.random.default_rng(0)
    assert not report([drawn(text, shape, rng)], {"w": text}).faults


@pytest.mark.parametrize("text", ["normal:std=0.02", "uniform:std=0.1", "truncated_normal:std=0.02"])
@pytest.mark.parametrize("size", [3, 20, 1000])
def test_false_alarms_are_as_rare_as_promised(text, size):
    """400 nets of 10 parameters: no more of them fail than chance allows."""
    rng = np.random.default_rng(1)
    nets = [[drawn(text, (size,), rng, f"w{i}") for i in range(10)] for _ in range(400)]
    faults = sum(bool(report(net, {"*": text}).faults) for net in nets)
    share = FALSE_ALARM
    assert faults <= 400 * share + 5 * (400 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(("size", "error"), [(10**6, 1.02), (10**6, 0.98), (1000, 1.3), (1000, 0.7)])
@pytest.mark.parametrize("text", ["normal:std=0.02", "uniform:std=0.1", "truncated_normal:std=0.02"])
def test_a_wrong_std_is_found_and_named(size, error, text):
    rng = np.random.default_rng(2)
    others = [drawn("normal:std=1", (10,), rng, f"b{i}") for i in range(148)]
    wrong = drawn(text, (size,), rng)
    wrong = parameter("w", wrong.values * np.float32(error))
    faults = report([wrong, *others], {"w": text, "b*": "normal:std=1"}).faults
    assert [fault.parameter for fault in faults] == ["w"]
    assert faults[0].failed.kind in ("std", "bounds")


@pytest.mark.parametrize(
    ("meant", "real"),
    [
        ("normal:std=0.02", "uniform:std=0.02"),
        ("normal:std=0.02", "truncated_normal:std=0.02,corrected=true"),
        ("uniform:std=0.02", "normal:std=0.02"),
        ("truncated_normal:std=0.02,corrected=true", "normal:std=0.02"),
    ],
)
def test_another_distribution_of_the_same_std_is_found(meant, real):
    rng = np.random.default_rng(3)
    assert report([drawn(real, (100, 200), rng)], {"w": meant}).faults


def test_the_smallest_error_is_found_99_times_of_100():
    rng = np.random.default_rng(4)
    entry = report([drawn("normal:std=1", (500,), rng)], {"w": "normal:std=1"}).judged[0]
    scaled = 1 + entry.smallest_error
    caught = sum(
        bool(report([parameter("w", rng.standard_normal(500) * scaled)], {"w": "normal:std=1"}).faults)
        for _ in range(300)
    )
    assert caught >= 300 * 0.99 - 5 * (300 * 0.99 * 0.01) ** 0.5


def test_constants_are_compared_exactly():
    exact, nearly = np.ones(5, np.float32), np.ones(5, np.float32)
    nearly[3] = 1.001
    result = report([parameter("a", exact), parameter("b", nearly)], {"*": "ones"})
    assert [fault.parameter for fault in result.faults] == ["b"]
    assert not report([parameter("z", np.zeros(5))], {"z": "zeros"}).faults
    assert report([parameter("z", np.full(5, 1e-30))], {"z": "zeros"}).faults


def test_orthogonal_matrices_are_compared_by_products_of_rows():
    rng = np.random.default_rng(5)
    matrix = np.linalg.qr(rng.standard_normal((60, 40)))[0].astype(np.float32)
    assert not report([parameter("w", matrix, (40, 60))], {"w": "orthogonal"}).faults
    assert not report([parameter("w", 2 * matrix, (40, 60))], {"w": "orthogonal:gain=2"}).faults
    assert report([parameter("w", 1.01 * matrix, (40, 60))], {"w": "orthogonal"}).faults


def test_the_most_specific_pattern_wins():
    rng = np.random.default_rng(6)
    a, b = (
        drawn("normal:std=0.02", (50, 60), rng, "h.0.fc.weight"),
        drawn("normal:std=0.1", (50, 60), rng, "h.0.proj.weight"),
    )
    rules = {"*.weight": "normal:std=0.02", "*.proj.weight": "normal:std=0.1"}
    assert not report([a, b], rules).faults
    with pytest.raises(ConfigError, match=r"h\.0\.fc\.weight is covered by .* equally specific"):
        report([a], {"h.*.weight": "zeros", "h.0*weight": "ones"})


def test_every_parameter_is_covered_by_a_pattern():
    entry = parameter("net.weight", np.zeros(3))
    with pytest.raises(ConfigError, match=r"no pattern covers net\.weight; add one"):
        report([entry], {})
    with pytest.raises(ConfigError, match=r"'net\.wieght' matches no parameter\. Did you mean 'net\.weight'"):
        report([entry], {"net.wieght": "zeros"}, "any")
    assert report([entry], {}, "any").unjudged == ("net.weight",)


@pytest.mark.parametrize("text", ["lsuv", "critical", "autoencoder"])
def test_an_initializer_that_depends_on_data_is_no_contract(text):
    with pytest.raises(ConfigError, match="depends on the data or on the activation"):
        read_rule(text)


def test_fans_are_asked_for_where_a_vector_has_none():
    with pytest.raises(ConfigError, match=r"b: he takes its scale from fan_in"):
        report([parameter("b", np.zeros(30))], {"b": "he"})


def test_copies_of_a_tensor_are_reported():
    rng = np.random.default_rng(7)
    values = rng.standard_normal((20, 30)).astype(np.float32)
    longer = np.concatenate([values, rng.standard_normal((5, 30)).astype(np.float32)]) * 3
    judged = report(
        [parameter("a", values), parameter("b", values.copy()), parameter("c", longer), parameter("d", values[::-1])],
        {"*": "any"},
    ).copies
    assert judged.clones == (("a", "b"),)
    assert judged.equal_seeds == (("a", "c"),)


def test_bfloat16_entries_are_no_other_distribution():
    rng = np.random.default_rng(8)
    exact = rng.standard_normal((400, 500)).astype(np.float32) * 0.02
    bits = (exact.view(np.uint32) + 0x8000) & 0xFFFF0000
    rounded = Parameter("w", bits.astype(np.uint32).view(np.float32), (500, 400), 2.0**-8)
    assert not report([rounded], {"w": "normal:std=0.02"}).faults
