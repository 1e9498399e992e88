"""Signed webhook events, and their delivery to an application under test."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import anyio
from anyio.from_thread import start_blocking_portal
from attrs import field, frozen

from diffio_async.models.generations import DEFAULT_MODEL
from diffio_async.models.json_values import camel
from diffio_async.sandbox.state import ROOT_KEY_ID, iso, new_id
from diffio_async.sandbox.webhooks import new_secret, signature_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

    from anyio.from_thread import BlockingPortal

    Message = MutableMapping[str, Any]
    AsgiApp = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
        Awaitable[None],
    ]

#: Seconds that a receiver has to respond, as the service waits.
_TIMEOUT = 15.0
_STATUSES = {"generation.completed": "complete", "generation.failed": "error"}


@frozen
class SignedEvent:
    """One delivery of an event.

    Attributes:
        message_id: The `svix-id`, which is the same when the event is delivered again.
        body: The body, exactly as it was signed.
        headers: The headers, with the signature.
    """

    message_id: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)


@frozen
class WebhookResponse:
    """Response of the application under test.

    Attributes:
        status: The status; the service delivers again unless it is 2xx.
        body: The body.
    """

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the decoded body.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.body)


@contextmanager
def run_tester(secret: str) -> Iterator[WebhookTester]:
    """Run a tester that signs with a secret; blocking deliveries run in a thread of its own."""
    with start_blocking_portal("asyncio", name="diffio-webhooks") as portal:
        yield WebhookTester(secret, portal)


class WebhookTester:
    """Signs events like the service, and delivers them to an application.

    The body and the headers of an event also suit the test client of any framework:
    `client.post("/hook", content=event.body, headers=event.headers)`.

    Attributes:
        secret: The `whsec_…` secret, which the application must verify with.
    """

    def __init__(self, secret: str, portal: BlockingPortal) -> None:
        self.secret = secret
        self._portal = portal

    def event(
        self, event_type: str = "generation.completed", *, age: float = 0.0, **fields: object
    ) -> SignedEvent:
        """Return a new signed event about a generation.

        Args:
            event_type: The type, e.g. `generation.failed`.
            age: Seconds since it was signed. Receivers reject what is older than 300.
            fields: Other fields, by the names of `WebhookEvent`: `generation_id`, `status`, ….

        Raises:
            TypeError: `WebhookEvent` has no such field.
        """
        values = {
            "event_type": event_type,
            "event_id": new_id("evt"),
            "created_at": iso(time.time() - age),
            "api_key_id": ROOT_KEY_ID,
            "api_project_id": new_id("proj"),
            "generation_id": new_id("gen"),
            "status": _STATUSES.get(event_type, event_type.rpartition(".")[2]),
            "has_video": False,
            "model_key": DEFAULT_MODEL,
            "error": None,
            "error_details": None,
            "transcription": {"status": "pending"},
        }
        unknown = fields.keys() - values.keys()
        if unknown:
            raise TypeError(
                f"an event has no field {min(unknown)!r}; its fields are {', '.join(values)}"
            )
        body = json.dumps({camel(name): value for name, value in (values | fields).items()})
        return _signed(self.secret, new_id("msg"), body.encode(), age)

    def replay(self, event: SignedEvent, *, age: float = 0.0) -> SignedEvent:
        """Return the next delivery of an event: the same id and body, signed again.

        Args:
            event: The event.
            age: Seconds by which the time stamp of the delivery is in the past.
        """
        return _signed(self.secret, event.message_id, event.body, age)

    def forge(self, event: SignedEvent) -> SignedEvent:
        """Return the event as a stranger would send it: signed with another secret."""
        return _signed(new_secret(), event.message_id, event.body, 0.0)

    async def post(
        self, target: str | AsgiApp, event: SignedEvent, *, path: str = "/"
    ) -> WebhookResponse:
        """Deliver an event once.

        Args:
            target: The URL of the receiver, or an ASGI application, which is called in this task
                without its lifespan.
            event: The event.
            path: The path (and query) for an application; a URL has its own.

        Raises:
            aiohttp.ClientError: The URL could not be reached.
            TimeoutError: There was no response in 15 seconds, the limit of the service.
            RuntimeError: The application ended without a response.
            TypeError: `target` is neither a URL nor an application.
        """
        given: object = target
        if not isinstance(given, str) and not callable(given):
            raise TypeError(f"target must be a URL or an ASGI application, not {given!r}")
        with anyio.fail_after(_TIMEOUT):
            if not isinstance(target, str):
                return await _call(target, event, path)
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    target, data=event.body, headers=event.headers, allow_redirects=False
                ) as response,
            ):
                return WebhookResponse(response.status, await response.read())

    def post_sync(
        self, target: str | AsgiApp, event: SignedEvent, *, path: str = "/"
    ) -> WebhookResponse:
        """Deliver an event once, from a test without `await`: `post`, on another thread's loop."""

        async def post() -> WebhookResponse:
            return await self.post(target, event, path=path)

        return self._portal.call(post)


def _signed(secret: str, message_id: str, body: bytes, age: float) -> SignedEvent:
    signature = signature_headers(secret, message_id, int(time.time() - age), body.decode())
    return SignedEvent(message_id, body, {"content-type": "application/json", **signature})


async def _call(app: AsgiApp, event: SignedEvent, path: str) -> WebhookResponse:
    """Call an ASGI application with one request."""
    url = urlsplit(path)
    headers = {"host": "testserver", "content-length": str(len(event.body)), **event.headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.path.encode(),
        "root_path": "",
        "query_string": url.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }
    body = [event.body]
    ended = anyio.Event()
    status: int | None = None
    content = bytearray()

    async def receive() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        # A server reports a disconnection only after the response.
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            content.extend(message.get("body", b""))
            if not message.get("more_body", False):
                ended.set()

    await app(scope, receive, send)
    if status is None:
        raise RuntimeError("the application ended without a response to the event")
    return WebhookResponse(status, bytes(content))
