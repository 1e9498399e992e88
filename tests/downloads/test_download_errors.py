"""Errors of downloads by incorrect hosts, full disks and removed folders."""

import asyncio
import base64
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffio_async import (
    AsyncDiffio,
    DownloadFailed,
    DownloadProgress,
    InvalidTarget,
)
from diffio_async.sandbox import Sandbox
from tests.disks import disk
from tests.downloads.scenes import LINK, entries, finished, leads_to, linked
from tests.http.peers import Incoming, head, peer, responds, sends
from tests.scripts import requests_to

CONTENT = os.urandom(900_000)


def _hash(name: str, content: bytes) -> str:
    return base64.b64encode(hashlib.new(name, content).digest()).decode()


def _digests(content: bytes) -> list[dict[str, str]]:
    return [
        {"repr-digest": f"sha-256=:{_hash('sha256', content)}:"},
        {"repr-digest": f"sha-512=:{_hash('sha512', content)}:"},
        {"content-digest": f"sha-256=:{_hash('sha256', content)}:"},
        {"digest": f"sha-256={_hash('sha256', content)}"},
        {"content-md5": _hash("md5", content)},
        {"x-goog-hash": f"crc32c=AAAAAA==\r\nx-goog-hash: md5={_hash('md5', content)}"},
    ]


@pytest.mark.parametrize("headers", _digests(CONTENT))
async def test_a_result_with_the_digest_that_its_host_announces_is_accepted(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, headers: dict[str, str]
) -> None:
    async with peer(responds(200, CONTENT, **headers)) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
        assert (await linked(client).download()).content == CONTENT
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("headers", _digests(CONTENT[:-1] + b"x"))
async def test_a_result_with_another_digest_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, headers: dict[str, str], resume: bool
) -> None:
    """It is neither retried nor kept: the wrong bytes are unknown."""
    async with peer(responds(200, CONTENT, etag='"one"', **headers)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match=r"damaged: its (sha256|sha512|md5)") as caught:
            await linked(client).download(tmp_path / "voice.mp3", resume=resume)
        assert "kept beside" not in "\n".join(getattr(caught.value, "__notes__", []))
        with pytest.raises(DownloadFailed, match="damaged"):
            await linked(client).download()
    assert len(host.requests) == 2
    assert entries(tmp_path) == []


async def test_a_digest_is_compared_with_the_complete_result_after_retries(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Announced in the first response, and compared after the last byte."""
    headers = {"etag": '"one"', "repr-digest": f"sha-256=:{_hash('sha256', CONTENT)}:"}
    first = sends(
        head(200, {"content-length": len(CONTENT), **headers}) + CONTENT[:400_000], then=0.1
    )
    rest: dict[str, object] = {
        "content-length": 500_000,
        "content-range": "bytes 400000-899999/900000",
        "etag": '"one"',
    }
    good, bad = (sends(head(206, rest) + end) for end in (CONTENT[400_000:], bytes(500_000)))
    async with peer(first, good, first, bad) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
        with pytest.raises(DownloadFailed, match="damaged"):
            await linked(client).download(tmp_path / "other.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert entries(tmp_path) == ["voice.mp3"]


async def test_bytes_after_the_announced_length_are_ignored(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Sent at once they are invalid HTTP; sent later, they are not read."""
    start, more = head(200, {"content-length": 9}) + b"some part", b"and more" * 1000
    async with peer(sends(start + more)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="the response is not HTTP"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []
    sandbox.faults.clear()

    async def later(request: Incoming, writer: asyncio.StreamWriter) -> None:
        await sends(start, then=0.1)(request, writer)
        await sends(more)(request, writer)

    async with peer(later) as host:
        leads_to(sandbox, host.url("/r"))
        result = await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == b"some part"
    assert result.size == 9


async def test_a_range_longer_than_announced_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """In a chunked response, only the announced length limits it."""
    first = sends(
        head(200, {"content-length": len(CONTENT), "etag": '"one"'}) + CONTENT[:400_000], then=0.1
    )
    headers = {"transfer-encoding": "chunked", "content-range": "bytes 400000-899999/900000"}
    longer = head(206, headers) + b"%x\r\n" % 600_000 + bytes(600_000) + b"\r\n0\r\n\r\n"
    async with peer(first, sends(longer)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="sends more bytes than it announced"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": 100, "content-range": "bytes 400000-899999/900000"},
        {"content-length": 500_000, "content-range": "bytes 400000-400099/900000"},
    ],
)
async def test_a_range_with_an_inconsistent_length_is_not_used(
    client: AsyncDiffio, sandbox: Sandbox, headers: dict[str, object]
) -> None:
    first = sends(
        head(200, {"content-length": len(CONTENT), "etag": '"one"'}) + CONTENT[:400_000], then=0.1
    )
    misleading = sends(head(206, headers) + CONTENT[400_000:])
    async with peer(first, misleading, responds(200, CONTENT, etag='"one"')) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT


async def test_a_host_that_sends_short_ranges_gets_requests_without_a_pause(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Its responses are complete, but shorter than requested."""

    async def short_ranges(request: Incoming, writer: asyncio.StreamWriter) -> None:
        start = int(request.headers.get("range", "bytes=0-")[len("bytes=") : -1])
        headers = {
            "content-length": 90_000,
            "content-range": f"bytes {start}-{start + 89_999}/{len(CONTENT)}",
            "etag": '"one"',
        }
        await sends(head(206, headers) + CONTENT[start : start + 90_000])(request, writer)

    async with peer(short_ranges) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT
    assert len(host.requests) == 10


async def test_a_link_may_expire_repeatedly_if_bytes_were_received(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    headers: list[DownloadProgress] = []

    async def expiring(request: Incoming, writer: asyncio.StreamWriter) -> None:
        start = int(request.headers.get("range", "bytes=0-")[len("bytes=") : -1])
        if len(host.requests) % 2 == 0:
            await responds(403, b"<Error><Code>ExpiredToken</Code></Error>")(request, writer)
            return
        fields: dict[str, object] = {"content-length": len(CONTENT) - start, "etag": '"one"'}
        if start:
            fields["content-range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        end = start + 36_000
        await sends(head(206 if start else 200, fields) + CONTENT[start:end])(request, writer)
        while not headers or headers[-1].received < min(end, len(CONTENT)):
            await asyncio.sleep(0.001)

    async with peer(expiring) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3", on_progress=headers.append)
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert len(requests_to(sandbox, LINK)) == 25


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with disk(tmp_path / "tiny", size="1m") as small:
        yield small


async def test_a_result_too_large_for_the_disk_is_refused_before_its_first_byte(
    client: AsyncDiffio, sandbox: Sandbox, tiny: Path
) -> None:
    size = 2_000_000
    async with peer(sends(head(200, {"content-length": size}) + bytes(size))) as host:
        leads_to(sandbox, host.url("/r"))
        headers: list[DownloadProgress] = []
        with pytest.raises(InvalidTarget, match=r"2,000,000 bytes are needed, 1,0.* are free"):
            await linked(client).download(tiny / "voice.mp3", on_progress=headers.append)
    assert headers == []
    assert entries(tiny) == []


async def test_a_disk_that_fills_ends_the_download_and_its_bytes_may_be_kept(
    client: AsyncDiffio, sandbox: Sandbox, tiny: Path
) -> None:
    """After space is freed, it is resumed."""
    job = await finished(client, CONTENT)
    ballast = tiny / "ballast"

    def fill(_: DownloadProgress) -> None:
        if not ballast.exists():
            ballast.write_bytes(bytes(700_000))

    for resume in (False, True):
        with pytest.raises(InvalidTarget, match="No space left on device") as caught:
            await job.download(tiny / "voice.mp3", resume=resume, on_progress=fill)
        kept = [name for name in entries(tiny) if name.startswith(".")]
        assert len(kept) == (2 if resume else 0)
        assert ("kept beside" in "\n".join(getattr(caught.value, "__notes__", []))) is resume
        ballast.unlink()
    await job.download(tiny / "voice.mp3", resume=True)
    assert (tiny / "voice.mp3").read_bytes() == CONTENT
    assert entries(tiny) == ["voice.mp3"]


async def test_a_removed_folder_loses_the_kept_bytes(client: AsyncDiffio, tmp_path: Path) -> None:
    job = await finished(client, CONTENT)
    folder = tmp_path / "results"
    folder.mkdir()

    def remove_folder(_: DownloadProgress) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(InvalidTarget, match="cannot be written: No such file"):
        await job.download(folder / "voice.mp3", resume=True, on_progress=remove_folder)
    assert not folder.exists()
    folder.mkdir()
    await job.download(folder / "voice.mp3", resume=True)
    assert (folder / "voice.mp3").read_bytes() == CONTENT
    assert entries(folder) == ["voice.mp3"]
