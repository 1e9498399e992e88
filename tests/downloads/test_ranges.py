"""Several connections for one result, if each is limited and the host supports ranges."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import define, field

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    DownloadProgress,
    DownloadResult,
    RetryPolicy,
)
from diffio_async._downloads import download
from diffio_async._http.sessions import ConnectionCounter
from diffio_async._protocol import limits
from diffio_async.sandbox import Sandbox
from tests.downloads.scenes import LINK, entries, leads_to, linked
from tests.http.peers import Incoming, head, peer
from tests.scripts import requests_to

CONTENT = os.urandom(1_500_000)
STEP = 16_384
#: Bytes that a host may send: when a range is divided, the rest of it may be on its way, which is
#: more on a busy machine. Four connections that each fetch everything would take twice as much.
MOST = 2 * len(CONTENT)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use several connections for small results, and consider each of them useful at once.

    `tests/protocol/test_limits.py` tests when more connections help.
    """
    monkeypatch.setattr(download, "_MIN_SEGMENT", 50_000)
    monkeypatch.setattr(download, "_SAMPLE_SECONDS", 0.005)
    monkeypatch.setattr(limits, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(limits, "MEASURE_SECONDS", 0.01)
    monkeypatch.setattr(limits, "MIN_SECONDS_LEFT", 0.02)
    monkeypatch.setattr(limits, "LARGE_GAIN", -1.0)
    monkeypatch.setattr(limits, "MAX_CPU_SHARE", 100.0)


@pytest.fixture
async def client(sandbox: Sandbox, eager: None) -> AsyncIterator[AsyncDiffio]:
    """A client of the sandbox."""
    options = ClientOptions(retry=RetryPolicy(initial_delay=0.01, max_delay=0.05))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as made:
        yield made


@define
class Slow:
    """A host that sends `STEP` bytes every few milliseconds over each connection.

    Attributes:
        most: Maximum number of concurrent requests.
        served: Number of bytes sent.
    """

    content: bytes = CONTENT
    etag: str = '"one"'
    pause: float = 0.005
    ranges: bool = True
    #: Connections at once above which it responds with 503.
    limit: int = 100
    #: Bytes after which it closes a connection, the first time so many connections are open.
    drops: int | None = None
    now: int = 0
    most: int = 0
    served: int = 0
    ranged: list[str] = field(factory=list)

    async def __call__(self, request: Incoming, writer: asyncio.StreamWriter) -> None:
        """Serve one request."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self._serve(request, writer)
        finally:
            self.now -= 1

    async def _serve(self, request: Incoming, writer: asyncio.StreamWriter) -> None:
        if self.now > self.limit:
            writer.write(head(503, {"content-length": 0}))
            return
        start, end = 0, len(self.content)
        headers: dict[str, object] = {"etag": self.etag, "accept-ranges": "bytes"}
        same = request.headers.get("if-range", self.etag) == self.etag
        if self.ranges and same and "range" in request.headers:
            first, _, last = request.headers["range"][len("bytes=") :].partition("-")
            start, end = int(first), int(last) + 1 if last else end
            headers["content-range"] = f"bytes {start}-{end - 1}/{len(self.content)}"
        self.ranged.append(request.headers.get("range", ""))
        status = 206 if "content-range" in headers else 200
        writer.write(head(status, {**headers, "content-length": end - start}))
        for at in range(start, end, STEP):
            if self.drops is not None and self.now > 2 and at - start >= self.drops:
                self.drops = None
                return
            piece = self.content[at : min(at + STEP, end)]
            writer.write(piece)
            self.served += len(piece)
            await writer.drain()
            await asyncio.sleep(self.pause)


async def _fetched(client: AsyncDiffio, sandbox: Sandbox, slow: Slow, to: Path) -> DownloadResult:
    async with peer(slow) as host:
        leads_to(sandbox, host.url("/r"))
        return await linked(client).download(to)


async def test_a_host_that_limits_each_connection_gets_several_connections(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each requests a range of the same version, and few bytes are sent twice."""
    slow = Slow()
    await _fetched(client, sandbox, slow, tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert slow.most >= 4
    assert slow.served < MOST
    assert slow.ranged[0] == ""
    assert all(text.startswith("bytes=") for text in slow.ranged[1:])
    assert entries(tmp_path) == ["voice.mp3"]


async def test_ranges_are_combined_in_memory_too(client: AsyncDiffio, sandbox: Sandbox) -> None:
    slow, reports = Slow(), list[DownloadProgress]()
    async with peer(slow) as host:
        leads_to(sandbox, host.url("/r"))
        result = await linked(client).download(on_progress=reports.append)
    assert result.content == CONTENT
    assert slow.most >= 4
    received = [progress.received for progress in reports]
    assert received == sorted(set(received))
    assert received[-1] == len(CONTENT)


async def test_one_range_in_flight_is_one_connection(
    sandbox: Sandbox, eager: None, tmp_path: Path
) -> None:
    options = ClientOptions(max_download_connections=1)
    slow = Slow(pause=0.001)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        await _fetched(client, sandbox, slow, tmp_path / "voice.mp3")
    assert slow.ranged == [""]


@pytest.mark.slow
async def test_downloads_share_the_limit_of_the_client_and_each_has_one_connection(
    sandbox: Sandbox, eager: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_then: list[int] = []
    counted = ConnectionCounter.track

    def track(self: ConnectionCounter, connection: asyncio.Task[None]) -> None:
        counted(self, connection)
        open_then.append(self.max - self.free)

    monkeypatch.setattr(ConnectionCounter, "track", track)
    options = ClientOptions(max_download_connections=3)
    async with (
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
        peer(Slow(content=CONTENT[:800_000])) as host,
    ):
        leads_to(sandbox, host.url("/r"))
        job = linked(client)
        await asyncio.gather(*(job.download(tmp_path / str(number)) for number in range(2)))
        assert max(open_then) == 3
        open_then.clear()
        await asyncio.gather(*(job.download(tmp_path / f"b{number}") for number in range(4)))
        assert open_then[:4] == [1, 2, 3, 4]
        assert max(open_then) == 4
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {CONTENT[:800_000]}


@pytest.mark.slow
async def test_a_host_without_ranges_continues_over_the_first_connection(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Although it announced ranges; the received bytes are kept."""
    slow = Slow(ranges=False)
    await _fetched(client, sandbox, slow, tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert len(slow.ranged) == 2
    assert slow.served < MOST


@pytest.mark.slow
async def test_a_host_that_refuses_more_connections_gets_fewer(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    slow = Slow(limit=2)
    await _fetched(client, sandbox, slow, tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert slow.most <= 4
    assert slow.served < MOST


async def test_a_part_that_breaks_is_resumed_alone(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    slow = Slow(drops=STEP)
    await _fetched(client, sandbox, slow, tmp_path / "voice.mp3")
    assert slow.drops is None
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert slow.served < MOST


@pytest.mark.slow
async def test_a_result_that_changes_during_the_download_is_fetched_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    other = os.urandom(1_200_000)
    first, second = Slow(), Slow(content=other, etag='"two"')

    async def changing(request: Incoming, writer: asyncio.StreamWriter) -> None:
        await (first if not first.ranged else second)(request, writer)

    async with peer(changing) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == other


async def test_a_host_with_changing_etags_gets_one_connection(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Mirrors behind one host name do so; after the first difference, ranges are not combined."""
    slow = Slow(pause=0.002)

    async def renaming(request: Incoming, writer: asyncio.StreamWriter) -> None:
        slow.etag = f'"{len(slow.ranged)}"'
        await slow(request, writer)

    async with peer(renaming) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert [bool(text) for text in slow.ranged][:2] == [False, True]
    assert slow.ranged[-1] == ""
    assert len(slow.ranged) <= 4


async def test_connections_whose_link_expired_request_one_new_link(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    slow = Slow()
    expired = False

    async def expiring(request: Incoming, writer: asyncio.StreamWriter) -> None:
        nonlocal expired
        if slow.now >= 2 and not expired:
            expired = True
            for task in asyncio.all_tasks():
                if "peer.<locals>.serve" in repr(task) and task is not asyncio.current_task():
                    task.cancel()
        if expired and request.target == "/first":
            writer.write(head(403, {"content-length": 0}))
            return
        await slow(request, writer)

    async with peer(expiring) as host:
        leads_to(sandbox, host.url("/first"), host.url("/second"))
        await linked(client).download(tmp_path / "voice.mp3")
    assert expired
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert len(requests_to(sandbox, LINK)) == 2


@pytest.mark.slow
async def test_gaps_of_a_killed_download_are_filled_by_the_next(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    slow = Slow()
    async with peer(slow) as host:
        leads_to(sandbox, host.url("/r"))
        task = asyncio.create_task(linked(client).download(tmp_path / "voice.mp3", resume=True))
        while slow.most < 4 or slow.served < len(CONTENT) / 3:
            assert not task.done()
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)
        before = len(slow.ranged)
        await linked(client).download(tmp_path / "voice.mp3", resume=True)
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert all(text.startswith("bytes=") for text in slow.ranged[before:])
    assert "bytes=0-" not in slow.ranged[before:]
    assert entries(tmp_path) == ["voice.mp3"]


async def test_cancelled_with_several_connections_nothing_is_left(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    slow = Slow()
    async with peer(slow) as host:
        leads_to(sandbox, host.url("/r"))
        task = asyncio.create_task(linked(client).download(tmp_path / "voice.mp3"))
        while slow.most < 4:
            assert not task.done()
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert entries(tmp_path) == []
