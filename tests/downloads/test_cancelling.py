"""A cancelled download leaves no temporary file, descriptor or connection."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

from diffio_async import AsyncDiffio, ClientClosed, DownloadProgress
from diffio_async.sandbox import Fault, Sandbox, Stall
from tests.downloads.scenes import LINK, RESULT, entries, finished, leads_to

CONTENT = os.urandom(600_000)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
async def test_cancelled_after_any_number_of_steps_nothing_is_left(
    client: AsyncDiffio, tmp_path: Path, after: int
) -> None:
    """Either the complete file exists under its name, or no file."""
    job = await finished(client, CONTENT)
    for more in range(3):
        target = tmp_path / "voice.mp3"
        task = asyncio.create_task(job.download(target))
        for _ in range(after + 30 * more):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        names = entries(tmp_path)
        assert names in ([], ["voice.mp3"])
        if names:
            assert target.read_bytes() == CONTENT
            target.unlink()


async def test_cancelled_while_the_host_stalls_nothing_is_left(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A task is cancelled, or a scope, which repeats the cancellation."""
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=RESULT, times=None, action=Stall(after=300_000, seconds=30)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await job.download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []
    with anyio.move_on_after(0.1) as scope:
        await job.download(tmp_path / "voice.mp3")
    assert scope.cancelled_caught
    assert entries(tmp_path) == []


async def test_cancelled_from_its_own_callback_nothing_is_left(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    downloading = asyncio.current_task()
    assert downloading is not None

    async def cancel(_: DownloadProgress) -> None:
        downloading.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await job.download(tmp_path / "voice.mp3", on_progress=cancel)
    downloading.uncancel()
    assert entries(tmp_path) == []


async def test_a_callback_that_was_cancelled_does_not_end_the_download(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """It awaited a cancelled future; the download itself was not cancelled."""
    job = await finished(client, CONTENT)

    async def cancelled(_: DownloadProgress) -> None:
        raise asyncio.CancelledError

    await job.download(tmp_path / "voice.mp3", on_progress=cancelled)
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT


@pytest.mark.parametrize("path", [LINK, RESULT])
async def test_closing_the_client_ends_the_download(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, path: str
) -> None:
    """While it requests the link or fetches bytes, it raises `ClientClosed` and leaves no file."""
    job = await finished(client, CONTENT)
    sandbox.faults.add(Fault(path=path, times=None, action=Stall(after=100, seconds=30)))
    task = asyncio.create_task(job.download(tmp_path / "voice.mp3"))
    await asyncio.sleep(0.1)
    await client.aclose()
    with pytest.raises(ClientClosed, match="the client is closed"):
        await task
    assert entries(tmp_path) == []


_BIG = """
import asyncio, resource, sys
from pathlib import Path
from diffio_async import AsyncDiffio
from tests.downloads.scenes import linked

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

async def main(base_url, target):
    async with AsyncDiffio("diffio_sandbox_key", base_url=base_url) as client:
        await client.projects.list()
        before = megabytes()
        done = await linked(client).download(target or None)
        print(done.size, round(megabytes() - before))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is reports in kilobytes there")
@pytest.mark.parametrize(("to_file", "most"), [(True, 40), (False, 256 * 1.35)])
async def test_memory_does_not_grow_with_a_file_and_holds_a_result_once(
    sandbox: Sandbox, tmp_path: Path, to_file: bool, most: float
) -> None:
    """Peak of a separate process, in MiB, for a result of 256 MiB."""
    source = tmp_path / "big"
    with source.open("wb") as file:
        file.truncate(256 * 2**20)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
        job = await finished(client, b"small")
        link = await client.generations.get_download(
            generation_id=job.generation_id, api_project_id=job.api_project_id
        )
    project = sandbox.state.projects[job.api_project_id]
    shutil.move(source, sandbox.state.source_path(project))
    leads_to(sandbox, link.download_url)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _BIG,
        sandbox.base_url,
        str(tmp_path / "out") if to_file else "",
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    reports, _ = await child.communicate()
    size, grown = map(int, reports.split())
    assert size == 256 * 2**20
    assert grown < most, f"{grown} MiB"


def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `fsync` slow."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(0.15)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.slow
async def test_a_small_download_cancelled_while_it_saves_its_bytes_can_be_resumed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stays open or locked, and no received byte is lost."""
    job, target = await finished(client, CONTENT[:100_000]), tmp_path / "voice.mp3"
    sandbox.faults.add(Fault(path=RESULT, action=Stall(after=50_000, seconds=30)))
    slowly(monkeypatch)
    task = asyncio.create_task(job.download(target, resume=True))
    await asyncio.sleep(0.15)
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()  # again, while it saves the bytes
    with pytest.raises(asyncio.CancelledError):
        await task
    await job.download(target, resume=True)
    assert target.read_bytes() == CONTENT[:100_000]
    assert entries(tmp_path) == ["voice.mp3"]


async def test_a_small_download_cancelled_in_its_last_step_is_complete(
    client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The complete file exists, and no part file beside it."""
    job, target = await finished(client, CONTENT[:100_000]), tmp_path / "voice.mp3"
    has_begun, may_end, real = threading.Event(), threading.Event(), os.fsync

    def fsync(descriptor: int) -> None:
        has_begun.set()
        assert may_end.wait(60)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    task = asyncio.create_task(job.download(target, resume=True))
    while not has_begun.is_set():
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.sleep(0.05)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert entries(tmp_path) == ["voice.mp3"]
