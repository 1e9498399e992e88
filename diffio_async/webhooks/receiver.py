"""What a delivery is answered, whatever server it came through: one core for every receiver."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Mapping
from types import TracebackType
from typing import Self

from attrs import frozen

from diffio_async._logging import log
from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.verifier import WebhookVerifier

#: Bytes; an event has about one thousand.
MAX_BODY = 1024 * 1024
#: Seconds a body may take to come in: the sender itself gives up after fifteen.
BODY_SECONDS = 15.0
#: Seconds a connection is kept after a body was refused unread, for the sender to see the answer.
LINGER_SECONDS = 0.5
#: Seconds between two warnings of one reason; those between are logged for debugging.
WARN_SECONDS = 60.0


class WebhookSink(ABC):
    """Where receivers put what is genuine: a `WebhookInbox`, or a subclass of your own.

    A receiver enters it when its server starts and leaves it at the end, where the server tells.

    Attributes:
        verifier: Says what is genuine; None where the sink is not for receiving.
    """

    verifier: WebhookVerifier | None

    @abstractmethod
    async def store(self, event: WebhookEvent, body: bytes) -> bool:
        """Keep an event for good; False where this delivery's id was known already.

        Whatever is raised is answered with 503, and the event is delivered again later.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return


@frozen
class ReceiverResponse:
    """An answer; `read_whole` is false where too much of the body was left for another request."""

    status: int
    content: Mapping[str, str]
    read_whole: bool = True

    @property
    def body(self) -> bytes:
        """The JSON."""
        return json.dumps(dict(self.content)).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Without `Connection`, which is the server's."""
        more = {405: {"Allow": "POST"}, 503: {"Retry-After": "5"}}.get(self.status, {})
        return {"Content-Type": "application/json", "Cache-Control": "no-store", **more}


class SenderDisconnected(Exception):
    """The sender left before its request was whole: there is nobody to answer."""


class WebhookReceiver:
    """Verifies deliveries and has them kept; 2xx only when they are."""

    def __init__(self, sink: WebhookSink, *, max_body: int = MAX_BODY) -> None:
        """Receive into `sink` bodies of `max_body` bytes at most.

        Raises:
            ConfigurationError: The sink has no verifier, or the limit is below 1.
        """
        if sink.verifier is None:
            raise ConfigurationError(
                "to receive, an inbox needs its verifier: "
                "WebhookInbox(path, verifier=WebhookVerifier('whsec_…'))"
            )
        if max_body < 1:
            raise ConfigurationError(f"max_body must be 1 or more bytes, not {max_body!r}")
        self.sink = sink
        self._max_body = max_body
        self._quiet_until: dict[str, float] = {}

    async def handle(
        self, method: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes]
    ) -> ReceiverResponse:
        """The answer to a request.

        Args:
            method: In capitals.
            headers: Names in any case.
            chunks: The raw body; not touched where the headers are enough to refuse it.

        Raises:
            SenderDisconnected: As `chunks` did.
        """
        refused = self._refusal(method, {name.lower(): value for name, value in headers.items()})
        if refused is not None:
            return refused
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > self._max_body:
                        return _refused(413, "too_large", read_whole=False)
        except TimeoutError:
            return _refused(408, "too_slow", read_whole=False)
        return await self._store(bytes(body), headers)

    def _refusal(self, method: str, headers: Mapping[str, str]) -> ReceiverResponse | None:
        if method != "POST":
            return _refused(405, "method_not_allowed")
        length = headers.get("content-length", "")
        # Digits alone do not bound a number's length: sixteen are more than anybody sends.
        if length.isdecimal() and (len(length) > 16 or int(length) > self._max_body):  # noqa: PLR2004
            return _refused(413, "too_large", read_whole=False)
        kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            return _refused(415, "not_json_content", read_whole=bool(length))
        if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            # What was signed is the body as it travels; nobody compresses events.
            return _refused(415, "compressed", read_whole=bool(length))
        return None

    async def _store(self, body: bytes, headers: Mapping[str, str]) -> ReceiverResponse:
        # Looked up each time: secrets may be rotated by giving the sink another verifier.
        verifier = self.sink.verifier
        if verifier is None:
            return _refused(503, "no_verifier")
        try:
            event = verifier.verify(body, headers)
        except WebhookRejected as rejected:
            self._log_rejection(rejected)
            return _refused(400, rejected.code)
        try:
            new = await self.sink.store(event, body)
        except Exception:
            # Whatever it was: an answer of 2xx would lose the event.
            log.exception("event %s could not be stored; it is delivered again", event.message_id)
            return _refused(503, "not_stored")
        return ReceiverResponse(200, {"status": "stored" if new else "duplicate"})

    def _log_rejection(self, rejected: WebhookRejected) -> None:
        """Warn of each reason now and then: anybody may send what is not genuine, and often."""
        now = time.monotonic()
        loud = now >= self._quiet_until.get(rejected.code, 0.0)
        if loud:
            self._quiet_until[rejected.code] = now + WARN_SECONDS
        level = logging.WARNING if loud else logging.DEBUG
        log.log(level, "a webhook delivery was refused (%s): %s", rejected.code, rejected)


def _refused(status: int, reason: str, *, read_whole: bool = True) -> ReceiverResponse:
    return ReceiverResponse(status, {"error": reason}, read_whole)
