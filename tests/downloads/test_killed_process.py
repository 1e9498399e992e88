"""Downloads killed by signal 9: the next one resumes from the safe bytes."""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffio_async import AsyncDiffio
from diffio_async.sandbox import Fault, Sandbox, Stall
from tests.downloads.scenes import RESULT, entries, finished, media

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from diffio_async import AsyncDiffio, ClientOptions

async def main(base_url, generation_id, api_project_id, target):
    # One connection, so that each process requests one range: what the last one has left.
    options = ClientOptions(max_download_connections=1)
    async with AsyncDiffio("diffio_sandbox_key", base_url=base_url, options=options) as client:
        await client.generations.download(
            generation_id=generation_id, api_project_id=api_project_id, download_type="audio",
            download_file_path=target, resume=True,
            on_progress=lambda progress: print(progress.received, flush=True),
        )

asyncio.run(main(*sys.argv[1:]))
"""


async def _large(sandbox: Sandbox, mib: int) -> tuple[list[str], bytes]:
    """Return the arguments of a program that downloads so many MiB, and the repeated MiB."""
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
        job = await finished(client, b"small")
    pattern = os.urandom(2**20)
    source = sandbox.state.source_path(sandbox.state.projects[job.api_project_id])
    source.write_bytes(pattern * mib)
    return [sandbox.base_url, job.generation_id, job.api_project_id], pattern


async def _killed(
    arguments: list[str], target: Path, after: int, *, first: int | None = None
) -> bool:
    """Kill a program after so many bytes from `first`; return whether it was still running."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, *arguments, str(target), stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    while line := await child.stdout.readline():
        first = int(line) if first is None else first
        if int(line) >= first + after:
            child.send_signal(signal.SIGKILL)
            await child.communicate()
            return True
    assert await child.wait() == 0
    return False


@pytest.mark.slow
async def test_a_killed_process_is_resumed_by_the_next(sandbox: Sandbox, tmp_path: Path) -> None:
    """The lock ends with the process, and safe bytes are not fetched again."""
    arguments, pattern = await _large(sandbox, 80)
    target, after = tmp_path / "voice.mp3", 70 * 2**20
    sandbox.faults.add(Fault(path=RESULT, action=Stall(after=after, seconds=60)))
    assert await _killed(arguments, target, after - 2**20, first=0)
    assert [name[-5:] for name in entries(tmp_path)] == [".kept", ".part"]
    assert not await _killed(arguments, target, 2**40)
    assert target.read_bytes() == pattern * 80
    started = int(media(sandbox)[-1].headers["range"][6:-1])
    # Bytes are safe after each second, and at the latest after 32 MiB.
    assert after - 34 * 2**20 <= started <= after
    assert entries(tmp_path) == ["voice.mp3"]


@pytest.mark.slow
async def test_a_download_killed_at_a_random_time_is_resumed_by_the_next(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is killed six times; at most the bytes that were not yet safe are fetched again."""
    arguments, pattern = await _large(sandbox, 400)
    # However late it is killed, four times are not enough for all of it.
    sandbox.faults.add(Fault(path=RESULT, times=None, action=Stall(after=80 * 2**20, seconds=60)))
    target, chance = tmp_path / "voice.mp3", random.Random(7)
    killed = 0
    while killed < 6 and await _killed(arguments, target, chance.randrange(60 * 2**20)):
        killed += 1
        assert not target.exists()
    sandbox.faults.clear()
    if killed == 6:
        assert not await _killed(arguments, target, 2**40)
    assert killed >= 4
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == _digest(pattern, 400)
    offsets = [int(seen.headers.get("range", "bytes=0-")[6:-1]) for seen in media(sandbox)]
    assert offsets == sorted(offsets)
    assert offsets[-1] > 0
    assert entries(tmp_path) == ["voice.mp3"]


def _digest(pattern: bytes, times: int) -> bytes:
    hashed = hashlib.sha256()
    for _ in range(times):
        hashed.update(pattern)
    return hashed.digest()
