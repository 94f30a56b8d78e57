"""Hostile files are refused in one line, before they cost anything."""

from __future__ import annotations

import pytest
from sweep_files import HEAD, SMALL, refusal

from initprobe.data import documents
from initprobe.sweeps.file_layout import MAX_RUNS


def _bomb(depth: int) -> str:
    rows = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, depth))
    return "x0: &x0 [1, 2]\n" + rows


WIDE = "{from: 1, to: 50000, num: 50000}"
HOSTILE = [
    (_bomb(18), f"more than {documents.MAX_VALUES:,} values"),
    ("&a [*a]", "or nested deeper"),
    (HEAD + "defaults: &d {init: *d}\n", "or nested deeper"),
    ("[" * 60_000, f"nested deeper than {documents.MAX_DEPTH}"),
    ("a: " * 1000, "not YAML"),
    ("- " * 30_000, f"nested deeper than {documents.MAX_DEPTH}"),
    (SMALL + f"grid:\n  layers: {WIDE}\n  width: {WIDE}\n", "a.yaml:4: this makes 2,500,000,000 runs; at most 100,000"),
    (SMALL + "grid:\n  sigma_w: {from: 0, to: 1e300, step: 1e-300}\n", "at most 100,000"),
    (SMALL + "grid:\n  sigma_w: {from: 1, to: 2, num: 1000000000}\n", "at most 100000"),
    (SMALL + "seeds: 1000000000\n", "at most 100000"),
    (SMALL + f"seeds: {MAX_RUNS}\ngrid: {{act: [tanh, relu]}}\n", "this makes 200,000 runs"),
    ("#" * (documents.MAX_BYTES + 1), f"larger than {documents.MAX_BYTES // 1024} kB"),
    (b"version: 1\nname: \xff\xfe\n", "a.yaml:2: is not UTF-8"),
    ("version: 1\nname: a\n".encode("utf-16"), "is not UTF-8"),
    ("version: 1\n\tname: a\n", "a.yaml:2: a tab; YAML is indented with spaces"),
    (SMALL + "---\nversion: 1\n", "a.yaml:4: a second document"),
    ("a: \x00\n", "not YAML"),
    (HEAD + "defaults: !!python/object/apply:os.system [true]\n", "a.yaml:3: the tag tag:yaml.org,2002:python/object"),
    (HEAD + "defaults: {act: !foo relu}\n", "a.yaml:3: the tag !foo is not allowed"),
    (HEAD + "defaults: !!set {act}\n", "is not allowed"),
    (HEAD + "defaults: {? [act] : 1}\n", "a.yaml:3: a key must be plain text"),
    (HEAD + "defaults: {layers: 0x" + "f" * 900 + "}\n", "is too large a number"),
    (HEAD + "defaults: {layers: " + "9" * 999 + "}\n", "is too large a number"),
    (HEAD + "defaults: {layers: " + "9" * 5000 + "}\n", "a text of more than 1000 characters"),
    (HEAD + "defaults: {layers: !!int x}\n", "'x' is not a number"),
    (HEAD + "defaults: {act: *nothing}\n", "found undefined alias 'nothing'"),
]


@pytest.mark.parametrize(("text", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_files_are_refused(tmp_path, text, said):
    assert said in refusal(tmp_path, text)


def test_many_excludes_of_many_runs_are_refused(tmp_path):
    entries = "- {layers: 1}\n" * 200
    text = SMALL + "grid:\n  layers: {from: 1, to: 50000, num: 50000}\nexclude:\n" + entries
    assert "200 entries for 50,000 runs are too many" in refusal(tmp_path, text)
