"""Webhook deliveries: signed like those of Svix, and retried on a schedule until a 2xx."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import random
import re
import secrets
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import aiohttp
from attrs import frozen

from diffio_async.sandbox.faults import Drop, Duplicate, Fault, FaultPlan, LoseResponse, RespondWith
from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.settings import SandboxSettings, is_loopback
from diffio_async.sandbox.state import Endpoint, Generation, Message, State, iso, new_id

EVENT_TYPES = (
    "generation.queued",
    "generation.processing",
    "generation.failed",
    "generation.completed",
)
MODES = ("test", "live")

# Seconds between attempts, as documented by Svix.
RETRY_DELAYS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
_TIMEOUT = aiohttp.ClientTimeout(total=15)
_MAX_CONCURRENT = 16


@frozen(kw_only=True)
class DeliveryAttempt:
    """One delivery attempt.

    Attributes:
        message_id: The `svix-id`, the same for each attempt.
        event_type: The type of the event, e.g. `generation.completed`.
        url: The endpoint's URL.
        status: The receiver's status; None if there was no response.
        at: Seconds of `time.monotonic()`.
        fault: The name of the fault that was applied, if any.
        refused: Why the sandbox sent nothing and does not retry: the URL is not on this machine.
    """

    message_id: str
    event_type: str
    url: str
    status: int | None
    at: float
    fault: str | None = None
    refused: str | None = None


def masked_url(url: str) -> str:
    """Return the URL without a password."""
    return re.sub(r"(?<=://)[^/?#@]*:[^/?#]*@", "…@", url)


def new_secret() -> str:
    """Return a new signing secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def secret_bytes(secret: str) -> bytes:
    """Return the signing key of a `whsec_…` secret.

    Raises:
        ValueError: The secret is malformed.
    """
    head, _, body = secret.partition("whsec_")
    if head or not body:
        raise ValueError("a webhook secret must be whsec_ followed by base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a webhook secret must be whsec_ followed by base64: {error}") from error


def signature_headers(secret: str, message_id: str, timestamp: int, body: str) -> dict[str, str]:
    """Return the three headers that sign a message."""
    payload = f"{message_id}.{timestamp}.{body}".encode()
    digest = hmac.new(secret_bytes(secret), payload, hashlib.sha256).digest()
    return {
        "svix-id": message_id,
        "svix-timestamp": str(timestamp),
        "svix-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class NotLoopback(OSError):
    """The address to connect to is not a loopback address."""


def loopback_socket(info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """Create the socket for one resolved address: aiohttp's `socket_factory`.

    This is the last step before connecting. It also covers names whose DNS records change, numbers
    that only the system parses as an address, and addresses behind a redirect.

    Raises:
        NotLoopback: The address is not a loopback address.
    """
    family, socket_type, protocol, _name, address = info
    if not is_loopback(str(address[0])):
        # The text is the same for each address of a host, so that the connector reports one error.
        raise NotLoopback("its address is not on this machine")
    return socket.socket(family, socket_type, protocol)


def refusal_reason(error: BaseException) -> str | None:
    """Return why a loopback-only request can never succeed, or None if a retry may."""
    if isinstance(error, aiohttp.InvalidURL):
        return "its URL is not in a standard form"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve to this machine"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, NotLoopback):
        return str(error.os_error)
    return None


def failure_reason(error: BaseException) -> str:
    """Return in a few words why there was no response."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name not found"
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return "refused" if refused else str(error.os_error.strerror or "not reached")
    return "the connection was closed without a response"


class WebhookSender:
    """Delivers events to the endpoints that are subscribed to them."""

    def __init__(self, settings: SandboxSettings, state: State, faults: FaultPlan) -> None:
        self._settings = settings
        self._state = state
        self._faults = faults
        # Repeatable by design: selects duplicates and delays; not used for security.
        self._random = random.Random(0)  # noqa: S311
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self.attempts: deque[DeliveryAttempt] = deque(maxlen=settings.keep_requests)
        self._warned_urls: set[str] = set()

    def resume(self) -> None:
        """Start the deliveries that an earlier run did not finish."""
        for message in list(self._state.messages.values()):
            self._start_delivery(message)

    def endpoint(self, key_id: str, mode: str) -> Endpoint | None:
        """Return the endpoint of a key and mode, or None."""
        for endpoint in self._state.endpoints.values():
            if (endpoint.key_id, endpoint.mode) == (key_id, mode):
                return endpoint
        return None

    def emit(self, generation: Generation, event_type: str) -> None:
        """Send an event about a generation to the endpoint of the key that created it."""
        key_id = generation.key_id
        endpoint = self.endpoint(key_id, "live") or self.endpoint(key_id, "test")
        if endpoint is not None and event_type in endpoint.event_types:
            status = "error" if generation.status == "failed" else generation.status
            self.send(
                endpoint,
                event_type,
                {
                    "apiProjectId": generation.project_id,
                    "generationId": generation.id,
                    "status": status,
                    "hasVideo": generation.has_video,
                    "modelKey": generation.model_key,
                    "error": generation.error,
                    "errorDetails": generation.error_details,
                    "transcription": {"status": generation.transcription},
                },
            )

    def send(self, endpoint: Endpoint, event_type: str, data: Mapping[str, Any]) -> tuple[str, str]:
        """Start the delivery of an event; return the ids of the message and of the event."""
        event_id = new_id("evt")
        body = {
            "eventType": event_type,
            "eventId": event_id,
            "createdAt": iso(self._state.now()),
            "apiKeyId": endpoint.key_id,
            **data,
        }
        message = Message(
            id=new_id("msg"),
            endpoint_id=endpoint.id,
            event_type=event_type,
            body=json.dumps(body, separators=(",", ":")),
            due_at=self._schedule(),
            copies=int(self._random.random() < self._settings.webhook_duplicates),
        )
        self._state.save(message)
        self._start_delivery(message)
        return message.id, event_id

    async def close(self) -> None:
        """Cancel all deliveries; `resume` restarts them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _start_delivery(self, message: Message) -> None:
        task = asyncio.create_task(self._deliver(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _schedule(self) -> float:
        """Return when to deliver an event: now, or later by up to `webhook_shuffle` seconds."""
        return self._state.now() + self._random.random() * self._settings.webhook_shuffle

    async def _deliver(self, message: Message) -> None:
        delivered = False
        while True:
            await asyncio.sleep(max(0.0, message.due_at - self._state.now()))
            delay, fault = 0.0, None
            if not delivered:  # faults do not apply to duplicates
                delay, fault = self._faults.match("webhooks", "POST", message.event_type)
            await asyncio.sleep(delay)
            # Looked up each time, because the endpoint may change between attempts.
            endpoint = self._state.endpoints.get(message.endpoint_id)
            if endpoint is None:
                break
            attempt = await self._attempt(endpoint, message, fault)
            self.attempts.append(attempt)
            if attempt.refused is not None:
                self._log_refusal(attempt)
                break
            status = attempt.status
            if status in range(200, 300):
                if isinstance(action := fault and fault.action, Duplicate):
                    message.copies += action.copies
                if not message.copies:
                    break
                delivered, message.copies, message.attempt = True, message.copies - 1, 0
                message.due_at = self._schedule()
                self._state.save(message)
                continue
            if message.attempt == len(RETRY_DELAYS):
                log.warning(
                    "webhook %s was not delivered to %s: the last attempt failed",
                    message.id,
                    masked_url(endpoint.url),
                )
                break
            delay = RETRY_DELAYS[message.attempt] * self._settings.webhook_pace
            message.attempt += 1
            message.due_at = self._state.now() + delay
            self._state.save(message)
            log.info(
                "webhook %s to %s: %s; next attempt in %.1f s",
                message.id,
                masked_url(endpoint.url),
                "no response" if status is None else f"response {status}",
                delay,
            )
        self._state.drop(message)

    async def _attempt(
        self, endpoint: Endpoint, message: Message, fault: Fault | None
    ) -> DeliveryAttempt:
        """Make one attempt; its status is the one that the sender sees."""
        status: int | None = None
        refused: str | None = None
        match fault and fault.action:
            case Drop():
                pass
            case RespondWith(status=status):
                pass
            case LoseResponse():
                _, refused = await self._request(endpoint, message)
            case _:
                status, refused = await self._request(endpoint, message)
        return DeliveryAttempt(
            message_id=message.id,
            event_type=message.event_type,
            url=endpoint.url,
            status=status,
            at=time.monotonic(),
            fault=None if fault is None else fault.name,
            refused=refused,
        )

    def _log_refusal(self, attempt: DeliveryAttempt) -> None:
        """Log a refused URL once, not for each event."""
        if attempt.url not in self._warned_urls:
            self._warned_urls.add(attempt.url)
            log.warning(
                "webhooks to %r are not sent: %s, and the sandbox delivers to this machine only "
                "(allow_remote_webhooks=True, --allow-remote-webhooks)",
                masked_url(attempt.url),
                attempt.refused,
            )

    async def _request(self, endpoint: Endpoint, message: Message) -> tuple[int | None, str | None]:
        """Return the receiver's status, and why a retry is useless; None if unknown."""
        session = self._session = self._session or self._new_session()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "diffio-sandbox-webhooks",
            **signature_headers(endpoint.secret, message.id, int(time.time()), message.body),
        }
        try:
            async with (
                self._slots,
                session.post(
                    endpoint.url, data=message.body.encode(), headers=headers, allow_redirects=False
                ) as response,
            ):
                return response.status, None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            refused = None if self._settings.allow_remote_webhooks else refusal_reason(error)
            if refused is None:
                log.info(
                    "webhook %s did not reach %s: %s",
                    message.id,
                    masked_url(endpoint.url),
                    failure_reason(error),
                )
            return None, refused

    def _new_session(self) -> aiohttp.ClientSession:
        remote = self._settings.allow_remote_webhooks
        connector = aiohttp.TCPConnector(socket_factory=None if remote else loopback_socket)
        return aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
