"""Runs on a Dask cluster, through the executor that Dask's client has for `concurrent.futures`."""

from __future__ import annotations

import logging
import secrets
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from initprobe.errors import ConfigError
from initprobe.results.release import UNKNOWN, release
from initprobe.sweeps.execution_pool import Workers
from initprobe.sweeps.runs import REVISION

if TYPE_CHECKING:
    from distributed import Client


Result = TypeVar("Result")

_CONNECT_WITHIN_S = 5
_ENCRYPTED = ("tls://", "wss://")
_TLS_HELP = "https://distributed.dask.org/en/stable/tls.html"
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
    if not address.lower().startswith(_ENCRYPTED):
        say(f"{address}: no TLS, so anyone who reaches this cluster can run code on it and here; {_TLS_HELP}")
    try:
        if not client.nthreads():
            say(f"{address}: no workers yet; waiting for the first")
            client.wait_for_workers(1)
        _check_versions(client, address)
    finally:
        client.close()
    cluster = _Cluster(address, say)
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

    own = release()
    if own == UNKNOWN:
        raise ConfigError(
            f"--scheduler {address}: initprobe is not installed here, so its version is unknown; install it"
        )
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


def _release() -> tuple[str, int]:
    """The version of initprobe here, and the revision of its results."""
    return release(), REVISION


def _guard(version: str, revision: int) -> Callable[..., Any]:
    """What calls a function by its name on a worker, if that has this very initprobe, or else says what it has.

    A function inside of a function travels by value: a worker need not know it, and may have no initprobe at all.
    """

    def guarded(refusal: str, module: str, name: str, *args: Any) -> Any:
        from importlib import import_module
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as version_of

        from distributed import get_worker

        try:
            theirs = version_of("initprobe")
        except PackageNotFoundError:
            theirs = "not installed"
        if theirs == version:
            number = getattr(import_module("initprobe.sweeps.runs"), "REVISION", 0)
            theirs = version if number == revision else f"{version} with results of revision {number}, not {revision}"
        if theirs != version:
            return refusal, get_worker().address, theirs
        return getattr(import_module(module), name)(*args)

    return guarded


class _Cluster:
    """A cluster, the client of the executor that is in use, and the workers that are not."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self.address, self._say = address, say
        self.version, self.revision = _release()
        self.refused: dict[str, str] = {}
        self._client: Client | None = None
        self._threads, self._counted = 1, -_COUNT_EVERY_S

    def executor(self) -> Executor:
        """An executor with a client of its own."""
        self._client = _connected(self.address)
        return _Remote(self._client, self)

    def threads(self) -> int:
        """Threads of all workers that are used, at least 1, as of a moment ago."""
        now = time.monotonic()
        if self._client is not None and self._client.status == "running" and now - self._counted > _COUNT_EVERY_S:
            with suppress(OSError):  # the scheduler has gone this very moment
                self._threads, self._counted = max(sum(self.used(self._client).values()), 1), now
        return self._threads

    def used(self, client: Client) -> dict[str, int]:
        """Threads by worker, without those that were refused."""
        return {worker: count for worker, count in client.nthreads().items() if worker not in self.refused}

    def refuse(self, worker: str, theirs: str) -> str:
        """Use a worker no longer, and say so once; the line."""
        line = f"--scheduler {self.address}: worker {worker} has initprobe {theirs}, here it is {self.version}"
        if worker not in self.refused:
            self.refused[worker] = theirs
            self._say(f"{line}: it gets no runs")
        return line


class _Remote(Executor):
    """Dask's executor, which closes its client, says when the scheduler has gone, and passes over other versions."""

    def __init__(self, client: Client, cluster: _Cluster) -> None:
        # Dask would give what a function returned before to who asks again with the same arguments.
        self._client, self._inner, self._cluster = client, client.get_executor(pure=False), cluster
        self._guarded = _guard(cluster.version, cluster.revision)
        self._refusal = secrets.token_hex(16)  # so that no result is taken for one

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Only positional arguments: Dask takes those by name for its own."""
        if kwargs:
            raise TypeError(f"give {', '.join(kwargs)} by position")
        if self._client.status != "running":
            address = self._cluster.address
            raise ConfigError(f"--scheduler {address}: it is gone; the same command goes on where this one ended")
        promise: Future[Any] = Future()
        self._send(promise, (fn.__module__, fn.__qualname__, *args))
        return promise

    def _send(self, promise: Future[Any], call: tuple[Any, ...]) -> None:
        """Hand a call to the cluster, away from workers that were refused, where there are others."""
        used = {"workers": list(self._cluster.used(self._client))} if self._cluster.refused else {}
        where: dict[str, Any] = used | {"allow_other_workers": True} if used.get("workers") else {}
        sent: Future[Any] = self._inner.submit(self._guarded, self._refusal, *call, **where)
        sent.add_done_callback(lambda done: self._receive(promise, call, done))

    def _receive(self, promise: Future[Any], call: tuple[Any, ...], done: Future[Any]) -> None:
        """What came back, in the thread of Dask's own loop, which must not wait."""
        if done.cancelled():
            _cancel(promise)
        elif (error := done.exception()) is not None:
            promise.set_exception(error)
        elif isinstance(found := done.result(), tuple) and found[:1] == (self._refusal,):
            threading.Thread(target=self._retry, args=(promise, call, *found[1:]), daemon=True).start()
        else:
            promise.set_result(found)

    def _retry(self, promise: Future[Any], call: tuple[Any, ...], worker: str, theirs: str) -> None:
        """Give what a worker of another version refused to another worker, if there is one."""
        line = self._cluster.refuse(worker, theirs)
        try:
            if not self._cluster.used(self._client):
                promise.set_exception(ConfigError(line))
            else:
                self._send(promise, call)
        except Exception:  # the client was closed meanwhile
            _cancel(promise)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._client.status == "running":
            self._inner.shutdown(wait=wait)
        self._client.close()


def _cancel(promise: Future[Any]) -> None:
    if promise.cancel():
        promise.set_running_or_notify_cancel()  # or those who wait for it would not wake up
