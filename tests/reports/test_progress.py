"""Long work is announced once its pace is known, and says how far it is; short work says nothing."""

import re
import sys
import threading
import time

import pytest

from initprobe.cli import progress as module
from initprobe.cli.progress import progress_bar, waiting
from initprobe.probe.progress import part_of


class Clock:
    """A clock that the test sets."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def work(clock, steps, seconds, before=0.0):
    """A number of equal steps, after a first part of another length."""
    clock.now += before
    with progress_bar("working") as advance:
        for done in range(1, steps + 1):
            clock.now += seconds / steps
            advance(done, steps)


@pytest.mark.parametrize(
    ("seconds", "words"), [(150, "2 min"), (2400, "40 min"), (36_000, "10 h"), (86_400 * 9, "9 days"), (90, "88 s")]
)
def test_long_work_is_announced(clock, capsys, seconds, words):
    work(clock, 30_000, seconds, before=500)
    first, *others = capsys.readouterr().err.splitlines()
    assert first == f"expected: about {words}"
    assert [int(line.partition("%")[0]) for line in others] == pytest.approx([*range(10, 100, 10)], abs=2)
    assert all(re.fullmatch(r"\d+% done, about [\d,]+ (s|min|h|days) left", line) for line in others)


@pytest.mark.parametrize("steps", [1, 2, 10_000])
def test_short_work_says_nothing(clock, capsys, steps):
    work(clock, steps, 55)
    assert capsys.readouterr().err == ""


def test_a_pace_that_changes_is_announced_again(clock, capsys):
    with progress_bar("working") as advance:
        for done in range(1, 30_001):
            clock.now += 1 if done < 5 else 0.1
            advance(done, 30_000)
    lines = capsys.readouterr().err.splitlines()
    hours = [float(re.search(r"about (\d+)", line)[1]) for line in lines if line.startswith("expected")]
    assert hours[0] == 8
    assert 1 < len(hours) < 5


def test_work_that_turns_out_long_is_announced_late(clock, capsys):
    with progress_bar("working") as advance:
        for done in range(1, 101):
            clock.now += 0.1 if done < 50 else 30
            advance(done, 100)
    assert capsys.readouterr().err.startswith("expected: about ")


def test_parts_count_as_one_whole():
    calls = []
    for number in range(3):
        part = part_of(lambda *of: calls.append(of), number, 3)
        part(1, 2)
        part(2, 2)
    assert calls == [(done, 6) for done in range(1, 7)]
    assert part_of(None, 0, 3) is None


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--init", "xavier", "--act", "tanh", "--no-figures"),
        ("run", "--init", "lsuv", "--act", "tanh", "--no-figures"),
        ("compare", "--init", "xavier", "--init", "he", "--act", "tanh"),
        ("spectrum", "--init", "xavier", "--act", "tanh"),
        ("recommend", "--act", "tanh"),
    ],
)
def test_every_command_that_may_take_long_says_so(initprobe, monkeypatch, command):
    monkeypatch.setattr(module, "_SETTLED_S", 0.0)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    done = initprobe(*command, "--layers", 60, "--width", 30)
    assert done.code == 0, done.err
    assert re.search(r"^expected: about \d+ s$", done.err, re.M)
    assert "% done, about 0 s left" in done.err


def test_a_terminal_shows_a_bar_and_the_time(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    work(clock, 300, 600)
    assert "expected: about 10 min" in capsys.readouterr().err


def test_recommend_refuses_more_layers_than_it_can_try(initprobe):
    refused = initprobe("recommend", "--act", "gelu", "--layers", 100_000)
    assert refused.code == 2
    assert refused.err == "Error: --layers: must be at most 10,000 here, not 100000; ask for fewer layers\n"


@pytest.mark.parametrize("option", ["--sigma-w", "--sigma-b"])
@pytest.mark.parametrize("act", ["tanh", "gelu", "relu"])
def test_phase_diagrams_end_at_the_float_range(initprobe, act, option):
    refused = initprobe("phase", "--act", act, option, "0..1e300", "--size", 4)
    assert refused.code == 2
    assert "must end below 1e154" in refused.err
    assert initprobe("phase", "--act", act, option, "0..1e153", "--size", 4, "--figure", "p.png").code == 0


@pytest.mark.parametrize("slope", [1e26, 1e75])
def test_lines_hold_no_number_of_many_digits(initprobe, slope):
    for command in (
        ("run", "--init", "normal:std=1e10", "--act", f"leaky_relu:slope={slope}", "--layers", 4, "--no-figures"),
        ("gain", "--act", f"leaky_relu:slope={slope}"),
        ("recommend", "--act", f"leaky_relu:slope={slope}", "--layers", 4),
        ("phase", "--act", "tanh", "--size", 4, "--mark", f"normal:std={slope}"),
    ):
        done = initprobe(*command, *(("--width", 10) if command[0] != "gain" else ()))
        assert done.code == 0, done.err
        assert not re.search(r"\d{13}", done.out)


def test_a_rehearsal_says_what_all_workers_take(initprobe):
    alone, two = (initprobe("sweep", "article_figures", "--dry-run", "-j", jobs).out for jobs in (1, 2))
    assert " MB per run\n" in alone
    each, together = re.search(r"at most (\d+) MB per run, (\d+) MB for 2 at a time\n", two).groups()
    assert int(together) == pytest.approx(2 * int(each), abs=1)


def test_waiting_shows_the_time_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(module, "_SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(module, "is_watched", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal, to rich
    with waiting("probing the model"):
        time.sleep(0.3)
    assert "probing the model" in capsys.readouterr().err


def test_waiting_elsewhere_says_one_line_after_a_minute(monkeypatch, capsys):
    with waiting("probing the model"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with waiting("probing the model"):
        time.sleep(0.5)
    assert capsys.readouterr().err == "probing the model: not done after 0 s\n"


def test_waiting_ends_with_an_error(monkeypatch):
    monkeypatch.setattr(module, "is_watched", lambda: True)
    with pytest.raises(ZeroDivisionError), waiting("probing the model"):
        _ = 1 / 0
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
