"""Trials of fixes: an experiment that was measured in this process is not measured again."""

import pytest

from initprobe import ProbeConfig
from initprobe.errors import MemoryLimitError
from initprobe.probe.run import measure, measured, prepare, run
from initprobe.probe.trials import Outcome, Outcomes, Trials
from initprobe.sweeps.runs import run_key

SHAPE = {"init": "normal:std=0.01", "act": "tanh", "layers": 4, "width": 20, "batch": 20, "draws": 1}
SICK = ProbeConfig(**SHAPE)


def test_the_runs_of_a_sweep_share_their_trials(monkeypatch):
    seeds, outcomes = [], Outcomes(run_key)
    survives = Trials.survives
    monkeypatch.setattr(Trials, "survives", lambda self, config, **more: survives(counted(self, seeds), config, **more))
    for std in (0.01, 0.02, 0.03):
        config = ProbeConfig(**(SHAPE | {"init": f"normal:std={std}"}))
        assert measure(prepare(config), outcomes=outcomes).diagnosis == run(config).diagnosis
    first = [seed for seed, shared in seeds if shared]
    assert len(first) < len([seed for seed, shared in seeds if not shared]) and len(first) == len(set(first))


def counted(trials, seeds):
    def judge(config):
        seeds.append((config.seed, trials.outcomes is not None))
        return trials.judge(config)

    return Trials(judge, trials.outcomes)


@pytest.mark.parametrize("distinct", [False, True])
def test_an_outcome_is_remembered_with_its_error(distinct):
    def judge(config):
        asked.append(config)
        raise MemoryLimitError("too large")

    asked, outcomes = [], Outcomes(run_key)
    for _ in range(2):
        assert not Trials(judge, outcomes).survives(SICK, distinct=distinct)
    assert len(asked) == 1
    assert outcomes.of(SICK) == Outcome(is_healthy=False, is_distinct=False)


def test_the_seeds_of_a_sweep_share_their_trials():
    asked, outcomes = [], Outcomes(run_key)

    def judge(config):
        asked.append(config.seed)
        return measured(config)

    for seed in (0, 1, 2, 5):
        config = ProbeConfig(**(SHAPE | {"init": "xavier", "seed": seed}))
        assert Trials(judge, outcomes).survives(config)
    assert asked == list(range(8))
