"""State shared by the stages of one run."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from diffio_async._protocol import concurrency_limit
from diffio_async._protocol.concurrency_limit import ConcurrencyLimit
from diffio_async._protocol.retry import THROTTLE_STATUSES
from diffio_async._storage.system_errors import shortage_of
from diffio_async._storage.threads import Notifier
from diffio_async.batch.failures import is_throttled, root_cause
from diffio_async.errors import ApiError

if TYPE_CHECKING:
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.request import Plan
    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects


#: Seconds added to a delay, because the journal's clock may differ from the loop's.
_CLOCK_TOLERANCE = 0.002


#: Initial and maximum number of concurrent uploads.
_INITIAL_UPLOADS, _MAX_UPLOADS = 8, 32
#: Throttled responses within so many seconds halve the limit once.
_DEBOUNCE_SECONDS = 1.0
#: Seconds of consecutive failures after which the batch stops.
GIVE_UP_SECONDS = 900.0


@define(eq=False)
class CongestionControl:
    """Limit of concurrent uploads, and pause of all steps after failures.

    `pause_reason` is the failure that caused the current pause.
    """

    _limit: ConcurrencyLimit = field(
        factory=lambda: ConcurrencyLimit(max=_MAX_UPLOADS, limit=_INITIAL_UPLOADS)
    )
    successes: int = 0
    pause_reason: str | None = None

    @property
    def limit(self) -> int:
        """Maximum number of concurrent uploads."""
        return self._limit.limit

    @property
    def pause(self) -> float:
        """Seconds until new steps may start."""
        return self._limit.remaining_pause(time.monotonic())

    @property
    def should_give_up(self) -> bool:
        """Whether every step has failed for `GIVE_UP_SECONDS`."""
        since = self._limit.failing_since
        return since is not None and time.monotonic() - since > GIVE_UP_SECONDS

    def on_success(self) -> None:
        """Count a successful step, and raise the limit."""
        self.successes += 1
        self.pause_reason = None
        self._limit.on_success()

    def on_failure(self, failure: DiffioError) -> None:
        """Pause after a transient failure, longer after each consecutive one."""
        now = time.monotonic()
        if is_throttled(failure):
            self.on_throttled(failure)
        before = self._limit.remaining_pause(now)
        self._limit.on_failure(now)
        if self._limit.remaining_pause(now) > before:
            self._explain(failure)

    def on_throttled(self, failure: DiffioError) -> None:
        """Halve the limit, and pause for the `Retry-After` of the response."""
        now, root = time.monotonic(), root_cause(failure)
        self._limit.on_throttled(now, started_at=now - _DEBOUNCE_SECONDS)
        retry_after = root.retry_after if isinstance(root, ApiError) else None
        if self._limit.pause(now, retry_after or concurrency_limit.MIN_PAUSE):
            self._explain(failure)

    def _explain(self, failure: DiffioError) -> None:
        shortage = shortage_of(failure)
        self.pause_reason = str(root_cause(failure)) if shortage is None else shortage.text

    def with_throttle_hook(self, policy: RetryPolicy) -> RetryPolicy:
        """Return the policy with a hook that reports throttled responses of all calls."""

        def hook(failure: DiffioError) -> bool | float | None:
            if isinstance(failure, ApiError) and failure.status in THROTTLE_STATUSES:
                self.on_throttled(failure)
            return None if policy.on is None else policy.on(failure)

        return evolve(policy, on=hook)


@define(eq=False)
class RunContext:
    """State shared by the stages of one run.

    `stop_reason` is why no new job is started, `downloads_stopped` why no download is started.
    `slot_freed` is notified when a new job may start, `result_ready` when a result may be
    downloaded, `file_ended` when a file may have ended.
    """

    journal: Journal
    projects: AsyncProjects
    generations: AsyncGenerations
    plan: Plan
    congestion: CongestionControl
    slot_freed: Notifier = field(factory=Notifier)
    result_ready: Notifier = field(factory=Notifier)
    file_ended: Notifier = field(factory=Notifier)
    stop_reason: Exception | str | None = None
    downloads_stopped: Exception | None = None
    uploading: int = 0
    in_flight: int = 0
    downloading: int = 0
    #: The generations that this run waits for, and their projects.
    running_generations: dict[str, str] = field(factory=dict)
    #: When transcripts were first found to be pending, in monotonic seconds.
    transcript_pending_since: dict[tuple[int, str], float] = field(factory=dict)
    #: When the journal is scanned for rows without a lease, in monotonic seconds.
    next_scan_at: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    _restarted_jobs: set[int] = field(factory=set)

    def stop(self, reason: Exception | str) -> None:
        """Start nothing new; running steps continue to their end."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.notify_all()

    def on_file_failed(self, failure: Exception) -> None:
        """Report a failed file, and stop the run if `on_error` is `stop`."""
        self.file_ended.notify()
        if self.plan.on_error == "stop":
            self.stop(failure)

    def may_restart(self, job: int) -> bool:
        """Return whether to restart a job whose generation is unknown: once, if unbilled."""
        if not self.plan.unbilled or job in self._restarted_jobs:
            return False
        self._restarted_jobs.add(job)
        return True

    def scan_in(self, seconds: float) -> None:
        """Scan the journal after a delay, when a requeued row is due."""
        asyncio.get_running_loop().call_later(seconds + _CLOCK_TOLERANCE, self.scan_now)

    def scan_now(self) -> None:
        """Scan the journal for rows without a lease as soon as possible."""
        self.next_scan_at = 0.0
        self.notify_all()

    def notify_all(self) -> None:
        """Wake the waiters of all notifiers."""
        for notifier in (self.slot_freed, self.result_ready, self.file_ended):
            notifier.notify()
