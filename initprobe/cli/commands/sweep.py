"""`initprobe sweep`: the experiments of a file, in parallel, kept in one database."""

from __future__ import annotations

from typing import Any

import click

from initprobe.cli.sweep_output import table_options
from initprobe.cli.sweep_run import finish, rehearse, run_plan, sweep_options


@click.command("sweep")
@sweep_options
@table_options
@click.option("--dry-run", is_flag=True, help="List the runs and what they would cost.")
def command(dry_run: bool, **options: Any) -> None:
    """Run the experiments of CONFIG, in parallel.

    CONFIG is a YAML file or the name of a config that ships. What is done is kept: start the same command again to go
    on after a crash or Ctrl-C, or to run what is new in the file; a run at which the store is damaged is run again.
    Exits with 3 if a run failed; the others go on.

    \b
    Examples:
      initprobe sweep article_figures
      initprobe sweep mine.yaml --dry-run
      initprobe sweep mine.yaml --set layers=20 --where act=tanh -j 4
      initprobe sweep mine.yaml --shard 3/16 -o part3
      initprobe sweep mine.yaml --sort -output.variance --export-csv results.csv
    """
    from initprobe.sweeps.plan import load

    if dry_run:
        rehearse(options)
        return
    plan = load(options["config"], options["overrides"], options["where"])
    outcome, failed = run_plan(plan, options)
    finish(outcome, failed)
