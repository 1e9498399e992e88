"""An upload with `resume` continues where it stopped, and never with other bytes."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from diffio_async import (
    AsyncDiffio,
    ClientClosed,
    InvalidSource,
    UploadFailed,
    UploadProgress,
    UploadRestarted,
    UploadResumed,
)
from diffio_async.sandbox import Delay, Fault, LoseResponse, RespondWith
from tests.uploads.scenes import PART, Scene, cancelled_at, scene, sound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import UploadRecord

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(6 * PART + 17)
ABORT = "/uploads/abort"
COMPLETE = "/uploads/complete"
CONFIRM = "/complete_project_upload"


@pytest.fixture
def resume_file(tmp_path: Path) -> Path:
    """Path of the resume file."""
    return tmp_path / "talk.upload"


def refused(number: int, times: int | None = 1) -> Fault:
    """Return a fault that refuses a part permanently."""
    return Fault(path=f"*/parts/{number}", times=times, action=RespondWith(403))


async def fail_first_attempt(
    on: Scene, resume_file: Any, content: bytes = CONTENT, number: int = 4
) -> None:
    """Make a first attempt that fails at part `number`; the parts before it are acknowledged."""
    on.fail(refused(number))
    with pytest.raises(UploadFailed):
        await on.client.projects.create(content, resume=resume_file)


def of_class(events: list[object], kind: type) -> list[Any]:
    """Return the events of one class."""
    return [event for event in events if isinstance(event, kind)]


async def test_the_next_attempt_sends_the_missing_parts_to_the_same_project(
    resume_file: Path,
) -> None:
    events: list[object] = []
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await fail_first_attempt(on, resume_file)
        assert on.seen(ABORT) == []
        assert resume_file.exists()
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert project.api_project_id == on.only_project()
        assert on.part_numbers() == [1, 2, 3, 4, 4, 5, 6, 7]
        assert len(on.seen("/uploads/start")) == 1
        (resumed,) = of_class(events, UploadResumed)
        assert (resumed.sent, resumed.total) == (3 * PART, len(CONTENT))
        assert not resume_file.exists()


async def test_progress_continues_from_the_acknowledged_parts(resume_file: Path) -> None:
    progress: list[UploadProgress] = []
    async with scene(max_concurrent_parts=1) as on:
        await fail_first_attempt(on, resume_file)
        await on.client.projects.create(CONTENT, resume=resume_file, on_progress=progress.append)
    assert progress[0].sent >= 3 * PART
    assert progress[-1].sent == len(CONTENT)


async def test_a_cancelled_or_closed_upload_is_resumed(resume_file: Path) -> None:
    """Neither aborts the upload."""
    never = Fault(path="*/parts/3", times=2, action=Delay(60))
    async with scene(faults=[never], max_concurrent_parts=1) as on:
        await cancelled_at(on, "/parts/3", on.client.projects.create(CONTENT, resume=resume_file))
        async with AsyncDiffio(on.sandbox.api_key, base_url=on.sandbox.base_url) as other:
            uploading = asyncio.create_task(other.projects.create(CONTENT, resume=resume_file))
            async with asyncio.timeout(120):
                # All parts but the third are recorded.
                while not all(f'"{part}"' in resume_file.read_text() for part in (4, 5, 6, 7)):
                    await asyncio.sleep(0.005)
        with pytest.raises(ClientClosed):
            await uploading
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert on.seen(ABORT) == []
        assert on.part_numbers() == [1, 2, 3, 3, 3, 4, 5, 6, 7]


async def test_another_content_of_the_same_length_does_not_resume_it(resume_file: Path) -> None:
    """The first content can still be resumed from the same file."""
    other = sound(len(CONTENT) + 1)[1:]
    async with scene(max_concurrent_parts=1) as on:
        await fail_first_attempt(on, resume_file)
        first = on.only_project()
        project = await on.client.projects.create(other, resume=resume_file)
        assert project.api_project_id != first
        assert on.uploaded_bytes(project) == other
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert project.api_project_id == first
        assert on.uploaded_bytes(project) == CONTENT
        assert not resume_file.exists()


async def test_a_session_that_expired_starts_over_and_reports_it(
    resume_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[object] = []
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await fail_first_attempt(on, resume_file)
        first = on.sandbox.state.projects[on.only_project()]
        first.expires_at = on.sandbox.state.now() - 1
        with caplog.at_level(logging.WARNING, "diffio_async"):
            project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert project.api_project_id != first.id
        assert on.uploaded_bytes(project) == CONTENT
        (restarted,) = of_class(events, UploadRestarted)
        assert restarted.api_project_id == first.id
        assert "token_expired" in restarted.reason
        assert first.id in caplog.text


async def test_a_session_known_to_have_expired_is_not_resumed() -> None:
    """The record contains the expiry."""
    events: list[object] = []
    store = MemoryStore()
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await fail_first_attempt(on, store)
        (record,) = store.records.values()
        store.records[record.digest] = evolve(record, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        sent = len(on.parts())
        await on.client.projects.create(CONTENT, resume=store)
        assert len(on.parts()) == sent + 7
        (restarted,) = of_class(events, UploadRestarted)
        assert "expired at 2020-01-01" in restarted.reason


async def test_an_upload_that_the_edge_no_longer_knows_starts_over(resume_file: Path) -> None:
    events: list[object] = []
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await fail_first_attempt(on, resume_file)
        on.sandbox.state.uploads.clear()
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert len(on.sandbox.state.projects) == 2
        assert "upload_not_found" in of_class(events, UploadRestarted)[0].reason


async def test_a_project_that_the_service_does_not_know_starts_over(resume_file: Path) -> None:
    """It belongs to another service or account, which is detected before sending bytes."""
    events: list[object] = []
    async with scene(max_concurrent_parts=1) as first:
        await fail_first_attempt(first, resume_file)
    async with scene(observers=(events.append,)) as on:
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert len(of_class(events, UploadRestarted)) == 1
        assert len(on.parts()) == 7


async def test_an_unknown_completion_is_confirmed_with_the_api(resume_file: Path) -> None:
    """The process ended between `complete` and its response: nothing is sent again."""
    async with scene() as on:
        on.fail(
            Fault(path=f"*{COMPLETE}", times=None, action=LoseResponse()),
            Fault(path=f"*{CONFIRM}", times=None, action=Delay(60)),
        )
        await cancelled_at(on, CONFIRM, on.client.projects.create(CONTENT, resume=resume_file))
        on.sandbox.faults.clear()
        sent = len(on.parts())
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert project.api_project_id == on.only_project()
        assert project.size_bytes == len(CONTENT)
        assert len(on.parts()) == sent == 7
        assert on.seen(ABORT) == []
        assert not resume_file.exists()


async def test_an_unconfirmed_completion_is_confirmed_by_the_next_attempt(
    resume_file: Path,
) -> None:
    async with scene() as on:
        on.fail(Fault(path=f"*{CONFIRM}", times=5, action=RespondWith(503)))
        with pytest.raises(UploadFailed, match="sent completely"):
            await on.client.projects.create(CONTENT, resume=resume_file)
        await on.client.projects.create(CONTENT, resume=resume_file)
        assert len(on.parts()) == 7
        assert on.uploaded_bytes(on.only_project()) == CONTENT


async def test_a_refused_completion_is_not_resumed(resume_file: Path) -> None:
    """An upload that the edge refuses permanently is aborted, and the next attempt restarts."""
    async with scene(faults=[Fault(path=f"*{COMPLETE}", action=RespondWith(400))]) as on:
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.sandbox.state.uploads == {}
        assert not resume_file.exists()
        assert (
            on.uploaded_bytes(await on.client.projects.create(CONTENT, resume=resume_file))
            == CONTENT
        )


async def test_an_incomplete_upload_is_not_resumed(resume_file: Path) -> None:
    """The next attempt sends all bytes to a new project."""
    short = {"apiProjectId": "p", "status": "uploaded", "sizeBytes": 3}
    async with scene(faults=[Fault(path=f"*{CONFIRM}", action=RespondWith(json=short))]) as on:
        with pytest.raises(UploadFailed, match="a size of 3 bytes"):
            await on.client.projects.create(CONTENT, resume=resume_file)
        assert not resume_file.exists()
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert len(on.sandbox.state.projects) == 2


@pytest.mark.usefixtures("reading")
async def test_a_file_that_changes_is_not_resumed(resume_file: Path, tmp_path: Path) -> None:
    """No part of the changed content is recorded, and nothing is left open."""
    path = tmp_path / "talk.wav"
    path.write_bytes(CONTENT)

    def change(progress: UploadProgress) -> None:
        if progress.sent > 2 * PART:
            path.write_bytes(sound(len(CONTENT) + 1)[1:])

    async with scene(max_concurrent_parts=1) as on:
        with pytest.raises(InvalidSource, match="changed"):
            await on.client.projects.create(path, resume=resume_file, on_progress=change)
        assert on.sandbox.state.uploads == {}
        assert not resume_file.exists()


async def test_a_start_that_was_interrupted_leaves_nothing_open(resume_file: Path) -> None:
    """The project is recorded, and the next attempt starts its upload."""
    async with scene(faults=[Fault(path="*/uploads/start", action=Delay(0.1))]) as on:
        await cancelled_at(
            on, "/uploads/start", on.client.projects.create(CONTENT, resume=resume_file)
        )
        assert on.sandbox.state.uploads == {}
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert project.api_project_id == on.only_project()
        assert on.uploaded_bytes(project) == CONTENT


async def test_a_signed_upload_keeps_its_project_and_is_sent_completely_again(
    resume_file: Path,
) -> None:
    async with scene(uploads=("signed",)) as on:
        on.fail(Fault(origin="media", action=RespondWith(400)))
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT, resume=resume_file)
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert project.api_project_id == on.only_project()
        assert on.uploaded_bytes(project) == CONTENT
        assert not resume_file.exists()


async def test_a_signed_link_that_expired_starts_over(resume_file: Path) -> None:
    async with scene(uploads=("signed",)) as on:
        on.fail(Fault(origin="media", action=RespondWith(400)))
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT, resume=resume_file)
        on.sandbox.forget_link()
        project = await on.client.projects.create(CONTENT, resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert len(on.sandbox.state.projects) == 2


async def test_a_source_that_can_be_read_only_once_is_resumed(resume_file: Path) -> None:
    """It is spooled to a temporary file, and identified by its content."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 1000):
            yield CONTENT[start : start + 1000]

    async with scene(max_concurrent_parts=1) as on:
        on.fail(refused(4))
        with pytest.raises(UploadFailed):
            await on.client.projects.create(pieces(), resume=resume_file)
        project = await on.client.projects.create(pieces(), resume=resume_file)
        assert on.uploaded_bytes(project) == CONTENT
        assert on.part_numbers() == [1, 2, 3, 4, 4, 5, 6, 7]


class MemoryStore:
    """An upload store of the user."""

    def __init__(self) -> None:
        self.records: dict[str, UploadRecord] = {}
        self.history: list[UploadRecord] = []

    async def load(self, digest: str) -> UploadRecord | None:
        """Return the record."""
        return self.records.get(digest)

    async def save(self, record: UploadRecord) -> None:
        """Save the record after a short delay."""
        await asyncio.sleep(0.001)
        self.records[record.digest] = record
        self.history.append(record)

    async def forget(self, digest: str) -> None:
        """Delete the record."""
        self.records.pop(digest, None)


async def test_a_store_saves_each_step_before_the_next() -> None:
    """The project is saved before the first part, and each part before the next."""
    store = MemoryStore()
    async with scene(max_concurrent_parts=1) as on:
        project = await on.client.projects.create(CONTENT, resume=store)
        steps = [(r.upload_id is not None, sorted(r.etags)) for r in store.history]
        every = [(True, list(range(1, n + 1))) for n in range(1, 8)]
        assert steps == [(False, []), (True, []), *every]
        assert {r.api_project_id for r in store.history} == {project.api_project_id}
        assert store.records == {}


async def test_concurrent_uploads_of_the_same_content_are_sequential() -> None:
    """A store has one record per content, which two uploads would overwrite."""
    store = MemoryStore()
    async with scene() as on:
        create = on.client.projects.create
        projects = await asyncio.gather(
            create(CONTENT, resume=store), create(CONTENT, resume=store)
        )
        assert len({project.api_project_id for project in projects}) == 2
        for project in projects:
            assert on.uploaded_bytes(project) == CONTENT


async def test_a_failing_store_ends_the_upload_and_keeps_its_records() -> None:
    class Failing(MemoryStore):
        full = True

        async def save(self, record: UploadRecord) -> None:
            if len(record.etags) == 3 and self.full:
                raise LookupError("the store is full")
            await super().save(record)

    store = Failing()
    async with scene(max_concurrent_parts=1) as on:
        with pytest.raises(LookupError, match="the store is full"):
            await on.client.projects.create(CONTENT, resume=store)
        assert on.seen(ABORT) == []
        store.full = False
        project = await on.client.projects.create(CONTENT, resume=store)
        assert project.api_project_id == on.only_project()
        assert on.part_numbers() == [1, 2, 3, 3, 4, 5, 6, 7]


async def test_a_store_that_cannot_forget_does_not_undo_the_upload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(MemoryStore):
        async def forget(self, digest: str) -> None:
            raise LookupError("no")

    store = Failing()
    async with scene() as on:
        first = await on.client.projects.create(CONTENT, resume=store)
        assert "could not be deleted" in caplog.text
        again = await on.client.projects.create(CONTENT, resume=store)
        assert again == first


@pytest.mark.slow
async def test_the_next_attempt_finishes_after_a_cancellation_at_any_time(
    resume_file: Path,
) -> None:
    """After any number of iterations of the loop: one project with the right bytes."""
    content = sound(2 * PART + 1)
    async with scene(max_concurrent_parts=2) as on:
        for turns in range(0, 120, 15):
            before = len(on.sandbox.state.projects)
            uploading = asyncio.create_task(on.client.projects.create(content, resume=resume_file))
            for _ in range(turns):
                await asyncio.sleep(0.0004)
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
            project = await on.client.projects.create(content, resume=resume_file)
            assert on.uploaded_bytes(project) == content
            new = list(on.sandbox.state.projects.values())[before:]
            # There are two projects only if the first upload had already finished.
            assert len(new) == 1 or all(project.received for project in new)
        assert not resume_file.exists()
