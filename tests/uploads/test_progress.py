"""Progress of uploads: values, order, and failing callbacks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from diffio_async.sandbox import Delay, Fault, RespondWith
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from diffio_async import UploadProgress

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(5 * PART + 1)


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
async def test_progress_grows_to_the_total(upload_mode: str) -> None:
    reports: list[UploadProgress] = []
    async with scene(uploads=(upload_mode,)) as on:
        await on.client.projects.create(CONTENT, on_progress=reports.append)
    sent = [progress.sent for progress in reports]
    assert sent == sorted(set(sent))
    assert sent[-1] == len(CONTENT)
    assert {progress.total for progress in reports} == {len(CONTENT)}
    assert reports[-1].percent == 100.0


async def test_the_progress_of_an_empty_file_is_complete() -> None:
    reports: list[UploadProgress] = []
    async with scene() as on:
        await on.client.projects.create(b"", on_progress=reports.append)
    assert [(progress.sent, progress.percent) for progress in reports] == [(0, 100.0)]


async def test_a_retried_part_is_counted_once() -> None:
    reports: list[UploadProgress] = []
    again = Fault(method="PUT", path="*/parts/2", action=RespondWith(503))
    async with scene(faults=[again], max_concurrent_parts=1) as on:
        await on.client.projects.create(CONTENT, on_progress=reports.append)
    sent = [progress.sent for progress in reports]
    assert max(sent) == sent[-1] == len(CONTENT)


async def test_a_coroutine_callback_is_called_one_at_a_time() -> None:
    """Several parts are in flight; calls of the coroutine never overlap, and never decrease."""
    reports: list[int] = []
    inside = 0

    async def slow(progress: UploadProgress) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0.01)
        reports.append(progress.sent)
        inside -= 1

    async with scene() as on:
        project = await on.client.projects.create(CONTENT, on_progress=slow)
        assert on.uploaded_bytes(project) == CONTENT
    assert reports == sorted(set(reports))
    assert reports[-1] == len(CONTENT)


async def test_a_callback_that_raises_does_not_end_the_upload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(progress: UploadProgress) -> None:
        raise LookupError("a bug of the user's")

    async def broken_too(progress: UploadProgress) -> None:
        raise LookupError("another")

    async with scene() as on:
        with caplog.at_level(logging.ERROR, "diffio_async"):
            for callback in (broken, broken_too):
                project = await on.client.projects.create(CONTENT, on_progress=callback)
                assert on.uploaded_bytes(project) == CONTENT
    assert "a bug of the user's" in caplog.text


async def test_a_callback_may_use_the_client() -> None:
    seen: list[int] = []
    async with scene() as on:

        async def curious(progress: UploadProgress) -> None:
            seen.append(len(await on.client.projects.list()))

        await on.client.projects.create(CONTENT, on_progress=curious)
    assert set(seen) == {1}


@pytest.mark.slow
async def test_progress_contains_the_rate() -> None:
    """The rate is in bytes per second, once there are enough samples."""
    reports: list[UploadProgress] = []
    slowly = Fault(method="PUT", times=None, action=Delay(0.06))
    async with scene(faults=[slowly], max_concurrent_parts=1) as on:
        await on.client.projects.create(CONTENT, on_progress=reports.append)
        first, last = on.parts()[0], on.parts()[-1]
    assert last.responded_at is not None
    seconds = last.responded_at - first.at
    assert reports[0].rate is None
    rate = reports[-1].rate
    assert rate is not None
    assert 0.5 * len(CONTENT) / seconds < rate < 2 * len(CONTENT) / seconds
