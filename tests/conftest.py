"""What several test files share."""

import importlib
import re
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec

import pytest
import scipy.linalg  # noqa: F401 (its BLAS is to be loaded, beside that of NumPy)
from rounding import rounded
from thread_workers import thread_workers
from threadpoolctl import threadpool_limits

from initprobe.cli.app import main

OTHER_PROCESSORS = (None, 1, pytest.param(2, marks=pytest.mark.slow))


def pytest_addoption(parser):
    parser.addoption("--rounded", type=int, metavar="SEED", help="round every product as another processor might")


def pytest_ignore_collect(collection_path, config):
    """With `-m 'torch ...'`, files that never name PyTorch are not read: they take most of the time of a collection."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    wants_torch = config.getoption("markexpr").startswith("torch")
    return True if wants_torch and is_test and not re.search(r"\btorch\b", collection_path.read_text()) else None


def pytest_generate_tests(metafunc):
    """A test marked `any_processor` runs on this one and, by rounding, on two others."""
    if metafunc.definition.get_closest_marker("any_processor"):
        metafunc.parametrize("processor", OTHER_PROCESSORS, ids=["here", "rounded-1", "rounded-2"], indirect=True)


def pytest_collection_modifyitems(items):
    """Tests that need PyTorch are marked `torch`: by their fixture, their own mark, or what their file imports."""
    for item in items:
        if "torch" in item.fixturenames or hasattr(item.module, "torch"):
            item.add_marker("torch")
        if item.get_closest_marker("torch") and find_spec("torch") is None:
            item.add_marker(pytest.mark.skip(reason="PyTorch is not installed"))


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_blas():
    """The threads of BLAS would wait for those of the other workers.

    QR of small matrices would take six times as long.
    """
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture
def torch():
    """PyTorch."""
    return importlib.import_module("torch")


@pytest.fixture(autouse=True)
def processor(request):
    """Products rounded by a seed; None for this machine's own."""
    seed = getattr(request, "param", None) or request.config.getoption("--rounded")
    with nullcontext() if seed is None else rounded(seed):
        yield seed


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def initprobe(capsys, tmp_path, monkeypatch):
    """Run `initprobe ARGS...` in an empty directory, as a terminal-less user would; sweeps run in a thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("initprobe.sweeps.execution_runner.local_workers", thread_workers)

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call
