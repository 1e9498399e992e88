"""How many descriptors a client uses at once: a low limit of the process makes it slower only."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from diffio_async._storage.loops import running_loop
from diffio_async._storage.system_errors import descriptor_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.options import ClientOptions

#: Descriptors that the rest of the process has open: its streams, its loop, a journal, modules.
_RESERVED = 24
#: A client has connections to three hosts, and to one of them a second set; a transfer has two
#: files; what else runs in the process (a sandbox, the user's program) needs some, too.
_SHARES = 10
_LEAST = 2

_transfers: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _share() -> int | None:
    limit = descriptor_limit()
    return None if limit is None else max(_LEAST, (limit - _RESERVED) // _SHARES)


def connections_per_host(options: ClientOptions) -> int:
    """Connections to one host at most: what the options say, as far as descriptors allow it."""
    share = _share()
    return (
        options.max_connections_per_host
        if share is None
        else min(options.max_connections_per_host, share)
    )


@contextlib.asynccontextmanager
async def files_of_one_transfer() -> AsyncIterator[None]:
    """Wait until one more transfer of the running loop may open its files; for the body."""
    share = _share()
    if share is None:
        yield
        return
    loop = running_loop()
    limiter = _transfers.get(loop)
    if limiter is None:
        limiter = _transfers[loop] = asyncio.Semaphore(share)
    async with limiter:
        yield
