"""What the verdict says of special nets and inputs: the cause that is true, and no fix that does not help."""

import numpy as np
import pytest
from command_lines import config_of

from initprobe import ProbeConfig, run

SMALL = {"layers": 5, "width": 50, "batch": 60, "draws": 2}


def judged(**fields):
    return run(ProbeConfig(**SMALL | fields))


def rules(result, *severities):
    return {finding.rule for finding in result.diagnosis if not severities or finding.severity in severities}


@pytest.mark.parametrize(
    ("bias", "equal"),
    [(None, True), ("constant:value=0.3", True), ("normal:std=0.5", False), ("uniform:limit=0.5", False)],
)
def test_equal_weights_are_symmetric_unless_biases_differ(bias, equal):
    result = judged(init="constant:value=0.1", act="tanh", bias_init=bias)
    assert ("symmetric" in rules(result)) is equal


@pytest.mark.parametrize("act", ["tanh", "relu", "sigmoid"])
def test_an_input_of_zeros_has_no_signal(tmp_path, act):
    np.save(tmp_path / "zeros.npy", np.zeros((60, 20)))
    result = judged(init="xavier", act=act, input=tmp_path / "zeros.npy")
    assert result.input.mean_square == 0
    assert result.diagnosis[0].rule == "silent-input"
    assert not rules(result) & {"underflow", "dead-layer"}
    assert all(finding.fix is None for finding in result.diagnosis)


def test_a_gradient_of_exactly_0_is_an_error():
    result = judged(init="normal:std=1e30", act="tanh")
    finding = next(finding for finding in result.diagnosis if finding.rule == "vanishing-gradient")
    assert (finding.severity, finding.layer) == ("error", 5)
    assert "exactly 0" in finding.evidence


def test_rank_collapse_is_seen_at_layer_1(tmp_path):
    result = judged(init="lecun", act="tanh", bias_init="normal:std=10,mean=100")
    assert next(finding for finding in result.diagnosis if finding.rule == "rank-collapse").layer == 1
    np.save(tmp_path / "rows.npy", np.tile(np.random.default_rng(0).normal(size=20), (60, 1)))
    alike = judged(init="he", act="relu", input=tmp_path / "rows.npy")
    (finding,) = alike.diagnosis
    assert (finding.rule, finding.layer, finding.fix) == ("rank-collapse", 1, None)  # no net separates equal rows
    assert "1.000 between the samples" in finding.evidence


def test_dead_branches_are_no_cure():
    result = judged(init="he", act="relu", bias_init="constant:value=-10", residual=True, layers=20)
    assert not result.healthy
    for line in {finding.fix for finding in result.diagnosis if finding.fix}:
        assert run(config_of(line)).healthy


@pytest.mark.parametrize("act", ["tanh", "relu"])
@pytest.mark.parametrize("init", ["lecun", "normal:std=1", "xavier", "he"])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_fix_of_a_narrow_net_is_another_net_and_works(init, act, width):
    config = ProbeConfig(init=init, act=act, layers=20, width=width, batch=50, draws=2)
    for line in {finding.fix for finding in run(config).diagnosis if finding.fix}:
        fixed = config_of(line)
        alike = fixed.model_dump(exclude={"init"}) == config.model_dump(exclude={"init"})
        ratio = fixed.initializer.variance(width, width) / config.initializer.variance(width, width)
        assert not (alike and abs(ratio - 1) < 0.02)
        assert run(fixed).healthy


def test_a_pyramid_is_judged_alike_for_tanh_and_relu():
    shape = {"widths": (128, 64, 32, 16, 8, 4, 2), "width": None, "layers": None, "draws": 4}
    for seed in range(3):
        assert judged(init="xavier", act="tanh", seed=seed, **shape).healthy
        assert judged(init="he", act="relu", seed=seed, **shape).healthy
        assert not judged(init="normal:std=0.01", act="tanh", seed=seed, **shape).healthy
        assert not judged(init="normal:std=0.01", act="relu", seed=seed, **shape).healthy
