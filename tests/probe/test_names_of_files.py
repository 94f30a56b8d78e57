"""The names of directories: short, safe, and different for different experiments."""

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from initprobe import ProbeConfig
from initprobe.probe.names import safe_name, slug


def file_name(text):
    return safe_name([text])


def named(**fields):
    return slug(ProbeConfig(**{"init": "xavier", "act": "tanh", "layers": 2, "width": 9} | fields), (9, 9, 9))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"init": "xavier:gain=5/3"}, "xavier-gain5-3-tanh-2x9"),
        ({"init": "xavier:gain=1/7"}, "xavier-gain1-7-tanh-2x9"),
        ({"init": "xavier:gain=1.5"}, "xavier-gain1.5-tanh-2x9"),
        ({"init": "normal:std=1e-5"}, "normal-std1e-05-tanh-2x9"),
        ({"init": "normal:std=0.01"}, "normal-std0.01-tanh-2x9"),
        ({"residual": True, "branch_scale": "1/sqrt(2L)"}, "xavier-tanh-2x9-residual-1-sqrt-2L"),
        ({"residual": True, "branch_scale": 0.5}, "xavier-tanh-2x9-residual-0.5"),
        ({"residual": True}, "xavier-tanh-2x9-residual"),
    ],
)
def test_names_are_what_people_type(fields, name):
    assert named(**fields) == name


def test_names_that_lose_digits_still_differ():
    names = [named(init=f"xavier:gain={gain!r}") for gain in (math.sqrt(2), math.nextafter(math.sqrt(2), 2), 1.414)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"xavier-gain1\.414(-tanh-2x9-[0-9a-f]{8})?(-tanh-2x9)?", name) for name in names)


@example(1e300, 1e-300)
@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300))
def test_two_numbers_have_two_names(a, b):
    def shortened(value):
        return file_name(f"xavier:gain={value!r}-tanh")

    assert (shortened(a) == shortened(b)) == (a == b)
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,120}", shortened(a)) and len(shortened(a)) < 50


@given(st.floats(0.1, 10))
def test_neighbours_have_two_names(value):
    after = math.nextafter(value, 11)
    assert file_name(f"gain={value!r}") != file_name(f"gain={after!r}")


def test_long_names_are_cut_but_not_confused():
    bias = [f"bias-{'x' * 200}{end}" for end in "ab"]
    first, second = map(file_name, bias)
    assert first != second and len(first) <= 120 and len(second) <= 120


def test_the_numbers_of_a_scale_are_not_rounded_away():
    names = {named(residual=True, branch_scale=scale) for scale in (0.12345, 0.123451, 0.1234)}
    assert len(names) == 3
