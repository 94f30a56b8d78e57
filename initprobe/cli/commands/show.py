"""Print a saved result again and redraw its figures.

The JSON of `initprobe width --export-json` is printed and drawn, too.

\b
Examples:
  initprobe show initprobe-out/xavier-tanh-10x500
  initprobe show result.json -o figures --format svg,pdf
  initprobe show result.json --quiet
  initprobe show width.json
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initprobe.cli.candidates import files
from initprobe.cli.html_report import report_option
from initprobe.cli.outputs import format_option
from initprobe.cli.parameters import argument, command_of, option
from initprobe.data.files import RESULT_FILE, STORE_FILE

if TYPE_CHECKING:
    from initprobe.results.coordinate_check import CoordinateCheck
    from initprobe.results.run import ProbeResult


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """The options of `initprobe show`."""

    file: str = argument(metavar="RESULT.json|DIR", shell_complete=files)
    out: str | None = option("-o", "--out", metavar="DIR", help="Redraw the figures into DIR.")
    formats: str = format_option()
    export_csv: str | None = option("--export-csv", metavar="FILE|-", help="Write the layers as CSV, one row each.")
    report: str | None = report_option()
    verbose: bool = option("-v", "--verbose", is_flag=True, help="Print every layer and every statistic.")
    quiet: bool = option("-q", "--quiet", is_flag=True, help="Print only the verdict.")


@command_of(ShowOptions, help=__doc__)
def command(options: ShowOptions) -> None:
    """Print, draw or export a result that was written before."""
    from initprobe.cli import outputs
    from initprobe.cli.html_report import run_command, typed, write_run_report
    from initprobe.cli.run_output import print_written, report, text_stream
    from initprobe.reports.csv import to_csv
    from initprobe.reports.figures.drawer import pictures
    from initprobe.results.run import ProbeResult

    formats = outputs.parse_formats(options.formats)
    directory = Path(options.out) if options.out else None
    outputs.check_exports([options.export_csv, options.report], directory)
    result = _read(Path(options.file))
    if not isinstance(result, ProbeResult):
        _show_width(result, options, formats)
        return
    written = outputs.save_result(result, directory, pictures(result, formats)) if directory else []
    if options.export_csv:
        outputs.write_text(options.export_csv, to_csv(result))
    write_run_report(options.report, result, run_command(result.config) or typed())
    stream = text_stream(options.export_csv, options.report)
    report(result, stream, quiet=options.quiet, verbose=options.verbose)
    if not options.quiet:
        print_written(written, stream)


def _show_width(check: CoordinateCheck, options: ShowOptions, formats: Sequence[str]) -> None:
    """Print and draw a coordinate check.

    Raises:
        ConfigError: a table of layers, which it has not.
    """
    from initprobe.cli import outputs
    from initprobe.cli.html_report import typed
    from initprobe.cli.run_output import text_stream
    from initprobe.errors import ConfigError
    from initprobe.reports.console import console
    from initprobe.reports.html_width import width_page
    from initprobe.reports.width_table import print_width, print_width_verdict

    if options.export_csv:
        raise ConfigError("is for the result of one network; this file is from `initprobe width`", field="--export-csv")
    if options.report:
        outputs.write_page(options.report, width_page(check, typed()))
    for fmt in formats if options.out else ():
        outputs.write_figure(str(Path(options.out or "") / f"width.{fmt}"), fmt, check.figure())
    to = console(text_stream(options.report))
    if options.quiet:
        print_width_verdict(check, to)
    else:
        print_width(check, to, options.verbose)


def _read(path: Path) -> ProbeResult | CoordinateCheck:
    """The result in a file, or in the result.json of a directory; or a coordinate check.

    Raises:
        InputError: there is none, or it is not such a result.
    """
    from initprobe.data.files import is_directory, is_file, read_json
    from initprobe.errors import InputError
    from initprobe.results.coordinate_check import CoordinateCheck, is_coordinate_check
    from initprobe.results.run import ProbeResult

    if is_directory(path):
        if not is_file(path / RESULT_FILE) and is_file(path / STORE_FILE):
            raise InputError(f"holds the {STORE_FILE} of a sweep; `initprobe results` shows it", file=path)
        path = path / RESULT_FILE
    text = read_json(path)
    values = _parsed(text)
    if isinstance(values, list):
        raise InputError("holds a list; `show` reads the JSON of `run`, `torch` and `width`", file=path)
    kind = CoordinateCheck if is_coordinate_check(values) else ProbeResult
    return kind.from_json(text, str(path))


def _parsed(text: str | bytes) -> object:
    """The value of JSON text; None for other text, whose fault is found later."""
    import json

    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None
