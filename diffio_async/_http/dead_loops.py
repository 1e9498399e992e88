"""Close a session whose loop was closed before it: neither aiohttp nor asyncio has a way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from diffio_async._http.sessions import SessionEntry


async def close_session_of_dead_loop(kept: SessionEntry) -> None:
    """Close its sockets and let go of the rest, without a warning when that is collected.

    Raises:
        RuntimeError: Something of it cannot be closed without the loop.
    """
    responses = list(kept.reading)
    for transport in list(_transports(kept.session.connector)):
        _abort(transport)
    # Without a loop this waits for nothing, but only marks what it closes.
    await kept.close()
    for response in responses:
        if response.connection is not None:
            response.connection.close()


def _transports(connector: aiohttp.BaseConnector | None) -> Iterator[Any]:
    # Private names, the same from aiohttp 3.8 to 3.14: where they are gone nothing is closed.
    for pool in getattr(connector, "_conns", {}).values():
        for protocol, *_ in pool:
            yield protocol.transport
    for protocol in getattr(connector, "_acquired", ()):
        yield protocol.transport


def _abort(transport: Any) -> None:
    """What asyncio's loop would do in its next turn; other loops close what is theirs."""
    while (tls := getattr(transport, "_ssl_protocol", None)) is not None:
        with contextlib.suppress(RuntimeError):  # it is marked, and has no loop to say goodbye on
            transport.close()
        transport = getattr(tls, "_transport", None)
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(RuntimeError):
            lost(None)
