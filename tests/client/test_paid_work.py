"""Uploaded and billed work stays reachable, and nothing is billed unnecessarily."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    GenerationStarted,
    IdempotencyConflict,
    InvalidSource,
    InvalidTarget,
    ServerError,
    TranscriptPending,
)
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.conftest import QUICK
from tests.scripts import PROGRESS, forever, progress_body, requests_to

if TYPE_CHECKING:
    from pathlib import Path

SPEECH = b"speech " * 1000


@pytest.mark.slow
async def test_errors_after_the_generation_started_have_its_key_and_ids() -> None:
    """Reusing the key from the error leads to the first generation."""
    options = ClientOptions(retry=QUICK)
    async with (
        Sandbox(engine="echo") as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
    ):
        sandbox.faults.add(forever(500, "/v1/get_generation_download"))
        with pytest.raises(ServerError) as caught:
            await client.restore(SPEECH)
        error = caught.value
        assert error.idempotency_key
        assert error.generation_id
        with pytest.raises(IdempotencyConflict) as conflict:
            await client.restore(SPEECH, idempotency_key=error.idempotency_key)
        assert conflict.value.generation_id == error.generation_id
        assert conflict.value.api_project_id == error.api_project_id


async def test_a_cancelled_restoration_notes_the_running_generation(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The caller's timeout ends the wait; notes contain the ids of the billed generation."""
    sandbox.faults.add(forever(progress_body("processing")))

    async def expire() -> None:
        while not requests_to(sandbox, PROGRESS):
            await asyncio.sleep(0.01)
        deadline.reschedule(0)

    deadline = asyncio.timeout(None)
    expiring = asyncio.create_task(expire())
    with pytest.raises(TimeoutError) as caught:
        async with deadline:
            await client.restore(SPEECH, idempotency_key="mine")
    await expiring
    notes = caught.value.__cause__.__notes__ if caught.value.__cause__ else []
    (project,) = await client.projects.list()
    assert f"api_project_id={project.api_project_id}" in notes
    assert "idempotency_key=mine" in notes
    assert any(note.startswith("generation_id=") for note in notes)


async def test_observers_are_notified_when_a_generation_is_billed(sandbox: Sandbox) -> None:
    """A program can record the ids, to resume after it was killed."""
    events: list[object] = []
    options = ClientOptions(observers=(events.append,))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        result = await client.restore(SPEECH, idempotency_key="mine")
    started = GenerationStarted(
        generation_id=result.generation.generation_id,
        api_project_id=result.project.api_project_id,
        idempotency_key="mine",
    )
    assert events.count(started) == 1


@pytest.mark.slow
async def test_a_pending_transcript_is_waited_for(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """The generation is complete, so the transcript is requested again within the timeout."""
    pending = RespondWith(409, json={"error": "pending", "code": "TRANSCRIPT_PENDING"})
    link = "/v1/get_generation_download"
    sandbox.faults.add(Fault(path=link, action=pending))
    result = await client.restore(SPEECH, download_type="transcript")
    assert result.content
    sandbox.faults.add(Fault(path=link, times=None, action=pending))
    with pytest.raises(TranscriptPending):
        await client.restore(SPEECH, download_type="transcript", timeout=3)


async def test_an_empty_stream_starts_no_generation(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """That it is empty is known only after reading it; nothing is billed."""
    with pytest.raises(InvalidSource, match="no generation was started"):
        await client.restore(io.BytesIO(b""))
    assert requests_to(sandbox, "*-generation") == []


async def test_an_existing_video_in_the_target_folder_is_refused_before_the_upload(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A video keeps its suffix, so its name is known in advance."""
    source = tmp_path / "talk.mp4"
    source.write_bytes(SPEECH)
    (tmp_path / "talk.restored.mp4").write_bytes(b"existing")
    with pytest.raises(InvalidTarget, match="exists"):
        await client.restore(source, tmp_path, download_type="video")
    assert list(sandbox.requests) == []


VIDEOS = [
    ("talk.mp4", "talk.restored.mp4", "talk.restored.mp4"),
    ("talk.avi", "x.mp4", "talk.restored.mp4"),
    ("talk", "x.mkv", "talk.restored.mkv"),
    ("talk.one.mov", None, "talk.one.restored.mov"),
]


@pytest.mark.slow
async def test_a_video_in_a_folder_gets_the_suffix_that_the_service_chose(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The stem is that of the source, the suffix that of the chosen container."""
    error = await client.restore(SPEECH)
    for number, (name, sent, written) in enumerate(VIDEOS):
        link = {
            "generationId": error.generation.generation_id,
            "apiProjectId": error.project.api_project_id,
            "downloadType": "video",
            "downloadUrl": error.download.download_url,
            "fileName": sent,
        }
        sandbox.faults.clear()
        sandbox.faults.add(forever(link, "/v1/get_generation_download"))
        folder = tmp_path / str(number)
        folder.mkdir()
        source = folder / name
        source.write_bytes(SPEECH)
        result = await client.restore(
            source, folder, download_type="video", content_type="video/x-matroska"
        )
        assert result.path == folder / written
        assert (folder / written).read_bytes() == SPEECH
