"""The plugin of pytest, as a user of pytest sees it."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

# Loaded before pytester keeps its snapshot of the modules: PyTorch cannot be loaded twice.
from initprobe.testing import assertions  # noqa: E402

pytest_plugins = ["pytester"]
NAME = "initprobe.testing.pytest_plugin"
ROOT = Path(assertions.__file__).parents[2]
NET = """
from torch import nn
import torch


def stack(gain):
    torch.manual_seed(0)
    net = nn.Sequential(*(part for _ in range(10) for part in (nn.Linear(64, 64), nn.Tanh())))
    for layer in net[::2]:
        nn.init.xavier_normal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return net


def good():
    return stack(1.1)


def bad():
    return stack(0.1)


def fails():
    raise RuntimeError("no such model")
"""


@pytest.fixture
def run(pytester):
    """Run pytest in a directory with a module of models; the plugin is loaded once, installed or not."""
    pytester.makepyfile(pluginnet=NET)
    pytester.syspathinsert()
    installed = any(entry.value == NAME for entry in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", NAME]
    return lambda *words: pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *words)


def test_one_test_per_model_which_fails_with_the_verdict(run):
    done = run("--initprobe-model", "pluginnet:good@64,64", "--initprobe-model", "pluginnet:bad@64,64", "-v")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*collected 2 items*"])
    done.stdout.fnmatch_lines(["*initprobe?pluginnet:good@64,64? PASSED*", "*initprobe?pluginnet:bad@64,64? FAILED*"])
    done.stdout.fnmatch_lines(["vanishing output from layer 1*", "*fix: *", "*VANISHING OUTPUT*"])
    assert "pytest_plugin.py" not in done.stdout.str()


def test_models_of_the_configuration_can_be_selected(run, pytester):
    pytester.makeini("[pytest]\ninitprobe_models =\n    pluginnet:good@64,64\n    pluginnet:bad@64,64\n")
    pytester.makepyfile("def test_other():\n    pass\n")
    run("-k", "good").assert_outcomes(passed=1, deselected=2)
    run("-m", "not initprobe", "--strict-markers").assert_outcomes(passed=1, deselected=2)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("pluginnet:god@64,64", "pluginnet:god: *has no 'god'. Did you mean 'good'?"),
        ("pluginnet:fails@64,64", "*pluginnet:fails*no such model*"),
        ("pluginnet:good@64,65", "*fails on an input of shape 64 x 65*"),
        ("pluginnet:good", "pluginnet:good: name its input behind an @, as in pluginnet:good@64,784"),
    ],
)
def test_a_model_that_cannot_be_probed_fails_in_one_line(run, model, line):
    done = run("--initprobe-model", model, "-v")
    done.assert_outcomes(failed=1)
    assert "Traceback" not in done.stdout.str() and "pytest_plugin.py" not in done.stdout.str()
    done.stdout.fnmatch_lines([line])


def test_the_fixture_asserts_on_a_model(run, pytester):
    pytester.makepyfile("""
        import pluginnet, pytest, torch

        def test_checks(initprobe):
            x = torch.randn(64, 64)
            assert initprobe.assert_healthy(pluginnet.good(), x).healthy
            assert not initprobe.probe(pluginnet.bad(), x, try_fixes=False).healthy
            initprobe.assert_init(pluginnet.good(), {"*.bias": "zeros"}, default="any")
            with pytest.raises(AssertionError, match="first 0.bias.: meant ones"):
                initprobe.assert_init(pluginnet.good(), {"*.bias": "ones"}, default="any")
    """)
    run().assert_outcomes(passed=1)


def test_a_fixture_of_the_same_name_wins(run, pytester):
    pytester.makeconftest("import pytest\n\n@pytest.fixture\ndef initprobe():\n    return 3\n")
    pytester.makepyfile("def test_own(initprobe):\n    assert initprobe == 3\n")
    run().assert_outcomes(passed=1)


def test_the_plugin_loads_nothing_heavy():
    code = (
        f"import sys, {NAME}; print([name for name in ('numpy', 'torch', 'pydantic', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_the_wheel_brings_the_plugin_to_a_fresh_environment(tmp_path):
    """Its own environment has the wheel alone; the libraries are those of this environment."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    home = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
    (site / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (tmp_path / "pluginnet.py").write_text(NET)
    words = ["--initprobe-model", "pluginnet:bad@64,64", "--initprobe-model", "pluginnet:good@64,64", "-v"]
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "plugins: " in done.stdout and "initprobe-" in done.stdout
    assert "1 failed, 1 passed" in done.stdout and "VANISHING OUTPUT" in done.stdout
