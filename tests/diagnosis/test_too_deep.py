"""Nets that are too deep for their width, and the fix that makes them wider."""

import numpy as np
import pytest
from command_lines import config_of

from initprobe import ProbeConfig, run
from initprobe.meanfield.input_moments import InputMoments
from initprobe.prediction.typical import loss_probability

FAULTY = [("he", "relu", 100, 16), ("he", "relu", 50, 8), ("he", "relu", 200, 50), ("xavier", "tanh", 60, 4)]
SOUND = [("he", "relu", 30, 256), ("he", "relu", 10, 500), ("he", "relu", 50, 500)]


def judged(init, act, layers, width=16, **more):
    return run(
        ProbeConfig(**{"init": init, "act": act, "layers": layers, "width": width, "batch": 50, "draws": 1} | more)
    )


@pytest.mark.parametrize("seed", [0, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "net", [pytest.param(net, marks=[pytest.mark.slow] if net[2] >= 100 else [], id=str(net)) for net in FAULTY]
)
def test_too_deep_for_its_width(net, seed):
    result = judged(*net, seed=seed)
    (finding,) = [finding for finding in result.diagnosis if finding.rule == "too-deep"]
    assert finding.severity == "warning"
    assert result.typical.loss_probability > 0.5
    assert finding.layer == result.typical.layer <= net[2]
    assert f"{net[2]} layers of {net[3]} units" in finding.evidence
    fixed = config_of(finding.fix)
    assert (str(fixed.init), fixed.layers) == (net[0], net[2])
    assert fixed.width > net[3]
    sizes = (fixed.width,) * (fixed.layers + 1)
    # Of 200 simulated networks, with other inputs than those of the run: 3 SD above one in twenty.
    assert loss_probability(fixed, sizes, InputMoments.noise()) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert run(fixed).healthy


@pytest.mark.parametrize("net", SOUND, ids=str)
def test_a_net_that_is_wide_enough_is_not_too_deep(net):
    result = judged(*net)
    assert result.typical.loss_probability < 0.01
    assert "too-deep" not in {finding.rule for finding in result.diagnosis}


@pytest.mark.parametrize("more", [
    {"norm": "layer"},
    {"norm": "batch"},
    {"residual": True, "branch_scale": "1/sqrt(2L)"},
    {"residual": True, "branch_scale": 1, "width": 200},
])  # fmt: skip
def test_a_norm_or_skips_hold_the_length(more):
    """Its probability of a loss is given too."""
    result = judged("he", "relu", 40, **more)
    assert result.typical.loss_probability < 0.01
    assert result.typical.layer is None


def test_strong_branches_in_a_narrow_net_are_not_too_deep():
    """A draw may fall far below the mean over draws, which grows by 2 per layer; its signal is not lost."""
    result = judged("he", "relu", 40, 16, residual=True, branch_scale=1)
    assert 0.05 < result.typical.loss_probability < 0.4
    assert result.typical.layer is None
    assert "too-deep" not in {finding.rule for finding in result.diagnosis}


def test_the_loss_of_a_residual_net_against_draws():
    """Linear branches of 4 units, against 500 draws: each a loss or none."""
    config = ProbeConfig(init="lecun", act="linear", layers=60, width=4, residual=True, branch_scale=1)
    predicted, rng, lost = loss_probability(config, (4,) * 61, InputMoments.noise()), np.random.default_rng(0), []
    for _ in range(500):
        h = rng.standard_normal(4)
        for _ in range(60):
            h = h + h @ rng.standard_normal((4, 4)) / 2
        lost.append(np.mean(h * h) < 0.01 * 2.0**60)
    # Both are shares, of 400 and of 500 networks.
    assert abs(predicted - np.mean(lost)) < 5 * (0.25 / 400 + 0.25 / 500) ** 0.5
    assert 0.1 < predicted < 0.99


def test_the_typical_draw_does_not_depend_on_the_seed():
    first, second = (ProbeConfig(init="xavier", act="tanh", layers=60, width=4, seed=seed) for seed in (0, 1))
    sizes, noise = (4,) * 61, InputMoments.noise()
    assert loss_probability(first, sizes, noise) == loss_probability(second, sizes, noise)
