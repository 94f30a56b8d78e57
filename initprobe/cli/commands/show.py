"""`initprobe show`: print and redraw a saved result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult


@click.command("show")
@click.argument("file", metavar="RESULT.json")
@click.option("-o", "--out", metavar="DIR", help="Redraw the figures into DIR.")
@click.option("--format", "formats", default="png", show_default=True, metavar="png,svg,pdf", help="Figure formats.")
@click.option("--export-csv", metavar="FILE|-", help="A row a layer, as CSV.")
@click.option("-v", "--verbose", is_flag=True, help="Print every statistic of every tensor.")
def command(file: str, out: str | None, formats: str, export_csv: str | None, verbose: bool) -> None:
    """Print a saved result again and redraw its figures.

    \b
    Examples:
      initprobe show initprobe-out/xavier-tanh-10x500/result.json
      initprobe show result.json -o figures --format svg,pdf
    """
    from initprobe.cli import outputs
    from initprobe.cli.run_output import report
    from initprobe.reports.csv import to_csv

    wanted = outputs.parse_formats(formats)
    directory = Path(out) if out else None
    outputs.check_exports([export_csv], directory)
    result = _read(Path(file))
    written = outputs.save_result(result, directory, wanted) if directory else []
    if export_csv:
        outputs.write_text(export_csv, to_csv(result))
    report(result, written, verbose, sys.stderr if export_csv == outputs.STDOUT else sys.stdout)


def _read(path: Path) -> ProbeResult:
    from initprobe.data.files import read_json
    from initprobe.results.run import ProbeResult

    return ProbeResult.from_json(read_json(path), str(path))
