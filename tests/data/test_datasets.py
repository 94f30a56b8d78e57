"""Data that ships: what it is, and that it works by name wherever a file does."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from initprobe import ProbeConfig, run
from initprobe.cli.app import cli
from initprobe.data.noise import DATASETS, INPUTS
from initprobe.errors import ConfigError
from initprobe.probe.experiment import prepare
from initprobe.sweeps.plan import load

SMALL = {"init": "xavier", "act": "tanh", "layers": 3, "width": 12}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_data_set_is_whole_small_and_names_its_source(dataset):
    table, classes = dataset.table(), dataset.classes()
    assert table.ndim == 2 and classes.shape == table.shape[:1]
    assert np.isfinite(table).all() and np.unique(classes).tolist() == list(range(classes.max() + 1))
    assert table.nbytes < 200_000 and not table.flags.writeable
    assert "doi" in dataset.reference and "CC BY" in dataset.reference
    assert INPUTS[dataset.name.upper()] is dataset


def test_the_digits_are_those_of_scikit_learn():
    original = pytest.importorskip("sklearn.datasets").load_digits()
    assert np.array_equal(DATASETS["digits"].table(), original.data)
    assert np.array_equal(DATASETS["digits"].classes(), original.target)


@pytest.mark.parametrize("fields", [{"batch": 700}, {"standardize": True, "batches": 3, "batch": 100}])
def test_a_name_measures_what_the_file_does(tmp_path, fields):
    np.save(tmp_path / "d.npy", DATASETS["digits"].table())
    by_name, by_file = (run(ProbeConfig(**SMALL, **fields, input=x)) for x in ("digits", tmp_path / "d.npy"))
    assert by_name.layers == by_file.layers


@pytest.mark.parametrize("labels", [None, "digits", "Digits"])
def test_its_labels_are_the_ones_it_has(labels):
    task = prepare(ProbeConfig(**SMALL, input="digits", labels=labels, loss="ce")).task
    assert task.classes == 10 and np.array_equal(task.labels, DATASETS["digits"].classes())
    assert task.words == "labels of digits, 10 classes"


def test_labels_follow_the_rows_that_are_chosen():
    digits, experiment = DATASETS["digits"], prepare(ProbeConfig(**SMALL, input="digits", loss="ce", batch=300))
    rows = {(row.tobytes(), label) for row, label in zip(digits.table(), digits.classes(), strict=True)}
    chosen = zip(experiment.table.astype(np.uint8), experiment.task.labels, strict=True)
    assert all((row.tobytes(), label) in rows for row, label in chosen)


def test_a_net_learns_the_data_sets():
    result = run(ProbeConfig(**SMALL | {"width": 50}, input="digits", standardize=True, train_steps=300, draws=1))
    assert result.training.final_loss < 0.5 * result.loss.chance


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": "digits", "loss": "ce", "classes": 3}, "digits has a class 9"),
        ({"input": "digits:std=2"}, "takes no parameters"),
        ({"input": "digit"}, "Did you mean 'digits'"),
        ({"input": "digits", "labels": "digits"}, "for a loss"),
        ({"loss": "ce", "labels": "digits"}, "labels: are for real data"),
        ({"input": "x.npy", "loss": "ce", "labels": "digits"}, "labels the input digits, not x.npy"),
        ({"input": "digits", "loss": "ce", "labels": "letters"}, "neither a file of labels nor one of digits"),
        ({"input": "digits", "input_width": 30}, "digits has 64 features"),
    ],
)
def test_options_that_do_not_fit_the_data_set_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words) as refused:
        prepare(ProbeConfig(**SMALL, **fields))
    assert "\n" not in str(refused.value)


def test_a_file_of_the_same_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("mine")
    assert ProbeConfig(**SMALL, input="digits").dataset is DATASETS["digits"]


def test_in_a_sweep_its_name_is_an_axis(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndefaults: {act: tanh, init: xavier, layers: 2, width: 8, loss: ce, labels: digits}\n"
        "grid: {input: [digits], standardize: [true, false]}\n"
    )
    runs = load(tmp_path / "s.yaml", ()).runs
    assert [run.config.dataset for run in runs] == [DATASETS["digits"]] * 2
    assert {run.axes["standardize"] for run in runs} == {True, False}


def test_the_commands_say_where_it_is_from():
    for words in (["explain", "digits"], ["list", "inputs"]):
        text = " ".join(CliRunner().invoke(cli, words).output.split())
        assert "UCI" in text and "CC BY 4.0" in text


def test_the_config_names_the_data_set_of_the_command(initprobe):
    words = ["--init", "xavier", "--act", "tanh", "--layers", 2, "--width", 9, "--input", "digits", "--no-figures"]
    result = json.loads(initprobe("run", *words, "--loss", "mse", "--export-json", "-").out)
    assert result["config"]["input"] == "digits" and result["loss"]["task"] == "labels of digits, 10 classes"
    assert "digits" in result["description"]["slug"]
