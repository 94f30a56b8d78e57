"""How often the verdict predicts training: every net of the panel is trained, and the README states the count.

A net trains if 300 steps of SGD, at the best of four rates, bring its loss below 90% of chance. A linear
net learns the task in a few dozen steps: two classes that a random linear teacher separates.
"""

import re

import numpy as np
import pytest
from article_figures import ROOT
from panel import PANEL

from initprobe.config.probe_config import ProbeConfig
from initprobe.probe.run import measured

RATES = (1.0, 0.1, 0.01, 0.001)
BELOW_CHANCE = 0.9
TASK = {"width": 120, "batch": 100, "draws": 1, "classes": 2, "train_steps": 300}


def trains(init, act, layers):
    """Whether some rate takes the loss below `BELOW_CHANCE` times chance."""
    for rate in RATES:
        result = measured(ProbeConfig(init=init, act=act, layers=layers, learning_rate=rate, **TASK))
        final = result.training.final_loss
        if final is not None and final < BELOW_CHANCE * result.loss.chance:
            return True
    return False


@pytest.mark.parametrize(
    ("init", "act", "layers", "expected"),
    [
        ("xavier", "tanh", 10, True),
        ("he", "relu", 10, True),
        pytest.param("lecun", "selu", 10, True, marks=pytest.mark.slow),
        ("normal:std=0.01", "tanh", 10, False),
        pytest.param("xavier", "sigmoid", 10, False, marks=pytest.mark.slow),
        ("zeros", "relu", 5, False),
    ],
)
def test_the_verdict_predicts_training_in_the_clear_cases(init, act, layers, expected):
    assert trains(init, act, layers) is expected


@pytest.mark.slow
def test_the_readme_states_how_often_the_verdict_predicts_training():
    wrong = {"healthy": [], "faulty": []}
    for init, act, layers, truth in PANEL:
        if trains(init, act, layers) is bool(truth):
            wrong["faulty" if truth else "healthy"].append(f"`{init}` + `{act}` x {layers}")
    right = len(PANEL) - sum(map(len, wrong.values()))
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{right} of {len(PANEL)} networks ({100 * right / len(PANEL):.0f}%)" in readme, wrong
    for kind, cases in wrong.items():
        sentence = re.search(rf"called {kind}: ([^.]*)", readme)
        assert re.findall(r"`\w+` \+ `\w+` x \d+", sentence[1] if sentence else "") == cases, (kind, cases)


ACTS = (
    "relu", "tanh", "sigmoid", "gelu", "silu", "selu", "elu", "softplus", "leaky_relu", "hardtanh", "softsign", "sin",
)  # fmt: skip
INITS = ("he", "xavier", "lecun", "orthogonal", "lecun:gain={}", "he:gain={}")
AROUND = ({}, {}, {}, {"norm": "layer"}, {"residual": True, "branch_scale": "1/sqrt(L)"}, {"residual": True})


def random_net(rng):
    """A small net on the raw digits: any activation, gains from 0.5 to 2.5, 4 to 40 layers of 16 to 64 units."""
    return {
        "act": str(rng.choice(ACTS)),
        "init": str(rng.choice(INITS)).format(round(float(np.exp(rng.uniform(-0.7, 0.9))), 2)),
        "bias_init": str(rng.choice(["zeros", "zeros", "normal:std=0.2"])),
        "layers": int(rng.choice([4, 6, 10, 15, 20, 30, 40])),
        "width": int(rng.choice([16, 32, 64])),
        "seed": int(rng.integers(1000)),
        **AROUND[rng.integers(len(AROUND))],
    }


@pytest.mark.slow
def test_an_error_says_that_a_net_does_not_train_and_a_warning_does_not():
    """Of 41 random nets, 11 of 12 with an error stay near chance. All 18 with no more than a warning train.

    So do 10 of 11 healthy ones. At most one in five of each kind may go the other way here: other nets, five rates.
    """
    rng, counts = np.random.default_rng(78), {"error": [0, 0], "warning": [0, 0], "healthy": [0, 0]}
    for _ in range(40):
        fields = random_net(rng) | {"input": "digits", "batch": 100, "classes": 10, "loss": "cross-entropy"}
        judged = measured(ProbeConfig(**fields, draws=2))
        severities = {finding.severity for finding in judged.diagnosis} - {"info"}
        kind = "error" if "error" in severities else "warning" if severities else "healthy"
        losses = (
            measured(ProbeConfig(**fields, draws=1, train_steps=300, learning_rate=rate)).training.final_loss
            for rate in (1.0, 0.2, 0.03, 0.005, 0.001)
        )
        counts[kind][any(loss is not None and loss < BELOW_CHANCE * judged.loss.chance for loss in losses)] += 1
    (stuck, trained), others = counts["error"], (counts["warning"], counts["healthy"])
    assert trained <= 0.2 * (stuck + trained), counts
    assert all(untrained <= 0.2 * (untrained + learned) for untrained, learned in others), counts
