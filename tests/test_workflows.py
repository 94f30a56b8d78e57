"""The project's own workflows: they parse, and what the one for figures does is done here step by step."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import article_figures
import pytest
from article_figures import ROOT
from ruamel.yaml import YAML

from initprobe.probe.run import measured

WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name):
    return YAML(typ="safe", pure=True).load((WORKFLOWS / f"{name}.yml").read_text())


def steps(name, job):
    """The commands of a job, by what GitHub would show them as."""
    return {
        step.get("name", step["run"]): step["run"] for step in workflow(name)["jobs"][job]["steps"] if "run" in step
    }


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """As much of a clean checkout as the figures take, with smaller batches, and with the numbers of its figures."""
    home = tmp_path / "checkout"
    shutil.copytree(ROOT / "configs", home / "configs")
    for path in (home / "configs").glob("*.yaml"):
        smaller = path.read_text().replace("batch: 1000", "batch: 100").replace("draws: 4", "draws: 1")
        path.write_text(smaller)
    (home / "tests" / "support").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "support" / "article_figures.py", home / "tests" / "support")
    figures = home / ".github" / "figures"
    figures.mkdir(parents=True)
    monkeypatch.setattr(article_figures, "ROOT", home)
    for name, config in article_figures.experiments().items():
        (figures / f"{name}.json").write_text(measured(config).to_json())
    return home


def do(command, home, seed=None):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    libraries = os.pathsep.join(map(str, (home, ROOT, ROOT / "tests" / "support")))
    env = os.environ | {"PATH": path, "GITHUB_STEP_SUMMARY": str(home / "summary.md"), "PYTHONPATH": libraries}
    rounding = "" if seed is None else f"import rounding\nkept = rounding.rounded({seed})\nkept.__enter__()\n"
    (home / "sitecustomize.py").write_text(rounding)  # Python runs it at every start
    return subprocess.run(["bash", "-ec", command], cwd=home, env=env, capture_output=True, text=True)


def test_the_test_workflow_does_what_ci_does():
    assert steps("test", "test") == {".ci/run": ".ci/run"}
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    pythons = workflow("test")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert "3.11" in pythons and all(isinstance(version, str) for version in pythons)  # 3.10 is no 3.1


@pytest.mark.parametrize("name", ["test", "figures", "release"])
def test_actions_are_pinned_and_may_only_read(name):
    """By commit, with the version behind it; a tag may be moved."""
    text = (WORKFLOWS / f"{name}.yml").read_text()
    assert workflow(name)["permissions"] == {"contents": "read"}
    for line in re.findall(r"uses: .*", text):
        assert re.fullmatch(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+", line), line


def test_the_index_shows_the_pictures(tmp_path):
    """Relative links of the README become absolute ones in the metadata of the package."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    text = (ROOT / "README.md").read_text()
    for change in table["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    assert not re.findall(r"\]\((?!https://|#)", text)
    assert "](https://raw.githubusercontent.com/initprobe/initprobe/main/.github/figures/" in text


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 1], ids=["here", "rounded"])
def test_figures_are_redrawn_and_drift_fails(checkout, seed):
    todo = steps("figures", "figures")
    assert list(todo) == ["pip install . scikit-learn", "redraw", "article", "drift"]
    todo["article"] = todo["article"].replace(
        "check article_figures", "check article_figures --set batch=100 --no-figures"
    )
    for name in ("redraw", "article", "drift"):
        done = do(todo[name], checkout, seed)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    assert "10 agree, 0 differ" in done.stdout
    assert "10 agree" in (checkout / "summary.md").read_text()
    drifted = checkout / "kept" / "he-relu-10x500.json"
    result = json.loads(drifted.read_text())
    result["layers"][4]["output"]["variance"] *= 1.02
    drifted.write_text(json.dumps(result))
    (checkout / ".github" / "figures" / "xavier-relu-10x500.json").unlink()
    done = do(todo["drift"], checkout)
    assert done.returncode == 1
    assert all(words in done.stdout for words in ("output.variance", "missing", "8 agree"))
