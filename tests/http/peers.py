"""Scripted servers on bare sockets, for responses that the sandbox cannot send."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from attrs import define, field, frozen

from diffio_async import AsyncDiffio, ClientOptions, DiffioError, RetryPolicy


@frozen
class Incoming:
    """A received request; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


Script = Callable[[Incoming, asyncio.StreamWriter], Awaitable[None]]


def head(status: int, headers: Mapping[str, object] | None = None) -> bytes:
    """Return a status line and exactly these headers."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{n}: {v}" for n, v in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def responds(status: int = 200, body: bytes = b"", **headers: object) -> Script:
    """Return a script for a complete response; `content_type` becomes `content-type`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(head(status, {"content-length": len(body), **named}) + body)


def sends(*pieces: bytes, then: float = 0.0) -> Script:
    """Return a script that sends these bytes, waits `then` seconds, and closes the connection."""

    async def script(_: Incoming, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        await asyncio.sleep(then)

    return script


@define
class Peer:
    """A running server, its requests, and its number of connections."""

    port: int = 0
    scheme: str = "http"
    requests: list[Incoming] = field(factory=list)
    connections: int = 0

    def url(self, path: str = "/") -> str:
        """Return the URL of a path on this server."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


@contextlib.asynccontextmanager
async def peer(
    *scripts: Script, keep: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Serve each request by the next script, and further requests by the last script.

    With `keep`, the connection stays open after a response.
    """
    running_peer = Peer(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running_peer.connections += 1
        number = running_peer.connections
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                while True:
                    incoming = await request(reader, number)
                    running_peer.requests.append(incoming)
                    await scripts[min(len(running_peer.requests), len(scripts)) - 1](
                        incoming, writer
                    )
                    if not keep:
                        break
        except asyncio.CancelledError:
            pass  # the test is over
        except RuntimeError:
            if not writer.is_closing():
                raise
            # uvloop raises it for a write to a closed connection
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    running_peer.port = server.sockets[0].getsockname()[1]
    try:
        yield running_peer
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


async def request(reader: asyncio.StreamReader, connection: int) -> Incoming:
    """Read one complete request."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = lines[0].split(" ")
    fields = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Incoming(method, target, headers, body, connection)


ONCE = ClientOptions(retry=RetryPolicy(attempts=1))


_KEY = "diffio_key_1234567890"


def once(base_url: str, options: ClientOptions = ONCE, key: str = _KEY) -> AsyncDiffio:
    """Return a client that makes one attempt."""
    return AsyncDiffio(key, base_url=base_url, options=options)


async def failure_at(base_url: str, options: ClientOptions = ONCE, key: str = _KEY) -> DiffioError:
    """Return the error of a call to this base URL."""
    async with once(base_url, options, key) as client:
        with pytest.raises(DiffioError) as caught:
            await client.projects.list()
    return caught.value
