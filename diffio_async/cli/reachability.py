"""A service that does not answer is reported: what is wrong, for how long, and when it is over."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import define, field

from diffio_async._polling.wait_display import format_duration
from diffio_async.cli.console import console
from diffio_async.events import RequestFailed, RequestSent, ResponseReceived

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.events import Event

#: Seconds of failures, and of silence, until something is said.
_AFTER, _SILENT = 3.0, 6.0
#: Seconds between two lines about one host: as long again as it has lasted, within these.
_SOONEST, _LATEST = 7.0, 60.0
_TICK = 0.5
_BUSY = 429
_BROKEN = 500

_Request = tuple[str, str, str, int]


@define
class _Host:
    """What is known of one host; times are of the monotonic clock."""

    name: str
    #: Requests without an answer, and when the oldest of each kind was sent.
    open: Counter[_Request] = field(factory=Counter)
    sent_at: dict[_Request, float] = field(factory=dict)
    #: Since when nothing has worked, and why.
    since: float | None = None
    why: str = ""
    #: When the next line is due; None: nothing was said yet.
    next_line: float | None = None

    def sent(self, request: _Request) -> None:
        """A request is on its way."""
        self.open[request] += 1
        self.sent_at.setdefault(request, time.monotonic())

    def over(self, request: _Request) -> None:
        """It was answered, or failed."""
        self.open[request] -= 1
        if self.open[request] <= 0:
            self.open.pop(request)
            self.sent_at.pop(request, None)

    def failed(self, why: str, seconds: float) -> None:
        """Something did not work, and took so long."""
        if self.since is None:
            self.since = time.monotonic() - seconds
        self.why = why

    def worked(self) -> None:
        """Something worked."""
        if self.since is not None and self.next_line is not None:
            console.note(f"{self.name} answers again, after {_lasted(self.since)}")
        self.since = self.next_line = None

    def look(self) -> None:
        """Say what is wrong, where it is time to."""
        now = time.monotonic()
        oldest = min(self.sent_at.values(), default=now)
        if self.since is None and now - oldest >= _SILENT:
            self.failed("no answer", now - oldest)
        if self.since is None or now - self.since < _AFTER:
            return
        if self.next_line is None or now >= self.next_line:
            self.next_line = now + min(max(now - self.since, _SOONEST), _LATEST)
            console.note(
                f"cannot reach {self.name} for {_lasted(self.since)} ({self.why}), trying again"
            )


def _lasted(since: float) -> str:
    return format_duration(time.monotonic() - since)


class Reachability:
    """An observer of a client that reports hosts which do not answer, on standard error."""

    def __init__(self) -> None:
        self._hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(""))

    def observe(self, event: Event) -> None:
        """Take an event of the client."""
        if not isinstance(event, (RequestSent, ResponseReceived, RequestFailed)):
            return
        host = self._hosts[event.url.partition("://")[2].partition("/")[0]]
        host.name = urlsplit(event.url).netloc
        request = (event.call, event.method, event.url, event.attempt)
        if isinstance(event, RequestSent):
            # A part of an upload rightly takes long; where it stalls, it fails.
            if event.method != "PUT":
                host.sent(request)
            return
        if event.method != "PUT":
            host.over(request)
        if isinstance(event, RequestFailed):
            if event.reason != "cancelled":
                host.failed(event.reason, event.seconds)
        elif event.status == _BUSY or event.status >= _BROKEN:
            host.failed(f"answered {event.status}", event.seconds)
        else:
            host.worked()

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report while the body runs."""
        task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            for host in list(self._hosts.values()):
                host.look()
