"""Responses of receivers: the same cases through aiohttp and through ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

import aiohttp.web
import pytest
from attrs import frozen
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from diffio_async import ConfigurationError
from diffio_async.webhooks import aiohttp_app, aiohttp_server, asgi_app, receiver
from tests.webhooks.scenes import SECRET, MemorySink, body_of, headers_of, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from diffio_async.webhooks.receiver import Message

MIB = 1024 * 1024
BODY = body_of()


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections with unread bodies are closed sooner than for senders on other machines."""
    for module in (receiver, aiohttp_server):
        monkeypatch.setattr(module, "LINGER_SECONDS", 0.1)


@frozen
class Response:
    """A response."""

    status: int
    content: Any
    headers: Mapping[str, str]


class Sender(Protocol):
    """Sends one request to a receiver."""

    async def __call__(
        self, body: bytes, headers: Mapping[str, str], *, method: str = "POST"
    ) -> Response:
        """Return the response."""
        ...


class AsgiSender:
    """Calls an ASGI application like a server; `consumed` counts the bytes of the body it read."""

    def __init__(self, app: Any, path: str = "/webhooks/diffio", piece: int = 64 * 1024) -> None:
        self.app, self.path, self.piece = app, path, piece
        self.consumed = 0
        #: Number of bytes after which the body breaks off.
        self.gone_after: int | None = None

    async def __call__(
        self, body: bytes, headers: Mapping[str, str], *, method: str = "POST"
    ) -> Response:
        """Return the response."""
        sent: list[Message] = []
        self.consumed = 0

        async def receive() -> Message:
            if self.gone_after is not None and self.consumed >= self.gone_after:
                return {"type": "http.disconnect"}
            piece = body[self.consumed : self.consumed + self.piece]
            self.consumed += len(piece)
            return {"type": "http.request", "body": piece, "more_body": self.consumed < len(body)}

        async def send(message: Message) -> None:
            sent.append(message)

        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": self.path, "headers": pairs}
        await self.app({**scope, "http_version": "1.1", "query_string": b""}, receive, send)
        if not sent:
            raise ConnectionResetError
        content = b"".join(message.get("body", b"") for message in sent[1:])
        found = {name.decode().title(): value.decode() for name, value in sent[0]["headers"]}
        return Response(sent[0]["status"], json.loads(content) if content else None, found)


@contextlib.asynccontextmanager
async def aiohttp_sender(sink: MemorySink) -> AsyncIterator[Sender]:
    """Run a server, and yield a sender that uses an HTTP client."""
    async with served(aiohttp_app(sink)) as url, aiohttp.ClientSession() as session:

        async def send(
            body: bytes, headers: Mapping[str, str], *, method: str = "POST"
        ) -> Response:
            async with session.request(method, url, data=body, headers=headers) as raw:
                content = await raw.read()
                response = json.loads(content) if content else None
                return Response(raw.status, response, raw.headers)

        yield send


@pytest.fixture
def sink() -> MemorySink:
    """Sink for the events of a test."""
    return MemorySink()


@pytest.fixture(params=["aiohttp", "asgi"])
async def send(
    request: pytest.FixtureRequest, sink: MemorySink, _no_task_left: None
) -> AsyncIterator[Sender]:
    """Sender for a receiver of each kind."""
    if request.param == "asgi":
        yield AsgiSender(asgi_app(sink))
    else:
        async with aiohttp_sender(sink) as opened:
            yield opened


async def test_a_genuine_delivery_is_stored_and_acknowledged(
    send: Sender, sink: MemorySink
) -> None:
    """The raw body is stored; a second delivery is acknowledged as a duplicate."""
    for word in ("stored", "duplicate"):
        response = await send(BODY, headers_of(BODY))
        assert (response.status, response.content) == (200, {"status": word})
    event, body = sink.kept["msg_1"]
    assert (event.event_type, event.generation_id, body) == ("generation.completed", "gen_1", BODY)


async def test_an_event_of_an_unknown_type_is_acknowledged(send: Sender, sink: MemorySink) -> None:
    """After errors, the sender would repeat it for days and disable the endpoint."""
    body = body_of("project.archived", generationId=5)
    assert (await send(body, headers_of(body))).status == 200
    assert sink.kept["msg_1"][0].event_type == "project.archived"


# Created when they are sent, since a timestamp is valid for five minutes.
REFUSED: dict[str, Callable[[], tuple[bytes, dict[str, str], int, str]]] = {
    "another secret": lambda: (
        BODY,
        headers_of(BODY, secret="whsec_b3RoZXI="),
        400,
        "bad_signature",
    ),
    "parsed and written again": lambda: (
        json.dumps(json.loads(BODY), indent=1).encode(),
        headers_of(BODY),
        400,
        "bad_signature",
    ),
    "a stale stamp": lambda: (BODY, headers_of(BODY, at=time.time() - 86400), 400, "too_old"),
    "a future stamp": lambda: (BODY, headers_of(BODY, at=time.time() + 86400), 400, "too_new"),
    "no signature": lambda: (BODY, {"Content-Type": "application/json"}, 400, "missing_header"),
    "no JSON": lambda: (b"hello", headers_of(b"hello"), 400, "not_json"),
    "no object": lambda: (b"[1]", headers_of(b"[1]"), 400, "not_an_object"),
    "an empty body": lambda: (b"", headers_of(b""), 400, "not_json"),
    "a form": lambda: (
        BODY,
        {**headers_of(BODY), "Content-Type": "text/plain"},
        415,
        "not_json_content",
    ),
    "compressed": lambda: (
        BODY,
        {**headers_of(BODY), "Content-Encoding": "gzip"},
        415,
        "compressed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_an_invalid_delivery_is_refused_with_a_reason(
    case: str, send: Sender, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    """The response has a code, the log a message, and neither contains the secret."""
    body, headers, status, reason = REFUSED[case]()
    with caplog.at_level(logging.DEBUG):
        response = await send(body, headers)
    assert (response.status, response.content) == (status, {"error": reason})
    assert sink.kept == {}
    assert SECRET.removeprefix("whsec_") not in caplog.text
    if case == "parsed and written again":
        assert "raw" in caplog.text


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "application/x+json"])
async def test_content_types_of_json_are_accepted(kind: str | None, sink: MemorySink) -> None:
    """An event is stored although a proxy removed its content type."""
    headers = {**headers_of(BODY), "Content-Type": kind or ""}
    if kind is None:
        del headers["Content-Type"]
    assert (await AsgiSender(asgi_app(sink))(BODY, headers)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_other_methods_are_rejected_with_allow(method: str, send: Sender) -> None:
    """The status is 405, with an `Allow` header."""
    response = await send(b"", {}, method=method)
    assert (response.status, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("failure", [OSError("disk full"), ValueError("a bug")])
async def test_a_failed_store_results_in_503(
    failure: Exception, send: Sender, sink: MemorySink
) -> None:
    """The status is 503 for any reason, and 200 once the store works again."""
    sink.failure = failure
    response = await send(BODY, headers_of(BODY))
    assert (response.status, response.content) == (503, {"error": "not_stored"})
    sink.failure = None
    assert (await send(BODY, headers_of(BODY))).status == 200


async def test_a_large_body_is_refused_by_its_length_alone(sink: MemorySink) -> None:
    """No byte of the body is read."""
    send = AsgiSender(asgi_app(sink))
    response = await send(bytes(100), {"Content-Length": str(100 * MIB)})
    assert (response.status, response.content, send.consumed) == (413, {"error": "too_large"}, 0)
    assert response.headers["Connection"] == "close"
    assert (await send(b"", {"Content-Length": "9" * 5000})).status == 413


async def test_a_large_body_without_a_length_is_read_up_to_the_limit(sink: MemorySink) -> None:
    """The rest is not read."""
    send = AsgiSender(asgi_app(sink, max_body=1000), piece=100)
    response = await send(bytes(100_000), {})
    assert (response.status, send.consumed) == (413, 1100)
    assert (await send(body_of() + b" " * 900, headers_of(body_of() + b" " * 900))).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_100_mib_are_refused_over_a_socket_without_being_read(
    chunked: bool, sink: MemorySink
) -> None:
    """The sender receives the response before it has sent most of the body, and is disconnected."""
    sent = 0
    async with served(aiohttp_app(sink)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {100 * MIB}"
        writer.write(f"POST / HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        status_line = asyncio.ensure_future(reader.readline())
        piece = bytes(MIB // 4)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(5):
                while sent < 100 * MIB:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                    await writer.drain()
                    sent += len(piece)
        assert b"413" in await status_line
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    assert sent < 40 * MIB


async def test_expect_continue_avoids_sending_a_large_body(sink: MemorySink) -> None:
    """The response to `Expect: 100-continue` is 413 at once, or 100 for a body of a valid size."""
    async with served(aiohttp_app(sink)) as url:
        host, port = url.removeprefix("http://").split(":")
        request = {**headers_of(BODY), "Host": "x", "Expect": "100-continue"}
        for length, word in ((100 * MIB, b"413"), (len(BODY), b"100")):
            reader, writer = await asyncio.open_connection(host, int(port))
            lines = [f"{n}: {v}" for n, v in {**request, "Content-Length": str(length)}.items()]
            writer.write("\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode())
            assert word in await reader.readline()
            if word == b"100":
                writer.write(BODY)
                await reader.readline()
                assert b"200" in await reader.readline()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_sender_that_leaves_mid_body_stores_nothing(
    sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no response, and nothing is logged as an error."""
    asgi = AsgiSender(asgi_app(sink), piece=10)
    asgi.gone_after = 20
    with pytest.raises(ConnectionResetError):
        await asgi(BODY, headers_of(BODY))
    async with served(aiohttp_app(sink)) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
    assert sink.kept == {}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_body_that_trickles_times_out(
    send: Sender, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 408, after a time when the sender would have given up too."""
    monkeypatch.setattr(receiver, "BODY_SECONDS", 0.05)

    async def trickle() -> AsyncIterator[bytes]:
        for _ in range(100):
            await asyncio.sleep(0.02)
            yield b"x"

    response = await receiver.WebhookReceiver(sink).handle("POST", {}, trickle())
    assert (response.status, response.content) == (408, {"error": "too_slow"})


async def test_aiohttp_mounts_and_opens_the_sink(sink: MemorySink) -> None:
    """The prefix works with and without a slash; the sink is opened and closed with the server."""
    app = aiohttp.web.Application()
    app.add_subapp("/webhooks/diffio", aiohttp_app(sink))
    async with served(app) as url, aiohttp.ClientSession() as session:
        assert sink.lifecycle == ["opened"]
        for path, status in (("/webhooks/diffio", 200), ("/webhooks/diffio/", 200), ("/", 404)):
            async with session.post(url + path, data=BODY, headers=headers_of(BODY)) as response:
                assert response.status == status, path
    assert sink.lifecycle == ["opened", "closed"]


async def test_the_path_can_be_restricted(sink: MemorySink) -> None:
    """Other paths are not found."""
    app = asgi_app(sink, path="/hooks")
    assert (await AsgiSender(app, "/hooks")(BODY, headers_of(BODY))).status == 200
    assert (await AsgiSender(app, "/hook")(BODY, headers_of(BODY))).status == 404
    async with (
        served(aiohttp_app(sink, path="/hooks")) as url,
        aiohttp.ClientSession() as session,
    ):
        for path, status in (("/hooks", 200), ("/hook", 404)):
            async with session.post(url + path, data=BODY, headers=headers_of(BODY)) as response:
                assert response.status == status, path


async def test_starlette_and_fastapi_mount_it(sink: MemorySink) -> None:
    """It may be a route, or be below a mount."""
    fast = FastAPI()
    fast.mount("/webhooks", asgi_app(sink))
    fast.add_route("/hook", asgi_app(sink))  # type: ignore[arg-type]  # an ASGI application, too
    apps: list[tuple[Any, str]] = [
        (Starlette(routes=[Route("/webhooks/diffio", asgi_app(sink))]), "/webhooks/diffio"),
        (Starlette(routes=[Mount("/webhooks", asgi_app(sink))]), "/webhooks/diffio"),
        (fast, "/webhooks/diffio"),
        (fast, "/hook"),
    ]
    for app, path in apps:
        assert (await AsgiSender(app, path)(BODY, headers_of(BODY))).status == 200


async def test_an_asgi_server_opens_the_sink_and_closes_it(sink: MemorySink) -> None:
    """This uses the lifespan protocol; a sink that cannot be opened stops the server."""
    messages: list[str] = []
    states: list[tuple[str, ...]] = []
    steps = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        return {"type": next(steps)}

    async def send(message: Message) -> None:
        messages.append(str(message["type"]))
        states.append(tuple(sink.lifecycle))

    await asgi_app(sink)({"type": "lifespan"}, receive, send)
    assert messages == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert states == [("opened",), ("opened", "closed")]

    class Unusable(MemorySink):
        async def __aenter__(self) -> Self:
            raise OSError("no such folder")

    messages.clear()
    steps = iter(["lifespan.startup"])
    await asgi_app(Unusable())({"type": "lifespan"}, receive, send)
    assert messages == ["lifespan.startup.failed"]


async def test_a_websocket_is_closed(sink: MemorySink) -> None:
    """A receiver only accepts HTTP requests."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        messages.append(message)

    await asgi_app(sink)({"type": "websocket"}, receive, send)
    assert [message["type"] for message in messages] == ["websocket.close"]


def test_a_receiver_needs_a_verifier(sink: MemorySink) -> None:
    """An inbox without a verifier is for consumers only; a body limit of 0 is refused."""
    with pytest.raises(ConfigurationError, match="max_body"):
        asgi_app(sink, max_body=0)
    sink.verifier = None
    with pytest.raises(ConfigurationError, match="verifier"):
        aiohttp_app(sink)


async def test_refusals_do_not_flood_the_log(
    sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    """Invalid deliveries are logged as a warning once a minute for each reason."""
    send = AsgiSender(asgi_app(sink))
    for _ in range(5):
        await send(BODY, headers_of(BODY, secret="whsec_b3RoZXI="))
    await send(BODY, {})
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
