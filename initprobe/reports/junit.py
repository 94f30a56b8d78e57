"""JUnit XML for CI services: a case per rule or check.

Valid both for the schema of Ant's JUnit task and for that of Jenkins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree

# Characters that XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_TIME = "0.000"  # the schemas ask for a time; judging takes almost none

Outcome = Literal["passed", "failure", "error", "skipped"]


@dataclass(frozen=True)
class Case:
    """A rule or check with its outcome.

    Attributes:
        name: of the rule or check.
        outcome: `failure` is a rule or check that does not hold; `error` is a run that failed.
        message: a line for each fault.
    """

    name: str
    outcome: Outcome = "passed"
    message: str = ""


def junit(suite: str, cases: Sequence[Case]) -> str:
    """The text of the file: one suite with all cases.

    Args:
        suite: its name.
        cases: in order.
    """
    root = ElementTree.Element("testsuites")
    tests = ElementTree.SubElement(root, "testsuite", _totals(suite, cases))
    ElementTree.SubElement(tests, "properties")
    for case in cases:
        _add(tests, suite, case)
    ElementTree.SubElement(tests, "system-out")
    ElementTree.SubElement(tests, "system-err")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ("<?xml version='1.0' encoding='UTF-8'?>\n", "\n")
    )


def _totals(suite: str, cases: Sequence[Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "name": _clean(suite),
        "package": "initprobe",
        "id": "0",
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "hostname": "localhost",
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failure")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
        "time": _NO_TIME,
    }


def _add(tests: ElementTree.Element, suite: str, case: Case) -> None:
    about = {"classname": _clean(suite), "name": _clean(case.name), "time": _NO_TIME}
    node = ElementTree.SubElement(tests, "testcase", about)
    if case.outcome == "skipped":
        ElementTree.SubElement(node, "skipped", {"message": _clean(case.message)})
    elif case.outcome != "passed":
        first = case.message.partition("\n")[0]
        fault = ElementTree.SubElement(node, case.outcome, {"type": case.outcome, "message": _clean(first)})
        fault.text = _clean(case.message)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
