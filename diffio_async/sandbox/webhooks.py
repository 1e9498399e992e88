"""Webhook deliveries: signed like Svix signs, sent again on a schedule until a 2xx comes back."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import aiohttp
from attrs import frozen

from diffio_async.sandbox.faults import Drop, Duplicate, Fault, FaultPlan, LoseResponse, RespondWith
from diffio_async.sandbox.loopback import failure_reason, loopback_socket, refused_reason
from diffio_async.sandbox.records import Endpoint, Generation, Message, iso, new_id
from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.settings import SandboxSettings
from diffio_async.sandbox.state import State

EVENT_TYPES = (
    "generation.queued",
    "generation.processing",
    "generation.failed",
    "generation.completed",
)
MODES = ("test", "live")

# Seconds between one attempt and the next, as Svix documents them.
RETRY_AFTER = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
_TIMEOUT = aiohttp.ClientTimeout(total=15)
_MAX_CONCURRENT = 16


@frozen(kw_only=True)
class DeliveryAttempt:
    """One attempt to deliver.

    Attributes:
        message_id: The `svix-id`, the same for each attempt.
        event_type: The type of event, e.g. `generation.completed`.
        url: The endpoint's URL.
        status: The receiver's status; None if there was no response.
        at: Seconds of `time.monotonic()`.
        fault: The name of the fault that struck the attempt, if one did.
        refused: Why the sandbox sent nothing and will not retry: the URL leads off this machine.
    """

    message_id: str
    event_type: str
    url: str
    status: int | None
    at: float
    fault: str | None = None
    refused: str | None = None


def _masked_url(url: str) -> str:
    """Return the URL without a password."""
    return re.sub(r"(?<=://)[^/?#@]*:[^/?#]*@", "…@", url)


class _Refused(Exception):
    """The endpoint is not on this machine; the message says how that is known."""


def new_secret() -> str:
    """Mint a signing secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def secret_bytes(secret: str) -> bytes:
    """Read the key out of a `whsec_…` secret.

    Raises:
        ValueError: When it is not one.
    """
    head, _, body = secret.partition("whsec_")
    if head or not body:
        raise ValueError("a webhook secret is spelled whsec_ and base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a webhook secret is spelled whsec_ and base64: {error}") from error


def signed(secret: str, message_id: str, timestamp: int, body: str) -> dict[str, str]:
    """Make the three headers that prove where a message comes from."""
    said = f"{message_id}.{timestamp}.{body}".encode()
    digest = hmac.new(secret_bytes(secret), said, hashlib.sha256).digest()
    return {
        "svix-id": message_id,
        "svix-timestamp": str(timestamp),
        "svix-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class WebhookSender:
    """Sends events to the endpoints that asked for them."""

    def __init__(self, settings: SandboxSettings, world: State, faults: FaultPlan) -> None:
        self._settings = settings
        self._state = world
        self._faults = faults
        # Repeatable on purpose: which events come twice, and late, is a script, not a secret.
        self._chance = random.Random(0)  # noqa: S311
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_MAX_CONCURRENT)
        self.made: deque[DeliveryAttempt] = deque(maxlen=settings.keep_requests)
        self._warned_of: set[str] = set()

    def resume(self) -> None:
        """Take up again what an earlier server did not get delivered."""
        for message in list(self._state.messages.values()):
            self._post(message)

    def endpoint(self, key_id: str, mode: str) -> Endpoint | None:
        """Find where a key's events of a mode go."""
        for endpoint in self._state.endpoints.values():
            if (endpoint.key_id, endpoint.mode) == (key_id, mode):
                return endpoint
        return None

    def emit(self, generation: Generation, event_type: str) -> None:
        """Tell the endpoint of the key that made a generation what became of it."""
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

    def send(
        self, endpoint: Endpoint, event_type: str, facts: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Put an event on its way; gives the message's id and the event's."""
        event_id = new_id("evt")
        body = {
            "eventType": event_type,
            "eventId": event_id,
            "createdAt": iso(self._state.now()),
            "apiKeyId": endpoint.key_id,
            **facts,
        }
        message = Message(
            id=new_id("msg"),
            endpoint_id=endpoint.id,
            event_type=event_type,
            body=json.dumps(body, separators=(",", ":")),
            due_at=self._schedule(),
            copies=int(self._chance.random() < self._settings.webhook_duplicates),
        )
        self._state.save(message)
        self._post(message)
        return message.id, event_id

    async def close(self) -> None:
        """Stop sending; what was not delivered waits for `resume`."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _post(self, message: Message) -> None:
        task = asyncio.create_task(self._deliver(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _schedule(self) -> float:
        """When to deliver: now, or a moment later, so that another event may overtake this one."""
        return self._state.now() + self._chance.random() * self._settings.webhook_shuffle

    async def _deliver(self, message: Message) -> None:
        was_taken = False
        while True:
            await asyncio.sleep(max(0.0, message.due_at - self._state.now()))
            wait, fault = 0.0, None
            if not was_taken:  # a copy is no delivery to be struck again, and copied
                wait, fault = self._faults.match("webhooks", "POST", message.event_type)
            await asyncio.sleep(wait)
            # Looked up each time: the endpoint may have moved between two attempts.
            endpoint = self._state.endpoints.get(message.endpoint_id)
            if endpoint is None:
                break
            try:
                status = await self._attempt(endpoint, message, fault)
            except _Refused as refusal:
                self._warn_of_refusal(endpoint.url, refusal)
                break
            if status in range(200, 300):
                if isinstance(action := fault and fault.action, Duplicate):
                    message.copies += action.copies
                if not message.copies:
                    break
                was_taken, message.copies, message.attempt = True, message.copies - 1, 0
                message.due_at = self._schedule()
                self._state.save(message)
                continue
            if message.attempt == len(RETRY_AFTER):
                log.warning(
                    "webhook %s was not delivered to %s: the last attempt failed",
                    message.id,
                    _masked_url(endpoint.url),
                )
                break
            wait = RETRY_AFTER[message.attempt] * self._settings.webhook_pace
            message.attempt += 1
            message.due_at = self._state.now() + wait
            self._state.save(message)
            log.info(
                "webhook %s to %s: %s; next attempt in %.1f s",
                message.id,
                _masked_url(endpoint.url),
                "no response" if status is None else f"response {status}",
                wait,
            )
        self._state.drop(message)

    async def _attempt(
        self, endpoint: Endpoint, message: Message, fault: Fault | None
    ) -> int | None:
        """Make one attempt and record it; return the status that the sender sees.

        Raises:
            _Refused: The endpoint is not on this machine.
        """
        status: int | None = None
        refused: str | None = None
        try:
            match fault and fault.action:
                case Drop():
                    pass
                case RespondWith(status=status):
                    pass
                case LoseResponse():
                    await self._request(endpoint, message)
                case _:
                    status = await self._request(endpoint, message)
        except _Refused as refusal:
            refused = str(refusal)
        self.made.append(
            DeliveryAttempt(
                message_id=message.id,
                event_type=message.event_type,
                url=endpoint.url,
                status=status,
                at=time.monotonic(),
                fault=None if fault is None else fault.name,
                refused=refused,
            )
        )
        if refused is not None:
            raise _Refused(refused)
        return status

    def _warn_of_refusal(self, url: str, refusal: _Refused) -> None:
        """Log one line for each URL that is refused, not for each event."""
        if url not in self._warned_of:
            self._warned_of.add(url)
            log.warning(
                "webhooks to %r are not sent: %s, and the sandbox delivers to this machine alone "
                "(allow_remote_webhooks=True, --allow-remote-webhooks)",
                _masked_url(url),
                refusal,
            )

    async def _request(self, endpoint: Endpoint, message: Message) -> int | None:
        session = self._session = self._session or self._new_session()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "diffio-sandbox-webhooks",
            **signed(endpoint.secret, message.id, int(time.time()), message.body),
        }
        try:
            async with (
                self._turns,
                session.post(
                    endpoint.url, data=message.body.encode(), headers=headers, allow_redirects=False
                ) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if not self._settings.allow_remote_webhooks and (reason := refused_reason(error)):
                raise _Refused(reason) from error
            log.info(
                "webhook %s did not reach %s: %s",
                message.id,
                _masked_url(endpoint.url),
                failure_reason(error),
            )
        return None

    def _new_session(self) -> aiohttp.ClientSession:
        remote = self._settings.allow_remote_webhooks
        connector = aiohttp.TCPConnector(socket_factory=None if remote else loopback_socket)
        return aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
