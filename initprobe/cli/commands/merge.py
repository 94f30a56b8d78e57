"""`initprobe merge`: the stores of a job array in one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initprobe.cli.sweep_output import tell_damage
from initprobe.cli.sweep_run import STORE_FILE
from initprobe.formatting import counted, visible

if TYPE_CHECKING:
    from initprobe.sweeps.store.store import Merged


@click.command("merge")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("-o", "--out", metavar="STORE", required=True, help="The store to merge into; made if need be.")
def command(stores: tuple[str, ...], out: str) -> None:
    """Take what several STOREs hold into one.

    A STORE is a sweep.db or the directory it lies in.

    A run that is done beats one that is not. Where two stores hold results of one run, the first stays; if they differ,
    as they may between versions and processor types, that is said. Runs at which a store is damaged are left out.

    \b
    Examples:
      initprobe merge part1 part2 part3 -o whole/sweep.db
      initprobe merge part*/sweep.db -o whole/sweep.db && initprobe results whole
    """
    from initprobe.cli.outputs import check_writable, relative
    from initprobe.sweeps.store.store import open_store, read_store

    for source in stores:
        with read_store(_path(source)) as store:
            for _ in store.rows():
                pass  # what cannot be read is refused before anything is written
    check_writable(_path(out).parent, directory=True)
    damage: list[str] = []
    with open_store(_path(out)) as target:
        for source in stores:
            with read_store(_path(source)) as store:
                click.echo(f"{visible(source)}: {_words(target.absorb(store))}", err=True)
                damage += store.damage.values()
        states = Counter(row.state for row in target.rows())
        damage += target.damage.values()
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    click.echo(f"{relative(target.path)}: {counted(states.total(), 'run')}: {counts or 'nothing'}")
    tell_damage(damage)


def _path(text: str) -> Path:
    from initprobe.data.files import is_directory

    path = Path(text)
    return path / STORE_FILE if is_directory(path) else path


def _words(merged: Merged) -> str:
    taken = f"{counted(merged.taken, 'run')} taken"
    known = f", {merged.kept:,} there already" if merged.kept else ""
    return taken + known + (f", {merged.differing:,} of them with other numbers" if merged.differing else "")
