"""Gates as a user types them: known findings, JUnit, annotations and the Markdown summary."""

from __future__ import annotations

import csv
import datetime
import io
import json
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from sweep_files import HEAD

from initprobe import ProbeConfig, run
from initprobe.cli.annotations import error_annotation
from initprobe.cli.ci_reports import write_junit
from initprobe.diagnosis.diagnose import RULES
from initprobe.reports.junit import Case, junit
from initprobe.reports.sweep_table import COLUMNS
from initprobe.results.named_numbers import NAMES
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Coverage
from initprobe.sweeps.known_findings import read_known

FAULTY = ("run", "--init", "normal:std=0.01", "--act", "tanh", "--layers", 6, "--width", 30, "--batch", 20)
QUIET = (*FAULTY, "--draws", 1, "--no-figures", "-q")
GATE = (*QUIET, "--fail-on", "warning")
BOTH = ("--ignore", "vanishing-output", "--ignore", "vanishing-gradient@6")
FILE = f"""{HEAD}
defaults: {{act: tanh, layers: 3, width: 20, batch: 20, draws: 1}}
grid:
  init: [xavier, "normal:std=0.001"]
seeds: 2
figures: []
checks:
  output.variance:
    - [0.01, 1]
  verdict:
    - saturated
    - vanishing-output
"""


@pytest.fixture
def check(initprobe, tmp_path):
    def call(*args, text=FILE):
        (tmp_path / "a.yaml").write_text(text)
        return initprobe("check", "a.yaml", "-j", 1, *args)

    return call


def cases(text: str) -> dict[str, str]:
    """The outcome of each case; the totals are right."""
    suite = xml.fromstring(text).find("testsuite")
    outcomes = {}
    for case in suite.iter("testcase"):
        assert case.get("classname") and float(case.get("time")) >= 0
        outcomes[case.get("name")] = case[0].tag if len(case) else "passed"
    for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(kind)) == list(outcomes.values()).count(tag)
    assert int(suite.get("tests")) == len(outcomes)
    return outcomes


def test_ignored_findings_do_not_fail_and_are_listed(initprobe):
    assert initprobe(*GATE).code == 1
    partly = initprobe(*GATE, "--ignore", "vanishing-output", "--reason", "by design")
    assert (partly.code, partly.err) == (1, "Error: --fail-on warning: vanishing gradient\n")
    done = initprobe(*GATE, *BOTH, "--reason", "by design", "--until", "2999-12-31", "--export-json", "a.json")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("NOTHING NEW")
    assert "ignored   vanishing output from layer 1: " in done.out and "(by design; until 2999-12-31)" in done.out
    assert "\nfix" not in done.out
    findings = json.loads(Path("a.json").read_text())["diagnosis"]
    assert [finding["ignored"] for finding in findings if finding["severity"] != "info"] == [
        {"reason": "by design", "until": "2999-12-31"}
    ] * 2


def test_each_ignore_has_a_reason_of_its_own_or_all_have_one(initprobe):
    done = initprobe(*GATE, *BOTH, "--reason", "first", "--reason", "second")
    assert done.code == 0 and "(first)" in done.out and "(second)" in done.out
    three = initprobe(*GATE, *BOTH, *("--reason", "x") * 3)
    assert (three.code, three.err) == (2, "Error: --reason: give one for all --ignore, or one for each of the 2\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--ignore", "saturated"), "needs --reason TEXT"),
        (("--reason", "x"), "belongs to --ignore"),
        (("--until", "2030-01-01"), "belongs to --ignore"),
        (("--ignore", "saturatd@1", "--reason", "x"), "Did you mean 'saturated'?"),
        (("--ignore", "saturated@0", "--reason", "x"), "no range of layers"),
        (("--ignore", "saturated", "--reason", "x", "--until", "soon"), "is no day"),
        (("--known", "none.yaml"), "no such file; `--write-known none.yaml` makes one"),
        (("--known", "."), "is a directory"),
        (("--known", "/dev/zero"), "is a device"),
        (("--write-known", "no/such.yaml"), "no directory"),
        (("--write-known", "k.yaml", "--until", "soon"), "is no day"),
        (("--junit", "a.xml", "--export-json", "a.xml"), "two outputs name the same file"),
    ],
)
def test_a_wrong_ignore_is_an_error_of_one_line_and_nothing_runs(initprobe, args, words):
    done = initprobe(*GATE, *args)
    assert (done.code, len(done.err.splitlines()), done.out) == (2, 1, "")
    assert words in done.err


def test_an_expired_ignore_fails_the_gate(initprobe):
    sound = ("run", "--init", "xavier", "--act", "tanh", "--layers", 2, "--width", 20, "--batch", 9, "--no-figures")
    over = ("--ignore", "saturated@2", "--reason", "x", "--until", "2020-02-29")
    done = initprobe(*sound, "--fail-on", "error", *over, "--junit", "a.xml")
    assert done.code == 1
    assert done.err.startswith("Error: --ignore saturated@2: expired on 2020-02-29; ")
    assert cases(Path("a.xml").read_text())["--ignore saturated@2"] == "failure"
    no_gate = initprobe(*sound, *over)
    assert no_gate.code == 0 and "note: --ignore saturated@2: expired on 2020-02-29" in no_gate.err
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    assert initprobe(*sound, "--fail-on", "error", *over[:-1], today).code == 0


def test_an_ignore_that_matches_nothing_is_noted(initprobe):
    done = initprobe(*QUIET, "--ignore", "dead-units@3", "--reason", "x")
    assert (done.code, done.err) == (0, "note: --ignore dead-units@3: matches nothing; drop it\n")


@pytest.mark.parametrize("name", ["known.yaml", "known.json"])
def test_findings_are_written_and_known_from_then_on(initprobe, tmp_path, name):
    first = initprobe(*GATE, "--write-known", name, "--reason", 'it\'s "by design": #1 \u2028', "--until", "2999-01-01")
    assert first.code == 0 and f"wrote     {name}: 2 known findings" in first.err
    again = initprobe(*GATE, "--known", name, "--junit", "a.xml")
    assert (again.code, again.err, again.out) == (0, "", first.out)
    assert cases((tmp_path / "a.xml").read_text())["vanishing-output"] == "skipped"
    assert [(ignore.rule, ignore.layers) for ignore in read_known(tmp_path / name)] == [
        ("vanishing-output", ((1, 1),)),
        ("vanishing-gradient", ((6, 6),)),
    ]
    other = initprobe(*[9 if arg == 6 else arg for arg in GATE], "--known", name)
    assert other.code == 1 and "vanishing gradient" in other.err  # which begins elsewhere
    assert f"note: {name}" in other.err and "matches nothing here" in other.err
    kept = initprobe(*GATE, "--known", name, "--write-known", name, "--reason", "another")
    assert kept.code == 0 and "another" not in (tmp_path / name).read_text()


def test_a_file_of_known_findings_is_made_where_there_is_none(initprobe, tmp_path):
    both = ("--known", "k.yaml", "--write-known", "k.yaml")
    assert [initprobe(*GATE, *both).code for _ in range(2)] == [0, 0]
    assert initprobe(*GATE, "--known", "k.yaml").code == 0


KNOWN = [
    ("version: 2\nknown: []", "k.yaml:1: begin with `version: 1`"),
    ("known: []", "k.yaml:1: begin with `version: 1`"),
    ("version: 1\nknow: []", "k.yaml:2: unknown key 'know'. Did you mean 'known'?"),
    ("version: 1\nknown: 3", "k.yaml:2: `known` is a list of mappings"),
    ("version: 1\nknown:\n  - dead-units", "k.yaml:3: is no mapping"),
    ("version: 1\nknown:\n  - {rule: dead-units}", "k.yaml:3: give a reason"),
    ("version: 1\nknown:\n  - {reason: x}", "k.yaml:3: names no rule"),
    ("version: 1\nknown:\n  - {rule: dead-unit, reason: x}", "k.yaml:3: unknown rule 'dead-unit'. Did you mean"),
    ("version: 1\nknown:\n  - rule: saturated\n    reason: x\n    unti: y", "k.yaml:5: unknown key 'unti'"),
    ("version: 1\nknown:\n  - rule: saturated\n    reason: 3", "k.yaml:4: reason must be text"),
    ("version: 1\nknown:\n  - {rule: saturated, reason: x, until: 2027-13-01}", "k.yaml:3: '2027-13-01' is no day"),
    ("version: 1\nknown:\n  - {rule: saturated, reason: x, at: [0]}", "k.yaml:3: 0 is no range of layers"),
    ("version: 1\nknown:\n  - rule: saturated\n    reason: x\n    where: {atc: x}", "k.yaml:5: unknown field 'atc'"),
    ("version: 1\nknown:\n  - rule: saturated\n    reason: x\n    where: [1]", "k.yaml:5: where is a mapping"),
    ("version: 1\nknown: [!!python/object:os.system {}]", "k.yaml:2: the tag"),
]


@pytest.mark.parametrize(("text", "words"), KNOWN)
def test_a_wrong_file_is_refused_with_its_line(initprobe, tmp_path, text, words):
    (tmp_path / "k.yaml").write_text(text)
    done = initprobe(*GATE, "--known", "k.yaml")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith(f"Error: {words}"), done.err


@pytest.mark.parametrize(
    "text", ["[", "[1]", '{"version": 1, "known": [3]}', '{"version": 1, "known": [{"rule": "x"}]}']
)
def test_wrong_json_is_refused_in_one_line(initprobe, tmp_path, text):
    (tmp_path / "k.json").write_text(text)
    done = initprobe(*GATE, "--known", "k.json")
    assert (done.code, len(done.err.splitlines())) == (2, 1) and "k.json" in done.err


def test_thousands_of_known_findings_are_kept_in_json(initprobe, tmp_path):
    (tmp_path / "k.yaml").write_text("version: 1\nknown:\n" + "  - {rule: saturated, reason: x}\n" * 3000)
    done = initprobe(*GATE, "--known", "k.yaml")
    assert (done.code, len(done.err.splitlines())) == (2, 1) and "ends in .json" in done.err
    entries = [{"rule": "saturated", "reason": "x"}] * 3000 + [{"rule": "vanishing-output", "reason": "a\ud800\n\x1b"}]
    (tmp_path / "k.json").write_text(json.dumps({"version": 1, "known": entries}))
    done = initprobe(*GATE, "--known", "k.json", "--export-json", "a.json", "--write-known", "k2.yaml")
    assert done.code == 0 and "\\ud800" in done.out and "\x1b" not in done.out
    assert initprobe(*GATE, "--known", "k2.yaml").out == done.out


def test_junit_of_a_run(initprobe):
    assert initprobe(*QUIET, "--junit", "-").err == "Error: --junit: give --fail-on too; without it nothing can fail\n"
    done = initprobe(*GATE, "--junit", "-", "--ignore", "vanishing-output", "--reason", "by design")
    outcomes = cases(done.out)  # standard output is the report alone
    assert done.code == 1
    assert (outcomes["vanishing-output"], outcomes["vanishing-gradient"]) == ("skipped", "failure")
    assert set(outcomes.values()) == {"passed", "skipped", "failure"}
    assert "failure" not in cases(initprobe(*QUIET, "--fail-on", "error", *BOTH, "--reason", "x", "--junit", "-").out)


def test_junit_has_the_rules_that_judge_a_net_and_no_other(initprobe, monkeypatch):
    assert set(cases(initprobe(*GATE, "--junit", "-").out)) == set(RULES)
    monkeypatch.setattr(ProbeResult, "is_partial", True)
    part = Coverage(parameters=10, judged=5, not_judged=("rnn",))
    result = run(ProbeConfig(init="he", act="relu", layers=2, width=5, batch=5, draws=1))
    write_junit(result.model_copy(update={"coverage": part}), ("error",), (), "a.xml", ())
    assert cases(Path("a.xml").read_text())["coverage"] == "failure"


def test_junit_escapes_any_name():
    odd = "a<b>&\"'\x00\x1b\ud800\U0001f600 \n"
    text = junit(odd, [Case(odd, "failure", odd), Case("b", "error", "x"), Case("c", "skipped", odd), Case("d")])
    suite = xml.fromstring(text.encode()).find("testsuite")
    assert suite.get("name").startswith("a<b>&\"'\ufffd\ufffd\ufffd\U0001f600")
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 4, "system-out", "system-err"]
    assert suite.find("testcase/failure").text.startswith("a<b>")


def test_annotations_are_escaped(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    file = tmp_path / "sub" / "a,b: 5%.yaml"
    text = error_annotation("a,b:c", "1%\n2:3", file.relative_to(tmp_path), 7)
    assert text == "::error title=a%2Cb%3Ac,file=sub/a%2Cb%3A 5%25.yaml,line=7::1%25%0A2:3"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert ",line=" not in error_annotation("x", "y", Path("a.yaml"), None)
    assert "file=sub/a.yaml::" in error_annotation("x", "y", Path("a.yaml"), None)


def test_breaches_come_first_in_the_summary(check, tmp_path):
    done = check("--markdown", "s.md", "--annotate", "github")
    assert done.code == 1
    lines = (tmp_path / "s.md").read_text().splitlines()
    assert lines[0] == "**4 of 12 checks do not hold**"
    assert lines[2] == "| run | layer | number | is | limit |"
    assert lines[4].startswith("| init=normal:std=0.001 seed=0 | 1 | output.variance | ")
    assert lines[4].endswith(" | between 0.01 and 1 |")
    assert lines.index("**4 runs: 2 survive, 2 vanish**") > max(
        number for number, line in enumerate(lines) if "free of vanishing-output" in line
    )
    marks = [line for line in done.out.splitlines() if line.startswith("::error")]
    assert [mark.count(",line=11::") for mark in marks] == [1, 1, 1, 0] * 2
    assert [mark.count(",line=14::") for mark in marks] == [0, 0, 0, 1] * 2


def test_the_summary_says_where_all_checks_hold(check):
    done = check("--markdown", "-", "--annotate", "github", "--where", "init=xavier")
    assert done.code == 0
    assert done.out.startswith("**all 6 checks hold**\n\n**2 runs: 2 survive**\n")


def test_the_summary_takes_reasons_and_errors_as_text(check, tmp_path):
    reason = "<img src=x> [a](b) @all"
    done = check("--ignore", "output.variance", "--ignore", "vanishing-output", "--reason", reason, "--markdown", "-")
    assert done.code == 0
    assert "- ignored: output.variance, 6 times (\\<img src=x> \\[a\\](b) \\@all)\n" in done.out
    (tmp_path / "broken.py").write_text(
        "def act(z):\n    if len(z) == 20:\n        raise ValueError('<b> @all')\n    return z\n"
    )
    fields = "{init: he, act: 'broken:act', layers: 2, width: 20, batch: 20}"
    done = check("--markdown", "-", text=f"{HEAD}defaults: {fields}\nchecks: {{healthy: true}}\n")
    assert done.code == 3
    (line,) = [line for line in done.out.splitlines() if line.startswith("- failed: ")]
    assert line.count("\\<b> \\@all") == line.count("<b>") == 1


def test_annotations_leave_a_piped_summary_alone(check):
    done = check("--markdown", "-", "--annotate", "github")
    assert "::error" not in done.out and done.err.count("::error ") == 8


def test_junit_of_a_check(check, tmp_path):
    import numpy as np

    np.save(tmp_path / "x.npy", np.ones((5, 3)))
    failing = "include:\n  - {init: he, input: x.npy, batch: 90}\nchecks:\n  output.dead_fraction: {max: 1}\n"
    done = check("--junit", "a.xml", text=FILE.replace("seeds: 2\n", "").replace("checks:\n", failing))
    assert done.code == 3  # a run failed
    outcomes = cases((tmp_path / "a.xml").read_text())
    (failed,) = [name for name, outcome in outcomes.items() if outcome == "error"]
    assert "init=he" in failed
    assert outcomes["output.dead_fraction: at most 1"] == "skipped"
    assert list(outcomes.values()).count("failure") == 2 and list(outcomes.values()).count("passed") == 4


def test_known_breaches_of_a_check(check, tmp_path):
    written = check("--write-known", "k.yaml", "--reason", "old sins")
    assert written.code == 0
    again = check("--known", "k.yaml", "--markdown", "s.md", "--junit", "a.xml", "--export-json", "all.json")
    assert again.code == 0 and "matches nothing" not in again.err
    assert "ignored: vanishing-output, 2 times (old sins)" in again.err
    assert "- ignored: output.variance, 6 times (old sins)" in (tmp_path / "s.md").read_text()
    assert set(cases((tmp_path / "a.xml").read_text()).values()) == {"passed", "skipped"}
    runs = json.loads((tmp_path / "all.json").read_text())["runs"]
    ignored = [finding["ignored"] for run in runs for finding in run["result"]["diagnosis"] if finding["ignored"]]
    assert ignored == [{"reason": "old sins", "until": None}] * 2
    deeper = check("--known", "k.yaml", "--set", "layers=4")
    assert deeper.code == 1 and "output.variance at layer 4 is" in deeper.err  # the others are known
    more = check("--known", "k.yaml", "--set", "seeds=3")
    assert more.code == 1 and "seed=2" in more.err and "seed=1 " not in more.err.split("run ")[-1]
    part = check("--known", "k.yaml", "--where", "init=xavier")
    assert part.code == 0 and "matches nothing" not in part.err


def test_numbers_and_rules_are_ignored_by_name(check):
    names = ("--ignore", "output.variance@1-3", "--ignore", "vanishing-output@1", "--reason", "x")
    assert check(*names).code == 0
    assert check(*names[:1], "output.variance@2-3", *names[2:]).code == 1
    over = check(*names, "--until", "2020-01-01")
    assert over.code == 1 and "checks do not hold" in over.err
    wrong = check("--ignore", "output.varianc@1", "--reason", "x")
    assert (wrong.code, "Did you mean 'output.variance'?" in wrong.err) == (2, True)


def test_an_expired_ignore_fails_a_check_that_holds(check):
    done = check("--where", "init=xavier", "--ignore", "saturated", "--reason", "x", "--until", "2020-01-01")
    assert (done.code, "Error: --ignore saturated: expired on 2020-01-01" in done.err) == (1, True)


def test_a_check_that_judged_nothing_fails(check):
    none = "--set", "checks={training.final_loss: {max: 1}}"
    done = check(*none, "--markdown", "-")
    assert done.code == 1 and "nothing was checked" in done.err
    assert done.out.startswith("**no check applies to any run**\n")
    both = check("--set", "checks={training.final_loss: {max: 1}, output.rms: {min: 0}}", "--markdown", "-")
    assert both.code == 0 and both.out.startswith("**all 4 checks hold; 1 applied to no run**\n")
    assert check("--shard", "9/9").code == 0  # a part without runs has nothing to check


AXES = [
    "grid: {widths: [[5, 4], [4, 4]]}",
    "grid: {sigma_w: [0.001, 0.002]}",
    "grid: {init.std: [0.001, 0.002]}",
    "zip: {bias_init: [null, 'normal:std=1e-9']}",
]


@pytest.mark.parametrize("fields", AXES)
def test_runs_are_known_by_any_axis(check, fields):
    default = "init: 'normal:std=0.001', " if "sigma_w" not in fields else ""
    text = (
        f"{HEAD}defaults: {{{default}act: tanh, layers: 3, width: 9, batch: 9}}\n{fields}\nchecks: {{healthy: true}}\n"
    )
    if "widths" in fields:
        text = text.replace("layers: 3, width: 9, ", "")
    assert check(text=text).code == 1
    assert check("--write-known", "k.yaml", text=text).code == 0
    assert check("--known", "k.yaml", text=text).code == 0


def test_runs_are_known_by_a_field_that_is_at_its_default(check):
    text = (
        f"{HEAD}defaults: {{init: he, act: tanh, layers: 4, width: 9, batch: 9, residual: true}}\n"
        "grid: {block: [1, 2]}\nchecks: {output.rms: {min: 1000}}\n"
    )
    assert check("--write-known", "k.yaml", text=text).code == 0
    assert check("--known", "k.yaml", text=text).code == 0
    Path("k.yaml").write_text(Path("k.yaml").read_text().replace('"block": 1', '"block": 4'))
    done = check("--known", "k.yaml", text=text)
    assert done.code == 1 and "block=1: output.rms" in done.err and "block=2: output.rms" not in done.err


def test_every_name_is_a_column_and_every_column_a_name(check, initprobe):
    assert set(COLUMNS) <= set(NAMES)
    check("--export-csv", "a.csv")
    rows = list(csv.DictReader(io.StringIO(Path("a.csv").read_text())))
    assert set(NAMES) - set(rows[0]) == {"elapsed_s"}  # which is another at every run
    first, last = rows[0], rows[2]
    rate = (float(last["output.variance"]) / float(first["output.variance"])) ** 0.5
    assert float(first["output.variance_per_layer"]) == pytest.approx(rate, rel=1e-12)
    assert [first[name] for name in ("verdict", "healthy")] == ["survives", "True"]
    for name in NAMES:
        shown = initprobe("results", "initprobe-out/test", "--columns", name, "--sort", f"-{name}")
        assert shown.code == 0, shown.err
    shown = initprobe("results", "initprobe-out/test", "--columns", "output.variance_per_layer,healthy,output.mean")
    mean = sum(float(row["output.variance_per_layer"]) for row in (rows[0], rows[3])) / 2  # over the seeds
    assert shown.out.splitlines()[4].split()[1:3] == [f"{mean:.4g}", "true"]
    unknown = initprobe("results", "initprobe-out/test", "--columns", "output.variance_per_layr")
    assert (unknown.code, "Did you mean 'output.variance_per_layer'?" in unknown.err) == (2, True)


@pytest.mark.parametrize("entry", [{"rule": "saturated", "reason": 3}, {"reason": "x"}, {"rule": "sat", "reason": "x"}])
def test_a_wrong_entry_of_json_is_named_by_its_number(initprobe, entry):
    content = {"version": 1, "known": [{"rule": "saturated", "reason": "x"}, entry]}
    Path("k.json").write_text(json.dumps(content))
    done = initprobe(*GATE, "--known", "k.json")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith("Error: k.json, entry 2: ")


def test_the_summary_says_that_nothing_was_checked(check):
    text = "version: 1\nname: a\ndefaults: {init: he, act: tanh, layers: 2, width: 9, batch: 9}\n"
    done = check("--markdown", "-", text=f"{text}checks: {{output.variance: [{{max: 9, where: {{act: relu}}}}]}}\n")
    assert done.code == 1
    assert done.out.startswith("**no check applies to any run**\n\n**1 run: 1 survives**\n")
