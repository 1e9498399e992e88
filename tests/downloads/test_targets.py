"""Targets that cannot be written: detected before any request, or without leftovers."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffio_async import AsyncDiffio, DownloadProgress, InvalidTarget
from diffio_async.sandbox import Sandbox
from tests.disks import disk
from tests.downloads.scenes import LINK, entries, finished, linked
from tests.scripts import requests_to

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX file system")


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written: by its mode, or for root as a read-only file system."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    if not Path("/proc/self").is_dir():
        pytest.skip("root may write everywhere here")
    yield Path("/proc/self")


async def _refused_early(
    client: AsyncDiffio, sandbox: Sandbox, target: str | Path, message: str, **more: str
) -> None:
    with pytest.raises(InvalidTarget, match=message):
        await linked(client).download(target, **more)
    with pytest.raises(InvalidTarget, match=message):
        await client.restore(b"speech", target, **more)  # type: ignore[arg-type]
    assert sandbox.requests == []


async def test_a_missing_folder_is_found_before_any_request(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    await _refused_early(client, sandbox, tmp_path / "no" / "voice.mp3", "there is no folder")
    (tmp_path / "file").write_bytes(b"")
    await _refused_early(client, sandbox, tmp_path / "file" / "voice.mp3", "there is no folder")


async def test_a_folder_that_cannot_be_written_is_found_before_any_request(
    client: AsyncDiffio, sandbox: Sandbox, unwritable: Path
) -> None:
    await _refused_early(client, sandbox, unwritable / "voice.mp3", "nothing can be written in")


async def test_a_folder_or_an_empty_path_is_not_a_file_to_write(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    for target in (tmp_path, ""):
        with pytest.raises(InvalidTarget, match="is a folder: name a file in it"):
            await linked(client).download(target)
    for resume in (False, True):
        with pytest.raises(InvalidTarget, match="cannot be the name of a file"):
            await linked(client).download(tmp_path / "a\ud800.mp3", resume=resume)
    assert sandbox.requests == []


@posix
@pytest.mark.parametrize("kind", ["fifo", "link", "broken link", "device"])
async def test_a_target_that_is_not_a_regular_file_is_neither_written_nor_replaced(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "voice.mp3"
    elsewhere = tmp_path / "elsewhere"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "device":
        target = Path("/dev/null")
    else:
        target.symlink_to(elsewhere)
        if kind == "link":
            elsewhere.write_bytes(b"precious")
    await _refused_early(client, sandbox, target, "exists")
    await _refused_early(client, sandbox, target, "not a regular file", on_conflict="overwrite")
    if kind == "link":
        assert elsewhere.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "nul\0l", "x" * 5000])
async def test_a_name_the_file_system_refuses_is_found_before_any_request(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidTarget, match="cannot be"):
        await linked(client).download(tmp_path / name)
    assert sandbox.requests == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
@pytest.mark.slow
def test_a_folder_that_may_not_be_entered_is_an_invalid_target(tmp_path: Path) -> None:
    """A process without permissions cannot even check whether it exists."""
    script = """
import asyncio, os, sys
from pathlib import Path
from diffio_async import InvalidTarget
from diffio_async._downloads.sinks import check_target
async def main():
    target = Path(sys.argv[1]) / "sub" / "voice.mp3"
    await check_target(target, "error")  # imports what is imported late
    os.seteuid(65534)
    try:
        await check_target(target, "error")
    except InvalidTarget as error:
        print(error)
    os.seteuid(0)
asyncio.run(main())
"""
    closed = tmp_path / "closed"
    (closed / "sub").mkdir(parents=True)
    closed.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", script, str(closed)], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in done.stdout, done


async def test_a_folder_that_is_removed_during_the_download_is_an_invalid_target(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    job = await finished(client, os.urandom(100_000))
    folder = tmp_path / "results"
    folder.mkdir()

    def remove_folder(_: DownloadProgress) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(InvalidTarget, match="cannot be written: No such file") as caught:
        await job.download(folder / "voice.mp3", on_progress=remove_folder)
    assert caught.value.generation_id == job.generation_id
    assert not folder.exists()


async def test_a_target_that_becomes_a_folder_is_not_replaced(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    job = await finished(client, b"voice")
    target = tmp_path / "voice.mp3"
    for policy in ("error", "overwrite"):
        with pytest.raises(InvalidTarget):
            await job.download(
                target, on_conflict=policy, on_progress=lambda _: target.mkdir(exist_ok=True)
            )
        assert entries(tmp_path) == ["voice.mp3"]
        target.rmdir()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with disk(tmp_path / "tiny", size="1m") as small:
        yield small


async def test_a_full_disk_leaves_nothing_behind(
    client: AsyncDiffio, sandbox: Sandbox, tiny: Path
) -> None:
    """The download is not retried: a full disk is permanent."""
    job = await finished(client, os.urandom(2_000_000))
    with pytest.raises(InvalidTarget, match="No space left on device"):
        await job.download(tiny / "voice.mp3")
    assert entries(tiny) == []
    assert len(requests_to(sandbox, LINK)) == 1


@posix
@pytest.mark.slow
@pytest.mark.parametrize("total", [200_000, None], ids=["held until whole", "written as it comes"])
def test_a_file_over_the_process_limit_leaves_nothing_behind(
    tmp_path: Path, total: int | None
) -> None:
    """The same by `ulimit -f`, which needs no mounted file system."""
    script = """
import asyncio, os, resource, sys
from pathlib import Path
from diffio_async import InvalidTarget
from diffio_async._downloads.sinks import FileSink
from diffio_async._downloads.ranges import Representation
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
async def main():
    target = Path(sys.argv[1]) / "voice.mp3"
    try:
        sink = FileSink(target)
        async with sink.opened("error"):
            await sink.restart(Representation(None, eval(sys.argv[2])))
            await sink.write(0, [bytes(200_000)])
    except InvalidTarget as error:
        print(error)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), repr(total)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "File too large" in done.stdout, done
    assert entries(tmp_path) == []
