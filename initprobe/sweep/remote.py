"""Runs on a Dask cluster, through the executor that Dask's client has for `concurrent.futures`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from initprobe.errors import ConfigError
from initprobe.sweep.pool import Workers

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")

_CONNECT_WITHIN_S = 5
# Workers come and go; this is how often we ask for them.
_COUNT_EVERY_S = 2.0


def _to_stderr(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def dask_workers(address: str, say: Callable[[str], None] = _to_stderr) -> Workers:
    """The workers of a Dask cluster, one run a thread of theirs at a time. Waits for the first of them.

    A worker that dies is made good for by the scheduler, which gives its runs to another.

    Args:
        address: of the scheduler, as in `tcp://10.0.0.1:8786`.
        say: told what we wait for.

    Raises:
        ConfigError: Dask is not installed here, no scheduler answers, or a worker has another version of initprobe.
    """
    try:
        from distributed import KilledWorker
    except ImportError:
        raise ConfigError("--scheduler needs Dask: pip install 'initprobe[dask]'") from None

    _hush()
    client = _connected(address)
    try:
        if not client.nthreads():
            say(f"{address}: no workers yet; waiting for the first")
            client.wait_for_workers(1)
        _check_versions(client, address)
    finally:
        client.close()
    cluster = _Cluster(address)
    return Workers(cluster.executor, cluster.threads, 1, (BrokenExecutor, KilledWorker))


def _connected(address: str) -> Client:
    import asyncio

    from distributed import Client, Security
    from distributed.comm import connect

    async def knock() -> None:
        keys = Security().get_connection_args("client")
        reached = connect(address, timeout=_CONNECT_WITHIN_S, **keys)
        # Dask would wait for ever for the first word of whoever listens there.
        (await asyncio.wait_for(reached, 2 * _CONNECT_WITHIN_S)).abort()

    try:
        asyncio.run(knock())  # a client that finds nobody takes long to close, and complains
        return Client(address, timeout=_CONNECT_WITHIN_S, set_as_default=False)
    except Exception as error:  # anything, where a web server's answer is read as Dask's
        said = str(error) if isinstance(error, OSError | ValueError) else ""
        words = said or "whoever is there does not answer as a scheduler does"
        raise ConfigError(f"--scheduler {address}: {words}; is it what `dask scheduler` printed?") from None


def _check_versions(client: Client, address: str) -> None:
    from importlib.metadata import version

    own = version("initprobe")
    found = client.run(version, "initprobe", on_error="return")
    for worker, theirs in found.items():
        if isinstance(theirs, Exception):
            raise ConfigError(f"--scheduler {address}: worker {worker} has no initprobe; install {own} there")
        if theirs != own:
            raise ConfigError(f"--scheduler {address}: worker {worker} has initprobe {theirs}, here it is {own}")


def _hush() -> None:
    """What Dask has to say of a lost connection, in pages, is said by us in a line."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class _Cluster:
    """A cluster, and the client of the executor that is in use."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: Client | None = None
        self._threads, self._counted = 1, -_COUNT_EVERY_S

    def executor(self) -> Executor:
        """An executor with a client of its own."""
        self._client = _connected(self._address)
        return _Remote(self._client, self._address)

    def threads(self) -> int:
        """Threads of all workers, at least 1, as of a moment ago."""
        now = time.monotonic()
        if self._client is not None and self._client.status == "running" and now - self._counted > _COUNT_EVERY_S:
            with suppress(OSError):  # the scheduler has gone this very moment
                self._threads, self._counted = max(sum(self._client.nthreads().values()), 1), now
        return self._threads


class _Remote(Executor):
    """Dask's executor, which closes its client and says when the scheduler has gone."""

    def __init__(self, client: Client, address: str) -> None:
        # Dask would give what a function returned before to who asks again with the same arguments.
        self._client, self._inner, self._address = client, client.get_executor(pure=False), address

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        if self._client.status != "running":
            raise ConfigError(f"--scheduler {self._address}: it is gone; the same command goes on where this one ended")
        submitted: Future[Result] = self._inner.submit(fn, *args, **kwargs)
        return submitted

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._client.status == "running":
            self._inner.shutdown(wait=wait)
        self._client.close()
