"""An error carries its place, and the message is composed from it."""

import pickle
from pathlib import Path

import pytest

from initprobe.errors import ConfigError, InitprobeError, InputError, UnknownNameError


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "is wrong"),
        ({"field": "init.std"}, "init.std: is wrong"),
        ({"file": Path("a.yaml")}, "a.yaml: is wrong"),
        ({"file": "a.yaml", "line": 7}, "a.yaml:7: is wrong"),
        ({"line": 7}, "line 7: is wrong"),
        ({"file": "a.yaml", "line": 7, "field": "act"}, "a.yaml:7: act: is wrong"),
    ],
)
def test_the_message_is_the_place_and_the_text(place, message):
    error = ConfigError("is wrong", **place)
    assert str(error) == message
    assert error.text == "is wrong"


def test_a_caller_that_knows_more_of_the_place_adds_it():
    error = UnknownNameError("unknown activation 'tahn'.", field="act").at(file="a.yaml", line=3)
    assert str(error) == "a.yaml:3: act: unknown activation 'tahn'."
    assert isinstance(error, UnknownNameError)
    assert str(error.at(field="defaults.act")) == "defaults.act: a.yaml:3: act: unknown activation 'tahn'."
    assert str(ConfigError("is wrong", field="act").at(field="--act")) == "--act: is wrong"


def test_a_file_that_an_error_names_stays_in_the_message():
    error = InputError("no such file", file="data.npy").at(field="input")
    assert (error.field, error.file) == ("input", "")
    assert str(error.at(file="a.yaml", line=2)) == "a.yaml:2: input: data.npy: no such file"


def test_an_error_keeps_its_place_on_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(InputError("is wrong", field="act", file="a.yaml", line=2)))
    assert (str(error), error.text, error.field, error.line) == ("a.yaml:2: act: is wrong", "is wrong", "act", 2)


def test_a_message_is_one_short_line_whatever_it_quotes():
    error = InitprobeError("no\n\x1b[31m" + 5000 * "x", field="a\nb")
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 900
