"""How many connections one download is worth. Pure: time is an argument.

One is enough where the link or the processor is the limit. Where each connection is limited (a
long link, a host that paces), more of them add up: their number doubles while that helps.
"""

from __future__ import annotations

import math

from attrs import define, field

from diffio_async.options import MIB

#: Seconds a measurement takes at least; and how often longer than connecting took.
_MIN_BYTES, _TIMES = 0.4, 2.0
#: Seconds new connections may take to bring something; those that did not are not waited for.
_SETTLE_SECONDS = 5.0
#: Twice the connections must bring this much more.
_GAIN = 1.25
#: Bytes a second of one connection above which it is hardly a limit.
_FAST = 100 * MIB
#: The share of its time that the loop's thread may work: above it, the processor is the limit.
_BUSY = 0.85
#: Seconds the rest must take for more connections to be worth it.
_WORTH = 1.5
#: Seconds after which what did not help, or was refused, is tried again.
_RETRY_AFTER_SECONDS = 60.0


@define
class ConnectionScaler:
    """The number of connections, `max` at most.

    Attributes:
        target: How many there should be.
    """

    max: int
    target: int = 1
    #: Bytes a second before there were more connections, while it is not known whether they help.
    _before: float | None = None
    _changed: float | None = None
    _flowing: float | None = None
    _done: int = 0
    _worked: float = 0.0
    _cooldown_until: float = field(default=-math.inf)

    def sample(self, now: float, done: int, left: int, flowing: int, worked: float) -> int:
        """How many connections there should be.

        Args:
            now: Seconds of any clock that does not jump.
            done: Bytes that came, of all connections.
            left: Bytes still to come.
            flowing: How many connections bring bytes.
            worked: Seconds that the loop's thread has worked, of any start.
        """
        if self._changed is None:
            self._changed = now
        if self._flowing is None:
            # What comes while they connect and warm up says nothing of what they will carry.
            if flowing < self.target and now - self._changed < _SETTLE_SECONDS:
                return self.target
            self._flowing, self._done, self._worked = now, done, worked
        took = now - self._flowing
        if now < self._cooldown_until or took < max(
            _MIN_BYTES, _TIMES * (self._flowing - self._changed)
        ):
            return self.target
        rate, before = (done - self._done) / took, self._before
        self._before = self._changed = self._flowing = None
        if before is not None and rate < before * _GAIN:
            # No connection is closed for that, but none follows on one that has ended.
            self.on_throttled(now)
        elif (
            self.target < self.max
            and 0 < rate < _FAST * self.target
            and left > _WORTH * rate
            and worked - self._worked < _BUSY * took
        ):
            self._before, self.target = rate, min(self.max, 2 * self.target)
        return self.target

    def on_throttled(self, now: float) -> None:
        """More connections do not help, or the host refuses them for now."""
        self.target = max(1, self.target // 2)
        self._before = self._changed = self._flowing = None
        self._cooldown_until = now + _RETRY_AFTER_SECONDS
