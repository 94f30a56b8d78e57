"""SARIF 2.1.0 for code scanning: one result per finding, with the place to which it belongs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from initprobe.formatting import visible

VERSION = "2.1.0"
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_HOME = "https://github.com/initprobe/initprobe"

Level = Literal["error", "warning", "note"]
Kind = Literal["module", "member"]


@dataclass(frozen=True)
class Alert:
    """One result.

    Attributes:
        rule: stable id of the rule or number.
        message: what is wrong, in a sentence.
        level: how severe it is.
        name: the module, layer or parameter that it is about; empty for none.
        kind: what `name` is: a module or layer, or a parameter of one.
        file: the file that it is about, relative to the repository; empty for none.
        line: the line of the file, from 1; None where it is unknown.
        ignored: the reason for which it does not count; empty if it counts.
    """

    rule: str
    message: str
    level: Level
    name: str = ""
    kind: Kind = "module"
    file: str = ""
    line: int | None = None
    ignored: str = ""


def sarif(alerts: Sequence[Alert], texts: Mapping[str, tuple[str, str]], release: str) -> str:
    """The text of the file.

    Args:
        alerts: the results.
        texts: by the id of a rule, its meaning and what helps.
        release: version of initprobe.
    """
    rules = list(dict.fromkeys(alert.rule for alert in alerts))
    driver = {
        "name": "initprobe",
        "informationUri": _HOME,
        "version": release,
        "rules": [_rule(rule, *texts.get(rule, ("", ""))) for rule in rules],
    }
    results = [_result(alert, rules.index(alert.rule)) for alert in alerts]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": VERSION, "runs": [run]}, indent=2) + "\n"


def _rule(rule: str, meaning: str, remedy: str) -> dict[str, Any]:
    texts = {"shortDescription": meaning, "help": remedy}
    return {"id": rule, **{name: {"text": visible(text)} for name, text in texts.items() if text}}


def _result(alert: Alert, index: int) -> dict[str, Any]:
    location = _location(alert)
    suppression = {"kind": "external", "justification": visible(alert.ignored)}
    return {
        "ruleId": alert.rule,
        "ruleIndex": index,
        "level": alert.level,
        "message": {"text": visible(alert.message)},
        **({"locations": [location]} if location else {}),
        **({"suppressions": [suppression]} if alert.ignored else {}),
    }


def _location(alert: Alert) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if alert.file:
        place["physicalLocation"] = {"artifactLocation": {"uri": quote(alert.file)}}
        if alert.line is not None:
            place["physicalLocation"]["region"] = {"startLine": alert.line}
    if alert.name:
        place["logicalLocations"] = [{"fullyQualifiedName": visible(alert.name), "kind": alert.kind}]
    return place
