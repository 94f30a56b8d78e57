"""What was judged as reports for CI services: JUnit XML, and SARIF for code scanning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from initprobe.reports.junit import Case, Outcome
    from initprobe.reports.sarif import Alert
    from initprobe.results.coordinate_check import CoordinateCheck
    from initprobe.results.run import ProbeResult
    from initprobe.results.summary import Finding

# Rules beside those of a verdict: meaning and remedy.
_OTHER_RULES: Mapping[str, tuple[str, str]] = {
    "coverage": ("Too small a part of the model was judged.", "`initprobe torch -v` shows what was not judged."),
    "expired-ignore": ("The last day of an ignore is over.", "Correct the finding, or renew the ignore."),
    "failed-run": ("An experiment failed.", "The same command tries it again."),
    "init-differs": (
        "A parameter is not initialized as the contract says.",
        "Correct the initialization, or the contract: `initprobe explain contract`.",
    ),
    "init-changed": (
        "Parameters or ties were added or removed since the lock was written.",
        "If this is intended, --update-lock writes the lock anew.",
    ),
}
# What helps against any rule of a coordinate check.
_WIDTH_REMEDY = "`initprobe width` tries scalings by powers of the width, and prints what works."


def write_junit(
    result: ProbeResult, failing: Sequence[str], expired: Sequence[str], target: str, others: Sequence[Case]
) -> None:
    """Write a case for each rule, each expired ignore, and the other cases.

    Args:
        result: what was judged.
        failing: names of the rules that fail.
        expired: a line for each expired ignore.
        target: a path, or `-` for standard output.
        others: further cases.
    """
    from initprobe.cli.outputs import write_text
    from initprobe.diagnosis.diagnose import RULES
    from initprobe.reports.junit import Case, junit
    from initprobe.torch.verdict.rulebook import RULEBOOK

    # `run` does not use the rules for PyTorch models.
    rules = RULEBOOK if result.is_of_model else RULES
    cases = [_case(rule, result, failing) for rule in rules] + expired_cases(expired)
    if result.is_partial and result.coverage:
        cases.append(Case("coverage", "failure", f"only {result.coverage.words}"))
    write_text(target, junit(f"initprobe {result.description.title}", [*cases, *others]))


def _case(rule: str, result: ProbeResult, failing: Sequence[str]) -> Case:
    from initprobe.reports.junit import Case

    findings = [finding for finding in result.diagnosis if finding.rule == rule]
    counting = [finding for finding in findings if finding.severity in failing and not finding.ignored]
    shown = counting or [finding for finding in findings if finding.ignored]
    outcome: Outcome = "failure" if counting else "skipped" if shown else "passed"
    return Case(rule, outcome, "\n".join(map(_line, shown)))


def _line(finding: Finding) -> str:
    module = f" ({finding.module})" if finding.module else ""
    ignored = f"; ignored: {finding.ignored.reason}" if finding.ignored else ""
    return f"{finding.name} from layer {finding.layer}{module}: {finding.evidence}{ignored}"


def expired_cases(lines: Sequence[str]) -> list[Case]:
    """A case for each ignore whose last day is over."""
    from initprobe.reports.junit import Case

    return [Case(line.partition(": expired")[0], "failure", line) for line in lines]


def write_sarif(alerts: Sequence[Alert], target: str) -> None:
    """Write the alerts as SARIF.

    Args:
        alerts: in the order of the report.
        target: a path, or `-` for standard output.

    Raises:
        OutputError: the file cannot be written.
    """
    from initprobe.cli.outputs import write_text
    from initprobe.diagnosis.width_verdict import WIDTH_RULES
    from initprobe.reports.sarif import sarif
    from initprobe.results.release import release
    from initprobe.torch.verdict.rulebook import RULEBOOK

    verdict = {rule.name: (rule.meaning, rule.remedy) for rule in RULEBOOK.values()}
    widths = {rule: (meaning, _WIDTH_REMEDY) for rule, meaning in WIDTH_RULES.items()}
    write_text(target, sarif(alerts, {**verdict, **widths, **_OTHER_RULES}, release()))


def width_cases(check: CoordinateCheck, failing: Sequence[str]) -> list[Case]:
    """A case per rule of a coordinate check.

    Args:
        check: with its findings.
        failing: the severities that fail.
    """
    from initprobe.diagnosis.width_verdict import WIDTH_RULES
    from initprobe.reports.junit import Case

    texts = {
        rule: [finding.text for finding in check.findings if finding.rule == rule and finding.severity in failing]
        for rule in WIDTH_RULES
    }
    return [Case(rule, "failure" if lines else "passed", "\n".join(lines)) for rule, lines in texts.items()]


def width_alerts(check: CoordinateCheck) -> Iterator[Alert]:
    """An alert per finding of a coordinate check and layer; one without layers names none."""
    from initprobe.reports.sarif import Alert

    for finding in check.findings:
        level = "note" if finding.severity == "info" else finding.severity
        for layer in finding.layers or ("",):
            yield Alert(finding.rule, finding.text, level, layer)


def result_alerts(result: ProbeResult, expired: Sequence[str]) -> Iterator[Alert]:
    """An alert for each finding, each expired ignore, and a model of which too little was judged.

    Args:
        result: with its findings.
        expired: a line for each ignore whose date has passed.
    """
    from initprobe.reports.sarif import Alert

    for finding in result.diagnosis:
        level = "note" if finding.severity == "info" else finding.severity
        place = finding.module or f"layer {finding.layer}"
        ignored = finding.ignored.reason if finding.ignored else ""
        words = f"{finding.name} from layer {finding.layer}: {finding.evidence}"
        yield Alert(finding.rule, words, level, place, ignored=ignored)
    yield from expired_alerts(expired)
    if result.is_partial and result.coverage:
        yield Alert("coverage", f"only {result.coverage.words}", "error")


def expired_alerts(lines: Sequence[str]) -> list[Alert]:
    """An alert for each ignore whose last day is over."""
    from initprobe.reports.sarif import Alert

    return [Alert("expired-ignore", line, "error") for line in lines]
