"""The server's clock, as the `Date` headers of its responses show it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from attrs import define

from diffio_async._protocol.retry import http_date

if TYPE_CHECKING:
    from collections.abc import Mapping


#: Seconds for which one `Date` is relied on; the monotonic clock measures well for longer.
_RELIED_ON = 10.0


@define
class ServerClock:
    """Estimates the server's time from its latest `Date` and the monotonic clock.

    Times that a server sets (an expiry, a `Retry-After` date) are compared with this, since the
    clock of this machine may be wrong. It has a resolution of one second.
    """

    _latest: tuple[str, float] | None = None

    @property
    def stale(self) -> bool:
        """Whether the next response should be recorded."""
        return self._latest is None or time.monotonic() - self._latest[1] > _RELIED_ON

    @property
    def known(self) -> bool:
        """Whether a response had a readable `Date`."""
        return self.estimate() is not None

    def record(self, headers: Mapping[str, str]) -> None:
        """Note a response that just arrived; `headers` has lower-case names."""
        date = headers.get("date")
        if date is not None:
            self._latest = date, time.monotonic()

    def estimate(self) -> datetime | None:
        """Return the server's time, or None before a response had a readable `Date`."""
        if self._latest is None:
            return None
        text, at = self._latest
        date = http_date(text)
        return None if date is None else date + timedelta(seconds=time.monotonic() - at)

    def now(self) -> datetime:
        """Return the server's time; the time of this machine before a response had a `Date`."""
        return self.estimate() or datetime.fromtimestamp(time.time(), UTC)
