"""`sweep`, `results` and `check` as a user types them."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_files import HEAD

from initprobe.reports.sweep_table import headline, layout, markdown
from initprobe.results.digest import digest

FILE = f"""{HEAD}
defaults: {{act: tanh, layers: 3, width: 20, batch: 20, draws: 1}}
grid:
  init: [xavier, "normal:std=0.001"]
seeds: 2
figures: []
checks:
  output.variance: [0.01, 1]
"""


@pytest.fixture
def sweep(initprobe, tmp_path):
    """Write FILE as a.yaml and run `initprobe COMMAND a.yaml ...` on it, with one worker."""

    def call(command="sweep", *args, text=FILE):
        (tmp_path / "a.yaml").write_text(text)
        return initprobe(command, "a.yaml", "-j", 1, *args)

    return call


def test_sweep_prints_a_table_with_seeds_together(sweep):
    outcome = sweep()
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "4 runs: 2 survive, 2 vanish"
    assert [line.split()[0] for line in lines[4:]] == ["xavier", "normal:std=0.001"]
    assert "+-" in lines[4]
    assert "seed" not in outcome.out
    assert max(map(len, lines)) <= 80
    assert "test: 4 runs; initprobe-out/test/sweep.db" in outcome.err


def test_a_finished_sweep_runs_nothing_again(sweep, tmp_path):
    first = sweep()
    stamp = (tmp_path / "initprobe-out/test/sweep.db").read_bytes()
    again = sweep()
    assert again.out == first.out
    assert "4 of them done" in again.err
    assert len((tmp_path / "initprobe-out/test/sweep.db").read_bytes()) == len(stamp)


def test_results_shows_the_same_and_exports(sweep, initprobe):
    first = sweep()
    shown = initprobe("results", "initprobe-out/test", "--export-csv", "a.csv", "--export-json", "a.json")
    assert shown.out == first.out
    rows = list(csv.DictReader(io.StringIO(Path("a.csv").read_text())))
    assert len(rows) == 4 * 3
    assert {row["init"] for row in rows} == {"xavier", "normal:std=0.001"}
    assert float(rows[0]["output.variance"]) > 0
    whole = json.loads(Path("a.json").read_text())
    assert [run["state"] for run in whole["runs"]] == ["done"] * 4
    assert whole["runs"][0]["result"]["layers"][0]["output"]["variance"] == float(rows[0]["output.variance"])


def test_a_table_takes_columns_and_sort_and_where_and_rows(sweep, initprobe):
    sweep()
    show = ("results", "initprobe-out/test/sweep.db")
    out = initprobe(*show, "--sort", "output.variance", "--columns", "verdict,theory.z").out
    assert [line.split()[0] for line in out.splitlines()[4:]] == ["normal:std=0.001", "xavier"]
    out = initprobe(*show, "--sort", "-init", "--rows", "1").out
    assert "xavier" in out
    assert "1 of 2 rows" in out
    assert initprobe(*show, "--where", "init=xavier").out.startswith("2 runs: 2 survive")
    for bad in (("--sort", "vardict"), ("--columns", "nope"), ("--rows", "x"), ("--where", "int=he")):
        outcome = initprobe(*show, *bad)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), bad
    assert "Did you mean 'verdict'?" in initprobe(*show, "--sort", "vardict").err


def test_markdown_is_appended_to_a_step_summary(sweep):
    out = sweep("sweep", "--markdown", "-").out.splitlines()
    assert out[0] == "**4 runs: 2 survive, 2 vanish**"
    assert out[2].startswith("| init | verdict | output.variance |")


def test_dry_run_lists_runs_and_cost(sweep, tmp_path):
    outcome = sweep("sweep", "--dry-run")
    assert outcome.out.startswith("4 runs, ")
    assert not (tmp_path / "initprobe-out").exists()


def test_dry_run_of_a_part_without_runs(sweep):
    outcomes = [sweep("sweep", "--dry-run", "--shard", f"{part}/64") for part in range(1, 65)]
    assert [outcome.code for outcome in outcomes] == [0] * 64
    assert any(outcome.out.startswith("0 runs, 0 GFLOP") for outcome in outcomes)


def test_check_fails_with_what_broke(sweep):
    outcome = sweep("check", "--annotate", "github")
    assert outcome.code == 1
    assert "init=normal:std=0.001 seed=0" in outcome.err
    assert "output.variance at layer 1 is" in outcome.err
    assert "::error title=initprobe check,file=a.yaml,line=10::init=normal" in outcome.out
    sound = sweep("check", "--where", "init=xavier")
    assert sound.code == 0, sound.err
    assert "all 2 checks hold" in sound.err


def test_a_failed_run_beats_a_broken_check(sweep, tmp_path):
    import numpy as np

    np.save(tmp_path / "x.npy", np.ones((5, 3)))
    text = FILE.replace("seeds: 2", "include:\n  - {init: he, input: x.npy, batch: 90}")
    outcome = sweep("check", text=text)
    assert outcome.code == 3
    assert "1 run failed; the same command tries it again" in outcome.err
    assert "x.npy has 5 rows; lower one of the two" in outcome.out


def test_sweep_draws_what_the_file_asks_for(sweep, tmp_path):
    outcome = sweep(text=FILE.replace("figures: []", "figures: [summary, depth, histograms]"))
    assert outcome.code == 0, outcome.err
    pictures = {path.name for path in (tmp_path / "initprobe-out/test").glob("*.png")}
    assert {"depth.png", "histograms.png"} <= pictures
    assert len(pictures) == 2 + 4


def test_an_unwritable_or_unknown_file_is_an_error_of_one_line(initprobe, tmp_path):
    (tmp_path / "taken").write_text("")
    (tmp_path / "a.yaml").write_text(FILE)
    for args in (
        ("sweep", "nothing.yaml"),
        ("sweep", "a.yaml", "-o", "taken"),
        ("sweep", "a.yaml", "-j", "0"),
        ("sweep", "a.yaml", "--shard", "3"),
        ("sweep", "a.yaml", "--export-csv", "no/where.csv"),
        ("sweep", "a.yaml", "--scheduler", "tcp://127.0.0.1:1", "-j", "2"),
        ("results", "nothing.db"),
        ("check", "gain_study", "--set", "checks="),
    ):
        outcome = initprobe(*args)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), (args, outcome.err)


def test_interrupted_sweeps_say_how_to_go_on(tmp_path):
    (tmp_path / "a.yaml").write_text(FILE.replace("seeds: 2", "seeds: 60"))
    command = [sys.executable, "-m", "initprobe", "sweep", "a.yaml", "-j", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        store = tmp_path / "initprobe-out/test/sweep.db"
        while not (store.exists() and store.stat().st_size > 60_000):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command continues" in err


def test_the_headline_counts_healthy_and_faulty_nets():
    assert headline([]) == "0 runs: "


def test_digest_of_a_lost_net_has_no_nan():
    from initprobe import ProbeConfig, run

    result = run(ProbeConfig(init="normal:std=1e30", act="linear", layers=3, width=9, batch=9))
    kept = digest(result)
    assert (kept.healthy, kept.output[-1]) == (False, None)
    assert kept.z == result.layers[0].theory.z is not None  # which is before the loss
    assert "NaN" not in kept.model_dump_json()


def test_markdown_escapes_what_would_break_a_row():
    class Odd:
        axes = {"init": "a|b"}  # noqa: RUF012
        state, error, elapsed_s, digest = "failed", "x", None, None

    assert "a\\|b" in markdown([Odd()], layout(["init"]))


def test_an_absurd_number_of_rows_is_refused(sweep):
    refused = sweep("sweep", "--rows", "9" * 5000)
    assert refused.code == 2 and "`all` shows every row" in refused.err
