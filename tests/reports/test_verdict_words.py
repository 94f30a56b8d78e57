"""A verdict has one form per kind of output: plain words for people, the rule's name for programs."""

import csv
import io
import json

SWEEP = """
version: 1
name: s
defaults: {act: tanh, layers: 6, width: 30, batch: 20, draws: 1}
grid: {init: [xavier, "normal:std=0.01"]}
"""
WORDS, NAME = "vanishing output", "vanishing-output"


def test_people_read_words_and_programs_names(initprobe, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP)
    outputs = ("--no-figures", "--markdown", "s.md", "--report", "s.html", "--export-csv", "s.csv", "-o", "s")
    table = initprobe("sweep", "s.yaml", "-j", "1", *outputs)
    assert table.code == 0
    shape = ("--act", "tanh", "--layers", "6", "--width", "30", "--batch", "20", "--draws", "1")
    both = ("--init", "xavier", "--init", "normal:std=0.01")
    comparison = initprobe("compare", *both, *shape, "--export-json", "c.json")
    for init, out in (("xavier", "a"), ("normal:std=0.01", "b")):
        assert initprobe("run", "--init", init, *shape, "--no-figures", "-q", "-o", out).code == 0
    diff = initprobe("diff", "a", "b", "--report", "d.html")
    pages = [(tmp_path / file).read_text() for file in ("s.md", "s.html", "d.html")]
    for text in (table.out, comparison.out, diff.out, *pages):
        assert WORDS in text
    for text in (table.out, comparison.out, diff.out, pages[0]):
        assert NAME not in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert {row["verdict"] for row in rows} == {"survives", NAME}
    kept = json.loads((tmp_path / "c.json").read_text())
    assert NAME in [finding["rule"] for result in kept for finding in result["diagnosis"]]
