"""`sweep`: a sweep file from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from initprobe.data.files import DEFAULT_OUT, STORE_FILE, require_path
from initprobe.errors import ConfigError
from initprobe.sweeps.execution_pool import local_workers
from initprobe.sweeps.execution_runner import Event, execute
from initprobe.sweeps.plan import load as load_plan
from initprobe.sweeps.store import open_store
from initprobe.sweeps.swept import Sweep


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
    require_path("config", config)
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
