"""Resume files: their errors are raised before a byte is sent."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async import ConfigurationError, ResumeFileError, UploadFailed
from diffio_async._storage.append_log import encode_entries
from diffio_async._uploads.resume_file import HEADER
from diffio_async.sandbox import Delay, Fault, RespondWith
from tests.uploads.scenes import PART, Scene, scene, sound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(3 * PART)


async def broken_off(on: Scene, kept: Path) -> None:
    """A first attempt that fails at its second part."""
    on.fail(Fault(path="*/parts/2", action=RespondWith(403)))
    with pytest.raises(UploadFailed):
        await on.client.projects.create(CONTENT, resume=kept)


def folder(path: Path) -> None:
    """A folder is there."""
    path.mkdir()


def recording(path: Path) -> None:
    """The wrong argument: a recording, which must stay as it is."""
    path.write_bytes(CONTENT)


def short(path: Path) -> None:
    """A few bytes of something else."""
    path.write_bytes(b"RIFF")


def damaged(path: Path) -> None:
    """A line in the middle is not valid."""
    path.write_bytes(encode_entries(HEADER) + b'{"rec\n{"forgotten": "x"}\n')


def newer(path: Path) -> None:
    """A later version wrote it."""
    path.write_bytes(encode_entries({**HEADER, "version": 2}) + b"what is not known yet\n")


def pipe(path: Path) -> None:
    """A named pipe, which must not block."""
    os.mkfifo(path)


def nowhere(path: Path) -> None:
    """The path leads through a file."""
    path.symlink_to(Path(__file__) / "there")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (folder, "directory"),
        (recording, "is not a resume file: name another file"),
        (short, "is not a resume file: name another file"),
        (damaged, "damaged in line 2: remove it to start over"),
        (newer, "another version of diffio_async"),
        (pipe, "not a regular file"),
        (nowhere, "Not a directory"),
    ],
)
async def test_a_file_that_cannot_be_used_is_left_as_it_is(
    there: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    there(kept)
    before = kept.read_bytes() if kept.is_file() else None
    async with scene() as on:
        with pytest.raises(ResumeFileError, match=words) as caught:
            await on.client.projects.create(CONTENT, resume=kept)
        assert str(kept) in str(caught.value)
        assert on.sandbox.requests == []
    if before is not None:
        assert kept.read_bytes() == before
    assert kept.is_symlink() or kept.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.touch(mode=0o000)
    async with scene() as on:
        with pytest.raises(ResumeFileError, match="Permission denied"):
            await on.client.projects.create(CONTENT, resume=kept)


@pytest.mark.parametrize("wrong", [True, 5, "", object(), b"path", {}])
async def test_a_resume_argument_that_is_neither_path_nor_store_is_refused(wrong: Any) -> None:
    """A source that can be read only once is not read."""
    was_read = False

    async def never() -> AsyncGenerator[bytes, None]:
        nonlocal was_read
        was_read = True
        yield b""

    source = never()
    async with scene() as on:
        with pytest.raises(ConfigurationError, match="resume"):
            await on.client.projects.create(source, resume=wrong)
        assert on.sandbox.requests == []
    assert not was_read
    await source.aclose()


async def test_the_file_is_for_its_owner_alone_and_shows_in_no_message(tmp_path: Path) -> None:
    """It holds the token of the upload."""
    kept = tmp_path / "kept"
    old = os.umask(0)
    try:
        async with scene(max_concurrent_parts=1) as on:
            await broken_off(on, kept)
    finally:
        os.umask(old)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert b"uploadToken" in kept.read_bytes()


async def test_a_last_line_that_was_never_finished_is_not_damage(tmp_path: Path) -> None:
    """The process was killed while it wrote it: the steps before it hold."""
    kept = tmp_path / "kept"
    async with scene(max_concurrent_parts=1) as on:
        await broken_off(on, kept)
        with kept.open("ab") as file:
            file.write(b'{"digest": "0123')
        await broken_off(on, kept)
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert on.part_numbers() == [1, 2, 2, 2, 3]


async def test_an_empty_file_is_where_to_begin(tmp_path: Path) -> None:
    """As a process leaves it that was killed when it had just made it."""
    kept = tmp_path / "kept"
    kept.touch()
    async with scene() as on:
        assert on.landed(await on.client.projects.create(CONTENT, resume=kept)) == CONTENT
    assert not kept.exists()


async def test_a_second_upload_with_the_same_file_is_refused(tmp_path: Path) -> None:
    """The first one continues."""
    kept = tmp_path / "kept"
    async with scene(faults=[Fault(path="*/parts/2", action=Delay(0.1))]) as on:
        first = asyncio.create_task(on.client.projects.create(CONTENT, resume=kept))
        with anyio.fail_after(5):
            while not on.parts():
                await asyncio.sleep(0.005)
        with pytest.raises(ResumeFileError, match="in use by another upload"):
            await on.client.projects.create(b"another", resume=kept)
        assert on.landed(await first) == CONTENT
        assert len(on.sandbox.state.projects) == 1
        # And when it has ended the file is free.
        assert on.landed(await on.client.projects.create(b"x", resume=kept)) == b"x"


async def test_a_source_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    async with scene() as on:
        with pytest.raises(UploadFailed):
            await on.client.projects.create(tmp_path / "missing.wav", resume=kept)
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_is_full_ends_the_upload_before_its_first_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a record the upload does not start; the error contains the project."""
    real = os.write

    def full(descriptor: int, data: Any) -> int:
        if os.path.samestat(os.fstat(descriptor), kept.stat()):
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    kept = tmp_path / "kept"
    async with scene() as on:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResumeFileError, match="cannot be written: No space left") as caught:
            await on.client.projects.create(CONTENT, resume=kept)
        monkeypatch.undo()
        assert caught.value.api_project_id == on.only_project()
        assert on.parts() == []
