"""How much is begun at once: more while it goes well, half on push-back, nothing in a storm."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, evolve

from diffio_async._engine.system_errors import shortage_of
from diffio_async._wire.replay import REFUSED_FOR_NOW
from diffio_async.batch.kinds import pushed_back, root_of
from diffio_async.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy

#: Uploads at once, at the beginning and at most.
FIRST, MOST = 8, 32
#: Seconds: what is pushed back together is pushed back once.
_ONCE = 1.0
#: Seconds of the first and of the longest pause after failures without a success between.
_SHORTEST, _LONGEST = 1.0, 60.0
#: Seconds without any success after which a batch stops by itself.
PATIENCE = 900.0


@define(eq=False)
class Weather:
    """What all of a run's files share; times are seconds of the monotonic clock."""

    limit: float = FIRST
    successes: int = 0
    clear_at: float = 0.0
    pausing: str | None = None
    _slow_start: bool = True
    _pushed_at: float = -1e9
    _storms: int = 0
    _since: float | None = None

    def good(self) -> None:
        """Something was accepted: the window grows, by half at first and by one a round later."""
        self.successes += 1
        self._storms, self._since, self.pausing = 0, None, None
        step = 1.0 if self._slow_start else 1.0 / self.limit
        self.limit = min(MOST, self.limit + step)

    def bad(self, failure: DiffioError) -> None:
        """Something failed that is nobody's fault: all wait, longer each time."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if pushed_back(failure):
            self.push_back(failure)
        if now >= self.clear_at:
            pause = min(_LONGEST, _SHORTEST * 2.0**self._storms)
            self._storms = min(self._storms + 1, 10)
            self._pause(now + pause, failure)

    def push_back(self, failure: DiffioError) -> None:
        """The server asks for less: half as much at once, and nothing new until it said."""
        now = time.monotonic()
        if now - self._pushed_at >= _ONCE:
            self.limit, self._slow_start, self._pushed_at = max(1.0, self.limit / 2), False, now
        root = root_of(failure)
        asked = root.retry_after if isinstance(root, ApiError) else None
        self._pause(now + min(asked or _SHORTEST, _LONGEST), failure)

    def _pause(self, until: float, failure: DiffioError) -> None:
        if until > self.clear_at:
            shortage = shortage_of(failure)
            self.clear_at = until
            self.pausing = str(root_of(failure)) if shortage is None else shortage.text

    @property
    def pause(self) -> float:
        """Seconds until something may be begun."""
        return max(0.0, self.clear_at - time.monotonic())

    @property
    def hopeless(self) -> bool:
        """Whether nothing has worked for so long that nobody waits any more."""
        return self._since is not None and time.monotonic() - self._since > PATIENCE

    def listening(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy, in which a push-back of any call slows down all."""
        asked: Callable[[DiffioError], bool | float | None] | None = policy.on

        def hook(failure: DiffioError) -> bool | float | None:
            if isinstance(failure, ApiError) and failure.status in REFUSED_FOR_NOW:
                self.push_back(failure)
            return asked(failure) if asked is not None else None

        return evolve(policy, on=hook)
