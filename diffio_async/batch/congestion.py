"""AIMD concurrency control: grow on success, halve on 429/503, pause after failures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, evolve

from diffio_async._protocol.retry import THROTTLE_STATUSES
from diffio_async._storage.system_errors import shortage_of
from diffio_async.batch.failures import is_throttled, root_cause
from diffio_async.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy

#: Initial and maximum number of concurrent uploads.
INITIAL_LIMIT, MAX_LIMIT = 8, 32
#: Throttled responses within so many seconds halve the limit once.
_DEBOUNCE_SECONDS = 1.0
#: Seconds of the first and of the longest pause after consecutive failures.
_MIN_PAUSE, _MAX_PAUSE = 1.0, 60.0
#: Seconds of consecutive failures after which the batch stops.
GIVE_UP_SECONDS = 900.0


@define(eq=False)
class CongestionControl:
    """Concurrency limit and pause shared by all files of a run; times are monotonic seconds."""

    limit: float = INITIAL_LIMIT
    successes: int = 0
    paused_until: float = 0.0
    pause_reason: str | None = None
    _slow_start: bool = True
    _throttled_at: float = -1e9
    _consecutive_failures: int = 0
    _since: float | None = None

    def on_success(self) -> None:
        """Raise the limit: exponentially at first, by one per round after a throttled response."""
        self.successes += 1
        self._consecutive_failures, self._since, self.pause_reason = 0, None, None
        step = 1.0 if self._slow_start else 1.0 / self.limit
        self.limit = min(MAX_LIMIT, self.limit + step)

    def on_failure(self, failure: DiffioError) -> None:
        """Pause the run after a transient failure, longer after each consecutive one."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if is_throttled(failure):
            self.on_throttled(failure)
        if now >= self.paused_until:
            pause = min(_MAX_PAUSE, _MIN_PAUSE * 2.0**self._consecutive_failures)
            self._consecutive_failures = min(self._consecutive_failures + 1, 10)
            self._pause(now + pause, failure)

    def on_throttled(self, failure: DiffioError) -> None:
        """Halve the limit, and pause for the `Retry-After` of the response."""
        now = time.monotonic()
        if now - self._throttled_at >= _DEBOUNCE_SECONDS:
            self.limit, self._slow_start, self._throttled_at = max(1.0, self.limit / 2), False, now
        root = root_cause(failure)
        retry_after = root.retry_after if isinstance(root, ApiError) else None
        self._pause(now + min(retry_after or _MIN_PAUSE, _MAX_PAUSE), failure)

    def _pause(self, until: float, failure: DiffioError) -> None:
        if until > self.paused_until:
            shortage = shortage_of(failure)
            self.paused_until = until
            self.pause_reason = str(root_cause(failure)) if shortage is None else shortage.text

    @property
    def pause(self) -> float:
        """Seconds until new steps may start."""
        return max(0.0, self.paused_until - time.monotonic())

    @property
    def should_give_up(self) -> bool:
        """Whether every step has failed for `GIVE_UP_SECONDS`."""
        return self._since is not None and time.monotonic() - self._since > GIVE_UP_SECONDS

    def with_throttle_hook(self, policy: RetryPolicy) -> RetryPolicy:
        """Return the policy with a hook that reports throttled responses of all calls."""
        user_hook: Callable[[DiffioError], bool | float | None] | None = policy.on

        def hook(failure: DiffioError) -> bool | float | None:
            if isinstance(failure, ApiError) and failure.status in THROTTLE_STATUSES:
                self.on_throttled(failure)
            return user_hook(failure) if user_hook is not None else None

        return evolve(policy, on=hook)
