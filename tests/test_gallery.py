"""The gallery of symptoms holds what the commands print today."""

import pytest
from gallery import ENTRIES, GALLERY, text

from initprobe.formatting import NOTHING


@pytest.mark.parametrize("number", [0, 4, len(ENTRIES) - 1])
def test_a_row_of_the_gallery_is_what_the_command_prints(number):
    assert ENTRIES[number].row() in GALLERY.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_the_whole_gallery():
    assert GALLERY.read_text(encoding="utf-8") == text()


def test_each_symptom_has_a_row():
    lines = GALLERY.read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[-len(ENTRIES) :]] == [entry.symptom for entry in ENTRIES]
    assert NOTHING in lines[-1]
