"""A transcript may be still in the making when its generation is complete (409): ask again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from diffio_async._polling.interval import backoff_delay
from diffio_async.errors import TranscriptPending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async.models.generations import DownloadResult
    from diffio_async.options import WaitPolicy


class TranscriptWait:
    """Asks for as long as the wait that began with it may last in all: `timeout` in seconds."""

    def __init__(
        self,
        policy: WaitPolicy,
        timeout: float | None,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._policy = policy
        self._pause = pause
        self._limit = policy.timeout if timeout is None else timeout
        self._began = time.monotonic()

    async def retry_while_pending(
        self, fetch: Callable[[], Awaitable[DownloadResult]]
    ) -> DownloadResult:
        """What `fetch` gives when it no longer raises `TranscriptPending`.

        Raises:
            TranscriptPending: It still is, and the time is over.
        """
        while True:
            try:
                return await fetch()
            except TranscriptPending:
                waited = time.monotonic() - self._began
                jitter = random.random()  # noqa: S311 - jitter needs no secrecy
                seconds = backoff_delay(self._policy, waited, jitter)
                if self._limit is not None and waited + seconds > self._limit:
                    raise
            await self._pause(seconds)
