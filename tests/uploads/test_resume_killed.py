"""A process that is killed during an upload: the next one resumes it.

`DIFFIO_KILLS=10 DIFFIO_KILLED_MIB=1024` extends the test to minutes.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Delay, Fault
from tests.uploads.scenes import Scene, scene

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_no_task_left")]

MIB = 1024 * 1024
KILLS = int(os.environ.get("DIFFIO_KILLS", "5"))
SIZE = int(os.environ.get("DIFFIO_KILLED_MIB", "12")) * MIB
#: Number of parts, for any size.
PARTS = 32
AT_ONCE = 4

#: Uploads a file, and prints the id of the project.
PROGRAM = f"""
import asyncio, sys
from diffio_async import AsyncDiffio, ClientOptions

async def main():
    async with AsyncDiffio(options=ClientOptions(max_concurrent_parts={AT_ONCE})) as client:
        project = await client.projects.create(sys.argv[1], resume=sys.argv[2])
        print(project.api_project_id)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording whose upload takes a while."""
    path = tmp_path_factory.mktemp("recording") / "long.wav"
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            file.write(random.Random(number).randbytes(MIB))  # all are different
        file.write(b"not a whole part")
    return path


async def uploading(on: Scene, recording: Path, resume_file: Path) -> anyio.abc.Process:
    """Start a process that uploads the recording."""
    return await anyio.open_process(
        [sys.executable, "-c", PROGRAM, str(recording), str(resume_file)],
        env={**os.environ, **on.sandbox.environment},
        stdout=subprocess.PIPE,
        stderr=None,
    )


@pytest.mark.parametrize("kill", range(KILLS))
async def test_a_killed_upload_is_finished_by_the_next_attempt(
    kill: int, recording: Path, tmp_path: Path
) -> None:
    """There is one project with the right bytes, and no acknowledged part is sent again."""
    chance = random.Random()
    # Early enough that the first attempt cannot have finished.
    after, pause = chance.randrange(1, PARTS - 12), chance.random() * 0.03
    resume_file = tmp_path / "long.upload"
    slowly = Fault(method="PUT", times=None, action=Delay(0.02))
    async with scene(part_size=SIZE // PARTS, max_bytes=2 * SIZE, faults=[slowly]) as on:
        async with await uploading(on, recording, resume_file) as first:
            with anyio.fail_after(120):
                while len(on.parts()) < after:
                    await anyio.sleep(0.005)
                await anyio.sleep(pause)
            first.kill()
        on.sandbox.faults.clear()
        async with await uploading(on, recording, resume_file) as second:
            with anyio.fail_after(120):
                assert second.stdout is not None
                output = b"".join([piece async for piece in second.stdout]).decode().strip()
                assert await second.wait() == 0
        where = f"killed {pause:.3f} s after part {after}"
        assert output == on.only_project(), where
        project = on.sandbox.state.projects[output]
        assert project.received
        with (
            on.sandbox.state.source_path(project).open("rb") as uploaded,
            recording.open("rb") as sent,
        ):
            digests = [hashlib.file_digest(file, "sha256").digest() for file in (uploaded, sent)]
        assert digests[0] == digests[1], where
        repeated = [number for number, times in Counter(on.part_numbers()).items() if times > 1]
        assert len(repeated) <= AT_ONCE, where
        assert not resume_file.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
async def test_two_processes_cannot_use_one_resume_file(recording: Path, tmp_path: Path) -> None:
    """The second one is refused, and the first one finishes."""
    resume_file = tmp_path / "long.upload"
    slowly = Fault(method="PUT", times=2, action=Delay(4))
    async with scene(part_size=SIZE // PARTS, max_bytes=2 * SIZE, faults=[slowly]) as on:
        async with await uploading(on, recording, resume_file) as first:
            with anyio.fail_after(60):
                while not on.parts():
                    await anyio.sleep(0.005)
            first.send_signal(signal.SIGSTOP)  # the second one starts meanwhile
            second = await anyio.run_process(
                [sys.executable, "-c", PROGRAM, str(recording), str(resume_file)],
                env={**os.environ, **on.sandbox.environment},
                check=False,
            )
            assert second.returncode != 0
            assert b"in use by another upload" in second.stderr
            first.send_signal(signal.SIGCONT)
            with anyio.fail_after(60):
                assert await first.wait() == 0
        assert on.sandbox.state.projects[on.only_project()].received
