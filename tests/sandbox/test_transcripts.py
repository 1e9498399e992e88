"""Transcripts are made when they are requested, once, also after a restart."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from raw_caller import Caller, calling

from diffio_async import AsyncDiffio, TranscriptUnavailable
from diffio_async.sandbox import Sandbox, jobs
from diffio_async.sandbox.workers import RestorationRefused, WorkerFailed, WorkerPool

TRANSCRIPT = {"text": "hello", "words": [{"word": "hello", "start": 0.0, "end": 0.5}]}


@define(eq=False)
class FakeWorker:
    """A worker that restores at once, and transcribes when `may_end` is set."""

    can_transcribe: bool = True
    failure: Exception | None = None
    may_end: asyncio.Event = field(factory=asyncio.Event)
    transcriptions: int = 0

    async def restore(self, source: Path, out: Path, **_: Any) -> dict[str, Any]:
        """Copy the recording."""
        (out / "restored.mp3").write_bytes(source.read_bytes())
        levels = {"noiseFloorDb": [-40.0, -60.0], "speechToNoiseDb": [20.0, 40.0]}
        return {
            "audio": "restored.mp3",
            "video": None,
            "hasVideo": False,
            "canTranscribe": self.can_transcribe,
            "seconds": 1.0,
            "engine": "fake",
            "warnings": [],
            **levels,
        }

    async def transcribe(self, audio: Path, out: Path) -> dict[str, Any]:
        """Write the transcript, or raise `failure`."""
        assert audio.is_file()
        self.transcriptions += 1
        await self.may_end.wait()
        if self.failure is not None:
            raise self.failure
        (out / "transcript.json").write_text(json.dumps(TRANSCRIPT))
        return {"transcript": "transcript.json", "engine": "fake"}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> FakeWorker:
    """The only worker; a request for a transcript does not wait for it."""
    fake = FakeWorker()

    async def acquire(_: WorkerPool) -> FakeWorker:
        return fake

    async def release(_: WorkerPool, worker: FakeWorker, *, reusable: bool) -> None:
        assert worker is fake
        assert reusable or not isinstance(fake.failure, RestorationRefused)

    monkeypatch.setattr(WorkerPool, "acquire", acquire)
    monkeypatch.setattr(WorkerPool, "release", release)
    monkeypatch.setattr(WorkerPool, "warm_up", lambda _: None)
    monkeypatch.setattr(jobs, "TRANSCRIPT_WAIT", 0.01)
    return fake


async def request(caller: Caller, ids: dict[str, str]) -> tuple[int, str | None]:
    """Request the transcript; return the status and the code of the error."""
    got = await caller.api("get_generation_download", **ids, downloadType="transcript")
    return got.status, got.json.get("code")


PENDING = (409, "TRANSCRIPT_PENDING")
UNAVAILABLE = (404, "TRANSCRIPT_UNAVAILABLE")


async def test_the_first_request_starts_the_transcription(worker: FakeWorker) -> None:
    """Until it ends the response is a 409; other results can be downloaded meanwhile."""
    async with calling(Sandbox()) as caller:
        ids = await caller.restored(b"sound")
        progress = await caller.ok("get_generation_progress", **ids)
        assert progress["transcription"] == {"status": "pending"}
        assert worker.transcriptions == 0
        for _ in range(3):
            assert await request(caller, ids) == PENDING
        assert worker.transcriptions == 1
        got = await caller.send("GET", await caller.link(ids, downloadType="audio"))
        assert got.body == b"sound"
        worker.may_end.set()
        async with asyncio.timeout(60):
            while await request(caller, ids) == PENDING:
                await asyncio.sleep(0.01)
        got = await caller.send("GET", await caller.link(ids, downloadType="transcript"))
        assert (got.json, got.headers["Content-Type"]) == (TRANSCRIPT, "application/json")
        progress = await caller.ok("get_generation_progress", **ids)
        assert progress["transcription"] == {"status": "available"}
        assert progress["restoration"]["transcriptEngine"] == "fake"
        assert worker.transcriptions == 1


async def test_a_request_waits_for_a_transcript_that_is_ready_soon(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that do not repeat a 409 get short transcripts too; both requests wait."""
    monkeypatch.setattr(jobs, "TRANSCRIPT_WAIT", 60.0)
    async with calling(Sandbox()) as caller:
        ids = await caller.restored()
        requests = [asyncio.create_task(request(caller, ids)) for _ in range(2)]
        async with asyncio.timeout(60):
            while not worker.transcriptions:
                await asyncio.sleep(0.01)
        worker.may_end.set()
        assert [(await each)[0] for each in requests] == [200, 200]
        assert worker.transcriptions == 1


async def test_closing_does_not_wait_for_a_transcription(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that waits ends with the sandbox."""
    monkeypatch.setattr(jobs, "TRANSCRIPT_WAIT", 30.0)
    async with calling(Sandbox()) as caller:
        ids = await caller.restored()
        waiting = asyncio.create_task(request(caller, ids))
        async with asyncio.timeout(60):
            while not worker.transcriptions:
                await asyncio.sleep(0.01)
        start = time.monotonic()
        await caller.sandbox.close()
        await asyncio.gather(waiting, return_exceptions=True)
        assert time.monotonic() - start < 20


async def test_without_a_recogniser_there_is_no_transcript(worker: FakeWorker) -> None:
    worker.can_transcribe = False
    async with calling(Sandbox()) as caller:
        ids = await caller.restored()
        progress = await caller.ok("get_generation_progress", **ids)
        assert progress["transcription"] == {"status": "unavailable"}
        assert await request(caller, ids) == UNAVAILABLE
        assert worker.transcriptions == 0


@pytest.mark.parametrize("failure", [RestorationRefused("no"), WorkerFailed("died"), OSError("x")])
async def test_a_failed_transcription_is_not_repeated(
    worker: FakeWorker, failure: Exception
) -> None:
    """The transcript is unavailable then; the audio stays."""
    worker.failure = failure
    worker.may_end.set()
    async with calling(Sandbox()) as caller:
        ids = await caller.restored()
        async with asyncio.timeout(60):
            while (got := await request(caller, ids)) == PENDING:
                await asyncio.sleep(0.01)
        assert got == UNAVAILABLE
        assert worker.transcriptions == 1
        assert (await caller.api("get_generation_download", **ids)).status == 200


async def test_a_transcription_starts_again_after_a_restart(
    worker: FakeWorker, tmp_path: Path
) -> None:
    """With the next request; a transcript that was made before is kept."""
    async with calling(Sandbox(tmp_path)) as caller:
        ids = await caller.restored()
        other = await caller.restored(b"other")
        assert await request(caller, ids) == PENDING
        assert worker.transcriptions == 1
    worker.may_end.set()
    for expected in (2, 2):
        async with calling(Sandbox(tmp_path)) as caller:
            async with asyncio.timeout(60):
                while await request(caller, ids) == PENDING:
                    await asyncio.sleep(0.01)
            got = await caller.send("GET", await caller.link(ids, downloadType="transcript"))
            assert got.json == TRANSCRIPT
            assert worker.transcriptions == expected
            progress = await caller.ok("get_generation_progress", **other)
            assert progress["transcription"] == {"status": "pending"}


async def test_a_transcription_waits_for_a_free_worker(worker: FakeWorker) -> None:
    """Restorations and transcriptions share the workers, in the order of the requests."""
    async with calling(Sandbox(workers=1)) as caller:
        first, second = await caller.restored(b"1"), await caller.restored(b"2")
        assert await request(caller, first) == PENDING
        assert await request(caller, second) == PENDING
        third = await caller.generation(await caller.project(b"3"))
        progress = await caller.ok("get_generation_progress", **third)
        assert (progress["status"], progress["queue"]["position"]) == ("queued", 1)
        assert worker.transcriptions == 1
        worker.may_end.set()
        assert (await caller.ended(third))["status"] == "complete"
        assert worker.transcriptions == 2


@pytest.mark.slow
async def test_the_client_waits_for_the_transcript(worker: FakeWorker) -> None:
    """`restore` requests it until it is there, or unavailable."""
    async with (
        Sandbox() as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        asyncio.get_running_loop().call_later(0.2, worker.may_end.set)
        result = await client.restore(b"sound", file_name="a.wav", download_type="transcript")
        assert json.loads(result.content or b"") == TRANSCRIPT
        worker.failure = WorkerFailed("died")
        with pytest.raises(TranscriptUnavailable):
            await client.restore(b"other", file_name="a.wav", download_type="transcript")
