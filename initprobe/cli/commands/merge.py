"""Merge the stores of a job array into one.

STORE is a sweep.db or its directory.

A finished run replaces an unfinished one. Where two stores hold results of the same run, the first is kept. If they
differ, as between versions or processor types, a line says so. Runs that are damaged in a store are left out.

\b
Examples:
  initprobe merge part1 part2 part3 -o whole/sweep.db
  initprobe merge part*/sweep.db -o whole/sweep.db && initprobe results whole
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initprobe.cli.candidates import files
from initprobe.cli.parameters import argument, command_of, option
from initprobe.cli.sweep_output import report_damage
from initprobe.data.files import STORE_FILE
from initprobe.formatting import counted, visible

if TYPE_CHECKING:
    from initprobe.sweeps.store import Merged


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """The options of `initprobe merge`."""

    stores: tuple[str, ...] = argument(metavar="STORE...", nargs=-1, required=True, shell_complete=files)
    out: str = option(
        "-o", "--out", metavar="STORE", required=True, help="The store to merge into; made if it does not exist."
    )


@command_of(MergeOptions, help=__doc__)
def command(options: MergeOptions) -> None:
    """Merge stores into one."""
    from initprobe.cli.outputs import check_writable, relative
    from initprobe.sweeps.store import open_store, read_store

    target = _path(options.out)
    for source in options.stores:
        with read_store(_path(source)) as store:
            for _ in store.rows():
                pass  # what cannot be read is refused before anything is written
    check_writable(target.parent, directory=True)
    damage: list[str] = []
    with open_store(target) as merged:
        for source in options.stores:
            with read_store(_path(source)) as store:
                click.echo(f"{visible(source)}: {_summary(merged.absorb(store))}", err=True)
                damage += store.damage.values()
        states = Counter(row.state for row in merged.rows())
        damage += merged.damage.values()
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    click.echo(f"{relative(merged.path)}: {counted(states.total(), 'run')}: {counts or 'nothing'}")
    report_damage(damage)


def _path(text: str) -> Path:
    from initprobe.data.files import is_directory

    path = Path(text)
    return path / STORE_FILE if is_directory(path) else path


def _summary(merged: Merged) -> str:
    taken = f"{counted(merged.taken, 'run')} taken"
    present = f", {merged.kept:,} already there" if merged.kept else ""
    return taken + present + (f", {merged.differing:,} of them with other numbers" if merged.differing else "")
