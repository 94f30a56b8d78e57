"""From a verdict to an exit code, without known findings, and with a report for CI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from initprobe.cli.parameters import Choice, option
from initprobe.formatting import counted as number_of

if TYPE_CHECKING:
    from initprobe.reports.junit import Case
    from initprobe.reports.sarif import Alert
    from initprobe.results.run import ProbeResult
    from initprobe.sweeps.ignores import Ignore
    from initprobe.sweeps.known_findings import KnownFinding

Severity = Literal["warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("warning", "error")
IGNORE = "--ignore "
_MOST_NOTES = 5


def junit_option() -> Any:
    """`--junit`: what was judged, for CI."""
    return option("--junit", metavar="FILE|-", help="Write what was judged as JUnit XML, for CI.")


def sarif_option() -> Any:
    """`--sarif`: the findings, for code scanning."""
    return option("--sarif", metavar="FILE|-", help="Write the findings as SARIF, for code scanning.")


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """Known findings, and the report for CI."""

    ignore: tuple[str, ...] = option(
        "--ignore",
        multiple=True,
        metavar="RULE[@LAYER]",
        help="A finding that does not count: dead-units@3, saturated@2-5, dead-layer@encoder.*; repeatable.",
    )
    reason: tuple[str, ...] = option(
        "--reason", multiple=True, metavar="TEXT", help="Why it is ignored: one for all --ignore, or one for each."
    )
    until: tuple[str, ...] = option(
        "--until", multiple=True, metavar="DATE", help="The last day of --ignore, in UTC: 2027-03-01."
    )
    known: str | None = option(
        "--known", metavar="FILE", help="A YAML or JSON file of known findings, which do not count."
    )
    write_known: str | None = option(
        "--write-known", metavar="FILE", help="Write all present findings to a file for --known; they do not count."
    )
    junit: str | None = junit_option()
    sarif: str | None = sarif_option()

    def targets(self) -> tuple[str | None, ...]:
        """The files that are written."""
        return self.write_known, *self.reports()

    def reports(self) -> tuple[str | None, ...]:
        """The reports, of which one may go to standard output."""
        return self.junit, self.sarif


@dataclass(frozen=True, kw_only=True)
class VerdictOptions:
    """When the verdict fails, and how much is printed."""

    fail_on: Severity | None = option(
        "--fail-on",
        type=Choice(SEVERITIES),
        help="Exit with 1 if a finding has this severity or a higher one.",
    )
    quiet: bool = option("-q", "--quiet", is_flag=True, help="Print only the verdict.")
    verbose: bool = option("-v", "--verbose", is_flag=True, help="Print every layer and every statistic.")


@dataclass
class Gate:
    """The findings that a command ignores, and what they matched.

    Attributes:
        ignores: what does not count.
        write_to: the file of known findings to write.
        reason: the reason of each entry written.
        until: the last day of each entry written.
        used: the members of `ignores` that matched a finding.
        written: the entries to write.
    """

    ignores: list[Ignore]
    write_to: Path | None = None
    reason: str = ""
    until: str | None = None
    used: set[Ignore] = field(default_factory=set)
    written: list[KnownFinding] = field(default_factory=list)

    def applied(self, result: ProbeResult) -> ProbeResult:
        """The result, with the findings marked that do not count; with --write-known these are all."""
        if not self.ignores and self.write_to is None:
            return result  # and the rooms of rules and sweeps need not be imported
        from initprobe.sweeps.ignores import apply
        from initprobe.sweeps.known_findings import known_findings_of

        marked, used = apply(result, self.ignores)
        self.used |= used
        if self.write_to is None:
            return marked
        self.written += known_findings_of(marked, {}, self.reason, self.until)
        return apply(marked, self.as_ignores(self.written))[0]

    def as_ignores(self, entries: Iterable[KnownFinding]) -> list[Ignore]:
        """The entries to write as ignores, so that they take effect at once."""
        from initprobe.sweeps.ignores import make_ignore

        return [
            make_ignore(
                entry.rule, map(str, entry.places), entry.reason, entry.until, str(self.write_to), (entry.rule,)
            )
            for entry in entries
        ]

    def expired(self) -> list[str]:
        """One line for each ignore whose last day is over."""
        if not self.ignores:
            return []
        from initprobe.sweeps.ignores import expired

        return expired(self.ignores)

    def close(self, fails: bool, whole: bool = True) -> None:
        """Write the file of known findings, and print on standard error which ignores matched nothing or are expired.

        Args:
            fails: an error will name the expired ignores, so they are not printed here.
            whole: all runs of the sweep were judged. If not, entries of a file that match nothing are not printed.
        """
        if self.write_to is not None:
            from initprobe.cli.outputs import relative, write_text
            from initprobe.sweeps.known_findings import known_text

            write_text(str(self.write_to), known_text(self.write_to, self.written))
            click.echo(f"wrote     {relative(self.write_to)}: {len(self.written):,} known findings", err=True)
        for line in [*self._unmatched(whole), *([] if fails else _shortened(self.expired()))]:
            click.echo(f"note: {line}", err=True)

    def _unmatched(self, whole: bool) -> list[str]:
        """One line for each option that matched nothing, and one line for all such entries of a file."""
        if not self.ignores:
            return []
        from initprobe.sweeps.ignores import living

        idle = [ignore.source for ignore in living(self.ignores) if ignore not in self.used]
        lines = [f"{source}: matches nothing; drop it" for source in idle if source.startswith(IGNORE)]
        entries = [source for source in idle if not source.startswith(IGNORE)]
        if entries and whole:
            lines.append(f"{entries[0]}: matches nothing here{_and_more(len(entries) - 1)}")
        return lines


def _and_more(count: int) -> str:
    """The end of a sentence about further entries."""
    return f", nor {'does' if count == 1 else 'do'} {number_of(count, 'more entry', 'more entries')}" if count else ""


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _MOST_NOTES
    return [*lines[:_MOST_NOTES], f"{more:,} more like it"] if more > 0 else list(lines)


def make_gate(options: GateOptions, numbers: Sequence[str] = ()) -> Gate:
    """The gate that the options describe.

    Args:
        options: as typed.
        numbers: names of numbers that may be ignored as rules are.

    Raises:
        ConfigError: an unknown rule, a wrong layer or date, a missing reason, or a wrong file.
    """
    from initprobe.data.files import kind_of

    write_to = None if options.write_known is None else Path(options.write_known)
    ignores = _ignores(options, numbers)
    known_path = None if options.known is None else Path(options.known)
    # The first time, the file to read and write does not exist yet.
    if known_path is not None and (known_path != write_to or kind_of(known_path) != "nothing"):
        from initprobe.sweeps.known_findings import read_known

        ignores += read_known(known_path)
    return Gate(ignores) if write_to is None else _writing_gate(ignores, write_to, options)


def _writing_gate(ignores: list[Ignore], write_to: Path, options: GateOptions) -> Gate:
    from initprobe.sweeps.ignores import make_ignore, today

    reason, until = _single(options.reason) or f"found on {today().isoformat()}", _single(options.until)
    make_ignore("saturated", (), reason, until, "--until")  # for its check of the date
    return Gate(ignores, write_to, reason, until)


def _single(given: Sequence[str]) -> str | None:
    return given[0] if len(given) == 1 else None


def _ignores(options: GateOptions, numbers: Sequence[str]) -> list[Ignore]:
    from initprobe.errors import ConfigError

    reasons = _for_each("--reason", options.reason, options)
    days = _for_each("--until", options.until, options)
    if not options.ignore:
        return []
    from initprobe.sweeps.ignores import make_ignore, parse_target

    if not options.reason:
        raise ConfigError(
            f"{options.ignore[0]} needs --reason TEXT, so that others know why it is ignored", field="--ignore"
        )
    return [
        make_ignore(*parse_target(text), reason, day, f"{IGNORE}{text}", numbers)
        for text, reason, day in zip(options.ignore, reasons, days, strict=True)
    ]


def _for_each(name: str, given: Sequence[str], options: GateOptions) -> list[str | None]:
    """The values of an option, one for each `--ignore`.

    Raises:
        ConfigError: there is no `--ignore`, or another number of them.
    """
    from initprobe.errors import ConfigError

    count = len(options.ignore)
    if given and not count and options.write_known is None:
        raise ConfigError("belongs to --ignore RULE@LAYER; give that too", field=name)
    if len(given) > 1 and len(given) != count:
        raise ConfigError(f"give one for all --ignore, or one for each of the {count}", field=name)
    return [*given] if len(given) == count else [given[0] if given else None] * count


def check_verdict(
    result: ProbeResult,
    gate: Gate,
    fail_on: Severity | None,
    options: GateOptions,
    cases: Sequence[Case] = (),
    alerts: Sequence[Alert] = (),
) -> None:
    """Write the reports for CI and fail if a finding counts.

    Args:
        result: with the findings marked that do not count.
        gate: closed here.
        fail_on: the lowest severity that fails; None never fails.
        options: where the reports go, if anywhere.
        cases: further cases of the JUnit report.
        alerts: further results of the SARIF report.

    Raises:
        CheckFailed: a finding has this severity or a higher one, an ignore is expired, or too little was judged.
    """
    from initprobe.errors import CheckFailed
    from initprobe.results.outcome import counted

    gate.close(fails=bool(fail_on))
    failing = failing_severities(fail_on)
    names = [finding.name for finding in counted(result) if finding.severity in failing]
    expired = gate.expired() if fail_on else []
    if options.junit:
        from initprobe.cli.ci_reports import write_junit

        write_junit(result, failing, expired, options.junit, cases)
    if options.sarif:
        from initprobe.cli.ci_reports import result_alerts, write_sarif

        write_sarif([*result_alerts(result, expired), *alerts], options.sarif)
    judged = result.coverage if fail_on and result.is_partial else None
    partial = [f"--fail-on {fail_on}: only {judged.words}"] if judged else []
    if names or expired or partial:
        faults = [f"--fail-on {fail_on}: {', '.join(names)}"] if names else partial
        raise CheckFailed("; ".join([*faults, *_shortened(expired)]))


def failing_severities(fail_on: Severity | None) -> tuple[Severity, ...]:
    """The severities that fail: the given one and higher ones; none for None."""
    return SEVERITIES[SEVERITIES.index(fail_on) :] if fail_on else ()


def check_junit(junit: str | None, fail_on: object) -> None:
    """Refuse `--junit` without `--fail-on`.

    Args:
        junit: the path of the report; None for none.
        fail_on: what the user gave for `--fail-on`; empty or None for nothing.

    Raises:
        ConfigError: nothing can fail, so a report would say nothing.
    """
    from initprobe.errors import ConfigError

    if junit and not fail_on:
        raise ConfigError("give --fail-on too; without it nothing can fail", field="--junit")
