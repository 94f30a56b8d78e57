"""What others wrote reaches a terminal, a log or a page as text alone, and in errors shortened."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from initprobe.cli.annotations import error_annotation
from initprobe.engine.threads import MOST_THREADS, workers
from initprobe.errors import ConfigError
from initprobe.formatting import message, shown, visible
from initprobe.reports.markdown import markdown_row

NET = ("--act", "relu", "--layers", 2, "--width", 4, "--batch", 8, "--draws", 1, "--no-figures")
FULL = ("list rules", "--version")
EVIL = "\x1b]0;title\x07\x1b[31m[/red][link=x]\x9b2J\u202e::error::\r$x^"


def test_control_characters_become_escapes():
    assert visible("a\x1b[31m\x07\x9b\n\u202e\udcff") == "a\\x1b[31m\\x07\\x9b\\n\\u202e\\udcff"
    assert visible("a\nb\tc", breaks=True) == "a\nb\\tc"
    assert visible("::error::x") == "\\x3a:error::x"
    assert visible(" ::error::x", breaks=True) == " \\x3a:error::x"
    assert visible("a ##[group]b") == "a \\x23#[group]b"
    assert visible("he:mode=fan_in a::b # c") == "he:mode=fan_in a::b # c"
    assert visible("naïve ▃▅ 日本 🙂 x²") == "naïve ▃▅ 日本 🙂 x²"


def test_what_is_echoed_is_short_and_says_its_length():
    assert shown("x" * 80) == "x" * 80
    assert shown("a" * 50_000 + "b" * 50_000) == f"{'a' * 60}...{'b' * 20} (100,000 characters)"
    assert len(message("word " * 30_000)) < 900
    assert message(f"no {'y' * 100_000}: bad").startswith("no yyy")
    assert len(str(ConfigError("z" * 10**6))) < 200
    assert message("a line\nand more") == "a line and more"


@pytest.mark.parametrize(
    "args",
    [
        ("run", *NET, "--init", "{}"),
        ("run", *NET, "--init", "normal:std={}"),
        ("run", *NET, "--init", "he", "--norm", "{}"),
        ("run", *NET, "--init", "he", "--widths", "{}"),
        ("run", *NET, "--init", "he", "--threshold", "{}"),
        ("run", *NET, "--init", "he", "--seed", "{}"),
        ("run", *NET, "--init", "he", "--fail-on", "{}"),
        ("run", *NET, "--{}", "1"),
        ("list", "{}"),
        ("{}",),
        ("explain", "{}"),
        ("gain", "{}"),
        ("validate", "{}"),
        ("show", "{}"),
        ("sweep", "article_figures", "--set", "{}"),
        ("sweep", "article_figures", "--where", "{}=1"),
        ("sweep", "article_figures", "--shard", "{}"),
    ],
    ids=lambda args: " ".join(map(str, args[-2:])),
)
def test_errors_echo_little_and_no_escapes(initprobe, args):
    for text in ("x" * 100_000, EVIL, "word " * 20_000):
        outcome = initprobe(*(str(arg).replace("{}", text) for arg in args))
        said = outcome.out + outcome.err
        assert outcome.code == 2
        assert len(said) < 1200
        assert not set(said) & set("\x1b\x07\x9b\u202e\r")


def test_a_result_cannot_drive_the_terminal(initprobe, tmp_path):
    whole = json.loads(initprobe("run", "--init", "he", *NET, "--export-json", "-").out)
    whole["description"]["title"] = whole["description"]["weights"] = EVIL
    whole["config"]["init"] = EVIL
    (tmp_path / "evil.json").write_text(json.dumps(whole))
    shown_again = initprobe("show", "evil.json", "-v", "-o", EVIL.replace("/", ""))
    assert shown_again.code == 0, shown_again.err
    other = initprobe("diff", "evil.json", "evil.json")
    listed = (tmp_path / "list.json").write_text(json.dumps([whole, whole | {"schema_version": 2}])) and "list.json"
    refused = initprobe("diff", listed, "evil.json")
    for outcome in (shown_again, other, refused):
        assert not set(outcome.out + outcome.err) & set("\x1b\x07\x9b\u202e\r")
    assert "\\x1b[31m[/red][link=x]\\x9b2J\\u202e::error::\\r$x^" in shown_again.out


def test_a_store_cannot_drive_the_terminal(initprobe, tmp_path):
    import sqlite3

    fields = "init: he, layers: 2, width: 4, batch: 8, draws: 1"
    text = f"version: 1\nname: t\ndefaults: {{{fields}}}\ngrid: {{act: [relu, tanh]}}\n"
    (tmp_path / "a.yaml").write_text(text)
    assert initprobe("sweep", "a.yaml", "-j", 1, "--no-figures").code == 0
    with sqlite3.connect(tmp_path / "initprobe-out/t/sweep.db") as store:
        store.execute(
            "UPDATE runs SET axes = ?", (json.dumps({"x": "::error::a", EVIL: EVIL, "b": "a|b\n::error::c"}),)
        )
    store.close()
    for args in ((), ("--markdown", "-"), ("--sort", "b"), ("--where", "b=1")):
        outcome = initprobe("results", "initprobe-out/t", *args)
        assert outcome.code in (0, 2), outcome.err
        assert not set(outcome.out + outcome.err) & set("\x1b\x07\x9b\u202e\r")
        assert not any(line.strip().startswith("::") for line in outcome.out.splitlines())


def test_annotations_and_markdown_hold_one_value_each():
    assert error_annotation("t", "50%\n::add-mask::x, y\x1b", Path("a,b:c%\r\n.yaml"), None) == (
        "::error title=t,file=a%2Cb%3Ac%25%0D%0A.yaml::50%25%0A::add-mask::x, y\\x1b"
    )
    assert markdown_row(["a|b", "c\n::error::d", "`e` <b> [f](g)"]) == (
        "| a\\|b | c\\\\n::error::d | \\`e\\` \\<b> \\[f\\](g) |"
    )


@pytest.mark.parametrize(
    ("args", "stream"),
    [("schema", ">&-"), ("--version", "2>&-"), ("schema", "<&- >&- 2>&-"), *((args, ">/dev/full") for args in FULL)],
)
def test_closed_and_full_streams_end_with_a_message(stream, args):
    command = f'"{sys.executable}" -m initprobe {args} {stream}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    full = "full" in stream
    assert done.returncode == (2 if full else 0), done.stderr
    assert done.stderr == ("Error: the output cannot be written: No space left on device\n" if full else "")


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1, 3000, 10**20])
def test_absurd_threads_are_refused(initprobe, threads):
    for args in (("run", "--init", "he", *NET), ("recommend", "--act", "tanh", "--layers", 2, "--width", 4)):
        outcome = initprobe(*args, "--threads", threads)
        assert outcome.code == 2
        assert "threads: must be at" in outcome.err


def test_no_more_threads_than_work():
    before = threading.active_count()
    with workers(1000) as pool:
        assert threading.active_count() == before
        pool.map(lambda _: time.sleep(0.01), range(8))
        assert threading.active_count() <= before + 7
        for _ in range(20):
            pool.later(lambda _: None, [0, 1], lambda _: None)
        pool.finish()
        assert threading.active_count() <= before + 30
    assert threading.active_count() == before


@pytest.mark.parametrize("option", ["layers", "width", "input-width", "batch", "batches", "draws", "train-steps"])
def test_absurd_counts_are_refused_at_once(initprobe, option):
    outcome = initprobe("run", "--init", "he", "--act", "relu", "--no-figures", f"--{option}", 10**20)
    assert outcome.code == 2
    assert f"--{option}: must be at most" in outcome.err


def test_absurd_jobs_leave_no_store(initprobe, tmp_path):
    for jobs in (0, 1025, 10**20):
        outcome = initprobe("sweep", "article_figures", "-j", jobs)
        assert outcome.code == 2
        assert outcome.err.startswith("Error: --jobs: must be at")
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_periodic_activation_of_no_known_variance_is_an_overflow(initprobe):
    shape = ("--layers", 2, "--width", 4, "--batch", 8, "--draws", 1, "--seed", 3)
    outcome = initprobe("compare", "--init", "normal:var=1e300", "--act", "sin", *shape)
    assert outcome.code == 0, outcome.err
    assert "overflow" in outcome.out
