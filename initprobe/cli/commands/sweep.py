"""Run the experiments of a sweep file, in parallel.

CONFIG is a YAML file, or the name of a config that `initprobe list configs` shows. Finished runs are kept in sweep.db.
After a crash or Ctrl-C, the same command continues; it also does the runs that are new in the file. Runs that are
damaged in the store are repeated. Exits with 3 if a run failed; the other runs continue.

\b
Examples:
  initprobe sweep article_figures
  initprobe sweep mine.yaml --dry-run
  initprobe sweep mine.yaml --set layers=20 --where act=tanh -j 4
  initprobe sweep mine.yaml --shard 3/16 -o part3
  initprobe sweep mine.yaml --sort -output.variance --export-csv results.csv
"""

from __future__ import annotations

from dataclasses import dataclass

from initprobe.cli.parameters import command_of, group, option
from initprobe.cli.sweep_output import TableExports, TableOptions
from initprobe.cli.sweep_run import SweepOptions, finish, print_plan, run_plan, table_output


@dataclass(frozen=True, kw_only=True)
class SweepCommandOptions:
    """The options of `initprobe sweep`."""

    sweep: SweepOptions = group(SweepOptions)
    table: TableOptions = group(TableOptions)
    exports: TableExports = group(TableExports)
    dry_run: bool = option("--dry-run", is_flag=True, help="List the runs and their costs; run nothing.")


@command_of(SweepCommandOptions, help=__doc__)
def command(options: SweepCommandOptions) -> None:
    """Execute the runs of a file, or print what would be run.

    Args:
        options: of the command line.

    Raises:
        ConfigError: a wrong file or option.
        RunsFailed: runs failed.
    """
    if options.dry_run:
        if any(options.exports.targets()):
            from initprobe.errors import ConfigError

            raise ConfigError(
                "runs nothing, so there is nothing to export; drop --dry-run or the exports", field="--dry-run"
            )
        print_plan(options.sweep)
        return
    plan = options.sweep.plan()
    output = table_output(plan, options.sweep, options.table, options.exports)
    outcome, failures = run_plan(plan, options.sweep, output)
    finish(outcome, failures)
