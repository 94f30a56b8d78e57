"""The directory of a run: experiments with different results have different directories."""

import itertools

import numpy as np
import pytest

from initprobe import ProbeConfig
from initprobe.probe.experiment import prepare
from initprobe.probe.names import slug

PLAIN = {"init": "xavier", "act": "tanh", "layers": 3, "width": 20, "batch": 30, "draws": 2}
# Each differs from PLAIN, and from every other, in something that results depend on.
OTHERS = [
    {"seed": 1}, {"seed": 11}, {"draws": 4}, {"draws": 3}, {"batch": 31}, {"batches": 2}, {"dtype": "float64"},
    {"layers": 2}, {"width": 21}, {"input_width": 21}, {"init": "he"}, {"init": "xavier:gain=2"},
    {"act": "relu"}, {"act": "leaky_relu:slope=0.1"}, {"act": "leaky_relu:slope=0.100001"},
    {"act": "aa:b_c"}, {"act": "aa_b:c"}, {"act": "pkg.aa:b"}, {"act": "pkg:b"},
    {"bias_init": "normal:std=0.1"}, {"bias_init": "normal:std=0.2"},
    {"input": "uniform"}, {"input": "gaussian:correlation=0.5"}, {"input": "gaussian:mean=1"},
    {"norm": "layer"}, {"norm": "batch"}, {"residual": True}, {"residual": True, "branch_scale": 0.123451},
    {"residual": True, "branch_scale": 0.123452}, {"residual": True, "branch_scale": "1/sqrt(2L)"},
    {"residual": True, "zero_init_last": True}, {"loss": "mse"}, {"loss": "cross-entropy"},
    {"loss": "cross-entropy", "classes": 3}, {"train_steps": 5}, {"train_steps": 5, "learning_rate": 0.2},
    {"full_weight_gradient": True}, {"thresholds": {"saturated": 0.3}}, {"thresholds": {"saturated": 0.4}},
    {"width": None, "layers": None, "widths": (9, 9, 5)}, {"width": None, "layers": None, "widths": (9, 5, 5)},
    {"width": None, "layers": None, "widths": (9, 7, 5)},
    *({"batch": None, "input": path} for path in ("x.npy", "a/x.npy", "b/x.npy", "x.csv", "mse.npy", "seed1.npy")),
    {"batch": None, "input": "x.npy", "standardize": True}, {"batch": 8, "input": "x.npy"},
    *({"batch": None, "input": "x.npy", "loss": "mse", "labels": f"{name}.npy"} for name in ("labels", "others")),
]  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rows = np.random.default_rng(0).standard_normal((12, 20))
    for name in ("x", "a/x", "b/x", "mse", "seed1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(f"{name}.npy", rows)
    np.savetxt("x.csv", rows, delimiter=",")
    for name in ("labels", "others"):
        np.save(f"{name}.npy", np.arange(12) % 3)
    functions = "from numpy import tanh as b, tanh as c, tanh as b_c, tanh as aa\n"
    (tmp_path / "pkg").mkdir()
    for name in ("aa.py", "aa_b.py", "pkg/__init__.py", "pkg/aa.py"):
        (tmp_path / name).write_text(functions)


def named(**fields):
    config = ProbeConfig(**PLAIN | fields)
    return slug(config, prepare(config).sizes)


def test_experiments_that_differ_have_names_that_differ(home):
    names = [named(), *(named(**fields) for fields in OTHERS)]
    twice = [pair for pair in itertools.combinations(range(len(names)), 2) if names[pair[0]] == names[pair[1]]]
    assert not twice, [(names[first], OTHERS[first - 1], OTHERS[second - 1]) for first, second in twice]
    assert all(len(name) <= 120 and name.isascii() and "/" not in name for name in names)


def test_defaults_are_left_out_of_names():
    config = ProbeConfig(init="xavier", act="tanh", layers=10)
    assert slug(config, (500,) * 11) == "xavier-tanh-10x500"
    same = ProbeConfig(init="xavier", act="tanh", width=500, batch=1000, draws=4, seed=0, dtype="float32")
    assert slug(same, (500,) * 11) == "xavier-tanh-10x500"
    assert named(seed=7) == "xavier-tanh-3x20-batch30-draws2-seed7"


def test_names_that_are_too_long_differ_where_they_are_cut():
    long = f"leaky_relu:slope=0.{'1' * 17}"
    widths = tuple(range(100, 40, -1)), (*range(100, 42, -1), 41, 42)
    bias = "uniform:low=-0.123456789012,high=0.1"
    shared = {"act": long, "width": None, "layers": None, "bias_init": bias, "residual": True, "loss": "mse"}
    names = [named(**shared, branch_scale=0.12345678901234, train_steps=3, widths=units) for units in widths]
    assert len(set(names)) == 2 and all(len(name) <= 120 for name in names)


def test_a_second_experiment_leaves_the_first_alone(initprobe, tmp_path):
    args = ("run", "--init", "xavier", "--act", "tanh", "--layers", 2, "--width", 9, "--batch", 9, "-q")
    for seed in range(3):
        assert initprobe(*args, "--seed", seed).code == 0
    assert len(list((tmp_path / "initprobe-out").iterdir())) == 3


def test_weight_files_have_different_directory_names(home, initprobe, tmp_path):
    args = ("run", "--init", "xavier", "--act", "tanh", "--layers", 2, "--width", 9, "--batch", 9, "-q", "--no-figures")
    slugs = set()
    for name in ("w.npz", "a/w.npz", "xavier.npz"):
        assert initprobe(*args, "--save-weights", name).code == 0
        for dtype in ("float32", "float64"):
            config = ProbeConfig(weights=name, act="tanh", dtype=dtype)
            slugs.add(slug(config, (9, 9, 9)))
    slugs.add(slug(ProbeConfig(init="xavier", act="tanh", layers=2, width=9), (9, 9, 9)))
    assert len(slugs) == 7 and "w-tanh-2x9" in slugs
