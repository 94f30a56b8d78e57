"""What others call from their own repository: the action of GitHub, and the hooks of pre-commit."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from article_figures import ROOT
from ruamel.yaml import YAML

ACTION = ROOT / ".github" / "action" / "action.yml"
SWEEP = """version: 1
name: t
defaults: {act: tanh, layers: 6, width: 30, batch: 20, draws: 1}
grid: {init: [INIT]}
checks: {healthy: true}
"""


def load(path):
    return YAML(typ="safe", pure=True).load(path.read_text())


STEPS = {step.get("name", step.get("uses")): step for step in load(ACTION)["runs"]["steps"]}


@pytest.fixture
def sweeps(tmp_path):
    (tmp_path / "good sweep.yaml").write_text(SWEEP.replace("INIT", "xavier"))
    (tmp_path / "bad.yaml").write_text(SWEEP.replace("INIT", "normal:std=0.01"))
    return tmp_path


def act(name, home, python=sys.executable, **inputs):
    """Do a step of the action as a runner does: the script in a file, the inputs in its environment."""
    step = STEPS[name]
    given = {entry: inputs[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", text)[1]] for entry, text in step["env"].items()}
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | given | {"PATH": path, "GITHUB_OUTPUT": str(home / "outputs"), "PYTHONPATH": ""}
    script = home / "step"
    script.write_text(step["run"])
    words = {"bash": ["bash", "-eo", "pipefail", script], "python": [python, script]}[step["shell"]]
    return subprocess.run(words, cwd=home, env=env, capture_output=True, text=True)


def test_what_the_action_uses_is_pinned_and_no_input_reaches_a_shell():
    for line in re.findall(r"uses: .*", ACTION.read_text()):
        if "initprobe/initprobe" not in line:
            assert re.fullmatch(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+", line), line
    assert load(ACTION)["inputs"].keys() == {"command", "arguments", "version"}
    assert all("${{" not in step.get("run", "") for step in STEPS.values())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("'good sweep.yaml'\n-j 1 --no-figures", 0),
        ("bad.yaml -j 1 --no-figures --sarif a.sarif", 1),
        ("bad.yaml --set '$(touch evil)' ; touch evil", 2),
    ],
)
def test_the_action_exits_as_the_command_does(sweeps, arguments, code):
    done = act("initprobe", sweeps, command="check", arguments=arguments)
    assert done.returncode == code, done.stderr
    assert (sweeps / "outputs").read_text() == f"exit-code={code}\n"
    assert not (sweeps / "evil").exists()
    assert (sweeps / "a.sarif").exists() == (code == 1)


@pytest.mark.slow
def test_the_action_installs_the_version_that_is_asked_for(tmp_path):
    """In an environment of its own, from a wheel in place of the package index; without the libraries."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "w", ROOT], check=True)
    (wheel,) = (tmp_path / "w").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "w"), "PIP_NO_DEPS": "1"}
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    for version, code in (("99.0", 1), (wheel.name.split("-")[1], 0)):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            done = act("install", tmp_path, python, version=version)
        assert done.returncode == code, done.stderr


HOOKS = {hook["id"]: hook for hook in load(ROOT / ".pre-commit-hooks.yaml")}


def test_the_hooks_of_pre_commit_run(initprobe, sweeps):
    """The entry, the arguments of the user, and all files at once if they are passed."""

    def hooked(name, *args):
        hook = HOOKS[name]
        files = ("good sweep.yaml", "bad.yaml") if hook.get("pass_filenames", True) else ()
        program, *words = shlex.split(hook["entry"])
        own = name == "initprobe-init"  # the model and PyTorch are the user's
        assert (program, hook["language"]) == ("initprobe", "system" if own else "python")
        return initprobe(*words, *args, *files)

    assert set(HOOKS) == {"initprobe-validate", "initprobe-check", "initprobe-init"}
    missing = hooked("initprobe-init", "no_such_net:make", "--expect", "init.yaml")
    assert missing.code == 2 and missing.err.count("\n") == 1
    assert hooked("initprobe-validate").code == 0
    (sweeps / "wrong.yaml").write_text("version: 1\nname: t\ndefualts: {}\n")
    wrong = hooked("initprobe-validate", "wrong.yaml")
    assert wrong.code == 2 and "wrong.yaml:3: " in wrong.out
    assert hooked("initprobe-check", "good sweep.yaml").code == 0
    assert hooked("initprobe-check", "bad.yaml").code == 1
