"""Logs: received requests, violations of the contract by clients, and errors of the server."""

import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import define, field

log = logging.getLogger("diffio_async.sandbox")


@define(kw_only=True)
class RecordedRequest:
    """A received request.

    Attributes:
        origin: "api", "edge" or "media".
        method: The HTTP method, upper case.
        path: The path within the origin, without the query and without `/edge` or `/media`.
        query: The query fields; the last value of a repeated one.
        headers: Names in lower case, values as sent (secrets too); repeated ones joined by ", ".
        at: Time of receipt in seconds of `time.monotonic()`, like `responded_at`.
        request_id: The `x-request-id` of the response.
        json: The decoded body, if it was JSON and was read.
        bytes_received: Bytes of the body that were read.
        status: The status that was sent; None if there was no response (yet).
        fault: The name of the fault that was applied, if any.
    """

    origin: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    at: float
    request_id: str
    json: Any = None
    bytes_received: int = 0
    status: int | None = None
    fault: str | None = None
    responded_at: float | None = None


class RequestLog:
    """The last `max_requests` requests and violations."""

    def __init__(self, max_requests: int) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=max_requests)
        self.violations: deque[str] = deque(maxlen=max_requests)
        self._count = 0

    def record(
        self,
        origin: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> RecordedRequest:
        """Record a received request."""
        self._count += 1
        joined: dict[str, str] = {}
        for name, value in headers.items():
            lower = name.lower()
            joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value
        request = RecordedRequest(
            origin=origin,
            method=method,
            path=path,
            query=dict(query),
            headers=joined,
            at=time.monotonic(),
            request_id=f"req_{self._count:08x}",
        )
        self.requests.append(request)
        return request

    def responded(self, request: RecordedRequest, status: int) -> None:
        """Record the status of a response."""
        request.status = status
        request.responded_at = time.monotonic()

    def violation(self, request: RecordedRequest, what: str) -> None:
        """Record and log a violation of the contract by a client."""
        message = printable(f"{request.origin} {request.method} {request.path}: {what}")
        self.violations.append(message)
        log.warning("%s", message)


def masked(secret: str) -> str:
    """Return a prefix of a secret that identifies it without revealing it."""
    return f"{secret[: min(6, len(secret) // 3)]}…"


def printable(text: str) -> str:
    """Escape control characters and line breaks."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


#: Malformed requests that are reported within so many seconds; more are counted.
_MAX_REPORTS, _REPORT_SECONDS = 5, 10.0
#: Characters of such a report.
_MAX_REPORT = 300


class ServerErrorLimit(logging.Filter):
    """Lets few records of aiohttp's server through: anybody who can connect makes it log."""

    def __init__(self) -> None:
        super().__init__()
        self._reports: list[float] = []
        self._suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Make a record one line, or leave it out."""
        if not record.name.startswith("aiohttp."):
            return True
        now = time.monotonic()
        self._reports = [at for at in self._reports if now - at < _REPORT_SECONDS]
        if len(self._reports) >= _MAX_REPORTS:
            self._suppressed += 1
            return False
        self._reports.append(now)
        text, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f" ({type(error).__name__}: {' '.join(str(error).split())})"
        missed = f" (and {self._suppressed} more before it)" if self._suppressed else ""
        record.msg, record.args = text[:_MAX_REPORT] + missed, ()
        record.exc_info = record.exc_text = None
        self._suppressed = 0
        return True
