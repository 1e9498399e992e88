"""Sources whose `read` blocks forever delay neither other uploads nor the exit."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async import InvalidSource
from diffio_async._uploads.open_source import open_source
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(3 * PART + 5)

#: One call times out on a silent socket; another is interrupted while it waits.
PROGRAM = """
import asyncio, os, signal, socket, threading
from diffio_async import AsyncDiffio, Diffio

ours, theirs = socket.socketpair()

async def main():
    async with AsyncDiffio("key", base_url="http://127.0.0.1:9") as client:
        try:
            async with asyncio.timeout(0.05):
                await client.projects.create(ours.makefile("rb"))
        except TimeoutError:
            print("gave up", flush=True)

asyncio.run(main())
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    Diffio("key", base_url="http://127.0.0.1:9").projects.create(ours.makefile("rb"))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class Stuck:
    """A file object whose `read` does not return before `end` is set."""

    def __init__(self, end: threading.Event) -> None:
        self._end = end

    def read(self, size: int = -1) -> bytes:
        """Return nothing after `end` is set."""
        self._end.wait()
        return b""


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """Event that ends the threads of the blocked sources, at the latest after the test."""
    made = threading.Event()
    yield made
    made.set()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing there")
@pytest.mark.slow
def test_a_process_ends_while_a_source_blocks() -> None:
    """The thread that reads cannot be woken, so the process does not wait for it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], timeout=120, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "gave up\ninterrupted\n", "")


async def test_blocked_sources_do_not_delay_other_uploads(
    end: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are uploaded however many sources block, and the blocked calls can be cancelled."""
    monkeypatch.setattr("diffio_async._uploads.source.READ_TIMEOUT", 0.1)
    (tmp_path / "talk.wav").write_bytes(CONTENT)
    stuck: Any = Stuck(end)
    async with scene() as on:
        uploads = [asyncio.create_task(on.client.projects.create(stuck)) for _ in range(20)]
        await anyio.sleep(0.1)
        with anyio.fail_after(60):
            project = await on.client.projects.create(tmp_path / "talk.wav")
            assert on.uploaded_bytes(project) == CONTENT
            for upload in uploads:
                upload.cancel()
            await asyncio.wait(uploads)
        assert all(upload.cancelled() for upload in uploads)


async def test_the_thread_of_a_source_ends_with_its_call(end: threading.Event) -> None:
    """The thread of a read that returns late ends too; its data is discarded."""
    late: Any = Stuck(end)
    with anyio.move_on_after(0.05):
        async with anyio.create_task_group() as group:
            group.start_soon(_opened, late)
            await anyio.sleep(0.01)
            end.set()
    async with open_source(socketfile(CONTENT), max_bytes=10 * PART) as found:
        assert await found.read(0, found.size) == CONTENT
    with anyio.fail_after(60):
        while any(thread.name == "diffio-source" for thread in threading.enumerate()):
            await anyio.sleep(0.01)


async def _opened(source: Any) -> None:
    async with open_source(source, max_bytes=PART):
        pass


def socketfile(content: bytes) -> Any:
    """Return a file object of a socket that receives `content`."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            theirs.sendall(content)

    threading.Thread(target=send).start()
    file = ours.makefile("rb")
    ours.close()
    return file


@pytest.mark.parametrize("failure", [StopIteration("x"), OSError("gone"), ValueError("closed")])
async def test_any_exception_of_read_is_reported(failure: Exception) -> None:
    """This includes `StopIteration`, which a future does not accept."""

    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise failure

    broken: Any = Broken()
    with anyio.fail_after(60), pytest.raises(InvalidSource, match="cannot be read"):
        async with open_source(broken, max_bytes=PART):
            pass
