"""What `run`, `torch` and `show` print of one result, and the exports of its numbers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from initprobe.cli.html_report import report_option, write_run_report
from initprobe.cli.outputs import STDOUT
from initprobe.cli.parameters import option

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The numbers of one result as files."""

    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write everything measured as JSON.")
    export_csv: str | None = option("--export-csv", metavar="FILE|-", help="Write the layers as CSV, one row each.")
    report: str | None = report_option()

    def targets(self) -> list[str | None]:
        """All of them, None where one is not asked for."""
        return [self.export_json, self.export_csv, self.report]


def export(result: ProbeResult, exports: ExportOptions) -> None:
    """Write the exports that were asked for.

    Args:
        result: what is written.
        exports: files and formats.

    Raises:
        OutputError: a file cannot be written.
    """
    from initprobe.cli.outputs import write_text

    if exports.export_json:
        write_text(exports.export_json, result.to_json() + "\n")
    if exports.export_csv:
        from initprobe.reports.csv import to_csv

        write_text(exports.export_csv, to_csv(result))
    write_run_report(exports.report, result)


def text_stream(*targets: str | None) -> IO[str]:
    """Where text for people goes: standard error if one of the exports goes to standard output."""
    return sys.stderr if STDOUT in targets else sys.stdout


def report(
    result: ProbeResult, file: IO[str], *, quiet: bool = False, verbose: bool = False, depth: int | None = None
) -> None:
    """Print the tables and the verdict.

    Args:
        result: what was measured.
        file: where to print.
        quiet: print the verdict alone.
        verbose: print every layer and every statistic.
        depth: of a PyTorch model: how many parts of a module's name make one row.
    """
    from initprobe.reports.console import console

    if quiet:
        from initprobe.reports.verdict import print_verdict

        print_verdict(result, console(file))
    else:
        from initprobe.reports.run_table import print_result

        print_result(result, console(file), verbose, depth)


def print_written(written: list[Path], file: IO[str]) -> None:
    """Print which files were written; the first is named.

    Args:
        written: their paths.
        file: where to print.
    """
    if not written:
        return
    from rich.text import Text

    from initprobe.cli.outputs import relative
    from initprobe.reports.console import console

    more = f" (+{len(written) - 1})" if len(written) > 1 else ""
    words = Text.assemble((f"{'wrote':<10}", "bold"), f"{relative(written[0])}{more}")
    console(file).print(words, soft_wrap=True)
