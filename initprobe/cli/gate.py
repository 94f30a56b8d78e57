"""What turns a verdict into an exit code: findings that are known, a report for CI, and what is left to fail on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from initprobe.reports.junit import Case, Outcome
    from initprobe.results.run import ProbeResult
    from initprobe.results.summary import Finding
    from initprobe.sweeps.ignores import Ignore
    from initprobe.sweeps.known_findings import KnownFinding

Command = TypeVar("Command", bound=Callable[..., Any])
SEVERITIES = ("warning", "error")
OPTION = "--ignore "
_MOST_NOTES = 5

_OPTIONS = (
    click.option(
        "--ignore",
        multiple=True,
        metavar="RULE[@LAYER]",
        help="A finding that does not count: dead-units@3, saturated@2-5, dead-layer@encoder.*; repeatable.",
    ),
    click.option("--reason", multiple=True, metavar="TEXT", help="Why: one for all --ignore, or one for each."),
    click.option("--until", multiple=True, metavar="DATE", help="Last day of --ignore in UTC, as 2027-03-01."),
    click.option("--known", metavar="FILE", help="Known findings, which do not count, from a YAML or JSON file."),
    click.option("--write-known", metavar="FILE", help="Write what is found now as such a file; it does not count."),
    click.option("--junit", metavar="FILE|-", help="What was judged as JUnit XML, for CI."),
)


def gate_options(command: Command) -> Command:
    """Give a command the options of known findings and of the report for CI."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass
class Gate:
    """What a command was asked to ignore, and what came of it.

    Attributes:
        ignores: what does not count.
        write_to: where what is found is to be written, as known.
        reason: of what is written.
        until: of what is written.
        used: the ignores that ignored something.
        written: the entries to write.
    """

    ignores: list[Ignore]
    write_to: Path | None = None
    reason: str = ""
    until: str | None = None
    used: set[Ignore] = field(default_factory=set)
    written: list[KnownFinding] = field(default_factory=list)

    def applied(self, result: ProbeResult) -> ProbeResult:
        """The result with its findings marked that are ignored, or now known."""
        from initprobe.sweeps.ignores import apply
        from initprobe.sweeps.known_findings import known_findings_of

        marked, used = apply(result, self.ignores)
        self.used |= used
        if self.write_to is None:
            return marked
        self.written += known_findings_of(marked, {}, self.reason, self.until)
        return apply(marked, self.as_ignores(self.written))[0]

    def as_ignores(self, known: Iterable[KnownFinding]) -> list[Ignore]:
        """The entries to write as ignores, so that they hold at once."""
        from initprobe.sweeps.ignores import make_ignore

        return [
            make_ignore(one.rule, map(str, one.places), one.reason, one.until, str(self.write_to), (one.rule,))
            for one in known
        ]

    def expired(self) -> list[str]:
        """A line for each ignore whose last day is over."""
        from initprobe.sweeps.ignores import expired

        return expired(self.ignores)

    def tell(self, fails: bool, whole: bool = True) -> None:
        """Write the file of known findings; say on standard error which ignores found nothing, and which are over.

        Where something `fails`, the error says what is over. Of a sweep that is not there as a `whole`, nothing is said
        of a file's entries that found nothing.
        """
        from initprobe.cli.outputs import relative, write_text
        from initprobe.sweeps.known_findings import known_text

        if self.write_to is not None:
            write_text(str(self.write_to), known_text(self.write_to, self.written))
            click.echo(f"wrote     {relative(self.write_to)}: {len(self.written):,} known findings", err=True)
        for line in [*self._idle(whole), *([] if fails else _shortened(self.expired()))]:
            click.echo(f"note: {line}", err=True)

    def _idle(self, whole: bool) -> list[str]:
        """A line for each option that found nothing to ignore, and one for all such entries of a file."""
        from initprobe.sweeps.ignores import living

        idle = [one for one in living(self.ignores) if one not in self.used]
        lines = [f"{one.source}: matches nothing; drop it" for one in idle if one.source.startswith(OPTION)]
        entries = [one.source for one in idle if not one.source.startswith(OPTION)]
        if entries and whole:
            lines.append(f"{entries[0]}: matches nothing here{_and_more(len(entries) - 1, 'entry', 'entries')}")
        return lines


def _and_more(count: int, one: str, several: str) -> str:
    return f", nor does {count:,} more {one}" if count == 1 else f", nor do {count:,} more {several}" if count else ""


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _MOST_NOTES
    return [*lines[:_MOST_NOTES], f"{more:,} more like it"] if more > 0 else list(lines)


def gate_from(options: Mapping[str, Any], numbers: Sequence[str] = ()) -> Gate:
    """What the options ask for; `numbers` may be ignored beside rules.

    Raises:
        ConfigError: an unknown rule, a place or day that is none, no reason, or a file that is wrong.
    """
    from initprobe.data.files import kind_of
    from initprobe.sweeps.known_findings import read_known

    write_to = None if options["write_known"] is None else Path(options["write_known"])
    ignores = _ignores(options, numbers, write_to is not None)
    known = None if options["known"] is None else Path(options["known"])
    # The first time there is no file to begin with.
    if known is not None and (known != write_to or kind_of(known) != "nothing"):
        ignores += read_known(known)
    reason, until = (_only(options[name]) for name in ("reason", "until"))
    return Gate(ignores) if write_to is None else _writing(ignores, write_to, reason, until)


def _writing(ignores: list[Ignore], write_to: Path, reason: str | None, until: str | None) -> Gate:
    from initprobe.sweeps.ignores import make_ignore, today

    words = reason or f"found on {today().isoformat()}"
    make_ignore("saturated", (), words, until, "--until")  # which refuses what is no day
    return Gate(ignores, write_to, words, until)


def _only(given: Sequence[str]) -> str | None:
    return given[0] if len(given) == 1 else None


def _ignores(options: Mapping[str, Any], numbers: Sequence[str], writing: bool) -> list[Ignore]:
    from initprobe.errors import ConfigError
    from initprobe.sweeps.ignores import make_ignore, parse_target

    targets = options["ignore"]
    for name in ("reason", "until"):
        given = options[name]
        if given and not targets and not writing:
            raise ConfigError(f"--{name}: belongs to --ignore RULE@LAYER; give that too")
        if len(given) > 1 and len(given) != len(targets):
            raise ConfigError(f"--{name}: give one for all, or one for each of the {len(targets)} --ignore")
    if targets and not options["reason"]:
        raise ConfigError(f"--ignore {targets[0]}: give --reason TEXT, so that others know why it is ignored")
    reasons, days = (_spread(options[name], len(targets)) for name in ("reason", "until"))
    return [
        make_ignore(*parse_target(text), reason, day, f"{OPTION}{text}", numbers)
        for text, reason, day in zip(targets, reasons, days, strict=True)
    ]


def _spread(given: Sequence[str], count: int) -> list[str | None]:
    """One for each."""
    return [*given] if len(given) == count else [given[0] if given else None] * count


def check_verdict(result: ProbeResult, gate: Gate, options: Mapping[str, Any]) -> None:
    """Report for CI, and fail with one line if a finding that counts is of the severity that the user fails on."""
    from initprobe.errors import CheckFailed
    from initprobe.results.named_numbers import counted

    fail_on = options["fail_on"]
    gate.tell(fails=bool(fail_on))
    failing = SEVERITIES[SEVERITIES.index(fail_on) :] if fail_on else ()
    names = [finding.name for finding in counted(result) if finding.severity in failing]
    over = gate.expired() if fail_on else []
    if options["junit"]:
        _write_junit(result, failing, over, options["junit"])
    judged = result.coverage if fail_on and result.is_partial else None
    partly = [f"--fail-on {fail_on}: only {judged.words}"] if judged else []
    if names or over or partly:
        faults = [f"--fail-on {fail_on}: {', '.join(names)}"] if names else partly
        raise CheckFailed("; ".join([*faults, *_shortened(over)]))


def check_junit(options: Mapping[str, Any]) -> None:
    """A report needs something that can fail.

    Raises:
        ConfigError: there is no --fail-on.
    """
    from initprobe.errors import ConfigError

    if options["junit"] and not options["fail_on"]:
        raise ConfigError("--junit: give --fail-on too; without it nothing can fail")


def _write_junit(result: ProbeResult, failing: Sequence[str], over: Sequence[str], target: str) -> None:
    from initprobe.cli.outputs import write_text
    from initprobe.diagnosis.diagnose import RULES
    from initprobe.reports.junit import Case, junit
    from initprobe.torch.verdict.rulebook import RULEBOOK

    # Rules for models of one's own judge no net of `run`.
    cases = [_case(rule, result, failing) for rule in (RULEBOOK if result.modules else RULES)] + expired_cases(over)
    if result.is_partial and result.coverage:
        cases.append(Case("coverage", "failure", f"only {result.coverage.words}"))
    write_text(target, junit(f"initprobe {result.description.title}", cases))


def _case(rule: str, result: ProbeResult, failing: Sequence[str]) -> Case:
    from initprobe.reports.junit import Case

    found = [finding for finding in result.diagnosis if finding.rule == rule]
    counting = [finding for finding in found if finding.severity in failing and not finding.ignored]
    shown = counting or [finding for finding in found if finding.ignored]
    outcome: Outcome = "failure" if counting else "skipped" if shown else "passed"
    return Case(rule, outcome, "\n".join(map(_words, shown)))


def _words(finding: Finding) -> str:
    module = f" ({finding.module})" if finding.module else ""
    ignored = f"; ignored: {finding.ignored.reason}" if finding.ignored else ""
    return f"{finding.name} from layer {finding.layer}{module}: {finding.evidence}{ignored}"


def expired_cases(over: Sequence[str]) -> list[Case]:
    """A case for each ignore whose last day is over."""
    from initprobe.reports.junit import Case

    return [Case(line.partition(": expired")[0], "failure", line) for line in over]
