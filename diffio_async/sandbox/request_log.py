"""What the sandbox saw: every request, and whatever a client did that it should not."""

import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from diffio_async.sandbox.terminal import printable

log = logging.getLogger("diffio_async.sandbox")


@define(kw_only=True)
class RecordedRequest:
    """One request as it arrived.

    Attributes:
        origin: "api", "edge" or "media".
        method: The HTTP method, upper case.
        path: The path within the origin, without its query: `/edge` and `/media` are left out.
        query: The query's fields; of a repeated one the last.
        headers: Names in lower case, values as sent (secrets too); repeats joined by ", ".
        at: Arrival in seconds of `time.monotonic()`, as `responded_at`.
        request_id: The `x-request-id` of the answer.
        json: The decoded body, when it was JSON and was read.
        bytes_received: Bytes of the body that were read.
        status: The status that was sent, None as long as (or because) nothing was.
        fault: The name of the fault that struck, if one did.
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
    """Keeps the last `keep` requests and all complaints."""

    def __init__(self, keep: int) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=keep)
        self.violations: deque[str] = deque(maxlen=keep)
        self._count = 0

    def record(
        self,
        origin: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> RecordedRequest:
        """Write down a request that has just arrived."""
        self._count += 1
        together: dict[str, str] = {}
        for name, value in headers.items():
            lower = name.lower()
            together[lower] = f"{together[lower]}, {value}" if lower in together else value
        seen = RecordedRequest(
            origin=origin,
            method=method,
            path=path,
            query=dict(query),
            headers=together,
            at=time.monotonic(),
            request_id=f"req_{self._count:08x}",
        )
        self.requests.append(seen)
        return seen

    def responded(self, seen: RecordedRequest, status: int) -> None:
        """Write down that an answer is going out."""
        seen.status = status
        seen.responded_at = time.monotonic()

    def violation(self, seen: RecordedRequest, what: str) -> None:
        """Say aloud what a client should not have done."""
        complaint = printable(f"{seen.origin} {seen.method} {seen.path}: {what}")
        self.violations.append(complaint)
        log.warning("%s", complaint)


def masked(secret: str) -> str:
    """Show which secret is meant without showing it."""
    return f"{secret[: min(6, len(secret) // 3)]}…"
