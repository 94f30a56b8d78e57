"""How often the verdict predicts training: every net of the panel is trained, and the README states the count.

A net trains if 300 steps of SGD, at the best of four rates, bring its loss below 90% of chance. A linear
net learns the task in a few dozen steps: two classes that a random linear teacher separates.
"""

import re

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
