"""Two hundred faults in one download: the bytes are right, and few are sent twice.

`DIFFIO_FAULTS_MIB=1024` runs it at full length.
"""

import asyncio
import hashlib
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from diffio_async import AsyncDiffio, ClientOptions, DownloadResumed, Event, RetryPolicy
from diffio_async.sandbox import Sandbox
from tests.downloads.scenes import entries, leads_to, linked
from tests.http.peers import Incoming, head, peer

MIB = 2**20
SIZE = int(os.environ.get("DIFFIO_FAULTS_MIB", "64")) * MIB + 12_345
FAULTS = 200
# The period is not a multiple of a buffer's size, so misplaced bytes are detected.
PATTERN = os.urandom(MIB + 7)


def _content(start: int, end: int) -> Iterator[bytes]:
    while start < end:
        at = start % len(PATTERN)
        chunk = PATTERN[at : at + min(end - start, 65_536)]
        yield chunk
        start += len(chunk)


@define
class Faulty:
    """A host of one result, whose connections break after so many bytes, or that responds with 5xx.

    Attributes:
        faults: Faults of the next requests: an ending and the bytes before it.
        served: Number of bytes sent.
        repeated: Requested bytes that had been sent before, by whether the connection was closed
            in order or reset.
    """

    faults: list[tuple[str, int]]
    served: int = 0
    repeated: dict[str, int] = field(factory=lambda: {"closed": 0, "reset": 0})
    _last: tuple[str, int] = ("closed", 0)

    async def __call__(self, request: Incoming, writer: asyncio.StreamWriter) -> None:
        """Serve one request, up to its fault."""
        start, _, last = request.headers.get("range", "bytes=0-")[len("bytes=") :].partition("-")
        at, end = int(start), int(last) + 1 if last else SIZE
        ending, before = self.faults.pop() if self.faults else ("closed", SIZE)
        if ending.isdecimal():
            writer.write(head(int(ending), {"content-length": 0}))
            return
        how, reached = self._last
        self.repeated[how] += max(0, reached - at)
        headers: dict[str, object] = {
            "etag": '"one"',
            "accept-ranges": "bytes",
            "content-length": end - at,
        }
        if "range" in request.headers:
            headers["content-range"] = f"bytes {at}-{end - 1}/{SIZE}"
        writer.write(head(206 if "range" in request.headers else 200, headers))
        for chunk in _content(at, min(end, at + before)):
            writer.write(chunk)
            self.served += len(chunk)
            at += len(chunk)
            self._last = ending, at
            await writer.drain()
        if ending == "reset":
            linger = b"\x01\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 8])
async def test_two_hundred_faults_repeat_few_bytes(
    sandbox: Sandbox, tmp_path: Path, at_once: int
) -> None:
    """Drops, resets and 5xx; bytes in flight at a reset may be sent again."""
    chance = random.Random(4)
    # Never five failures without a byte between them, as the policy has five attempts.
    endings = ["closed", "reset", "503", "closed", "500", "reset", "closed", "502", "504", "closed"]
    host_of = Faulty(
        [(each, chance.randrange(1000, SIZE // FAULTS * 2)) for each in endings * (FAULTS // 10)]
    )
    events: list[Event] = []
    options = ClientOptions(
        retry=RetryPolicy(initial_delay=0.01, max_delay=0.02),
        max_download_connections=at_once,
        observers=(events.append,),
    )
    async with (
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
        peer(host_of) as host,
    ):
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
    assert host_of.faults == []
    assert len([event for event in events if isinstance(event, DownloadResumed)]) >= FAULTS - 10
    expected = hashlib.sha256()
    for chunk in _content(0, SIZE):
        expected.update(chunk)
    with (tmp_path / "voice.mp3").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == expected.digest()
    assert entries(tmp_path) == ["voice.mp3"]
    if at_once == 1:
        assert host_of.repeated["closed"] == 0
    # The system discards the buffers of both ends when a connection is reset.
    assert host_of.served - SIZE < 40 * 4 * MIB
