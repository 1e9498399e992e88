"""Pipes and other sources that can be read only once, and may block their reader."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio
import pytest

from diffio_async import InvalidSource
from diffio_async._uploads.open_source import open_source
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(6 * PART + 5)


class Pipe:
    """A pipe, with an open file to read from and a descriptor to write to."""

    def __init__(self, buffering: int = -1, *, blocking: bool = True) -> None:
        reading, self.writing = os.pipe()
        os.set_blocking(reading, blocking)
        self.source: Any = os.fdopen(reading, "rb", buffering)

    def feed(self, content: bytes, *, pause: float = 0.0) -> None:
        """Write everything and close the writing end, in a thread."""
        writing, self.writing = self.writing, -1

        def write() -> None:
            with os.fdopen(writing, "wb", 0) as file:
                for start in range(0, len(content), PART):
                    time.sleep(pause)
                    file.write(content[start : start + PART])

        threading.Thread(target=write).start()

    def close(self) -> None:
        """Close both ends."""
        self.source.close()
        if self.writing >= 0:
            os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe like those of `open(…, 'rb')` and `sys.stdin.buffer`."""
    made = Pipe()
    yield made
    made.close()


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
async def test_a_pipe_arrives_byte_by_byte(upload_mode: str, pipe: Pipe) -> None:
    pipe.feed(CONTENT)
    async with scene(uploads=(upload_mode,)) as on:
        project = await on.client.projects.create(pipe.source)
        assert on.uploaded_bytes(project) == CONTENT


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("buffering", [-1, 0])
async def test_a_slow_pipe_is_read_to_its_end(buffering: int, blocking: bool) -> None:
    """An empty pipe is not at its end, whether reading it would block or not."""
    pipe = Pipe(buffering, blocking=blocking)
    pipe.feed(CONTENT, pause=0.01)
    async with open_source(pipe.source, max_bytes=10 * PART) as found:
        assert await found.read(0, found.size) == CONTENT
    pipe.close()


async def test_buffered_bytes_of_a_pipe_are_not_lost(pipe: Pipe) -> None:
    """The user read a header, and the buffer contains more bytes."""
    pipe.feed(b"RIFF" + CONTENT)
    assert pipe.source.read(4) == b"RIFF"
    async with open_source(pipe.source, max_bytes=10 * PART) as found:
        assert await found.read(0, found.size) == CONTENT


async def test_reading_a_pipe_without_writer_can_be_cancelled(pipe: Pipe) -> None:
    """An interruption does not wait for a writer."""
    started_at = time.monotonic()
    async with scene() as on:
        with anyio.move_on_after(0.05):
            await on.client.projects.create(pipe.source)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on.client.projects.create(pipe.source), 0.05)
        assert on.sandbox.requests == []
    assert time.monotonic() - started_at < 30


async def test_many_waiting_pipes_do_not_block_files(tmp_path: Path) -> None:
    pipes = [Pipe() for _ in range(40)]
    (tmp_path / "talk.wav").write_bytes(CONTENT)
    async with scene() as on, anyio.create_task_group() as group:
        for pipe in pipes:
            group.start_soon(on.client.projects.create, pipe.source)
        await anyio.sleep(0.05)
        project = await on.client.projects.create(tmp_path / "talk.wav")
        assert on.uploaded_bytes(project) == CONTENT
        group.cancel_scope.cancel()
    for pipe in pipes:
        pipe.close()


async def test_reading_a_pipe_stops_at_the_limit(pipe: Pipe) -> None:
    """An endless writer does not fill the disk."""
    written = 0

    def write() -> None:
        nonlocal written
        try:
            while True:
                written += os.write(pipe.writing, bytes(PART))
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=write)
    thread.start()
    async with scene(max_upload_bytes=2 * PART) as on:
        with pytest.raises(InvalidSource, match="more than the upload limit of 131,072 bytes"):
            await on.client.projects.create(pipe.source)
        assert on.sandbox.requests == []
    pipe.source.close()
    thread.join()
    assert written < 8 * PART


async def test_a_terminal_or_device_that_cannot_be_watched_is_read() -> None:
    with open("/dev/null", "rb") as nothing:  # noqa: ASYNC230, PTH123 - a device
        async with open_source(nothing, max_bytes=PART) as found:
            assert found.size == 0


async def test_an_object_whose_read_never_returns_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user has to end its thread; the call does not wait for it."""
    monkeypatch.setattr("diffio_async._uploads.source.READ_TIMEOUT", 0.1)
    end = threading.Event()

    class Stuck:
        def read(self, size: int = -1) -> bytes:
            end.wait(10)
            return b""

    stuck: Any = Stuck()
    started_at = time.monotonic()
    with anyio.move_on_after(0.05):
        async with open_source(stuck, max_bytes=PART):
            pass
    assert time.monotonic() - started_at < 9  # `Stuck` blocks for ten
    end.set()


async def test_the_temporary_file_of_a_call_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file never has a name, and its space is released."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Once(io.RawIOBase):
        def __init__(self, inner: BinaryIO) -> None:
            self._inner = inner

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            assert list(tmp_path.iterdir()) == []
            return self._inner.read(size)

    source: Any = Once(io.BytesIO(CONTENT))
    async with open_source(source, max_bytes=10 * PART) as found:
        assert await found.read(PART, 9) == CONTENT[PART : PART + 9]
    assert list(tmp_path.iterdir()) == []
