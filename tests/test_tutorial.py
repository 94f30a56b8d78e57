"""The tutorial runs, and what is kept of it was made by these cells."""

import json

import pytest
from tutorial import CELLS, TUTORIAL, is_code


def test_the_kept_notebook_is_executed():
    kept = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
    assert ["".join(cell["source"]) for cell in kept] == list(CELLS)
    outputs = [cell["outputs"] for cell in kept if cell["cell_type"] == "code"]
    assert all(outputs) and not any(output["output_type"] == "error" for cell in outputs for output in cell)


def test_every_cell_runs(capsys):
    pytest.importorskip("pandas", reason="pandas is not installed")
    names = {}
    for number, text in enumerate(CELLS):
        if is_code(number):
            exec(text, names)
    shown = capsys.readouterr().out
    assert "vanishing output from layer 1" in shown and "initprobe run --init xavier" in shown
