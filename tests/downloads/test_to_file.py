"""Downloads to a file or to memory: complete, published atomically, by the umask."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from diffio_async import (
    AsyncDiffio,
    ConfigurationError,
    DownloadProgress,
    InvalidTarget,
)
from diffio_async.sandbox import Fault, Sandbox, Stall
from tests.downloads.scenes import LINK, RESULT, entries, finished, media, mode
from tests.scripts import requests_to

CONTENT = os.urandom(700_001)


@pytest.mark.parametrize("content", [b"x", CONTENT], ids=["one byte", "large"])
async def test_a_result_is_the_same_bytes_in_a_file_and_in_memory(
    client: AsyncDiffio, tmp_path: Path, content: bytes
) -> None:
    job = await finished(client, content)
    target = tmp_path / "voice.mp3"
    to_file = await job.download(target)
    assert target.read_bytes() == content
    assert (to_file.path, to_file.content, to_file.size) == (target, None, len(content))
    to_memory = await job.download()
    assert (to_memory.content, to_memory.path, to_memory.size) == (content, None, len(content))
    assert entries(tmp_path) == ["voice.mp3"]


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
async def test_the_umask_decides_who_may_read_the_file(
    client: AsyncDiffio, tmp_path: Path, mask: int, expected: int
) -> None:
    job = await finished(client, b"voice")
    before = os.umask(mask)
    try:
        await job.download(tmp_path / "voice.mp3")
    finally:
        os.umask(before)
    assert mode(tmp_path / "voice.mp3") == expected


async def test_a_file_that_exists_is_replaced_only_on_request(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is refused before any request."""
    job = await finished(client, CONTENT)
    target = tmp_path / "voice.mp3"
    target.write_bytes(b"precious")
    with pytest.raises(InvalidTarget, match="exists: choose another name"):
        await job.download(target)
    assert target.read_bytes() == b"precious"
    assert requests_to(sandbox, LINK) == []
    await job.download(target, on_conflict="overwrite")
    assert target.read_bytes() == CONTENT
    with pytest.raises(ConfigurationError, match="on_conflict"):
        await job.download(target, on_conflict="clobber")
    assert entries(tmp_path) == ["voice.mp3"]


async def test_a_file_that_appears_during_the_download_is_not_replaced(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    target = tmp_path / "voice.mp3"

    def create_file(_: DownloadProgress) -> None:
        target.write_bytes(b"precious")

    with pytest.raises(InvalidTarget, match="exists"):
        await job.download(target, on_progress=create_file)
    assert target.read_bytes() == b"precious"
    assert entries(tmp_path) == ["voice.mp3"]


async def test_two_downloads_to_one_name_leave_one_complete_file(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """The one that finishes last is refused."""
    job = await finished(client, CONTENT)
    target = tmp_path / "voice.mp3"
    outcomes = await asyncio.gather(
        job.download(target), job.download(target), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "DownloadResult",
        "InvalidTarget",
    ]
    assert target.read_bytes() == CONTENT
    assert entries(tmp_path) == ["voice.mp3"]


@pytest.mark.parametrize("failure", [errno.EPERM, errno.EOPNOTSUPP, None])
async def test_without_hard_links_an_existing_file_is_still_not_replaced(
    client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: int | None
) -> None:
    def no_links(*_: object, **__: object) -> None:
        if failure is None:
            raise NotImplementedError
        raise OSError(failure, os.strerror(failure))

    job = await finished(client, CONTENT)
    # Patch the system call, since no such file system is available in tests.
    monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "voice.mp3"
    await job.download(target)
    assert target.read_bytes() == CONTENT
    target.unlink()

    def create_file(_: DownloadProgress) -> None:
        target.write_bytes(b"precious")

    with pytest.raises(InvalidTarget, match="exists"):
        await job.download(target, on_progress=create_file)
    assert target.read_bytes() == b"precious"
    assert entries(tmp_path) == ["voice.mp3"]


@pytest.mark.parametrize(
    "name", ["n" * 251 + ".mp3", "ü" * 125 + "x.mp3", "🎙" * 62 + ".mp3", "x" + "語" * 83 + ".mp3"]
)
async def test_a_name_may_have_the_maximum_length(
    client: AsyncDiffio, tmp_path: Path, name: str
) -> None:
    assert 252 <= len(os.fsencode(name)) <= 255
    job = await finished(client, b"voice")
    await job.download(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"voice"
    assert entries(tmp_path) == [name]


async def test_the_target_does_not_exist_before_the_end(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, action=Stall(after=300_000, seconds=0.2)))
    seen: list[list[str]] = []
    await job.download(tmp_path / "voice.mp3", on_progress=lambda _: seen.append(entries(tmp_path)))
    assert seen
    assert all(
        len(names) == 1 and names[0].startswith(".voice.mp3.") and names[0].endswith(".part")
        for names in seen
    )


async def test_progress_grows_to_the_total(client: AsyncDiffio) -> None:
    """A callback may be a coroutine function; its exceptions do not end the download."""
    job = await finished(client, CONTENT)
    reports: list[DownloadProgress] = []

    async def report(progress: DownloadProgress) -> None:
        await asyncio.sleep(0)
        reports.append(progress)
        raise LookupError("a bug in a callback")

    assert (await job.download(on_progress=report)).content == CONTENT
    received = [progress.received for progress in reports]
    assert received == sorted(set(received))
    assert {progress.total for progress in reports} == {len(CONTENT)}
    assert reports[-1].percent == 100


@pytest.mark.slow
async def test_progress_contains_the_rate(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """In bytes per second, once it is known."""
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, action=Stall(after=300_000, seconds=0.3)))
    reports: list[DownloadProgress] = []
    await job.download(on_progress=reports.append)
    assert reports[0].rate is None
    assert reports[-1].rate is not None
    assert 1e5 < reports[-1].rate < len(CONTENT) / 0.3


async def test_a_download_is_two_requests(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    await job.download(tmp_path / "voice.mp3")
    assert len(requests_to(sandbox, LINK)) == 1
    assert [seen.headers.get("range") for seen in media(sandbox)] == [None]
