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
def kept(tmp_path: Path) -> Path:
    """Path of the resume file."""
    return tmp_path / "talk.upload"


def refused(number: int, times: int | None = 1) -> Fault:
    """A part that is refused permanently."""
    return Fault(path=f"*/parts/{number}", times=times, action=RespondWith(403))


async def broken_off(on: Scene, kept: Any, content: bytes = CONTENT, number: int = 4) -> None:
    """A first attempt that fails at part `number`; the parts before it are acknowledged."""
    on.fail(refused(number))
    with pytest.raises(UploadFailed):
        await on.client.projects.create(content, resume=kept)


def of_class(events: list[object], kind: type) -> list[Any]:
    """The events of one class."""
    return [event for event in events if isinstance(event, kind)]


async def test_the_next_attempt_sends_the_missing_parts_to_the_same_project(kept: Path) -> None:
    events: list[object] = []
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await broken_off(on, kept)
        assert on.seen(ABORT) == []
        assert kept.exists()
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert project.api_project_id == on.only_project()
        assert on.part_numbers() == [1, 2, 3, 4, 4, 5, 6, 7]
        assert len(on.seen("/uploads/start")) == 1
        (resumed,) = of_class(events, UploadResumed)
        assert (resumed.sent, resumed.total) == (3 * PART, len(CONTENT))
        assert not kept.exists()


async def test_progress_continues_from_the_acknowledged_parts(kept: Path) -> None:
    progress: list[UploadProgress] = []
    async with scene(max_concurrent_parts=1) as on:
        await broken_off(on, kept)
        await on.client.projects.create(CONTENT, resume=kept, on_progress=progress.append)
    assert progress[0].sent >= 3 * PART
    assert progress[-1].sent == len(CONTENT)


async def test_a_cancelled_or_closed_upload_is_resumed(kept: Path) -> None:
    """Neither aborts the upload."""
    never = Fault(path="*/parts/3", times=2, action=Delay(60))
    async with scene(faults=[never], max_concurrent_parts=1) as on:
        await cancelled_at(on, "/parts/3", on.client.projects.create(CONTENT, resume=kept))
        async with AsyncDiffio(on.sandbox.api_key, base_url=on.sandbox.base_url) as other:
            uploading = asyncio.create_task(other.projects.create(CONTENT, resume=kept))
            async with asyncio.timeout(10):
                # All parts but the third are recorded.
                while not all(f'"{part}"' in kept.read_text() for part in (4, 5, 6, 7)):
                    await asyncio.sleep(0.005)
        with pytest.raises(ClientClosed):
            await uploading
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert on.seen(ABORT) == []
        assert on.part_numbers() == [1, 2, 3, 3, 3, 4, 5, 6, 7]


async def test_another_content_of_the_same_length_does_not_resume_it(kept: Path) -> None:
    """The first content can still be resumed from the same file."""
    other = sound(len(CONTENT) + 1)[1:]
    async with scene(max_concurrent_parts=1) as on:
        await broken_off(on, kept)
        first = on.only_project()
        project = await on.client.projects.create(other, resume=kept)
        assert project.api_project_id != first
        assert on.landed(project) == other
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert project.api_project_id == first
        assert on.landed(project) == CONTENT
        assert not kept.exists()


async def test_a_session_that_expired_starts_over_and_reports_it(
    kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[object] = []
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await broken_off(on, kept)
        first = on.sandbox.state.projects[on.only_project()]
        first.expires_at = on.sandbox.state.now() - 1
        with caplog.at_level(logging.WARNING, "diffio_async"):
            project = await on.client.projects.create(CONTENT, resume=kept)
        assert project.api_project_id != first.id
        assert on.landed(project) == CONTENT
        (restarted,) = of_class(events, UploadRestarted)
        assert restarted.api_project_id == first.id
        assert "token_expired" in restarted.reason
        assert first.id in caplog.text


async def test_a_session_known_to_have_expired_is_not_resumed() -> None:
    """The record contains the expiry."""
    events: list[object] = []
    store = Kept()
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await broken_off(on, store)
        (record,) = store.records.values()
        store.records[record.digest] = evolve(record, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        sent = len(on.parts())
        await on.client.projects.create(CONTENT, resume=store)
        assert len(on.parts()) == sent + 7
        (restarted,) = of_class(events, UploadRestarted)
        assert "expired at 2020-01-01" in restarted.reason


async def test_an_upload_that_the_edge_forgot_starts_over(kept: Path) -> None:
    events: list[object] = []
    async with scene(max_concurrent_parts=1, observers=(events.append,)) as on:
        await broken_off(on, kept)
        on.sandbox.state.uploads.clear()
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert len(on.sandbox.state.projects) == 2
        assert "upload_not_found" in of_class(events, UploadRestarted)[0].reason


async def test_a_project_that_the_service_does_not_know_starts_over(kept: Path) -> None:
    """Another service, or another account: found out before a byte is sent there."""
    events: list[object] = []
    async with scene(max_concurrent_parts=1) as first:
        await broken_off(first, kept)
    async with scene(observers=(events.append,)) as on:
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert len(of_class(events, UploadRestarted)) == 1
        assert len(on.parts()) == 7


async def test_an_unknown_completion_is_confirmed_with_the_api(kept: Path) -> None:
    """The process ended between `complete` and its response: nothing is sent again."""
    async with scene() as on:
        on.fail(
            Fault(path=f"*{COMPLETE}", times=None, action=LoseResponse()),
            Fault(path=f"*{CONFIRM}", times=None, action=Delay(60)),
        )
        await cancelled_at(on, CONFIRM, on.client.projects.create(CONTENT, resume=kept))
        on.sandbox.faults.clear()
        sent = len(on.parts())
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert project.api_project_id == on.only_project()
        assert project.size_bytes == len(CONTENT)
        assert len(on.parts()) == sent == 7
        assert on.seen(ABORT) == []
        assert not kept.exists()


async def test_an_end_that_was_not_confirmed_is_confirmed_again(kept: Path) -> None:
    async with scene() as on:
        on.fail(Fault(path=f"*{CONFIRM}", times=5, action=RespondWith(503)))
        with pytest.raises(UploadFailed, match="sent completely"):
            await on.client.projects.create(CONTENT, resume=kept)
        await on.client.projects.create(CONTENT, resume=kept)
        assert len(on.parts()) == 7
        assert on.landed(on.only_project()) == CONTENT


async def test_a_refused_end_is_not_resumed(kept: Path) -> None:
    """An upload that the edge refuses permanently is aborted, and the next attempt restarts."""
    async with scene(faults=[Fault(path=f"*{COMPLETE}", action=RespondWith(400))]) as on:
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT, resume=kept)
        assert on.sandbox.state.uploads == {}
        assert not kept.exists()
        assert on.landed(await on.client.projects.create(CONTENT, resume=kept)) == CONTENT


async def test_an_incomplete_upload_is_not_resumed(kept: Path) -> None:
    """The next attempt sends all bytes to a new project."""
    short = {"apiProjectId": "p", "status": "uploaded", "sizeBytes": 3}
    async with scene(faults=[Fault(path=f"*{CONFIRM}", action=RespondWith(json=short))]) as on:
        with pytest.raises(UploadFailed, match="a size of 3 bytes"):
            await on.client.projects.create(CONTENT, resume=kept)
        assert not kept.exists()
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert len(on.sandbox.state.projects) == 2


async def test_a_file_that_changes_is_not_resumed(kept: Path, tmp_path: Path) -> None:
    """No part of the changed content is recorded, and nothing is left open."""
    path = tmp_path / "talk.wav"
    path.write_bytes(CONTENT)

    def change(progress: UploadProgress) -> None:
        if progress.sent > 2 * PART:
            path.write_bytes(sound(len(CONTENT) + 1)[1:])

    async with scene(max_concurrent_parts=1) as on:
        with pytest.raises(InvalidSource, match="changed"):
            await on.client.projects.create(path, resume=kept, on_progress=change)
        assert on.sandbox.state.uploads == {}
        assert not kept.exists()


async def test_a_start_that_was_interrupted_leaves_nothing_open(kept: Path) -> None:
    """The project is recorded, and the next attempt starts its upload."""
    async with scene(faults=[Fault(path="*/uploads/start", action=Delay(0.1))]) as on:
        await cancelled_at(on, "/uploads/start", on.client.projects.create(CONTENT, resume=kept))
        assert on.sandbox.state.uploads == {}
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert project.api_project_id == on.only_project()
        assert on.landed(project) == CONTENT


async def test_a_signed_upload_keeps_its_project_and_is_sent_completely_again(kept: Path) -> None:
    async with scene(uploads=("signed",)) as on:
        on.fail(Fault(origin="media", action=RespondWith(400)))
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT, resume=kept)
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert project.api_project_id == on.only_project()
        assert on.landed(project) == CONTENT
        assert not kept.exists()


async def test_a_signed_link_that_expired_starts_over(kept: Path) -> None:
    async with scene(uploads=("signed",)) as on:
        on.fail(Fault(origin="media", action=RespondWith(400)))
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT, resume=kept)
        on.sandbox.forget_link()
        project = await on.client.projects.create(CONTENT, resume=kept)
        assert on.landed(project) == CONTENT
        assert len(on.sandbox.state.projects) == 2


async def test_a_source_that_can_be_read_only_once_is_resumed(kept: Path) -> None:
    """It is spooled to a temporary file, and identified by its content."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 1000):
            yield CONTENT[start : start + 1000]

    async with scene(max_concurrent_parts=1) as on:
        on.fail(refused(4))
        with pytest.raises(UploadFailed):
            await on.client.projects.create(pieces(), resume=kept)
        project = await on.client.projects.create(pieces(), resume=kept)
        assert on.landed(project) == CONTENT
        assert on.part_numbers() == [1, 2, 3, 4, 4, 5, 6, 7]


class Kept:
    """A store of the user."""

    def __init__(self) -> None:
        self.records: dict[str, UploadRecord] = {}
        self.history: list[UploadRecord] = []

    async def load(self, digest: str) -> UploadRecord | None:
        """Return the record."""
        return self.records.get(digest)

    async def save(self, record: UploadRecord) -> None:
        """Keep it, and take a moment for it."""
        await asyncio.sleep(0.001)
        self.records[record.digest] = record
        self.history.append(record)

    async def forget(self, digest: str) -> None:
        """Keep it no more."""
        self.records.pop(digest, None)


async def test_a_store_saves_each_step_before_the_next() -> None:
    """The project before the first part, each part before another takes its place."""
    store = Kept()
    async with scene(max_concurrent_parts=1) as on:
        project = await on.client.projects.create(CONTENT, resume=store)
        steps = [(r.upload_id is not None, sorted(r.etags)) for r in store.history]
        every = [(True, list(range(1, n + 1))) for n in range(1, 8)]
        assert steps == [(False, []), (True, []), *every]
        assert {r.api_project_id for r in store.history} == {project.api_project_id}
        assert store.records == {}


async def test_the_same_content_twice_at_once_goes_one_after_the_other() -> None:
    """A store has one record for a content; two uploads would spoil each other's."""
    store = Kept()
    async with scene() as on:
        create = on.client.projects.create
        projects = await asyncio.gather(
            create(CONTENT, resume=store), create(CONTENT, resume=store)
        )
        assert len({project.api_project_id for project in projects}) == 2
        for project in projects:
            assert on.landed(project) == CONTENT


async def test_a_store_that_fails_ends_the_upload_and_keeps_what_it_has() -> None:
    class Failing(Kept):
        full = True

        async def save(self, record: UploadRecord) -> None:
            if len(record.etags) == 3 and self.full:
                raise LookupError("the user's own")
            await super().save(record)

    store = Failing()
    async with scene(max_concurrent_parts=1) as on:
        with pytest.raises(LookupError, match="the user's own"):
            await on.client.projects.create(CONTENT, resume=store)
        assert on.seen(ABORT) == []
        store.full = False
        project = await on.client.projects.create(CONTENT, resume=store)
        assert project.api_project_id == on.only_project()
        assert on.part_numbers() == [1, 2, 3, 3, 4, 5, 6, 7]


async def test_a_store_that_cannot_forget_does_not_undo_the_upload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stubborn(Kept):
        async def forget(self, digest: str) -> None:
            raise LookupError("no")

    store = Stubborn()
    async with scene() as on:
        first = await on.client.projects.create(CONTENT, resume=store)
        assert "could not be deleted" in caplog.text
        again = await on.client.projects.create(CONTENT, resume=store)
        assert again == first


async def test_the_next_attempt_finishes_after_a_cancellation_at_any_time(kept: Path) -> None:
    """After any number of iterations of the loop: one project with the right bytes."""
    content = sound(2 * PART + 1)
    async with scene(max_concurrent_parts=2) as on:
        for turns in range(0, 120, 15):
            before = len(on.sandbox.state.projects)
            uploading = asyncio.create_task(on.client.projects.create(content, resume=kept))
            for _ in range(turns):
                await asyncio.sleep(0.0004)
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
            project = await on.client.projects.create(content, resume=kept)
            assert on.landed(project) == content
            new = list(on.sandbox.state.projects.values())[before:]
            # Two only where the first one was through already.
            assert len(new) == 1 or all(project.received for project in new)
        assert not kept.exists()
