"""Planted bugs are found at their place with their cause, most printed fixes heal, and sick nets are sick."""

import pytest

torch = pytest.importorskip("torch")

from planted import FAST, SICK, SLOW  # noqa: E402
from planted_run import alarms, examine  # noqa: E402

from initprobe.torch import probe  # noqa: E402

NAMED, HEALED = 22 / 25, 20 / 25  # of the bugs at least


def outcomes(bugs):
    """What came of each, and the words of those that were missed."""
    found = {bug: examine(bug) for bug in bugs}
    missed = "\n".join(f"{bug.name}: {one}" for bug, one in found.items() if not (one.located and one.caused))
    uncured = "\n".join(f"{bug.name}: {one.words}" for bug, one in found.items() if bug.heals and not one.healed)
    print(f"\nmissed:\n{missed}\nnot healed:\n{uncured}")
    return found, missed, uncured


def check(bugs):
    found, missed, uncured = outcomes(bugs)
    assert sum(one.located and one.caused for one in found.values()) >= NAMED * len(bugs), missed
    assert sum(bool(one.healed) for one in found.values()) >= HEALED * sum(bug.heals for bug in bugs), uncured


def test_small_nets():
    check(FAST)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_every_net_at_other_seeds(seed):
    torch.manual_seed(seed)
    bugs = FAST + SLOW
    found = [examine(bug, seed) for bug in bugs]
    missed = [bug.name for bug, one in zip(bugs, found, strict=True) if not (one.located and one.caused)]
    assert len(bugs) - len(missed) >= NAMED * len(bugs), missed


@pytest.mark.slow
def test_every_net():
    check(FAST + SLOW)


@pytest.mark.parametrize("name", SICK)
def test_sick_nets(name):
    torch.manual_seed(0)
    assert alarms(probe(*SICK[name]())), name
