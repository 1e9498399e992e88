"""Processing of generations: queued, restored in worker processes (or echoed), ended."""

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.settings import SandboxSettings
from diffio_async.sandbox.state import Generation, Project, State
from diffio_async.sandbox.storage import Disk, content_etag, remove_tree
from diffio_async.sandbox.webhooks import WebhookSender
from diffio_async.sandbox.workers import RestorationRefused, WorkerFailed, WorkerPool

STAGES = ("preProcessing", "inference", "restoredVideo")

_AUDIO = {"preProcessing": 0.1, "inference": 0.9}
_VIDEO = {"preProcessing": 0.1, "inference": 0.7, "restoredVideo": 0.2}


def overall_percent(stages: Mapping[str, float], *, has_video: bool) -> int:
    """Return the overall percentage of the stages; at most 99, because 100 means complete."""
    weights = _VIDEO if has_video else _AUDIO
    started = [name for name in weights if name in stages]
    total = 0.0
    for name in started:
        # A stage is complete when a later one has started, whatever it reported last.
        total += weights[name] * (stages[name] if name == started[-1] else 100.0)
    return min(99, int(total))


def stages_at(fraction: float, *, has_video: bool) -> dict[str, float]:
    """Return the percentages of the stages of a job that is this far (0 to 1)."""
    stages: dict[str, float] = {}
    for name, weight in (_VIDEO if has_video else _AUDIO).items():
        stages[name] = min(100.0, 100.0 * fraction / weight)
        fraction -= weight
        if fraction < 0:
            break
    return stages


_MIME = {
    ".mp3": "audio/mpeg",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".avi": "video/x-msvideo",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
}


#: Seconds for which the request for a transcript waits for it: few programs repeat a 409.
TRANSCRIPT_WAIT = 15.0


class Jobs:
    """The queue of generations: restorations run a few at a time, echoes all at once."""

    def __init__(
        self, settings: SandboxSettings, state: State, disk: Disk, deliveries: WebhookSender
    ) -> None:
        self._settings = settings
        self._state = state
        self._disk = disk
        self._deliveries = deliveries
        self.workers = WorkerPool(settings.workers)
        # A complete generation waits for its transcript, any other for its restoration.
        self._waiting: deque[Generation] = deque()
        # The ends of the transcriptions that are requested, by generation.
        self._transcripts: dict[str, asyncio.Event] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def resume(self) -> None:
        """Requeue the generations that an earlier run did not finish."""
        unfinished = [
            generation for generation in self._state.generations.values() if not generation.ended
        ]
        for generation in sorted(unfinished, key=lambda generation: generation.created_at):
            generation.status = "queued"
            generation.started_at = None
            generation.stages = {}
            self._enqueue(generation)

    def submit(self, generation: Generation) -> None:
        """Queue a new generation."""
        self._emit(generation, "generation.queued")
        self._enqueue(generation)

    async def transcribe(self, generation: Generation) -> None:
        """Transcribe a complete generation, once; wait for the end, but not long.

        If the sandbox stops meanwhile, the next request starts the transcription again.
        """
        ended = self._transcripts.get(generation.id)
        if ended is None:
            ended = self._transcripts[generation.id] = asyncio.Event()
            self._waiting.append(generation)
            self._pump()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TRANSCRIPT_WAIT):
                await ended.wait()

    @property
    def _limits(self) -> dict[str, float]:
        settings = self._settings
        return {
            "seconds": settings.max_recording_seconds,
            "decoded_bytes": settings.max_decoded_bytes,
        }

    def warm_up(self) -> None:
        """Start a worker for a generation that is likely to follow soon."""
        if self._settings.engine == "restore" and not self._closed:
            self.workers.warm_up()

    def status_of(self, generation: Generation) -> str:
        """Return the API status of a generation, with the configured status for failures."""
        if generation.status == "failed":
            return self._settings.failed_status
        return generation.status

    def stages(self, generation: Generation) -> dict[str, float]:
        """Return the percentages of the stages that have started."""
        if generation.id in self._timers and generation.started_at is not None:
            elapsed = self._state.now() - generation.started_at
            duration = self._echo_seconds(generation)
            fraction = min(1.0, elapsed / duration) if duration else 1.0
            return stages_at(fraction, has_video=generation.has_video)
        return generation.stages

    def _echo_seconds(self, generation: Generation) -> float:
        """Return the duration of an echo in seconds, constant for each generation."""
        spread = self._settings.duration_spread
        # Repeatable by design; not used for security.
        offset = random.Random(generation.id).uniform(-spread, spread)  # noqa: S311
        return self._settings.duration * (1 + offset)

    def percent(self, generation: Generation) -> int | None:
        """Return the overall percentage; None while the generation is queued."""
        if generation.status == "complete":
            return 100
        if generation.status == "queued":
            return None
        return overall_percent(self.stages(generation), has_video=generation.has_video)

    def position(self, generation: Generation) -> int:
        """Return the number of generations that are ahead in the queue."""
        return self._waiting.index(generation) if generation in self._waiting else 0

    async def close(self) -> None:
        """Cancel all work; `resume` requeues it."""
        self._closed = True
        self._waiting.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for ended in self._transcripts.values():
            ended.set()
        await self.workers.close()

    def _enqueue(self, generation: Generation) -> None:
        if self._settings.engine == "echo":
            loop = asyncio.get_running_loop()
            self._timers[generation.id] = loop.call_later(0, self._start_echo, generation)
            return
        self._waiting.append(generation)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and len(self._running) < self.workers.max_workers and not self._closed:
            generation = self._waiting.popleft()
            work = self._transcribe if generation.status == "complete" else self._restore
            task = asyncio.create_task(work(generation))
            self._running.add(task)
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a job failed unexpectedly", exc_info=error)
        self._pump()

    def _mark_processing(self, generation: Generation) -> Project:
        generation.status = "processing"
        generation.started_at = generation.updated_at = self._state.now()
        self._state.save(generation)
        self._emit(generation, "generation.processing")
        return self._state.projects[generation.project_id]

    def _start_echo(self, generation: Generation) -> None:
        self._mark_processing(generation)
        loop = asyncio.get_running_loop()
        self._timers[generation.id] = loop.call_later(
            self._echo_seconds(generation), self._finish_echo, generation
        )

    def _finish_echo(self, generation: Generation) -> None:
        del self._timers[generation.id]
        project = self._state.projects[generation.project_id]
        suffix = Path(project.file_name).suffix
        source = {"name": f"source{suffix}", "mime": project.content_type, "etag": project.etag}
        generation.files = {"audio": {**source, "echo": "yes"}}
        if generation.has_video:
            generation.files["video"] = generation.files["audio"]
        generation.files["transcript"] = {
            "name": "transcript.json",
            "mime": "application/json",
            "etag": "echo",
            "text": json.dumps({"engine": "echo", "text": "", "words": []}),
        }
        generation.transcription = "available"
        generation.restoration = {"engine": "echo", "note": "the upload, unchanged"}
        self._complete(generation)

    async def _restore(self, generation: Generation) -> None:
        project = self._mark_processing(generation)
        results = self._state.results_path(generation)

        def on_progress(stage: str, percent: float) -> None:
            generation.stages[stage] = min(100.0, max(0.0, percent))
            generation.updated_at = self._state.now()

        def on_probed(has_video: bool) -> None:
            generation.has_video = project.has_video = has_video
            self._state.save(project)

        await self._disk.run(remove_tree, results)
        await self._disk.run(results.mkdir, mode=0o700, parents=True)
        worker = None
        reusable = False
        try:
            worker = await self.workers.acquire()
            source = self._state.source_path(project)
            async with asyncio.timeout(self._settings.max_processing_seconds):
                result = await worker.restore(
                    source,
                    results,
                    limits=self._limits,
                    on_probed=on_probed,
                    on_progress=on_progress,
                )
            reusable = True
            await self._store_results(generation, results, result)
        except RestorationRefused as error:
            reusable = True
            self._fail(generation, str(error), None)
        except TimeoutError:
            limit = self._settings.max_processing_seconds
            self._fail(
                generation,
                f"the restoration took longer than {limit:g} s, the limit of this sandbox",
                None,
            )
        except WorkerFailed as error:
            self._fail(generation, "the restoration failed unexpectedly", str(error))
        except (OSError, ValueError, KeyError) as error:
            log.exception("a restoration could not be run, or its result not be stored")
            self._fail(generation, "the restoration failed unexpectedly", repr(error))
        finally:
            if worker is not None:
                await self.workers.release(worker, reusable=reusable)
            if not reusable:
                # A killed worker leaves temporary files.
                await self._disk.run(remove_tree, results)

    async def _store_results(
        self, generation: Generation, results: Path, result: dict[str, Any]
    ) -> None:
        for download_type in ("audio", "video"):
            if result[download_type] is not None:
                await self._store_file(generation, results, download_type, result[download_type])
        # Of joined files, the first may have no picture.
        generation.has_video = result["hasVideo"]
        generation.transcription = "pending" if result["canTranscribe"] else "unavailable"
        generation.restoration = {
            "engine": result["engine"],
            "seconds": result["seconds"],
            "warnings": result["warnings"],
            **{
                measure: dict(zip(("before", "after"), result[measure], strict=True))
                for measure in ("noiseFloorDb", "speechToNoiseDb")
            },
        }
        self._complete(generation)

    async def _store_file(
        self, generation: Generation, results: Path, download_type: str, name: str
    ) -> None:
        generation.files[download_type] = {
            "name": name,
            "mime": _MIME.get(Path(name).suffix, "application/octet-stream"),
            "etag": await self._disk.run(content_etag, results / name),
        }

    async def _transcribe(self, generation: Generation) -> None:
        results, worker, reusable = self._state.results_path(generation), None, False
        try:
            worker = await self.workers.acquire()
            async with asyncio.timeout(self._settings.max_processing_seconds):
                result = await worker.transcribe(
                    results / generation.files["audio"]["name"], results
                )
            reusable = True
            await self._store_file(generation, results, "transcript", result["transcript"])
            generation.transcription = "available"
            generation.restoration = {
                **(generation.restoration or {}),
                "transcriptEngine": result["engine"],
            }
        except (RestorationRefused, WorkerFailed, TimeoutError, OSError) as error:
            reusable = isinstance(error, RestorationRefused)
            log.warning("a recording could not be transcribed: %r", error)
            generation.transcription = "unavailable"
        finally:
            if worker is not None:
                await self.workers.release(worker, reusable=reusable)
                if not reusable:
                    await self._disk.run(remove_tree, results / ".transcribing")
            self._transcripts.pop(generation.id).set()
        generation.updated_at = self._state.now()
        self._state.save(generation)

    def _complete(self, generation: Generation) -> None:
        self._end(generation, "complete")
        self._emit(generation, "generation.completed")

    def _fail(self, generation: Generation, reason: str, details: str | None) -> None:
        generation.error, generation.error_details = reason, details
        generation.transcription = "unavailable"
        generation.stages.setdefault("preProcessing", 0.0)
        self._end(generation, "failed")
        self._emit(generation, "generation.failed")

    def _end(self, generation: Generation, status: str) -> None:
        generation.status = status
        generation.finished_at = generation.updated_at = self._state.now()
        self._state.save(generation)

    def _emit(self, generation: Generation, event_type: str) -> None:
        self._deliveries.emit(generation, event_type)
