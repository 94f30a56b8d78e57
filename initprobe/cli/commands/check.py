"""Run a sweep file and exit with 1 if a check fails.

The checks are those of CONFIG. The exit code is 3 if a run failed. --ignore and --known also take names of numbers:
output.variance@1.

\b
Examples:
  initprobe check mine.yaml
  initprobe check mine.yaml --no-figures --annotate github \\
      --markdown - >> "$GITHUB_STEP_SUMMARY"
  initprobe check mine.yaml --junit report.xml --known known.yaml
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from initprobe.cli.candidates import judged
from initprobe.cli.ci_reports import expired_alerts, expired_cases
from initprobe.cli.gate import Gate, GateOptions, make_gate
from initprobe.cli.outputs import STDOUT
from initprobe.cli.parameters import Choice, command_of, group, option
from initprobe.cli.sweep_output import Additions, TableExports, TableOptions
from initprobe.cli.sweep_run import SweepOptions, finish, run_plan, table_output

if TYPE_CHECKING:
    from initprobe.reports.html_tables import Table
    from initprobe.reports.junit import Case
    from initprobe.reports.sarif import Alert
    from initprobe.results.run import ProbeResult
    from initprobe.results.summary import Ignored
    from initprobe.sweeps.breaches import Breach
    from initprobe.sweeps.checked_runs import Judged, JudgedRun
    from initprobe.sweeps.ignores import Ignore
    from initprobe.sweeps.plan import Plan
    from initprobe.sweeps.store import Store
    from initprobe.sweeps.store_rows import Row


_MOST_ROWS = 50
_HEADINGS = ("run", "layer", "number", "is", "limit")


@dataclass(frozen=True, kw_only=True)
class CheckGateOptions(GateOptions):
    """Known findings, and known breaches of checks."""

    ignore: tuple[str, ...] = option(
        "--ignore",
        multiple=True,
        metavar="NAME[@LAYER]",
        help="A finding or a number that does not count: dead-units@3, output.variance@1; repeatable.",
        shell_complete=judged,
    )


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `initprobe check`."""

    sweep: SweepOptions = group(SweepOptions)
    table: TableOptions = group(TableOptions)
    exports: TableExports = group(TableExports)
    gate: CheckGateOptions = group(CheckGateOptions)
    annotate: str | None = option(
        "--annotate", type=Choice(["github"]), help="Mark each breach where the CI service shows it."
    )


@command_of(CheckOptions, help=__doc__)
def command(options: CheckOptions) -> None:
    """Execute the runs of a file and judge its checks.

    Args:
        options: of the command line.

    Raises:
        ConfigError: a wrong file or option, or a file without checks.
        CheckFailed: a check is broken.
    """
    from initprobe.cli.ci_reports import write_sarif
    from initprobe.cli.outputs import write_text
    from initprobe.errors import ConfigError
    from initprobe.reports.junit import junit
    from initprobe.results.named_numbers import NAMES

    sweep, reports = options.sweep, options.gate
    plan = sweep.plan()
    if not plan.checks:
        raise ConfigError("no checks; write for example `checks: {healthy: true}`, or use `sweep`", file=plan.path)
    judge = _Judge(plan, make_gate(options.gate, NAMES))
    output = table_output(plan, sweep, options.table, options.exports, reports.targets())
    outcome, failures = run_plan(plan, sweep, output, judge.judge)
    _report(judge)
    judge.gate.close(fails=True, whole=not (sweep.where or sweep.shard))
    if options.annotate:
        _annotate(judge, STDOUT in (*output.exports.targets(), *reports.reports()))
    if reports.sarif:
        write_sarif(list(judge.alerts()), reports.sarif)
    if reports.junit:
        write_text(reports.junit, junit(f"initprobe check {plan.name}", list(judge.cases())))
    finish(outcome, [*failures, *judge.damage.values()])
    _fail(judge)


class _Judge:
    """Applies the checks of a plan to its runs, and keeps the outcomes."""

    def __init__(self, plan: Plan, gate: Gate) -> None:
        self.plan, self.gate = plan, gate
        self.rows: Sequence[Row] = ()
        self.judged: list[Judged] = []
        self.ignored: Counter[tuple[str, str]] = Counter()
        self.damage: dict[str, str] = {}

    def judge(self, store: Store, rows: Sequence[Row]) -> Additions:
        """Judge the runs; one result is in memory at a time."""
        self.rows = rows
        for row, result in store.results([row.key for row in rows]):
            run = self._run(row, result, self.gate.ignores)
            self.judged += run.checks
            self.ignored.update(_ignored(run))
        self.damage = dict(store.damage)
        return Additions(self.markdown(), self._marked, self._table())

    def _run(self, row: Row, result: ProbeResult, ignores: Sequence[Ignore]) -> JudgedRun:
        """Judge one run; with --write-known, everything found is written and ignored at once."""
        from initprobe.sweeps.checked_runs import judge_run, known_breaches, known_findings

        gate = self.gate
        run = judge_run(self.plan.checks, row, result, ignores)
        gate.used |= run.used
        if gate.write_to is None:
            return run
        for findings_of in (known_findings, known_breaches):  # ignored findings may leave fewer breaches
            entries = list(findings_of(run, gate.reason, gate.until))
            gate.written += entries
            ignores = [*ignores, *gate.as_ignores(entries)]
            run = judge_run(self.plan.checks, row, result, ignores)
        return run

    def _marked(self, row: Row, result: ProbeResult) -> ProbeResult:
        from initprobe.sweeps.ignores import apply

        return apply(result, self.gate.ignores)[0]

    @property
    def breaches(self) -> list[tuple[Judged, Breach]]:
        """The breaches that count, run by run."""
        return [(outcome, breach) for outcome in self.judged for breach in outcome.breaches]

    @property
    def headline(self) -> str:
        """How many checks fail, each counted once per run, or that all hold."""
        if not self.judged:
            return "no check applies to any run"
        if broken := sum(bool(outcome.breaches) for outcome in self.judged):
            return f"{broken:,} of {len(self.judged):,} checks do not hold"
        count = len(self.judged)
        held = f"all {count:,} checks hold" if count > 1 else "1 check holds"
        return f"{held}; {len(self.idle):,} applied to no run" if self.idle else held

    @property
    def idle(self) -> list[str]:
        """The checks that apply to no run."""
        applied = {str(outcome.check) for outcome in self.judged}
        return [str(check) for check in self.plan.checks if str(check) not in applied]

    def markdown(self) -> str:
        """The breaches, then the failed runs and what is ignored."""
        from initprobe.reports.markdown import markdown_row, markdown_text

        rows = [(outcome.run, *_cells(breach)) for outcome, breach in self.breaches]
        lines = [f"**{self.headline}**", ""]
        if rows:
            lines += map(markdown_row, (_HEADINGS, ("---",) * len(_HEADINGS), *rows[:_MOST_ROWS]))
            lines += ["", f"{_MOST_ROWS} of {len(rows):,} breaches", ""] if len(rows) > _MOST_ROWS else [""]
        failed = [f"failed: {_name(row)}: {row.error}" for row in self.rows if row.error]
        lines += [f"- {markdown_text(line)}" for line in (*failed, *_ignored_lines(self))]
        return "\n".join(lines).rstrip("\n") + "\n\n"

    def _table(self) -> Table:
        """The breaches for the HTML report."""
        from initprobe.reports.html_tables import table, text_columns

        return table(text_columns(_HEADINGS), [(outcome.run, *_cells(breach)) for outcome, breach in self.breaches])

    def cases(self) -> Iterator[Case]:
        """A case for each check of each run, for each run that is not done, and for each idle check."""
        from initprobe.reports.junit import Case

        for row in self.rows:
            if row.state == "failed" or row.key in self.damage:
                yield Case(_name(row), "error", self.damage.get(row.key) or row.error or "failed")
            elif row.state != "done":
                yield Case(_name(row), "skipped", "not run")
        yield from map(_case, self.judged)
        yield from (Case(check, "skipped", "applies to no layer of any run") for check in self.idle)
        yield from expired_cases(self.gate.expired())

    def alerts(self) -> Iterator[Alert]:
        """An alert for each breach, at the line of its check, and for each run that failed."""
        from initprobe.cli.annotations import in_repository
        from initprobe.reports.sarif import Alert

        file = in_repository(self.plan.path)
        for row in self.rows:
            if row.state == "failed" or row.key in self.damage:
                words = f"{_name(row)}: {self.damage.get(row.key) or row.error or 'failed'}"
                yield Alert("failed-run", words, "error", file=file)
        for outcome in self.judged:
            every = [(breach, "") for breach in outcome.breaches]
            every += [(breach, why.reason) for breach, why in outcome.ignored]
            for breach, reason in every:
                words, line = f"{outcome.run}: {breach}", outcome.check.line
                yield Alert(breach.name, words, "error", file=file, line=line, ignored=reason)
        yield from expired_alerts(self.gate.expired())


def _name(row: Row) -> str:
    from initprobe.sweeps.checked_runs import run_name

    return run_name(row)


def _cells(breach: Breach) -> tuple[str, ...]:
    return str(breach.layer or ""), breach.name, breach.value_text, breach.bound


def _case(outcome: Judged) -> Case:
    from initprobe.reports.junit import Case

    name = f"{outcome.run}: {outcome.check}"
    if outcome.breaches:
        return Case(name, "failure", "\n".join(map(str, outcome.breaches)))
    if outcome.ignored:
        return Case(name, "skipped", "\n".join(f"ignored: {breach} ({why.reason})" for breach, why in outcome.ignored))
    return Case(name)


def _ignored(run: JudgedRun) -> Iterator[tuple[str, str]]:
    """The ignored findings and breaches of a run, each with the reason and the last day."""
    yield from ((finding.rule, _reason(finding.ignored)) for finding in run.result.diagnosis if finding.ignored)
    for outcome in run.checks:
        yield from ((breach.name, _reason(ignore.mark)) for breach, ignore in outcome.ignored)


def _reason(mark: Ignored) -> str:
    return f"{mark.reason}; until {mark.until}" if mark.until else mark.reason


def _ignored_lines(judge: _Judge) -> list[str]:
    """One line for each ignored name and reason."""
    times = {key: f", {count:,} times" if count > 1 else "" for key, count in judge.ignored.items()}
    return [f"ignored: {name}{times[name, reason]} ({reason})" for name, reason in judge.ignored]


def _report(judge: _Judge) -> None:
    from initprobe.reports.console import console
    from initprobe.reports.tables import plain_table

    to = console(sys.stderr)
    for text in judge.idle:
        to.print(f"note: the check {text} applies to no layer of any run", markup=False, soft_wrap=True)
    for line in _ignored_lines(judge):
        to.print(line, markup=False, soft_wrap=True)
    if not judge.breaches:
        if judge.judged:
            to.print(judge.headline, style="green")
        return
    headings = ("run", "breach")
    table = plain_table(*headings, left=headings, gap=2)
    for outcome, breach in judge.breaches:
        table.add_row(outcome.run, str(breach))
    to.print(table)


def _annotate(judge: _Judge, piped: bool) -> None:
    """Print annotations on standard output, or on standard error if an export goes to standard output."""
    from initprobe.cli.annotations import error_annotation

    for outcome, breach in judge.breaches:
        text = error_annotation("initprobe check", f"{outcome.run}: {breach}", judge.plan.path, outcome.check.line)
        click.echo(text, err=piped)


def _fail(judge: _Judge) -> None:
    """Fail if a check does not hold, an ignore is expired, or nothing was checked.

    Raises:
        CheckFailed: see above.
    """
    from initprobe.errors import CheckFailed

    expired = judge.gate.expired()
    if judge.breaches:
        outcome, breach = judge.breaches[0]
        raise CheckFailed(f"{judge.headline}; the first: {outcome.run}: {breach}")
    if expired:
        more = f"; and {len(expired) - 1:,} more" if len(expired) > 1 else ""
        raise CheckFailed(f"{expired[0]}{more}")
    if judge.rows and not judge.judged:
        raise CheckFailed("no check applies to any run, so nothing was checked; see `where` and the names of numbers")
