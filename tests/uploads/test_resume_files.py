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


async def fail_first_attempt(on: Scene, resume_file: Path) -> None:
    """Make a first attempt that fails at its second part."""
    on.fail(Fault(path="*/parts/2", action=RespondWith(403)))
    with pytest.raises(UploadFailed):
        await on.client.projects.create(CONTENT, resume=resume_file)


def folder(path: Path) -> None:
    """Create a folder in place of the file."""
    path.mkdir()


def recording(path: Path) -> None:
    """Create a recording, as if passed by mistake; it must not be changed."""
    path.write_bytes(CONTENT)


def short(path: Path) -> None:
    """Write a few bytes of another format."""
    path.write_bytes(b"RIFF")


def damaged(path: Path) -> None:
    """Write a resume file with an invalid line."""
    path.write_bytes(encode_entries(HEADER) + b'{"rec\n{"forgotten": "x"}\n')


def newer(path: Path) -> None:
    """Write a resume file of a newer version."""
    path.write_bytes(encode_entries({**HEADER, "version": 2}) + b"what is not known yet\n")


def pipe(path: Path) -> None:
    """Create a named pipe, whose opening must not block."""
    os.mkfifo(path)


def nowhere(path: Path) -> None:
    """Create a file in place of the parent folder."""
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
    resume_file = tmp_path / "resume_file"
    there(resume_file)
    before = resume_file.read_bytes() if resume_file.is_file() else None
    async with scene() as on:
        with pytest.raises(ResumeFileError, match=words) as caught:
            await on.client.projects.create(CONTENT, resume=resume_file)
        assert str(resume_file) in str(caught.value)
        assert on.sandbox.requests == []
    if before is not None:
        assert resume_file.read_bytes() == before
    assert resume_file.is_symlink() or resume_file.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
async def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    resume_file = tmp_path / "resume_file"
    resume_file.touch(mode=0o000)
    async with scene() as on:
        with pytest.raises(ResumeFileError, match="Permission denied"):
            await on.client.projects.create(CONTENT, resume=resume_file)


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


async def test_the_file_is_private_and_its_content_in_no_message(tmp_path: Path) -> None:
    """It contains the token of the upload."""
    resume_file = tmp_path / "resume_file"
    old = os.umask(0)
    try:
        async with scene(max_concurrent_parts=1) as on:
            await fail_first_attempt(on, resume_file)
    finally:
        os.umask(old)
    assert stat.S_IMODE(resume_file.stat().st_mode) == 0o600
    assert b"uploadToken" in resume_file.read_bytes()


async def test_an_incomplete_last_line_is_not_damage(tmp_path: Path) -> None:
    """The process was killed while writing it; earlier entries are valid."""
    resume_file = tmp_path / "resume_file"
    async with scene(max_concurrent_parts=1) as on:
        await fail_first_attempt(on, resume_file)
        with resume_file.open("ab") as file:
            file.write(b'{"digest": "0123')
        await fail_first_attempt(on, resume_file)
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert on.part_numbers() == [1, 2, 2, 2, 3]


async def test_an_empty_file_is_accepted(tmp_path: Path) -> None:
    """A process that was killed after creating the file leaves it empty."""
    resume_file = tmp_path / "resume_file"
    resume_file.touch()
    async with scene() as on:
        assert (
            on.uploaded_bytes(await on.client.projects.create(CONTENT, resume=resume_file))
            == CONTENT
        )
    assert not resume_file.exists()


@pytest.mark.slow
async def test_a_second_upload_with_the_same_file_is_refused(tmp_path: Path) -> None:
    """The first one continues."""
    resume_file = tmp_path / "resume_file"
    async with scene(faults=[Fault(path="*/parts/2", action=Delay(1))]) as on:
        first = asyncio.create_task(on.client.projects.create(CONTENT, resume=resume_file))
        with anyio.fail_after(60):
            while not on.parts():
                await asyncio.sleep(0.005)
        with pytest.raises(ResumeFileError, match="in use by another upload"):
            await on.client.projects.create(b"another", resume=resume_file)
        assert on.uploaded_bytes(await first) == CONTENT
        assert len(on.sandbox.state.projects) == 1
        # The file can be used again when the first upload has ended.
        assert on.uploaded_bytes(await on.client.projects.create(b"x", resume=resume_file)) == b"x"


async def test_a_source_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    resume_file = tmp_path / "resume_file"
    async with scene() as on:
        with pytest.raises(UploadFailed):
            await on.client.projects.create(tmp_path / "missing.wav", resume=resume_file)
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_is_full_ends_the_upload_before_its_first_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a record the upload does not start; the error contains the project."""
    real = os.write

    def full(descriptor: int, data: Any) -> int:
        if os.path.samestat(os.fstat(descriptor), resume_file.stat()):
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    resume_file = tmp_path / "resume_file"
    async with scene() as on:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResumeFileError, match="cannot be written: No space left") as caught:
            await on.client.projects.create(CONTENT, resume=resume_file)
        monkeypatch.undo()
        assert caught.value.api_project_id == on.only_project()
        assert on.parts() == []
