"""`initprobe check`: a sweep that fails when an initialization has gone bad."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.gate import Gate, expired_cases, gate_from, gate_options
from initprobe.cli.options import Choice
from initprobe.cli.sweep_output import Beside, table_options
from initprobe.cli.sweep_run import finish, run_plan, sweep_options

if TYPE_CHECKING:
    from initprobe.reports.junit import Case
    from initprobe.results.run import ProbeResult
    from initprobe.results.summary import Ignored
    from initprobe.sweeps.breaches import Breach
    from initprobe.sweeps.checked_runs import Judged, JudgedRun
    from initprobe.sweeps.plan import Plan
    from initprobe.sweeps.store.rows import Row
    from initprobe.sweeps.store.store import Store


_MOST_ROWS = 50
_HEADINGS = ("run", "layer", "number", "is", "limit")


@click.command("check")
@sweep_options
@table_options
@gate_options
@click.option("--annotate", type=Choice(["github"]), help="Mark each breach where the CI service shows it.")
def command(annotate: str | None, **options: Any) -> None:
    """Run CONFIG and exit with 1 if one of its checks fails.

    The exit code is 3 if a run failed.

    --ignore and --known take names of numbers too: output.variance@1.

    \b
    Examples:
      initprobe check mine.yaml
      initprobe check mine.yaml --no-figures --annotate github \\
          --markdown - >> "$GITHUB_STEP_SUMMARY"
      initprobe check mine.yaml --junit report.xml --known known.yaml
    """
    from initprobe.cli.outputs import write_text
    from initprobe.errors import ConfigError
    from initprobe.reports.junit import junit
    from initprobe.results.named_numbers import NAMES
    from initprobe.sweeps.plan import load

    plan = load(options["config"], options["overrides"], options["where"])
    if not plan.checks:
        raise ConfigError(f"{plan.path}: no checks; write for example `checks: {{healthy: true}}`, or use `sweep`")
    bench = _Bench(plan, gate_from(options, NAMES))
    outcome, failed = run_plan(plan, options, bench.look)
    _report(bench)
    bench.gate.tell(fails=True, whole=not (options["where"] or options["shard"]))
    if annotate:
        _annotate(bench, "-" in (options["markdown"], options["export_csv"], options["export_json"], options["junit"]))
    if options["junit"]:
        write_text(options["junit"], junit(f"initprobe check {plan.name}", list(bench.cases())))
    finish(outcome, [*failed, *bench.damage.values()])
    _fail(bench)


class _Bench:
    """The checks of a plan, and what they made of its runs."""

    def __init__(self, plan: Plan, gate: Gate) -> None:
        self.plan, self.gate = plan, gate
        self.rows: Sequence[Row] = ()
        self.judged: list[Judged] = []
        self.ignored: Counter[tuple[str, str]] = Counter()
        self.damage: dict[str, str] = {}

    def look(self, store: Store, rows: Sequence[Row]) -> Beside:
        """Judge the runs, one in memory at a time."""
        self.rows = rows
        for row, result in store.results([row.key for row in rows]):
            run = self._run(row, result, self.gate.ignores)
            self.judged += run.checks
            self.ignored.update(_ignored(run))
        self.damage = dict(store.damage)
        return Beside(self.markdown(), self._marked)

    def _run(self, row: Row, result: ProbeResult, ignores: Sequence[Any]) -> JudgedRun:
        """Judged; where what is found is to be written as known, then it is ignored at once."""
        from initprobe.sweeps.checked_runs import judge_run, known_breaches, known_findings

        gate = self.gate
        run = judge_run(self.plan.checks, row, result, ignores)
        gate.used |= run.used
        if gate.write_to is None:
            return run
        for known in (known_findings, known_breaches):  # with the findings ignored, less may be broken
            entries = list(known(run, gate.reason, gate.until))
            gate.written += entries
            ignores = [*ignores, *gate.as_ignores(entries)]
            run = judge_run(self.plan.checks, row, result, ignores)
        return run

    def _marked(self, row: Row, result: ProbeResult) -> ProbeResult:
        from initprobe.sweeps.ignores import apply

        return apply(result, self.gate.ignores)[0]

    @property
    def breaches(self) -> list[tuple[Judged, Breach]]:
        """What does not hold and counts, run by run."""
        return [(one, breach) for one in self.judged for breach in one.breaches]

    @property
    def headline(self) -> str:
        """How many checks do not hold, each counted once for each run, or that all do."""
        if not self.judged:
            return "no check applies to any run"
        if broken := sum(bool(one.breaches) for one in self.judged):
            return f"{broken:,} of {len(self.judged):,} checks do not hold"
        count = len(self.judged)
        held = f"all {count:,} checks hold" if count > 1 else "1 check holds"
        return f"{held}; {len(self.idle):,} applied to no run" if self.idle else held

    @property
    def idle(self) -> list[str]:
        """The checks that apply to no run."""
        spoke = {str(one.check) for one in self.judged}
        return [str(check) for check in self.plan.checks if str(check) not in spoke]

    def markdown(self) -> str:
        """What does not hold, then what failed and what is ignored."""
        from initprobe.reports.markdown import markdown_row, markdown_text

        found = [(one.run, *_cells(breach)) for one, breach in self.breaches]
        lines = [f"**{self.headline}**", ""]
        if found:
            lines += map(markdown_row, (_HEADINGS, ("---",) * len(_HEADINGS), *found[:_MOST_ROWS]))
            lines += ["", f"{_MOST_ROWS} of {len(found):,} breaches", ""] if len(found) > _MOST_ROWS else [""]
        failed = [f"failed: {_name(row)}: {row.error}" for row in self.rows if row.error]
        lines += [f"- {markdown_text(line)}" for line in (*failed, *_ignored_lines(self))]
        return "\n".join(lines).rstrip("\n") + "\n\n"

    def cases(self) -> Iterator[Case]:
        """One for each run and check, for each run that failed, and for what was never judged."""
        from initprobe.reports.junit import Case

        for row in self.rows:
            if row.state == "failed" or row.key in self.damage:
                yield Case(_name(row), "error", self.damage.get(row.key) or row.error or "failed")
            elif row.state != "done":
                yield Case(_name(row), "skipped", "not run")
        yield from map(_case, self.judged)
        yield from (Case(check, "skipped", "applies to no layer of any run") for check in self.idle)
        yield from expired_cases(self.gate.expired())


def _name(row: Row) -> str:
    from initprobe.sweeps.checked_runs import run_name

    return run_name(row)


def _cells(breach: Breach) -> tuple[str, ...]:
    return str(breach.layer or ""), breach.name, breach.value_text, breach.bound


def _case(one: Judged) -> Case:
    from initprobe.reports.junit import Case

    name = f"{one.run}: {one.check}"
    if one.breaches:
        return Case(name, "failure", "\n".join(map(str, one.breaches)))
    if one.ignored:
        return Case(name, "skipped", "\n".join(f"ignored: {breach} ({why.reason})" for breach, why in one.ignored))
    return Case(name)


def _ignored(run: JudgedRun) -> Iterator[tuple[str, str]]:
    """What is ignored in a run, findings and breaches, with the reason and the last day."""
    yield from ((one.rule, _words(one.ignored)) for one in run.result.diagnosis if one.ignored)
    for one in run.checks:
        yield from ((breach.name, _words(ignore.mark)) for breach, ignore in one.ignored)


def _words(mark: Ignored) -> str:
    return f"{mark.reason}; until {mark.until}" if mark.until else mark.reason


def _ignored_lines(bench: _Bench) -> list[str]:
    """What is ignored, a line for each name and reason."""
    times = {name: f", {count:,} times" if count > 1 else "" for name, count in bench.ignored.items()}
    return [f"ignored: {name}{times[name, words]} ({words})" for name, words in bench.ignored]


def _report(bench: _Bench) -> None:
    from initprobe.reports.console import console
    from initprobe.reports.tables import plain_table

    to = console(sys.stderr)
    for text in bench.idle:
        to.print(f"note: the check {text} applies to no layer of any run", markup=False, soft_wrap=True)
    for line in _ignored_lines(bench):
        to.print(line, markup=False, soft_wrap=True)
    if not bench.breaches:
        if bench.judged:
            to.print(bench.headline, style="green")
        return
    headings = ("run", "what broke")
    table = plain_table(*headings, left=headings, gap=2)
    for one, breach in bench.breaches:
        table.add_row(one.run, str(breach))
    to.print(table)


def _annotate(bench: _Bench, piped: bool) -> None:
    """On standard output, unless an export goes there; the service reads both."""
    from initprobe.cli.annotations import error_annotation

    for one, breach in bench.breaches:
        text = error_annotation("initprobe check", f"{one.run}: {breach}", bench.plan.path, one.check.line)
        click.echo(text, err=piped)


def _fail(bench: _Bench) -> None:
    """What the exit code should say of the checks."""
    from initprobe.errors import CheckFailed

    over = bench.gate.expired()
    if bench.breaches:
        one, breach = bench.breaches[0]
        raise CheckFailed(f"{bench.headline}; the first: {one.run}: {breach}")
    if over:
        more = f"; and {len(over) - 1:,} more" if len(over) > 1 else ""
        raise CheckFailed(f"{over[0]}{more}")
    if bench.rows and not bench.judged:
        raise CheckFailed("no check applies to any run, so nothing was checked; see `where` and the names of numbers")
