"""Generations at work: queued, processed in worker processes (or echoed), ended."""

import asyncio
import json
import random
from collections import deque
from pathlib import Path
from typing import Any

from diffio_async.sandbox.disk import Disk, digest_of, remove_tree
from diffio_async.sandbox.records import Generation, Project
from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.settings import SandboxSettings
from diffio_async.sandbox.stages import overall, spread
from diffio_async.sandbox.state import State
from diffio_async.sandbox.webhooks import WebhookSender
from diffio_async.sandbox.workers import RestorationRefused, WorkerFailed, Workers

_MIME = {
    ".mp3": "audio/mpeg",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}


class Jobs:
    """Runs generations, the restored ones a few at a time, the echoed ones all at once."""

    def __init__(
        self, settings: SandboxSettings, world: State, disk: Disk, deliveries: WebhookSender
    ) -> None:
        self._settings = settings
        self._state = world
        self._disk = disk
        self._deliveries = deliveries
        self.workers = Workers(settings.workers)
        self._waiting: deque[Generation] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def resume(self) -> None:
        """Start again whatever an earlier server did not finish."""
        unfinished = [one for one in self._state.generations.values() if not one.ended]
        for generation in sorted(unfinished, key=lambda one: one.created_at):
            generation.status = "queued"
            generation.started_at = None
            generation.stages = {}
            self._begin(generation)

    def submit(self, generation: Generation) -> None:
        """Queue a new generation."""
        self._emit(generation, "generation.queued")
        self._begin(generation)

    @property
    def _limits(self) -> dict[str, float]:
        settings = self._settings
        return {
            "seconds": settings.max_recording_seconds,
            "decoded_bytes": settings.max_decoded_bytes,
        }

    def warm_up(self) -> None:
        """Get ready for a generation that is likely to come soon."""
        if self._settings.engine == "restore" and not self._closed:
            self.workers.warm_up()

    def status_of(self, generation: Generation) -> str:
        """Spell a status as the settings want failures spelled."""
        if generation.status == "failed":
            return self._settings.failed_status
        return generation.status

    def stages(self, generation: Generation) -> dict[str, float]:
        """Percentages of the stages that have begun."""
        if generation.id in self._timers and generation.started_at is not None:
            gone = self._state.now() - generation.started_at
            duration = self._duration(generation)
            fraction = min(1.0, gone / duration) if duration else 1.0
            return spread(fraction, has_video=generation.has_video)
        return generation.stages

    def _duration(self, generation: Generation) -> float:
        """Seconds an echo takes: the same for one generation, whenever it is asked."""
        spread = self._settings.duration_spread
        # Repeatable on purpose: this is no secret.
        share = random.Random(generation.id).uniform(-spread, spread)  # noqa: S311
        return self._settings.duration * (1 + share)

    def percent(self, generation: Generation) -> int | None:
        """Percentage of the whole; None where there is nothing to tell yet."""
        if generation.status == "complete":
            return 100
        if generation.status == "queued":
            return None
        return overall(self.stages(generation), has_video=generation.has_video)

    def position(self, generation: Generation) -> int:
        """How many generations are to be taken up before this one."""
        return self._waiting.index(generation) if generation in self._waiting else 0

    async def close(self) -> None:
        """Stop everything where it is; `resume` takes it up again."""
        self._closed = True
        self._waiting.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.workers.close()

    def _begin(self, generation: Generation) -> None:
        if self._settings.engine == "echo":
            loop = asyncio.get_running_loop()
            self._timers[generation.id] = loop.call_later(0, self._echo, generation)
            return
        self._waiting.append(generation)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and len(self._running) < self.workers.most and not self._closed:
            task = asyncio.create_task(self._restore(self._waiting.popleft()))
            self._running.add(task)
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a job broke down", exc_info=error)
        self._pump()

    def _processing(self, generation: Generation) -> Project:
        generation.status = "processing"
        generation.started_at = generation.updated_at = self._state.now()
        self._state.save(generation)
        self._emit(generation, "generation.processing")
        return self._state.projects[generation.project_id]

    def _echo(self, generation: Generation) -> None:
        self._processing(generation)
        loop = asyncio.get_running_loop()
        self._timers[generation.id] = loop.call_later(
            self._duration(generation), self._echoed, generation
        )

    def _echoed(self, generation: Generation) -> None:
        del self._timers[generation.id]
        project = self._state.projects[generation.project_id]
        suffix = Path(project.file_name).suffix
        same = {"name": f"source{suffix}", "mime": project.content_type, "etag": project.etag}
        generation.files = {"audio": {**same, "echo": "yes"}}
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
        project = self._processing(generation)
        out = self._state.results_of(generation)

        def report(stage: str, percent: float) -> None:
            generation.stages[stage] = min(100.0, max(0.0, percent))
            generation.updated_at = self._state.now()

        def probed(has_video: bool) -> None:
            generation.has_video = project.has_video = has_video
            self._state.save(project)

        await self._disk.run(remove_tree, out)
        await self._disk.run(out.mkdir, mode=0o700, parents=True)
        worker = None
        fit = False
        try:
            worker = await self.workers.acquire()
            source = self._state.source_of(project)
            async with asyncio.timeout(self._settings.max_processing_seconds):
                done = await worker.restore(
                    source, out, limits=self._limits, probed=probed, report=report
                )
            fit = True
            await self._store_results(generation, out, done)
        except RestorationRefused as error:
            fit = True
            self._fail(generation, str(error), None)
        except TimeoutError:
            limit = self._settings.max_processing_seconds
            self._fail(
                generation,
                f"the restoration took longer than {limit:g} s, the limit of this sandbox",
                None,
            )
        except WorkerFailed as error:
            self._fail(generation, "the restoration broke down", str(error))
        except (OSError, ValueError, KeyError) as error:
            log.exception("a restoration could not be run, or its result not be kept")
            self._fail(generation, "the restoration broke down", repr(error))
        finally:
            if worker is not None:
                await self.workers.release(worker, fit=fit)
            if not fit:
                # A worker that was killed leaves its temporary files.
                await self._disk.run(remove_tree, out)

    async def _store_results(self, generation: Generation, out: Path, done: dict[str, Any]) -> None:
        for kind in ("audio", "video", "transcript"):
            if done[kind] is None:
                continue
            name = Path(done[kind]).name
            generation.files[kind] = {
                "name": name,
                "mime": _MIME.get(Path(name).suffix, "application/octet-stream"),
                "etag": await self._disk.run(digest_of, out / name),
            }
        generation.transcription = "available" if done["transcript"] else "unavailable"
        generation.restoration = {
            "engine": done["engine"],
            "transcriptEngine": done["transcriptEngine"],
            "seconds": done["seconds"],
            **{
                measure: dict(zip(("before", "after"), done[measure], strict=True))
                for measure in ("noiseFloorDb", "speechToNoiseDb")
            },
        }
        self._complete(generation)

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
