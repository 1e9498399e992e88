"""Whether facts from elsewhere tell of the ends, and how often that is looked into."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.options import WaitPolicy

#: Checks that each end heard of allows: two in a hundred ends are looked into, however many wait.
_EARNED = 0.02
#: And one check in each so many parts of the safety check's pause, where hardly anything ends.
_PARTS = 6.0
_MOST = 2.0


class Trust:
    """What is asked while facts come from elsewhere: safety checks, and few of them.

    It holds from the first fact that is heard while somebody listens, until a question finds an
    end that nobody had told, or nobody listens any more. Where facts only came a while before, it
    holds on probation: the first checks are as early as questions would be, and no more of them.
    """

    def __init__(self, policy: WaitPolicy) -> None:
        self._policy = policy
        self._listeners = 0
        self.proven = False
        self._tokens, self._at = 1.0, time.monotonic()
        self.holds = False

    def listen(self, more: int) -> bool:
        """One more listens (1), or one less (-1). True: it ended to hold."""
        self._listeners += more
        return not self._listeners and self.lose()

    def gain(self, *, proven: bool) -> bool:
        """A fact was heard, or (not proven) some came not long ago. True: something changed."""
        before = self.holds, self.proven
        if self._listeners > 0:
            self.holds, self.proven = True, self.proven or proven
        return before != (self.holds, self.proven)

    def lose(self) -> bool:
        """Facts were missed. True: it ended to hold."""
        held, self.holds, self.proven = self.holds, False, False
        return held

    def earn(self) -> None:
        """An end was heard of."""
        self._tokens = min(_MOST, self._tokens + _EARNED)

    def safety(self, jitter: float) -> float:
        """Seconds a question waits at least."""
        return self._policy.safety * (0.9 + 0.2 * jitter) if self.proven else 0.0

    def wait(self, now: float) -> float:
        """Seconds until a safety check may be made; `now` is `time.monotonic()`."""
        return max(0.0, 1 - self._filled(now)) * self._pause

    def take(self, now: float) -> None:
        """Count a safety check."""
        self._tokens, self._at = self._filled(now) - 1, now

    @property
    def _pause(self) -> float:
        return self._policy.safety / _PARTS

    def _filled(self, now: float) -> float:
        return min(_MOST, self._tokens + max(0.0, now - self._at) / self._pause + 1e-9)
