"""`sweep` and `load`: a sweep file from Python, and results that were saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from initprobe.data.files import DEFAULT_OUT, RESULT_FILE, STORE_FILE, is_directory, is_file
from initprobe.errors import ConfigError, InputError
from initprobe.formatting import shown
from initprobe.results.display import FigureKind, HasFigures
from initprobe.results.run import ProbeResult
from initprobe.sweeps.execution_pool import local_workers
from initprobe.sweeps.execution_runner import Event, execute
from initprobe.sweeps.plan import Plan
from initprobe.sweeps.plan import load as load_plan
from initprobe.sweeps.runs import Scalar
from initprobe.sweeps.store import open_store, read_store
from initprobe.sweeps.store_kept_runs import kept_runs
from initprobe.sweeps.store_rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look
    from initprobe.results.display import Row as FrameRow


@dataclass(frozen=True, repr=False)
class Sweep(HasFigures):
    """The runs of a sweep, in its store.

    Attributes:
        path: the store, a `sweep.db`.
        rows: the runs, each with its axes, state, error and digest.
        plan: what the file asks for; None for a store that was loaded.
    """

    path: Path
    rows: tuple[Row, ...]
    plan: Plan | None = None

    def in_a_line(self) -> str:
        """How many runs survive, and the store."""
        from initprobe.reports.sweep_table import headline

        return f"{headline(self.rows)}; {self.path}"

    def results(self) -> Iterator[tuple[Mapping[str, Scalar], ProbeResult]]:
        """The axes and the result of each run that is done; one result is in memory at a time.

        Raises:
            DamagedRun: a result cannot be read.
        """
        with read_store(self.path) as store:
            yield from ((row.axes, store.result(row.key)) for row in self.rows if row.state == "done")

    def table(self, width: int | None = None, columns: Sequence[str] = ()) -> str:
        """The table that `initprobe sweep` prints: a row per setting, with means over seeds.

        Args:
            width: columns of the text; None for no limit.
            columns: dotted names of numbers; empty for the usual ones. `initprobe.reports.sweep_table.COLUMNS` has all.

        Raises:
            UnknownNameError: there is no such number.
        """
        from initprobe.reports.console import plain

        return plain(partial(self._print, columns=columns), width)

    def _print(self, to: Console, columns: Sequence[str] = ()) -> None:
        from initprobe.reports.sweep_table import layout, print_sweep

        axes = dict.fromkeys(name for row in self.rows for name in row.axes)
        print_sweep(self.rows, layout(axes, columns), to)

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        """Draw a figure of the file by its name, or any kind of figure of a sweep.

        Raises:
            ConfigError: the runs lack what the figure shows.
            DamagedRun: a result cannot be read.
        """
        from initprobe.sweeps.figures import SweepData, draw

        name, configs, wanted = self.path.parent.name, {}, None
        if self.plan is not None:
            name, wanted = self.plan.name, self.plan.figures
            configs = {run.key: run.config for run in self.plan.runs}
        with read_store(self.path) as store:
            return draw(SweepData(name, self.rows, lambda row: store.result(row.key), configs, wanted), kind, look)

    def _rows(self) -> Iterable[FrameRow]:
        from initprobe.reports.csv import csv_rows

        for axes, result in self.results():
            yield from ({**axes, **row} for row in csv_rows(result))


def sweep(
    config: str | Path,
    *,
    overrides: Sequence[str] = (),
    where: Sequence[str] = (),
    out: str | Path | None = None,
    jobs: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Sweep:
    """Run the experiments of a sweep file, and keep them. Runs that are already in the store are not run again.

    Args:
        config: a YAML file, or the name of a config that `initprobe list configs` shows.
        overrides: changes of values of the file, such as `layers=5`.
        where: only runs with these values, such as `act=relu`.
        out: directory of the store `sweep.db`; None for `initprobe-out/NAME`.
        jobs: runs at a time; None for one per processor.
        on_event: called when a run starts, ends or fails.

    Returns:
        The runs; a run that failed has an error instead of a result.

    Raises:
        ConfigError: the file or an option is wrong; the message has the file and the line.
        OutputError: the store cannot be written.

    Example:
        `sweep("mine.yaml", overrides=["width=20"], where=["act=relu"]).to_dataframe()`
    """
    _check_path("config", config)
    for field, texts in (("overrides", overrides), ("where", where)):
        if isinstance(texts, str):
            raise ConfigError(f"must be a list of texts, as in [{texts!r}]", field=field)
    with _named_as_arguments():
        plan = load_plan(config, overrides, where)
    path = Path(out or f"{DEFAULT_OUT}/{plan.name}") / STORE_FILE
    with open_store(path) as store:
        store.drop_damaged([run.key for run in plan.runs])
        execute(plan.runs, store, local_workers(jobs, len(plan.runs)), on_event=on_event)
        return Sweep(path, tuple(store.rows([run.key for run in plan.runs])), plan)


def load(path: str | Path) -> ProbeResult | list[ProbeResult] | Sweep:
    """Results that were saved: a result.json, the list that `compare` writes, a sweep.db, or a directory with one.

    Args:
        path: a file or a directory.

    Returns:
        One result; a list for a file with several; a `Sweep` for a store.

    Raises:
        InputError: there is no such file, or it holds no results.

    Example:
        `load("initprobe-out/xavier-tanh-10x500").healthy`
    """
    _check_path("path", path)
    file = _file(Path(path))
    if file.suffix == ".db":
        with read_store(file) as store:
            return Sweep(file, tuple(store.rows()))
    with kept_runs([file]) as runs:
        results = [run.load() for run in runs if run.state == "done"]
    return results[0] if len(results) == 1 else results


_ARGUMENTS = {"--where": "where", "--set": "overrides"}


@contextmanager
def _named_as_arguments() -> Iterator[None]:
    """Errors about an option of the command line name the argument of `sweep`, as `where act: ...`."""
    try:
        yield
    except ConfigError as error:
        place = error.file or error.field
        option, space, key = place.partition(" ")
        if option not in _ARGUMENTS:
            raise
        name = f"{_ARGUMENTS[option]}{space}{key}"
        field, file = (error.field, name) if error.file else (name, "")
        raise type(error)(error.text, field=field, file=file, line=error.line) from None


def _check_path(field: str, path: object) -> None:
    if not isinstance(path, str | Path):
        raise ConfigError(f"must be a path, not {shown(repr(path))}", field=field)


def _file(path: Path) -> Path:
    """The file itself; of a directory its store or its result."""
    if not is_directory(path):
        return path
    for name in (STORE_FILE, RESULT_FILE):
        if is_file(path / name):
            return path / name
    raise InputError(f"holds neither {STORE_FILE} nor {RESULT_FILE}", file=path)
