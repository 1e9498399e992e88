"""Uploads in separate processes: their memory, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from diffio_async.sandbox import Delay, Fault
from tests.uploads.scenes import scene, sound

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_no_task_left")]

MIB = 1024 * 1024

#: Uploads a file in the given way, and prints by how many bytes its peak
#: memory grew meanwhile. A small upload before that loads modules and buffers.
MEASURED = """
import asyncio, sys
from pathlib import Path
from diffio_async import AsyncDiffio

def peak():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

async def pieces(path):
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece

async def main():
    path, how = Path(sys.argv[1]), sys.argv[2]
    async with AsyncDiffio() as client:
        await client.projects.create(bytes(1 << 20))
        before = peak()
        await client.projects.create(path if how == "path" else pieces(path))
        print(peak() - before)

asyncio.run(main())
"""

#: Uploads forever, with the default handler for Ctrl-C, which the test runner may ignore.
INTERRUPTED = """
import asyncio, signal
from diffio_async import AsyncDiffio

signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with AsyncDiffio() as client:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(client.projects.create(bytes(300_000)))

asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("upload_mode", "how"), [("edge", "path"), ("signed", "path"), ("edge", "generator")]
)
async def test_memory_is_bounded_whatever_the_size(
    upload_mode: str, how: str, tmp_path: Path
) -> None:
    """Uploading 256 MiB with four concurrent parts needs less than 64 MiB."""
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        for _ in range(256):
            file.write(sound(MIB))
    async with scene(uploads=(upload_mode,), part_size=32 * MIB, max_bytes=300 * MIB) as on:
        done = await anyio.run_process(
            [sys.executable, "-c", MEASURED, str(path), how],
            env={**os.environ, **on.sandbox.environment},
            stderr=None,
        )
        sizes = sorted(project.size or 0 for project in on.sandbox.state.projects.values())
        assert sizes == [MIB, 256 * MIB]
    assert int(done.stdout) < 64 * MIB
    path.unlink()


async def test_ctrl_c_aborts_the_uploads_of_a_process() -> None:
    """Both uploads are aborted before the process ends with `KeyboardInterrupt`."""
    never = Fault(method="PUT", times=None, action=Delay(60))
    async with scene(faults=[never]) as on:
        process = await anyio.open_process(
            [sys.executable, "-c", INTERRUPTED],
            env={**os.environ, **on.sandbox.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        async with process:
            with anyio.fail_after(60):
                while len(on.seen("/uploads/start", status=200)) < 2 or not on.parts():
                    await anyio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(120):
                assert process.stderr is not None
                output = b"".join([piece async for piece in process.stderr])
                assert await process.wait() != 0
        assert b"KeyboardInterrupt" in output
        assert [seen.status for seen in on.seen("/uploads/abort")] == [200, 200]
        assert on.sandbox.state.uploads == {}
