"""SARIF: valid for the parts of the official schema that are used, with places that code scanning shows."""

import json

import pytest
from jsonschema import Draft7Validator

from initprobe.reports.sarif import Alert, sarif

# What sarif-schema-2.1.0.json (OASIS) requires of the objects that are written here, with its enumerations.
TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
LOCATION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "physicalLocation": {
            "type": "object",
            "required": ["artifactLocation"],
            "properties": {
                "artifactLocation": {
                    "type": "object",
                    "properties": {"uri": {"type": "string", "pattern": r"^[A-Za-z0-9._~/%+-]+$"}},
                },
                "region": {"type": "object", "properties": {"startLine": {"type": "integer", "minimum": 1}}},
            },
        },
        "logicalLocations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"fullyQualifiedName": {"type": "string"}, "kind": {"enum": ["module", "member"]}},
            },
        },
    },
}
RESULT = {
    "type": "object",
    "required": ["message"],
    "additionalProperties": False,
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": -1},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": TEXT,
        "locations": {"type": "array", "items": LOCATION},
        "suppressions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"enum": ["inSource", "external"]}, "justification": {"type": "string"}},
            },
        },
    },
}
RULE = {
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {"id": {"type": "string"}, "shortDescription": TEXT, "help": TEXT},
}
DRIVER = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "rules": {"type": "array", "uniqueItems": True, "items": RULE}},
}
LOG = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string"},
        "version": {"enum": ["2.1.0"]},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "properties": {
                    "tool": {"type": "object", "required": ["driver"], "properties": {"driver": DRIVER}},
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"type": "array", "items": RESULT},
                },
            },
        },
    },
}


def results(text):
    log = json.loads(text)
    Draft7Validator(LOG).validate(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    return run["results"]


def test_sarif_without_findings_is_a_valid_report():
    assert results(sarif([], {}, "1.0")) == []


def test_every_part_of_a_sarif_result_is_written():
    alerts = [
        Alert("a", "one\x1b", "error", "h.0", file="my dir/a.yaml", line=3),
        Alert("b", "two", "note", "h.0.weight", "member", ignored="known"),
        Alert("a", "three", "warning"),
    ]
    first, second, third = results(sarif(alerts, {"a": ("meaning", "help")}, "1.0"))
    assert first["message"]["text"] == "one\\x1b"
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "my%20dir/a.yaml"},
        "region": {"startLine": 3},
    }
    assert second["suppressions"] == [{"kind": "external", "justification": "known"}]
    assert second["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "h.0.weight", "kind": "member"}]}]
    assert "locations" not in third and third["ruleIndex"] == first["ruleIndex"] == 0


NET = ("--act", "tanh", "--layers", 6, "--width", 30, "--batch", 20, "--no-figures", "-q")


def test_findings_of_a_run_are_sarif_results(initprobe, tmp_path):
    done = initprobe("run", "--init", "normal:std=0.01", *NET, "--sarif", "a.sarif")
    assert done.code == 0
    reported = results((tmp_path / "a.sarif").read_text())
    assert "vanishing-output" in {result["ruleId"] for result in reported if result["level"] == "error"}
    assert reported[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].startswith("layer ")
    ignored = ("--ignore", "vanishing-output", "--reason", "on purpose", "--fail-on", "error")
    piped = initprobe("run", "--init", "normal:std=0.01", *NET, *ignored, "--sarif", "-")
    assert piped.code == 1
    first = next(result for result in results(piped.out) if result["ruleId"] == "vanishing-output")
    assert first["suppressions"][0]["justification"] == "on purpose"


def test_breaches_of_a_sweep_have_their_line(initprobe, tmp_path):
    grid = "grid: {init: [normal:std=0.01, xavier]}"
    fields = "act: tanh, layers: 6, width: 30, batch: 20, draws: 1"
    (tmp_path / "a.yaml").write_text(f"version: 1\nname: t\ndefaults: {{{fields}}}\n{grid}\nchecks:\n  healthy: true\n")
    done = initprobe("check", "a.yaml", "-j", 1, "--no-figures", "--sarif", "a.sarif")
    assert done.code == 1, done.err
    (breach,) = results((tmp_path / "a.sarif").read_text())
    place = breach["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "a.yaml"}, "region": {"startLine": 6}}
    assert (breach["ruleId"], breach["level"]) == ("healthy", "error")


def test_a_contract_has_its_line_and_the_parameter(initprobe, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sarifnet.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Linear(30, 30)\n")
    (tmp_path / "init.yaml").write_text("version: 1\ndefault: any\nparameters:\n  weight: he\n")
    words = ("torch", "sarifnet:make", "--expect", "init.yaml", "--sarif", "-")
    (fault,) = results(initprobe(*words).out)
    assert fault["ruleId"] == "init-differs" and "meant he" in fault["message"]["text"]
    (place,) = fault["locations"]
    assert place["physicalLocation"]["region"] == {"startLine": 4}
    assert place["logicalLocations"] == [{"fullyQualifiedName": "weight", "kind": "member"}]
    reported = results(initprobe(*words, "--input-shape", "9,30", "--no-figures").out)
    assert "init-differs" in {result["ruleId"] for result in reported}
