"""Connection to the scheduler of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import dask.config as dask_config
from distributed import Client

from diffio_async._reporting import log
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from distributed import Security

#: Seconds to wait for the scheduler.
_CONNECT_SECONDS = 15
#: Seconds between requests that show that the scheduler responds, and seconds without a response
#: after which it is given up.
_WATCH_SECONDS, _SILENT_SECONDS = 10, 60
#: Messages that the client keeps: some megabytes by default, with 1,000.
_CLIENT_CONFIG = {"distributed.admin.low-level-log-length": 20}
_ADDRESS = re.compile(r"(inproc://.+|(tcp|tls|wss?|ucx)://(\[[0-9a-fA-F:.%]+\]|[\w.-]+)(:\d+)?)")
_START = (
    "Start it with `dask scheduler`, or correct the address; one that has certificates is reached "
    "by tls://"
)
_TLS_SETTINGS = (
    "DaskExecutor(…, security=Security(…)), or distributed.comm.tls in Dask's configuration"
)
_CHECK_TLS = f"Check that it runs, and that the certificates are of one authority: {_TLS_SETTINGS}"


@contextlib.asynccontextmanager
async def connected(
    cluster: object, security: Security | None, *, allow_insecure: bool
) -> AsyncIterator[Client]:
    """Connect a client of its own to a cluster, on the running event loop.

    The client is closed after the body, and when its scheduler does not respond any longer: its
    orders are lost then.

    Raises:
        ConfigurationError: It is not a cluster, cannot be reached, or is not secure.
    """
    client = await connect(cluster, security, allow_insecure=allow_insecure)
    watch = asyncio.create_task(_watch(client))
    try:
        yield client
    finally:
        watch.cancel()
        await _close(client)


async def _watch(client: Client) -> None:
    """Close the client of a scheduler that does not respond: it was stopped, or cut off."""
    loop = asyncio.get_running_loop()
    responded_at = loop.time()
    while loop.time() - responded_at < _SILENT_SECONDS:
        await asyncio.sleep(_WATCH_SECONDS)
        if client.scheduler is None:
            return  # it has closed itself, as the scheduler has died
        with contextlib.suppress(OSError):  # also a timeout
            async with asyncio.timeout(_SILENT_SECONDS):
                await cast("Any", client.scheduler).identity(n_workers=0)
            responded_at = loop.time()
    log.warning("the scheduler of the cluster has not responded for %d seconds", _SILENT_SECONDS)
    await _close(client)


async def _close(client: Client) -> None:
    with contextlib.suppress(OSError):
        await cast("Any", client.close())  # it is a coroutine on this loop


async def connect(cluster: object, security: Security | None, *, allow_insecure: bool) -> Client:
    """Return a client of its own for a cluster, on the running event loop.

    Raises:
        ConfigurationError: It is not a cluster, cannot be reached, or is not secure.
    """
    if isinstance(cluster, Client):
        scheduler = cluster.scheduler
        address, security = getattr(scheduler, "address", None), security or cluster.security
    elif isinstance(cluster, str):
        address = cluster
    else:
        address = getattr(cluster, "scheduler_address", None)
        security = security or getattr(cluster, "security", None)
    if not isinstance(address, str) or not urlsplit(address).hostname:
        raise ConfigurationError(
            "the cluster must be the address of a scheduler, such as tcp://127.0.0.1:8786, or a "
            "cluster object or a distributed.Client that was started and not closed, not "
            f"{cluster!r}"
        )
    check_address(address, allow_insecure=allow_insecure)
    try:
        client = Client(
            address,
            security=security,
            asynchronous=True,
            set_as_default=False,
            timeout=_CONNECT_SECONDS,
            name="diffio_async",
        )
    except OSError as failure:
        raise ConfigurationError(
            f"the certificates for the scheduler {address} cannot be read: {first_line(failure)}. "
            f"Check the paths of the files: {_TLS_SETTINGS}"
        ) from failure
    try:
        # The client's own limit does not cover all of its requests.
        with dask_config.set(_CLIENT_CONFIG):
            async with asyncio.timeout(2 * _CONNECT_SECONDS):
                await client
    except BaseException as failure:
        await _close(client)
        if not isinstance(failure, (OSError, ValueError, TypeError)):
            raise
        raise ConfigurationError(
            f"the scheduler {address} cannot be reached: {first_line(failure).rstrip('.')}. "
            + (_CHECK_TLS if address.startswith("tls:") else _START)
        ) from failure
    return client


def check_address(address: str, *, allow_insecure: bool = False) -> None:
    """Check the address of a scheduler; nothing is sent.

    Raises:
        ConfigurationError: It is not an address, or not secure.
    """
    if not _ADDRESS.fullmatch(address):
        raise ConfigurationError(
            f"{address!r} is not the address of a scheduler: write tls://HOST:PORT, or "
            "tcp://127.0.0.1:PORT for one on this machine"
        )
    if not (allow_insecure or _is_safe(address)):
        raise ConfigurationError(
            f"the scheduler {address} is on another machine and does not use TLS: any program that "
            "reaches its port can run code on the cluster. Use tls:// with certificates, or in a "
            "program accept it with DaskExecutor(…, allow_insecure=True)"
        )


def _is_safe(address: str) -> bool:
    """Whether only this machine can reach an address, or its connections are encrypted."""
    parts = urlsplit(address)
    if parts.scheme in {"tls", "wss", "inproc"} or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def first_line(failure: BaseException) -> str:
    """Return the first line of the message of an error."""
    name = "no response" if isinstance(failure, TimeoutError) else type(failure).__name__
    return (str(failure) or name).splitlines()[0]
