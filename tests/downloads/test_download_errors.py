"""Hosts that lie, disks that fill and folders that vanish: an error that says so, and no file."""

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
from tests.http.peers import Asked, head, peer, says, sends
from tests.scripts import requests_to as asked_for

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


@pytest.mark.parametrize("told", _digests(CONTENT))
async def test_a_result_with_the_digest_that_its_host_announces_is_accepted(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, told: dict[str, str]
) -> None:
    async with peer(says(200, CONTENT, **told)) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3")
        assert (await linked(client).download()).content == CONTENT
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("told", _digests(CONTENT[:-1] + b"x"))
async def test_a_result_with_another_digest_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, told: dict[str, str], resume: bool
) -> None:
    """And not tried again, nor kept: nobody knows which of its bytes are wrong."""
    async with peer(says(200, CONTENT, etag='"one"', **told)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match=r"damaged: its (sha256|sha512|md5)") as caught:
            await linked(client).download(tmp_path / "voice.mp3", resume=resume)
        assert "kept beside" not in "\n".join(getattr(caught.value, "__notes__", []))
        with pytest.raises(DownloadFailed, match="damaged"):
            await linked(client).download()
    assert len(host.asked) == 2
    assert entries(tmp_path) == []


async def test_a_digest_is_that_of_the_complete_result_however_often_it_broke(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Told with the first answer, and compared when the last byte is there."""
    told = {"etag": '"one"', "repr-digest": f"sha-256=:{_hash('sha256', CONTENT)}:"}
    first = sends(head(200, {"content-length": len(CONTENT), **told}) + CONTENT[:400_000], then=0.1)
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


async def test_bytes_after_the_announced_length_are_not_the_results(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Where they come at once, what came is no HTTP; where they come later, nobody reads them."""
    start, more = head(200, {"content-length": 9}) + b"some part", b"and more" * 1000
    async with peer(sends(start + more)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="the response is not HTTP"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []
    sandbox.faults.clear()

    async def later(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await sends(start, then=0.1)(asked, writer)
        await sends(more)(asked, writer)

    async with peer(later) as host:
        leads_to(sandbox, host.url("/r"))
        result = await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == b"some part"
    assert result.size == 9


async def test_a_part_longer_than_announced_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """In chunks nothing else says where it ends."""
    first = sends(
        head(200, {"content-length": len(CONTENT), "etag": '"one"'}) + CONTENT[:400_000], then=0.1
    )
    told = {"transfer-encoding": "chunked", "content-range": "bytes 400000-899999/900000"}
    longer = head(206, told) + b"%x\r\n" % 600_000 + bytes(600_000) + b"\r\n0\r\n\r\n"
    async with peer(first, sends(longer)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="sends more bytes than it announced"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "told",
    [
        {"content-length": 100, "content-range": "bytes 400000-899999/900000"},
        {"content-length": 500_000, "content-range": "bytes 400000-400099/900000"},
    ],
)
async def test_a_part_of_another_length_than_it_names_is_not_used(
    client: AsyncDiffio, sandbox: Sandbox, told: dict[str, object]
) -> None:
    first = sends(
        head(200, {"content-length": len(CONTENT), "etag": '"one"'}) + CONTENT[:400_000], then=0.1
    )
    lie = sends(head(206, told) + CONTENT[400_000:])
    async with peer(first, lie, says(200, CONTENT, etag='"one"')) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT


async def test_a_host_that_gives_little_at_a_time_gets_requests_without_a_pause(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Its answers are whole, only shorter than what was asked for."""

    async def little(asked: Asked, writer: asyncio.StreamWriter) -> None:
        start = int(asked.headers.get("range", "bytes=0-")[len("bytes=") : -1])
        told = {
            "content-length": 90_000,
            "content-range": f"bytes {start}-{start + 89_999}/{len(CONTENT)}",
            "etag": '"one"',
        }
        await sends(head(206, told) + CONTENT[start : start + 90_000])(asked, writer)

    async with peer(little) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT
    assert len(host.asked) == 10


async def test_a_link_may_expire_again_and_again_while_bytes_come(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    told: list[DownloadProgress] = []

    async def expiring(asked: Asked, writer: asyncio.StreamWriter) -> None:
        start = int(asked.headers.get("range", "bytes=0-")[len("bytes=") : -1])
        if len(host.asked) % 2 == 0:
            await says(403, b"<Error><Code>ExpiredToken</Code></Error>")(asked, writer)
            return
        answer: dict[str, object] = {"content-length": len(CONTENT) - start, "etag": '"one"'}
        if start:
            answer["content-range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        end = start + 36_000
        await sends(head(206 if start else 200, answer) + CONTENT[start:end])(asked, writer)
        while not told or told[-1].received < min(end, len(CONTENT)):
            await asyncio.sleep(0.001)

    async with peer(expiring) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(tmp_path / "voice.mp3", on_progress=told.append)
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert len(asked_for(sandbox, LINK)) == 25


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with disk(tmp_path / "tiny", size="1m") as small:
        yield small


async def test_a_result_too_large_for_the_disk_is_refused_before_it_comes(
    client: AsyncDiffio, sandbox: Sandbox, tiny: Path
) -> None:
    size = 2_000_000
    async with peer(sends(head(200, {"content-length": size}) + bytes(size))) as host:
        leads_to(sandbox, host.url("/r"))
        told: list[DownloadProgress] = []
        with pytest.raises(InvalidTarget, match=r"2,000,000 bytes are needed, 1,0.* are free"):
            await linked(client).download(tiny / "voice.mp3", on_progress=told.append)
    assert told == []
    assert entries(tiny) == []


async def test_a_disk_that_fills_meanwhile_ends_the_download_and_what_came_may_be_kept(
    client: AsyncDiffio, sandbox: Sandbox, tiny: Path
) -> None:
    """With room made, it goes on."""
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


async def test_a_folder_that_vanishes_takes_what_was_kept_with_it(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    folder = tmp_path / "results"
    folder.mkdir()

    def vanish(_: DownloadProgress) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(InvalidTarget, match="cannot be written: No such file"):
        await job.download(folder / "voice.mp3", resume=True, on_progress=vanish)
    assert not folder.exists()
    folder.mkdir()
    await job.download(folder / "voice.mp3", resume=True)
    assert (folder / "voice.mp3").read_bytes() == CONTENT
    assert entries(folder) == ["voice.mp3"]
