"""Whether the parameters of a model are initialized as a contract or a lock says: options, text, JSON and JUnit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from initprobe.cli.parameters import option

if TYPE_CHECKING:
    from initprobe.contract.check import Checked
    from initprobe.contract.parameter import Parameter
    from initprobe.reports.console import Console
    from initprobe.reports.junit import Case
    from initprobe.reports.sarif import Alert
    from initprobe.torch.loading import Loaded

_LABEL = 10


@dataclass(frozen=True, kw_only=True)
class ContractOptions:
    """The files that a model is compared with."""

    expect: str | None = option(
        "--expect",
        metavar="FILE.yaml",
        help="Compare every parameter with the rule that FILE states for its name; exit with 1 if one differs. Needs "
        "no input. `initprobe explain contract` shows the format.",
    )
    lock: str | None = option(
        "--lock",
        metavar="FILE",
        help="Compare every parameter with its state when FILE was written. If there is no FILE, write it.",
    )
    update_lock: bool = option("--update-lock", is_flag=True, help="Write the file of --lock anew.")

    @property
    def given(self) -> bool:
        """Whether a file is named.

        Raises:
            ConfigError: --update-lock without --lock.
        """
        from initprobe.errors import ConfigError

        if self.update_lock and not self.lock:
            raise ConfigError("belongs to --lock FILE; give that too", field="--update-lock")
        return bool(self.expect or self.lock)

    @property
    def writes_lock(self) -> bool:
        """Whether the lock is written and not compared."""
        from initprobe.data.files import kind_of

        return bool(self.lock) and (self.update_lock or kind_of(Path(self.lock or "")) == "nothing")

    @property
    def written_lock(self) -> str | None:
        """The file of the lock where it is written; else None."""
        return self.lock if self.writes_lock else None


@dataclass(frozen=True)
class ContractOutcome:
    """The outcome for the contract and for the lock.

    Attributes:
        expect: the contract; None where none is named.
        lock: the lock; None where none is named, or where it was written.
        written: how many lines of parameters the written lock has; None where it was compared.
    """

    expect: Checked | None
    lock: Checked | None
    written: int | None

    @property
    def checked(self) -> list[Checked]:
        """The files that were compared."""
        return [checked for checked in (self.expect, self.lock) if checked is not None]

    @property
    def fault(self) -> str:
        """In a few words, all that does not hold; empty where all holds."""
        from initprobe.contract.lock import RENEW

        faults = []
        for checked in self.checked:
            changes = [change.removesuffix(f"; {RENEW}") for change in checked.changes]
            renew = [RENEW] if any(change.endswith(RENEW) for change in checked.changes) else []
            words = [*([str(checked.report)] if checked.report.faults else []), *changes, *renew]
            faults += [] if checked.holds else [f"{checked.file}: {'; '.join(words)}"]
        return "; ".join(faults)


def check_contracts(options: ContractOptions, model: Loaded) -> ContractOutcome:
    """Compare the parameters of a model, and write the lock if that is asked for.

    Args:
        options: which contract and which lock.
        model: as loaded, with its parameters.

    Raises:
        ConfigError: a file is wrong or does not fit the model, or the model has no parameters.
    """
    from initprobe.cli.progress import waiting
    from initprobe.contract.check import check_contract, check_lock

    with waiting("comparing the parameters"):
        parameters = model.parameters()
        expect = check_contract(parameters, Path(options.expect)) if options.expect else None
        if options.lock and options.writes_lock:
            return ContractOutcome(expect, None, _write_lock(options.lock, parameters))
        lock = check_lock(parameters, Path(options.lock)) if options.lock else None
    return ContractOutcome(expect, lock, None)


def _write_lock(target: str, parameters: Sequence[Parameter]) -> int:
    from initprobe.cli.outputs import write_text
    from initprobe.contract.lock import lock_text
    from initprobe.errors import ConfigError

    unreadable = next((parameter for parameter in parameters if parameter.unreadable), None)
    if unreadable is not None:
        raise ConfigError(f"{unreadable.name} {unreadable.unreadable}; a lock needs its values", field="--lock")
    text = lock_text(parameters)
    write_text(target, text)
    return sum(line.startswith('  "') for line in text.splitlines())


def print_outcome(outcome: ContractOutcome, options: ContractOptions, quiet: bool, file: IO[str]) -> None:
    """Print the faults, the summary, the copies and the least certain parameter; `quiet` prints the first two.

    Args:
        outcome: of the comparison.
        options: the contract and the lock, as typed.
        quiet: print no more than faults and summary.
        file: a stream.
    """
    from initprobe.cli.outputs import STDOUT, relative
    from initprobe.formatting import counted
    from initprobe.reports.console import console

    to = console(file)
    for checked in outcome.checked:
        _print_checked(checked, quiet, to)
    if outcome.written is not None and options.lock:
        lines = counted(outcome.written, "line of parameters", "lines of parameters")
        name = "the lock" if options.lock == STDOUT else relative(Path(options.lock))
        _line(to, "wrote", f"{name}: {lines}; later runs compare with it", "bold")


def _print_checked(checked: Checked, quiet: bool, to: Console) -> None:
    from initprobe.contract.words import copies_lines, group_line, weakest_line

    report = checked.report
    for group in checked.faults:
        place = f" [{group.worst.place}]" if group.worst.place.line else ""
        _line(to, "error", f"{group_line(group)}{place}", "bold red")
    for change in checked.changes:
        _line(to, "error", f"{change} [{checked.file}]", "bold red")
    words = f"{report} ({checked.file})"
    _line(to, "contract", words, "bold green" if checked.holds else "bold")
    if quiet:
        return
    for text in copies_lines(report.copies):
        _line(to, "copies", text, "bold")
    if weakest := weakest_line(report):
        _line(to, "note", weakest, "bold")


def _line(to: Console, label: str, text: str, style: str) -> None:
    from rich.text import Text

    from initprobe.formatting import visible
    from initprobe.reports.console import say

    say(Text.assemble((f"{label:<{_LABEL}}", style), visible(text)), to)


def outcome_json(outcome: ContractOutcome) -> str:
    """The outcome as JSON."""
    import json

    from initprobe.contract.check import as_json

    parts = {
        name: None if checked is None else as_json(checked)
        for name, checked in (("expect", outcome.expect), ("lock", outcome.lock))
    }
    return json.dumps({"version": 1, **parts}, indent=2, allow_nan=False) + "\n"


def outcome_cases(outcome: ContractOutcome) -> Iterator[Case]:
    """For JUnit, a case for each parameter and for the names and ties of each file."""
    from initprobe.contract.words import fault_line
    from initprobe.reports.junit import Case

    for checked in outcome.checked:
        for entry in checked.report.judged:
            name = f"{checked.file}: {entry.parameter}"
            yield Case(name) if entry.holds else Case(name, "failure", fault_line(entry))
        for parameter in checked.report.unjudged:
            yield Case(f"{checked.file}: {parameter}", "skipped", "not judged: the rule is any")
        names = f"{checked.file}: names and ties"
        yield Case(names, "failure", "\n".join(checked.changes)) if checked.changes else Case(names)


def outcome_alerts(outcome: ContractOutcome) -> Iterator[Alert]:
    """Alerts for SARIF: each fault at the line of its rule, and each new or missing name or tie."""
    from initprobe.cli.annotations import in_repository
    from initprobe.contract.words import fault_line
    from initprobe.reports.sarif import Alert

    for checked in outcome.checked:
        file = in_repository(Path(checked.file))
        for entry in checked.report.faults:
            line = entry.place.line
            yield Alert("init-differs", fault_line(entry), "error", entry.parameter, "member", file, line)
        for change in checked.changes:
            yield Alert("init-changed", change, "error", file=file)
