"""`initprobe run`: measure one experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from initprobe.cli.gate import Gate, check_verdict

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult


DEFAULT_OUT = "initprobe-out"


def tell(result: ProbeResult, written: list[Path], options: dict[str, Any], gate: Gate) -> None:
    """Export and print a result as the options ask; fail if a finding has the severity that they fail on."""
    from initprobe.cli import outputs

    exports = [options[name] for name in ("export_json", "export_csv", "junit")]
    if options["export_json"]:
        outputs.write_text(options["export_json"], result.to_json() + "\n")
    if options["export_csv"]:
        from initprobe.reports.csv import to_csv

        outputs.write_text(options["export_csv"], to_csv(result))
    table_to = sys.stderr if "-" in exports else sys.stdout
    if options["quiet"]:
        from initprobe.reports.console import console
        from initprobe.reports.verdict import print_verdict

        print_verdict(result, console(table_to))
    else:
        report(result, written, options["verbose"], table_to, options.get("depth"))
    check_verdict(result, gate, options)


def report(result: ProbeResult, written: list[Path], verbose: bool, file: IO[str], depth: int | None = None) -> None:
    """Print the tables, and which files there are now."""
    from rich.text import Text

    from initprobe.cli.outputs import relative
    from initprobe.reports.console import console
    from initprobe.reports.run_table import print_result

    to = console(file)
    print_result(result, to, verbose, depth)
    if written:
        more = f" (+{len(written) - 1})" if len(written) > 1 else ""
        to.print(Text.assemble((f"{'wrote':<10}", "bold"), f"{relative(written[0])}{more}"), soft_wrap=True)
