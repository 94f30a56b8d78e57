"""The README and its pages are true: every command runs, and every figure shows what a run shows."""

import re
import shlex
import sys
import tomllib

import numpy as np
import pytest
from article_figures import FIGURES, PICTURES, ROOT, experiments
from calibration import NAME as CALIBRATION
from click.testing import CliRunner
from documents import ALL, PAGES, README
from paper_figures import SHOWN as PAPERS

import initprobe as package
from initprobe.cli.app import COMMANDS, cli
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import measured
from initprobe.results.named_numbers import FIGURES as DRAWN
from initprobe.sweeps.known_findings import read_known
from initprobe.sweeps.plan import load
from initprobe.sweeps.store import open_store
from initprobe.sweeps.store_diff import Rule, broken

BLOCKS = re.findall(r"```(?:sh|console)\n(.*?)```", ALL, re.DOTALL)
MINE = next(block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "# mine.yaml" in block)
CONTRACT = next(block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "# init.yaml" in block)
# Python that names its file, as in `# mynet.py`, is a file that other examples import.
PYTHON = list(dict.fromkeys(re.findall(r"```python\n(.*?)```", ALL, re.DOTALL)))
FILES = {named[1]: code for code in PYTHON if (named := re.match(r"# (\w+\.py)\n", code))}
_LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("initprobe ")]
COMMAND_LINES = list(dict.fromkeys(_LINES))  # some stand on two pages


def marked(examples, sign):
    """The examples; those in which the sign stands need PyTorch."""
    return [pytest.param(text, marks=[pytest.mark.torch] if sign in text else []) for text in examples]


def write_files(directory):
    for name, code in FILES.items():
        (directory / name).write_text(code)


def forget_modules():
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def smaller(line):
    """Options that make a command take less time: 1000 samples show no more than 100, nor two Jacobians than one."""
    if line.startswith("initprobe spectrum "):
        return ["--samples", "1", "--draws", "1"]
    if line.startswith("initprobe width "):
        return ["--widths", "32,64,128", "--seeds", "2", "--steps", "1", "--threads", "1"]
    return ["--batch", "100"] if re.match("initprobe (run|compare) ", line) and "--batch" not in line else []


@pytest.mark.parametrize("line", marked(COMMAND_LINES, "mynet:"))
def test_every_command_runs(line, tmp_path, initprobe):
    """As a line of a shell without pipes; `.ci/run` runs the first command as it stands."""
    home = tmp_path / "initprobe-out" / "xavier-tanh-10x500"
    home.mkdir(parents=True)
    saved = package.run(package.ProbeConfig(init="he", act="relu", layers=2, width=9, batch=9))
    (home / "result.json").write_text(saved.to_json())
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "init.yaml").write_text(CONTRACT)
    write_files(tmp_path)
    if "--weights" in line:
        np.savez(tmp_path / "w.npz", **first_network(prepare(package.ProbeConfig(init="he", act="relu", width=50))))
    if "initprobe-out/mine" in line:
        swept = load(tmp_path / "mine.yaml", ["layers=2", "width=9"])
        with open_store(tmp_path / "initprobe-out" / "mine" / "sweep.db") as store:
            store.enqueue(swept.runs)
    outcome = initprobe(*shlex.split(line)[1:], *smaller(line))
    forget_modules()
    assert outcome.code == 0, outcome.err
    assert outcome.out or outcome.err.startswith("warning: baseline.db: no baseline yet")


def test_verdict_is_what_a_run_says():
    (verdict,) = re.findall(r"```\n(error .*?)```", README, re.DOTALL)
    words = ["run", "--init", "normal:std=0.01", "--act", "tanh", "--no-figures", "-q"]
    assert CliRunner().invoke(cli, words).output == verdict


@pytest.mark.parametrize("code", marked(PYTHON, "torch"))
def test_python_example_runs(code, tmp_path, monkeypatch):
    """What it defines as a test is run too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_files(tmp_path)
    names = {}
    exec(compile(code, "README", "exec"), names)
    for name in names:
        if name.startswith("test_"):
            names[name]()
    forget_modules()


def test_the_readme_is_short_and_its_pages_are_linked():
    assert len(README.splitlines()) <= 570
    for name in ("models.md", "ci.md", "own.md", "numbers.md", "CONTRIBUTING.md", "gallery.md"):
        assert f"](.github/{name}" in README
        text = (ROOT / ".github" / name).read_text()
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / ".github" / link).exists(), (name, link)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / link).exists(), link


def test_sentences_are_short():
    """At most 20 words, in the README and its pages; tables and code have other rules."""
    for name, text in {"README.md": README, **PAGES}.items():
        prose = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
        blocks = [block for block in re.split(r"\n\s*\n|\n(?=- )", prose) if not re.match(r"\s*(\||#|!\[)", block)]
        for sentence in (part for block in blocks for part in re.split(r"(?<=[.:;!?])\s+", " ".join(block.split()))):
            assert len(sentence.split()) <= 20, (name, sentence)


def test_the_test_line_checks_everything_and_ci_runs_it():
    (line,) = [line for block in BLOCKS for line in block.splitlines() if line.startswith("python3 -m venv .venv-test")]
    tools = ("ruff check .", "mypy", "lint-imports", "python -m pytest -n auto")
    assert line.split(" && ")[2:] == [f".venv-test/bin/{tool}" for tool in tools]
    assert "grep -m1 '^python3 -m venv .venv-test' README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_layers_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    assert "```text\n" + "\n".join(layers) + "\n```" in PAGES["CONTRIBUTING.md"]
    assert " > ".join(layers) in " ".join(README.split())
    rooms = {room for layer in layers for room in layer.split(" | ")}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", package.__doc__)} == set()


def test_the_files_named_for_developers_are_there():
    names = [name for name in re.findall(r"`([a-z_/]+\.py)`", PAGES["CONTRIBUTING.md"] + README) if "/" in name]
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "initprobe" / name).exists(), name


def test_every_command_and_run_option_is_documented():
    assert all(f"initprobe {name}" in README for name in COMMANDS)
    helped = CliRunner().invoke(cli, ["run", "--help"]).output
    for option in re.findall(r"--[a-z][a-z-]+", helped):
        assert option in README or option == "--help", f"README does not mention {option}"


def test_every_picture_is_shown_and_kept():
    shown = set(re.findall(r"figures/([\w.-]+)\.png\)", ALL))
    drawn = {picture.name for picture in PICTURES} | {CALIBRATION, *PAPERS}
    assert shown == drawn == {path.stem for path in FIGURES.glob("*.png")}
    assert set(experiments()) == {path.stem for path in FIGURES.glob("*.json")}
    assert (FIGURES.parent / f"{CALIBRATION}.json").exists()  # which is no result, so no neighbour of those


@pytest.mark.parametrize(
    "processor",
    [None, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))],
    ids=["here", "rounded-1", "rounded-2"],
    indirect=True,
)
@pytest.mark.parametrize("name", experiments())
def test_pictures_have_not_drifted(name):
    """A thousandth of what is drawn, and what rounding on another processor does to it."""
    kept = package.ProbeResult.from_json((FIGURES / f"{name}.json").read_text())
    now = measured(experiments()[name])
    assert now.description == kept.description
    assert not list(broken(name, Rule(DRAWN, 1e-3), kept, now))


def test_the_file_of_known_findings_is_one(tmp_path):
    (text,) = (block for block in re.findall(r"```yaml\n(.*?)```", ALL, re.DOTALL) if "# known.yaml" in block)
    (tmp_path / "known.yaml").write_text(text)
    (ignore,) = read_known(tmp_path / "known.yaml")
    assert (ignore.rule, ignore.layers, ignore.reason) == ("dead-units", ((3, 3),), "narrow on purpose")
