"""With `resume`, the bytes before a failure are kept, and resumed as far as they are safe."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    ConfigurationError,
    DownloadFailed,
    DownloadProgress,
    DownloadResumed,
    Event,
    InvalidTarget,
    RetryPolicy,
)
from diffio_async.sandbox import Fault, RespondWith, Sandbox, Stall, Truncate
from tests.downloads.scenes import LINK, RESULT, Job, entries, finished, leads_to, linked, media
from tests.http.peers import head, peer, responds, sends
from tests.scripts import requests_to

CONTENT = os.urandom(900_000)
HALF = len(CONTENT) // 2
BROKEN = Fault(path=RESULT, times=None, action=RespondWith(503))


async def download_half(job: Job, sandbox: Sandbox, target: Path) -> list[str]:
    """Download half of the result and fail; return the names left in the folder."""
    half = Fault(path=RESULT, action=Truncate(0.5))
    sandbox.faults.add(half, BROKEN)
    with pytest.raises(DownloadFailed, match="could not be downloaded") as caught:
        await job.download(target, resume=True)
    sandbox.faults.clear()
    notes = "\n".join(caught.value.__notes__)
    assert f"{HALF:,} bytes are kept beside {target.name!r}" in notes
    return entries(target.parent)


async def test_a_later_download_resumes_from_the_bytes_of_an_earlier_one(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """From a hidden file and its log, which are removed at the end."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    left = await download_half(job, sandbox, target)
    assert [(name[:11], name[-5:]) for name in left] == [
        (".voice.mp3.", ".kept"),
        (".voice.mp3.", ".part"),
    ]
    before, reports = len(media(sandbox)), list[DownloadProgress]()
    result = await job.download(target, resume=True, on_progress=reports.append)
    assert target.read_bytes() == CONTENT
    assert result.size == len(CONTENT)
    assert [seen.headers.get("range") for seen in media(sandbox)[before:]] == [f"bytes={HALF}-"]
    assert reports[0].received > HALF
    assert entries(tmp_path) == ["voice.mp3"]


async def test_observers_receive_the_offset_of_a_resumed_download(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    events: list[Event] = []
    options = ClientOptions(
        observers=(events.append,), retry=RetryPolicy(attempts=2, initial_delay=0.01)
    )
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        job = await finished(client, CONTENT)
        await download_half(job, sandbox, tmp_path / "voice.mp3")
        events.clear()
        await job.download(tmp_path / "voice.mp3", resume=True)
    resumed = [event for event in events if isinstance(event, DownloadResumed)]
    assert resumed == [DownloadResumed(HALF, "an earlier download left its bytes")]


async def test_without_resume_nothing_is_left_and_nothing_is_resumed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    sandbox.faults.add(Fault(path=RESULT, action=Truncate(0.5)), BROKEN)
    with pytest.raises(DownloadFailed) as caught:
        await job.download(target)
    assert "kept" not in "\n".join(caught.value.__notes__)
    assert entries(tmp_path) == []
    sandbox.faults.clear()
    left = await download_half(job, sandbox, target)
    before = len(media(sandbox))
    await job.download(target)
    assert "range" not in media(sandbox)[before].headers
    assert entries(tmp_path) == [*left, "voice.mp3"]


@pytest.mark.slow
async def test_a_cancelled_download_is_resumed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A task is cancelled, or a scope, which repeats the cancellation."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    sandbox.faults.add(Fault(path=RESULT, times=2, action=Stall(after=300_000, seconds=30)))
    reports: list[DownloadProgress] = []
    scope = anyio.CancelScope()

    async def download() -> None:
        with scope:
            await job.download(target, resume=True, on_progress=reports.append)

    for number, is_scope in enumerate((False, True), 1):
        reports.clear()
        downloading = asyncio.create_task(download())
        while len(media(sandbox)) < number or not reports or not reports[-1].received:
            await asyncio.sleep(0.005)
        (scope if is_scope else downloading).cancel()
        await asyncio.wait([downloading])
        assert (downloading.cancelled(), scope.cancelled_caught) == (not is_scope, is_scope)
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
    ranges = [seen.headers.get("range") for seen in media(sandbox)]
    assert ranges[0] is None
    assert all(text is not None and int(text[6:-1]) > 0 for text in ranges[1:])
    assert entries(tmp_path) == ["voice.mp3"]


async def test_a_small_result_is_written_when_it_is_complete(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Until then no file exists; after a failure, the bytes are kept nevertheless."""
    content = CONTENT[:100_000]
    job, target = await finished(client, content), tmp_path / "voice.mp3"
    sandbox.faults.add(Fault(path=RESULT, action=Stall(after=50_000, seconds=30)))
    reports: list[DownloadProgress] = []
    downloading = asyncio.create_task(job.download(target, resume=True, on_progress=reports.append))
    while not reports or reports[-1].received < 50_000:
        await asyncio.sleep(0.01)
    assert entries(tmp_path) == []
    downloading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await downloading
    assert [name[-5:] for name in entries(tmp_path)] == [".kept", ".part"]
    await job.download(target, resume=True)
    assert target.read_bytes() == content
    assert media(sandbox)[-1].headers["range"] == "bytes=50000-"
    assert entries(tmp_path) == ["voice.mp3"]


async def test_another_generation_or_type_does_not_resume_it(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    first, other = await finished(client, CONTENT), await finished(client, CONTENT[::-1])
    target = tmp_path / "voice.mp3"
    left = await download_half(first, sandbox, target)
    before = len(media(sandbox))
    await other.download(target, resume=True)
    assert target.read_bytes() == CONTENT[::-1]
    target.unlink()
    await client.generations.download(
        generation_id=first.generation_id,
        api_project_id=first.api_project_id,
        download_type="transcript",
        download_file_path=target,
        resume=True,
    )
    assert all("range" not in seen.headers for seen in media(sandbox)[before:])
    assert entries(tmp_path) == [*left, "voice.mp3"]


@pytest.mark.slow
async def test_another_version_is_fetched_from_its_start(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The request has the recorded ETag; the response has all bytes of another version."""
    other, target = os.urandom(500_000), tmp_path / "voice.mp3"
    one = {"content-length": len(CONTENT), "etag": '"one"'}
    cut = sends(head(200, one) + CONTENT[:400_000], then=0.2)
    async with peer(cut, responds(503)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed):
            await linked(client).download(target, resume=True)
    sandbox.faults.clear()
    async with peer(responds(200, other, etag='"two"')) as host:
        leads_to(sandbox, host.url("/r"))
        await linked(client).download(target, resume=True)
    assert host.requests[0].headers["if-range"] == '"one"'
    assert host.requests[0].headers["range"] == "bytes=400000-"
    assert target.read_bytes() == other
    assert entries(tmp_path) == ["voice.mp3"]


@pytest.mark.parametrize("etag", [{}, {"etag": 'W/"one"'}])
async def test_bytes_of_an_unknown_version_are_not_kept(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, etag: dict[str, str]
) -> None:
    cut = sends(head(200, {"content-length": len(CONTENT), **etag}) + CONTENT[:HALF], then=0.1)
    async with peer(cut, responds(503)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed) as caught:
            await linked(client).download(tmp_path / "voice.mp3", resume=True)
    assert "kept" not in "\n".join(caught.value.__notes__)
    assert entries(tmp_path) == []


async def test_a_complete_part_file_requests_one_byte(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The file was not published yet; the request checks that the version is current."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    target.write_bytes(b"in the way")

    def remove_target(_: DownloadProgress) -> None:
        target.write_bytes(b"in the way")

    target.unlink()
    with pytest.raises(InvalidTarget, match="exists"):
        await job.download(target, resume=True, on_progress=remove_target)
    target.unlink()
    before = len(media(sandbox))
    await job.download(target, resume=True)
    last = len(CONTENT) - 1
    assert [seen.headers["range"] for seen in media(sandbox)[before:]] == [f"bytes={last}-"]
    assert target.read_bytes() == CONTENT
    assert entries(tmp_path) == ["voice.mp3"]


def _torn(part: Path, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-9])


async def test_an_incomplete_line_of_the_log_is_ignored(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Entries before it are valid, and so are later ones."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    journal, _ = (tmp_path / name for name in await download_half(job, sandbox, target))
    with journal.open("ab") as file:
        file.write(b"[[0,8999")
    left = Fault(path=RESULT, action=Truncate(0.5))
    sandbox.faults.add(left, BROKEN)
    with pytest.raises(DownloadFailed):
        await job.download(target, resume=True)
    sandbox.faults.clear()
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
    ranges = [seen.headers.get("range") for seen in media(sandbox)]
    assert f"bytes={HALF}-" in ranges
    assert ranges[-1] == f"bytes={HALF + HALF // 2}-"


async def test_a_checkpoint_before_a_damaged_line_is_used(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A power cut may store the end of a line, but not its middle."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    journal, _ = (tmp_path / name for name in await download_half(job, sandbox, target))
    with journal.open("ab") as file:
        file.write(b"\0" * 40 + b'"crc": 1}\n')
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
    assert media(sandbox)[-1].headers.get("range") == f"bytes={HALF}-"


def _changed_digit(part: Path, journal: Path) -> None:
    content = journal.read_bytes()
    changed = content.replace(b'"safe": [[0, ', b'"safe": [[0, 1')
    assert changed != content
    journal.write_bytes(changed)


def _foreign(part: Path, journal: Path) -> None:
    journal.write_bytes(b"\x00\xffnot a journal\n\n[[0,1]]")


def _empty(part: Path, journal: Path) -> None:
    journal.write_bytes(b"")


def _missing_log(part: Path, journal: Path) -> None:
    journal.unlink()


def _missing_part(part: Path, journal: Path) -> None:
    part.unlink()


def _wrong_types(part: Path, journal: Path) -> None:
    header = journal.read_bytes().split(b"\n")[0]
    journal.write_bytes(header + b'\n[[0], "x"]\n')


def _second_name(part: Path, journal: Path) -> None:
    (part.parent / "elsewhere").hardlink_to(part)


@pytest.mark.parametrize(
    "damage",
    [
        _torn,
        _changed_digit,
        _foreign,
        _empty,
        _missing_log,
        _missing_part,
        _wrong_types,
        _second_name,
    ],
    ids=lambda f: f.__name__,
)
async def test_bytes_that_may_be_wrong_are_fetched_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    journal, part = (tmp_path / name for name in await download_half(job, sandbox, target))
    before = len(media(sandbox))
    damage(part, journal)
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
    assert "range" not in media(sandbox)[before].headers
    assert [name for name in entries(tmp_path) if name.startswith(".")] == []


async def test_a_file_shorter_than_recorded_is_resumed_at_its_end(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    _, part = (tmp_path / name for name in await download_half(job, sandbox, target))
    os.truncate(part, 1000)
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
    assert media(sandbox)[-1].headers["range"] == "bytes=1000-"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX file system")
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
async def test_a_link_or_folder_in_place_of_the_part_file_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    journal, part = (tmp_path / name for name in await download_half(job, sandbox, target))
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for trap in (part, journal):
        trap.unlink(missing_ok=True)
        if kind == "link":
            trap.symlink_to(precious)
        elif kind == "fifo":
            os.mkfifo(trap)
        else:
            trap.mkdir()
        with pytest.raises(InvalidTarget, match="cannot be written"):
            await job.download(target, resume=True)
        assert not target.exists()
        trap.rmdir() if kind == "folder" else trap.unlink()
    assert precious.read_bytes() == b"precious"


async def test_damaged_bytes_are_found_by_the_digest_and_not_kept(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    _, part = (tmp_path / name for name in await download_half(job, sandbox, target))
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    with pytest.raises(DownloadFailed, match="damaged"):
        await job.download(target, resume=True)
    assert entries(tmp_path) == []
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT


async def test_two_downloads_at_once_do_not_share_one_partial_file(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The second is refused before its first request, and can resume after the first failed."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    sandbox.faults.add(Fault(path=RESULT, action=Stall(after=HALF, seconds=30)))
    reports: list[DownloadProgress] = []
    first = asyncio.create_task(job.download(target, resume=True, on_progress=reports.append))
    while not reports or not reports[-1].received:
        await asyncio.sleep(0.01)
    with pytest.raises(InvalidTarget, match="is being downloaded already"):
        await job.download(target, resume=True)
    assert len(media(sandbox)) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
    assert entries(tmp_path) == ["voice.mp3"]


async def test_downloads_to_memory_cannot_be_resumed(client: AsyncDiffio, sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match="only a file is resumed"):
        await linked(client).download(resume=True)
    assert requests_to(sandbox, LINK) == []


@pytest.mark.skipif(os.name == "nt", reason="another system's locks")
@pytest.mark.parametrize("failure", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
async def test_where_there_are_no_locks_downloads_work_nevertheless(
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: int,
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(failure, os.strerror(failure))

    # Patch the system call, since no such file system is available in tests.
    monkeypatch.setattr("fcntl.flock", no_locks)
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    await download_half(job, sandbox, target)
    await job.download(target, resume=True)
    assert media(sandbox)[-1].headers["range"] == f"bytes={HALF}-"
    assert target.read_bytes() == CONTENT


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
async def test_a_file_of_another_user_is_not_resumed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Another user may have prepared it, in a shared folder or in a folder of theirs."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    _, part = (tmp_path / name for name in await download_half(job, sandbox, target))
    os.chown(part, 65534, 65534)
    for _ in range(2):
        with pytest.raises(InvalidTarget, match="is in the way: remove it"):
            await job.download(target, resume=True)
        assert not target.exists()
        os.chown(tmp_path, 65534, 65534)
    part.unlink()
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT
