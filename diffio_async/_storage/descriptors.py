"""Limits that keep a client within the process's limit of file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from diffio_async._storage.system_errors import descriptor_limit
from diffio_async._storage.threads import running_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.options import ClientOptions

#: Descriptors reserved for the rest of the process: streams, event loop, journal, modules.
_RESERVED = 24
#: A client connects to three hosts, one of them with a second pool, and a transfer opens two files;
#: other code in the process (a sandbox, the user's program) needs some as well.
_DESCRIPTORS_PER_TRANSFER = 10
_MIN_TRANSFERS = 2

_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _max_transfers() -> int | None:
    limit = descriptor_limit()
    return (
        None
        if limit is None
        else max(_MIN_TRANSFERS, (limit - _RESERVED) // _DESCRIPTORS_PER_TRANSFER)
    )


def connections_per_host(options: ClientOptions) -> int:
    """Return the maximum of connections to one host, limited by available descriptors."""
    limit = _max_transfers()
    return (
        options.max_connections_per_host
        if limit is None
        else min(options.max_connections_per_host, limit)
    )


@contextlib.asynccontextmanager
async def transfer_slot() -> AsyncIterator[None]:
    """Wait until another transfer of the running loop may open files; hold the slot in the body."""
    limit = _max_transfers()
    if limit is None:
        yield
        return
    loop = running_loop()
    limiter = _limiters.get(loop)
    if limiter is None:
        limiter = _limiters[loop] = asyncio.Semaphore(limit)
    async with limiter:
        yield
