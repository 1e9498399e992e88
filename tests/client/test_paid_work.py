"""What was uploaded or billed is never out of reach, and nothing is billed for nothing."""

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
from tests.scripts import forever, progress_body, requests_to

if TYPE_CHECKING:
    from pathlib import Path

SPEECH = b"speech " * 1000


async def test_every_later_error_has_the_key_and_the_ids() -> None:
    """Given or made, the key is in the error of each stage; used again it leads to the first."""
    options = ClientOptions(retry=QUICK)
    async with (
        Sandbox(engine="echo") as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client,
    ):
        sandbox.faults.add(forever(500, "/v1/get_generation_download"))
        with pytest.raises(ServerError) as caught:
            await client.restore(SPEECH)
        first = caught.value
        assert first.idempotency_key
        assert first.generation_id
        with pytest.raises(IdempotencyConflict) as again:
            await client.restore(SPEECH, idempotency_key=first.idempotency_key)
        assert again.value.generation_id == first.generation_id
        assert again.value.api_project_id == first.api_project_id


async def test_a_cancelled_restoration_notes_what_goes_on(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A deadline of the caller's cuts the wait; the paid generation's ids are noted."""
    sandbox.faults.add(forever(progress_body("processing")))
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.2):
            await client.restore(SPEECH, idempotency_key="mine")
    notes = caught.value.__cause__.__notes__ if caught.value.__cause__ else []
    (project,) = await client.projects.list()
    assert f"api_project_id={project.api_project_id}" in notes
    assert "idempotency_key=mine" in notes
    assert any(note.startswith("generation_id=") for note in notes)


async def test_observers_hear_of_a_generation_as_soon_as_it_is_billed(sandbox: Sandbox) -> None:
    """A program that is killed later has written down what to pick up."""
    heard: list[object] = []
    options = ClientOptions(observers=(heard.append,))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        result = await client.restore(SPEECH, idempotency_key="mine")
    started = GenerationStarted(
        generation_id=result.generation.generation_id,
        api_project_id=result.project.api_project_id,
        idempotency_key="mine",
    )
    assert heard.count(started) == 1


@pytest.mark.slow
async def test_a_transcript_that_is_pending_is_waited_for(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The generation is complete, the transcript is not: asked again, within the timeout."""
    pending = RespondWith(409, json={"error": "pending", "code": "TRANSCRIPT_PENDING"})
    link = "/v1/get_generation_download"
    sandbox.faults.add(Fault(path=link, action=pending))
    result = await client.restore(SPEECH, download_type="transcript")
    assert result.content
    sandbox.faults.add(Fault(path=link, times=None, action=pending))
    with pytest.raises(TranscriptPending):
        await client.restore(SPEECH, download_type="transcript", timeout=0.2)


async def test_an_empty_stream_starts_no_generation(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """What is empty is known only when it was read; it is not billed."""
    with pytest.raises(InvalidSource, match="no generation was started"):
        await client.restore(io.BytesIO(b""))
    assert requests_to(sandbox, "*-generation") == []


async def test_a_video_for_a_folder_is_refused_before_the_upload_where_it_exists(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A video keeps its ending, so its name is known beforehand."""
    source = tmp_path / "talk.mp4"
    source.write_bytes(SPEECH)
    (tmp_path / "talk.restored.mp4").write_bytes(b"yesterday")
    with pytest.raises(InvalidTarget, match="exists"):
        await client.restore(source, tmp_path, download_type="video")
    assert list(sandbox.requests) == []


VIDEOS = [
    ("talk.mp4", "talk.restored.mp4", "talk.restored.mp4"),
    ("talk.avi", "x.mp4", "talk.restored.mp4"),
    ("talk", "x.mkv", "talk.restored.mkv"),
    ("talk.one.mov", None, "talk.one.restored.mov"),
]


async def test_a_video_for_a_folder_gets_the_ending_that_the_service_chose(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The stem is the source's, the ending that of the container the service chose."""
    first = await client.restore(SPEECH)
    for number, (name, sent, written) in enumerate(VIDEOS):
        link = {
            "generationId": first.generation.generation_id,
            "apiProjectId": first.project.api_project_id,
            "downloadType": "video",
            "downloadUrl": first.download.download_url,
            "fileName": sent,
        }
        sandbox.faults.clear()
        sandbox.faults.add(forever(link, "/v1/get_generation_download"))
        folder = tmp_path / str(number)
        folder.mkdir()
        source = folder / name
        source.write_bytes(SPEECH)
        result = await client.restore(source, folder, download_type="video")
        assert result.path == folder / written
        assert (folder / written).read_bytes() == SPEECH
