"""How long a download that fails is tried again: what counts is failing without getting on."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._wire.replay import Replay, next_delay
from diffio_async.errors import DiffioError, DownloadFailed

if TYPE_CHECKING:
    from diffio_async.options import RetryPolicy


class LinkExpired(DownloadFailed):
    """Private: a new link is due."""


@define
class Patience:
    """The tries since the last byte that was new; hours of bytes are no failure."""

    policy: RetryPolicy
    _furthest: int = 0
    _tries: int = 0
    _began: float = field(factory=time.monotonic)
    _renewed: bool = False
    _earlier: list[str] = field(factory=list)

    def after(self, failure: DiffioError, received: int) -> float:
        """Seconds until the next try, given the bytes there are.

        Raises:
            DownloadFailed: There is none.
        """
        if received > self._furthest:
            self._furthest, self._tries, self._began = received, 0, time.monotonic()
            self._renewed, self._earlier = False, []
        self._tries += 1
        if isinstance(failure, LinkExpired):
            # A new link at once; a second that is refused too is no matter of time.
            delay = None if self._renewed else 0.0
            self._renewed = True
        else:
            delay = next_delay(
                self.policy,
                Replay.READ,
                failure,
                attempt=self._tries,
                elapsed=time.monotonic() - self._began,
                jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
            )
        if delay is None:
            raise self._failed(failure) from failure
        self._earlier.append(reason(failure))
        return delay

    def _failed(self, failure: DiffioError) -> DownloadFailed:
        if isinstance(failure, DownloadFailed):
            error = DownloadFailed(str(failure))
        else:
            error = DownloadFailed(f"the result could not be downloaded: {failure}")
        for note in self._earlier:
            error.add_note(f"earlier: {note}")
        return error


def reason(failure: DiffioError) -> str:
    """The failure in words, by a name that users know."""
    known = (kind for kind in type(failure).__mro__ if kind.__module__ == DiffioError.__module__)
    return f"{next(known).__name__}: {failure}"
