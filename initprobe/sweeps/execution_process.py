"""A worker's process, which does not run the user's script again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any


class WorkerProcess(SpawnProcess):
    """A process that is sent no script to import: without a guard, the script would start the sweep once more."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _hidden_script():
            return SpawnProcess._Popen(process_obj)


class WorkerContext(SpawnContext):
    """How workers start. Forked ones would inherit the locks of our threads and of BLAS's threads."""

    Process = WorkerProcess


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Hide which script runs, while a process is started."""
    main: dict[str, Any] = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        main.update(hidden)
