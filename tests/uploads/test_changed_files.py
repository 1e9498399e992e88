"""Files that change during an upload: it fails and is aborted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from diffio_async import InvalidSource, UploadProgress
from diffio_async._uploads.open_source import open_source
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(8 * PART)


def shrink(path: Path) -> None:
    """Truncate the file."""
    os.truncate(path, 4 * PART)


def grow(path: Path) -> None:
    """Append to the file."""
    with path.open("ab") as file:
        file.write(b"more")


def touch(path: Path) -> None:
    """Overwrite the file with other content of the same length."""
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [shrink, grow, touch])
@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
@pytest.mark.parametrize("opened", [False, True], ids=["path", "file"])
@pytest.mark.usefixtures("reading")
async def test_a_file_that_changes_during_the_upload_is_refused(
    change: Callable[[Path], None], upload_mode: str, opened: bool, tmp_path: Path
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(CONTENT)
    changed = False

    def change_once(progress: UploadProgress) -> None:
        nonlocal changed
        if not changed:
            changed = True
            change(path)

    async with scene(uploads=(upload_mode,), max_concurrent_parts=1) as on:
        with path.open("rb") as file, pytest.raises(InvalidSource, match="changed") as caught:
            await on.client.projects.create(file if opened else path, on_progress=change_once)
        assert "'talk.wav' changed while it was uploaded" in str(caught.value)
        assert caught.value.api_project_id == on.only_project()
        assert on.sandbox.state.uploads == {}
        assert on.seen("/uploads/complete") == []
        # It is not a network failure, so nothing is retried.
        assert len(on.parts()) == len({seen.path for seen in on.parts()})


@pytest.mark.usefixtures("reading")
async def test_a_file_that_is_replaced_or_removed_is_sent_unchanged(tmp_path: Path) -> None:
    """The open file is uploaded, even if its name refers to another one."""
    path = tmp_path / "talk.wav"
    path.write_bytes(CONTENT)

    def replace(progress: UploadProgress) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"another")
        other.replace(path)

    async with scene() as on:
        project = await on.client.projects.create(path, on_progress=replace)
        assert on.uploaded_bytes(project) == CONTENT
        path.write_bytes(CONTENT)
        project = await on.client.projects.create(
            path, on_progress=lambda _: path.unlink(missing_ok=True)
        )
        assert on.uploaded_bytes(project) == CONTENT


async def test_a_file_that_the_user_closes_is_sent_completely(tmp_path: Path) -> None:
    """The upload has its own descriptor."""
    path = tmp_path / "talk.wav"
    path.write_bytes(CONTENT)
    file = path.open("rb")
    async with scene() as on:
        project = await on.client.projects.create(file, on_progress=lambda _: file.close())
        assert on.uploaded_bytes(project) == CONTENT


@pytest.mark.usefixtures("reading")
async def test_a_file_that_changed_since_it_was_opened_has_no_digest(tmp_path: Path) -> None:
    """Its content may have been read while it was written."""
    path = tmp_path / "talk.wav"
    path.write_bytes(CONTENT)
    async with open_source(path, max_bytes=len(CONTENT)) as found:
        touch(path)
        with pytest.raises(InvalidSource, match="changed"):
            await found.digest()
