"""Wait for a generation: exact deadlines, transient failures absorbed, an interval that adapts."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from attrs import define

from diffio_async._engine.reporting import Callback, report
from diffio_async._wire.pace import next_pause
from diffio_async._wire.replay import transient
from diffio_async.errors import (
    ApiError,
    DiffioError,
    GenerationFailed,
    ResponseInvalid,
    WaitTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import WaitPolicy

#: Unreadable answers in a row that are put down to a passing fault (a portal, a proxy).
MOST_UNREADABLE = 5
#: The last question is placed so many seconds before the deadline, or twice what one takes.
_LAST_MARGIN = 0.05


@define
class Waiting:
    """One wait.

    `read` asks once, `pause` sleeps for so many seconds. `poll_interval` fixes the beat, in
    seconds; None lets it adapt.
    """

    generation_id: str
    read: Callable[[], Awaitable[GenerationProgress]]
    pause: Callable[[float], Awaitable[None]]
    policy: WaitPolicy
    timeout: float | None
    poll_interval: float | None
    on_progress: Callback[GenerationProgress] | None
    #: Seconds that a server's `Retry-After` may stretch a pause to.
    retry_after_cap: float = 60.0
    last: GenerationProgress | None = None
    failure: DiffioError | None = None
    unreadable: int = 0
    took: float = 0.0

    async def run(self) -> GenerationProgress:
        """The progress that says `complete`. With a timeout of 0, one question is asked.

        Raises:
            GenerationFailed: It ended without a result.
            WaitTimeout: The deadline came first.
            DiffioError: Asking failed for good (401, 403, 404, …).
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = None if self.timeout is None else began + self.timeout
        while True:
            asked = loop.time()
            # A timeout of 0 means "ask once", which takes what one question takes.
            cut = asyncio.timeout_at(deadline if self.timeout else None)
            try:
                async with cut:
                    changed = await self._ask()
            except TimeoutError:
                if not cut.expired():
                    raise
                break
            now = loop.time()
            self.took = now - asked
            if changed and self.last is not None:
                # Not under the deadline: a slow callback must not turn a result into a time-out.
                await report(self.on_progress, self.last)
            if self.last is not None and self.last.complete:
                return self.last
            if self.last is not None and self.last.failed:
                raise self._generation_failed(self.last)
            pause = self._pause(now - began)
            if deadline is not None:
                left = deadline - now
                if left <= 0:
                    break
                last_chance = left - max(_LAST_MARGIN, 2 * self.took)
                if pause > last_chance:
                    pause = last_chance if last_chance > 0 else left
            await self.pause(pause)
            if deadline is not None and loop.time() >= deadline:
                break
        raise self._timed_out()

    async def _ask(self) -> bool:
        """Ask once; whether the answer said anything new. Failures that may pass are kept."""
        try:
            progress = await self.read()
        except ResponseInvalid as failure:
            self.unreadable += 1
            if self.unreadable >= MOST_UNREADABLE:
                raise
            self.failure = failure
        except DiffioError as failure:
            if not transient(failure):
                raise
            self.failure = failure
        else:
            self.failure, self.unreadable = None, 0
            changed = progress != self.last
            self.last = progress
            return changed
        return False

    def _pause(self, waited: float) -> float:
        asked_for = self.failure.retry_after if isinstance(self.failure, ApiError) else None
        # An hour's maintenance announced once must not blind a wait for an hour.
        least = min(asked_for or 0.0, self.retry_after_cap)
        if self.poll_interval is not None:
            return max(self.poll_interval, least)
        jitter = random.random()  # noqa: S311 - jitter needs no secrecy
        return max(next_pause(self.policy, waited, jitter), least)

    def _generation_failed(self, progress: GenerationProgress) -> GenerationFailed:
        stages = (progress.pre_processing, progress.inference, progress.restored_video)
        reason = progress.error or next((s.error for s in stages if s and s.error), None)
        error = GenerationFailed(
            f"generation {self.generation_id} ended as {progress.status!r}"
            + (f": {reason}" if reason else " without a reason"),
            progress=progress,
        )
        error.generation_id, error.api_project_id = progress.generation_id, progress.api_project_id
        return error

    def _timed_out(self) -> WaitTimeout:
        status = f"was {self.last.status!r}" if self.last else "had given no answer"
        error = WaitTimeout(
            f"generation {self.generation_id} {status} after {self.timeout:g} s; it goes on: wait "
            "again with the same ids, or with a longer timeout",
            progress=self.last,
        )
        error.generation_id = self.generation_id
        error.__cause__ = self.failure
        return error
