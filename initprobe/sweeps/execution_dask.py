"""Runs on a Dask cluster, through the `concurrent.futures` executor of Dask's client."""

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
# Workers come and go; they are counted this often.
_COUNT_EVERY_S = 2.0


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def dask_workers(address: str, say: Callable[[str], None] = _to_stderr) -> Workers:
    """The workers of a Dask cluster; each of their threads executes one run at a time. Waits for the first worker.

    When a worker dies, Dask's scheduler gives its runs to another worker.

    Args:
        address: of the scheduler, as in `tcp://10.0.0.1:8786`.
        say: called with each line that the user should read, as `waiting for the first`.

    Returns:
        The workers; one thread per run.

    Raises:
        ConfigError: Dask is not installed here, no scheduler answers, or a worker has another version of initprobe.
    """
    try:
        from distributed import KilledWorker
    except ImportError:
        raise ConfigError("needs Dask: pip install 'initprobe[dask]'", field="--scheduler") from None

    _silence_dask()
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
        connection = connect(address, timeout=_CONNECT_WITHIN_S, **keys)
        # Without a limit Dask waits forever for the first bytes of another program that listens there.
        (await asyncio.wait_for(connection, 2 * _CONNECT_WITHIN_S)).abort()

    try:
        asyncio.run(knock())  # a client without a scheduler takes long to close, and prints complaints
        return Client(address, timeout=_CONNECT_WITHIN_S, set_as_default=False)
    except Exception as error:  # of any type: the answer of a web server is read as Dask's
        cause = str(error) if isinstance(error, OSError | ValueError) else ""
        cause = cause or "no Dask scheduler answers there"
        raise ConfigError(f"{cause}; is {address} what `dask scheduler` printed?", field="--scheduler") from None


def _check_versions(client: Client, address: str) -> None:
    from importlib.metadata import version

    own = release()
    if own == UNKNOWN:
        raise ConfigError("initprobe is not installed here, so its version is unknown; install it", field="--scheduler")
    versions = client.run(version, "initprobe", on_error="return")
    for worker, theirs in versions.items():
        if isinstance(theirs, Exception):
            raise ConfigError(f"worker {worker} has no initprobe; install {own} there", field="--scheduler")
        if theirs != own:
            raise ConfigError(f"worker {worker} has initprobe {theirs}, here it is {own}", field="--scheduler")


def _silence_dask() -> None:
    """Dask logs pages about a lost connection; initprobe reports it in one line."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _release() -> tuple[str, int]:
    """The version of initprobe here, and the revision of its results."""
    return release(), REVISION


def _guard(version: str, revision: int) -> Callable[..., Any]:
    """A function that calls another by its name on a worker, if the worker has this version of initprobe.

    Where the worker has another version, it returns the refusal, the worker's address and that version. A nested
    function is sent as code: a worker need not have initprobe to execute it.
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
    """A cluster, the client of the current executor, and the workers that were refused."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self.address, self._say = address, say
        self.version, self.revision = _release()
        self.refused: dict[str, str] = {}
        self._client: Client | None = None
        self._threads, self._counted = 1, -_COUNT_EVERY_S

    def executor(self) -> Executor:
        """An executor with a client of its own."""
        self._client = _connected(self.address)
        return _DaskExecutor(self._client, self)

    def threads(self) -> int:
        """Threads of all workers that are used, at least 1, counted at most `_COUNT_EVERY_S` ago."""
        now = time.monotonic()
        if self._client is not None and self._client.status == "running" and now - self._counted > _COUNT_EVERY_S:
            with suppress(OSError):  # the scheduler has just gone
                self._threads, self._counted = max(sum(self.used(self._client).values()), 1), now
        return self._threads

    def used(self, client: Client) -> dict[str, int]:
        """Threads by worker, without the refused workers."""
        return {worker: count for worker, count in client.nthreads().items() if worker not in self.refused}

    def refuse(self, worker: str, theirs: str) -> str:
        """Stop using a worker, and report it once; returns the line."""
        line = f"--scheduler {self.address}: worker {worker} has initprobe {theirs}, here it is {self.version}"
        if worker not in self.refused:
            self.refused[worker] = theirs
            self._say(f"{line}: it gets no runs")
        return line


class _DaskExecutor(Executor):
    """Dask's executor. It also closes its client, reports a lost scheduler, and avoids workers of other versions."""

    def __init__(self, client: Client, cluster: _Cluster) -> None:
        # With `pure`, Dask would answer a call with the earlier result of the same call.
        self._client, self._inner, self._cluster = client, client.get_executor(pure=False), cluster
        self._guarded = _guard(cluster.version, cluster.revision)
        self._refusal = secrets.token_hex(16)  # no result can be mistaken for it

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Submit a call, with positional arguments only: Dask would take keyword arguments as its own."""
        if kwargs:
            raise TypeError(f"give {', '.join(kwargs)} by position")
        if self._client.status != "running":
            address = self._cluster.address
            raise ConfigError(
                f"the connection to {address} is lost; the same command continues where this one ended",
                field="--scheduler",
            )
        promise: Future[Any] = Future()
        self._send(promise, (fn.__module__, fn.__qualname__, *args))
        return promise

    def _send(self, promise: Future[Any], call: tuple[Any, ...]) -> None:
        """Send a call to the cluster, and away from refused workers where there are others."""
        allowed = list(self._cluster.used(self._client)) if self._cluster.refused else []
        where: dict[str, Any] = {"workers": allowed, "allow_other_workers": True} if allowed else {}
        remote: Future[Any] = self._inner.submit(self._guarded, self._refusal, *call, **where)
        remote.add_done_callback(lambda done: self._receive(promise, call, done))

    def _receive(self, promise: Future[Any], call: tuple[Any, ...], done: Future[Any]) -> None:
        """Pass on an answer. Called in the thread of Dask's event loop, which must not wait."""
        if done.cancelled():
            _cancel(promise)
        elif (error := done.exception()) is not None:
            promise.set_exception(error)
        elif isinstance(answer := done.result(), tuple) and answer[:1] == (self._refusal,):
            threading.Thread(target=self._retry, args=(promise, call, *answer[1:]), daemon=True).start()
        else:
            promise.set_result(answer)

    def _retry(self, promise: Future[Any], call: tuple[Any, ...], worker: str, theirs: str) -> None:
        """Send a call that a worker of another version refused to another worker, if there is one."""
        line = self._cluster.refuse(worker, theirs)
        try:
            if not self._cluster.used(self._client):
                promise.set_exception(ConfigError(line))
            else:
                self._send(promise, call)
        except Exception:  # the client was closed in the meantime
            _cancel(promise)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._client.status == "running":
            self._inner.shutdown(wait=wait)
        self._client.close()


def _cancel(promise: Future[Any]) -> None:
    if promise.cancel():
        promise.set_running_or_notify_cancel()  # or the threads that wait for it would not wake up
