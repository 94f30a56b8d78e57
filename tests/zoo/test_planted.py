"""Planted bugs are found at their place with their cause, most printed fixes heal, and faulty nets are faulty."""

import pytest

torch = pytest.importorskip("torch")

from planted import FAST, FAULTY, SLOW  # noqa: E402
from planted_run import alarms, examine  # noqa: E402
from zoo_published import HEALED, NAMED  # noqa: E402

from initprobe.torch import probe  # noqa: E402


def outcomes(bugs):
    """The outcome for each, and the words of those that were missed."""
    examined = {bug: examine(bug) for bug in bugs}
    missed = "\n".join(
        f"{bug.name}: {outcome}" for bug, outcome in examined.items() if not (outcome.located and outcome.caused)
    )
    uncured = "\n".join(
        f"{bug.name}: {outcome.words}" for bug, outcome in examined.items() if bug.heals and not outcome.healed
    )
    print(f"\nmissed:\n{missed}\nnot healed:\n{uncured}")
    return examined, missed, uncured


def check(bugs):
    examined, missed, uncured = outcomes(bugs)
    assert sum(outcome.located and outcome.caused for outcome in examined.values()) >= NAMED * len(bugs), missed
    assert sum(bool(outcome.healed) for outcome in examined.values()) >= HEALED * sum(bug.heals for bug in bugs), (
        uncured
    )


def test_small_planted_bugs_are_named():
    check(FAST)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_every_net_at_other_seeds(seed):
    torch.manual_seed(seed)
    bugs = FAST + SLOW
    examined = [examine(bug, seed) for bug in bugs]
    missed = [bug.name for bug, outcome in zip(bugs, examined, strict=True) if not (outcome.located and outcome.caused)]
    assert len(bugs) - len(missed) >= NAMED * len(bugs), missed


@pytest.mark.slow
def test_planted_bugs_of_every_net_are_named():
    check(FAST + SLOW)


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_nets_are_named(name):
    torch.manual_seed(0)
    assert alarms(probe(*FAULTY[name](), try_fixes=False)), name
