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
# A period that no multiple of a buffer's length is: bytes in a wrong place are other bytes.
PATTERN = os.urandom(MIB + 7)


def _content(start: int, end: int) -> Iterator[bytes]:
    while start < end:
        at = start % len(PATTERN)
        piece = PATTERN[at : at + min(end - start, 65_536)]
        yield piece
        start += len(piece)


@define
class Faulty:
    """A host of one result, whose connections break after so many bytes, or that responds with 5xx.

    Attributes:
        faults: Faults of the next requests: an ending and the bytes before it.
        served: Bytes sent in all.
        twice: Requested bytes that were sent before, where the connection was closed
            in order and where it was not.
    """

    faults: list[tuple[str, int]]
    served: int = 0
    twice: dict[str, int] = field(factory=lambda: {"closed": 0, "reset": 0})
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
        self.twice[how] += max(0, reached - at)
        reports: dict[str, object] = {
            "etag": '"one"',
            "accept-ranges": "bytes",
            "content-length": end - at,
        }
        if "range" in request.headers:
            reports["content-range"] = f"bytes {at}-{end - 1}/{SIZE}"
        writer.write(head(206 if "range" in request.headers else 200, reports))
        for piece in _content(at, min(end, at + before)):
            writer.write(piece)
            self.served += len(piece)
            at += len(piece)
            self._last = ending, at
            await writer.drain()
        if ending == "reset":
            linger = b"\x01\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 8])
async def test_two_hundred_faults_cost_hardly_a_byte(
    sandbox: Sandbox, tmp_path: Path, at_once: int
) -> None:
    """Drops, resets and 5xx; bytes in flight at a reset may be sent again."""
    chance = random.Random(4)
    # Never five failures without a byte between them: so often the policy tries.
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
    for piece in _content(0, SIZE):
        expected.update(piece)
    with (tmp_path / "voice.mp3").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == expected.digest()
    assert entries(tmp_path) == ["voice.mp3"]
    if at_once == 1:
        assert host_of.twice["closed"] == 0
    # The system throws away what both ends have buffered of a connection that is reset.
    assert host_of.served - SIZE < 40 * 4 * MIB
