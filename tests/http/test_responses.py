"""Unusable responses: not JSON, too large, redirects, early or incomplete ones."""

import asyncio
import contextlib
import gzip
import os
import zlib
from collections.abc import Callable

import pytest

from diffio_async import (
    ApiError,
    AsyncDiffio,
    AuthenticationFailed,
    ClientOptions,
    DiffioError,
    InvalidResponse,
    NotFound,
    PaymentRequired,
    PermissionDenied,
    RateLimited,
    RetryPolicy,
    Timeouts,
)
from diffio_async.sandbox import Fault, RefuseBody, Sandbox
from tests.http.peers import ONCE, Incoming, Script, failure_at, head, once, peer, responds

ODD: list[tuple[Script, str]] = [
    (responds(200, b"<html>Log in to the Wi-Fi</html>", content_type="text/html"), "not JSON"),
    (responds(200, b""), "not JSON"),
    (responds(204), "not JSON"),
    (responds(200, b"[1, 2]"), "object"),
    (responds(200, b"null"), "object"),
]


@pytest.mark.parametrize(("script", "why"), ODD)
async def test_a_body_that_is_not_a_json_object_is_an_invalid_response(
    script: Script, why: str
) -> None:
    """The page of a captive portal is not an empty list."""
    async with peer(script) as host:
        error = await failure_at(host.url())
    assert type(error) is InvalidResponse
    assert error.status in {200, 204}


async def test_the_content_type_of_json_is_ignored() -> None:
    for content_type in ("application/problem+json", "text/plain", "nonsense"):
        async with (
            peer(responds(200, b'{"projects": []}', content_type=content_type)) as host,
            once(host.url()) as client,
        ):
            assert await client.projects.list() == []


async def test_a_large_response_is_read_completely() -> None:
    """Large responses are not read by aiohttp, but by the receiver."""
    rows = b", ".join(
        b'{"apiProjectId": "proj_%08d", "fileName": "%s"}' % (n, b"a" * 450) for n in range(10_000)
    )
    async with (
        peer(responds(200, b'{"projects": [' + rows + b"]}")) as host,
        once(host.url()) as client,
    ):
        projects = await client.projects.list()
    assert len(projects) == 10_000
    assert projects[-1].api_project_id == "proj_00009999"


async def test_a_response_over_the_size_limit_is_not_read() -> None:
    async with peer(responds(200, b" " * (33 * 2**20))) as host:
        error = await failure_at(host.url())
    assert type(error) is InvalidResponse
    assert "more than 33,554,432 bytes" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_of_the_api_is_not_followed(status: int) -> None:
    """It would disclose the key; the message names what to check."""
    async with peer(responds()) as other, peer(responds(status, location=other.url())) as host:
        error = await failure_at(host.url())
    assert "check the base URL" in str(error)
    assert getattr(error, "status", None) == status
    assert other.requests == []


async def test_a_response_before_the_body_was_read_is_received(sandbox: Sandbox) -> None:
    """A server may refuse an upload without reading it."""
    refused = RefuseBody(413, json={"error": "too large"})
    sandbox.faults.add(Fault(origin="edge", method="PUT", action=refused))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=ONCE) as client:
        with pytest.raises(DiffioError, match="413"):
            await client.projects.create(os.urandom(8 * 2**20), file_name="a.wav")


@pytest.mark.parametrize(
    ("compress", "encoding"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, "GZIP, aws-chunked"),
        (gzip.compress, None),
        (zlib.compress, "deflate"),
        (bytes, "UTF-8"),
        (bytes, ""),
    ],
)
async def test_an_encoded_response_is_decoded(
    compress: Callable[[bytes], bytes], encoding: str | None
) -> None:
    """The encoding was not requested; errors keep their class and code."""
    named = {} if encoding is None else {"content_encoding": encoding}
    listing, refusal = compress(b'{"projects": []}'), compress(b'{"error": "no", "code": "x"}')
    async with (
        peer(responds(200, listing, **named), responds(403, refusal, **named), keep=True) as host,
        once(host.url()) as client,
    ):
        assert await client.projects.list() == []
        with pytest.raises(PermissionDenied, match="403 x: no") as caught:
            await client.projects.list()
    assert caught.value.body == {"error": "no", "code": "x"}


@pytest.mark.parametrize("encoding", ["br", "gzip"])
@pytest.mark.parametrize("kind", ["broken", "random"])
async def test_binary_data_is_never_shown(encoding: str, kind: str) -> None:
    """Neither undecodable content nor content that is not text is in the message."""
    body = gzip.compress(b"no")[:-9] + b"broken..." if kind == "broken" else os.urandom(3000)
    for status in (200, 404):
        for named in ({"content_encoding": encoding}, {}):
            async with peer(responds(status, body, **named)) as host:
                error = await failure_at(host.url())
            assert type(error) is (NotFound if status == 404 else InvalidResponse)
            assert f"{error}{vars(error)}".isascii()


async def test_a_decompression_bomb_is_a_response_over_the_limit() -> None:
    bomb = gzip.compress(bytes(64 * 2**20), 9)
    async with peer(responds(200, bomb, content_encoding="gzip")) as host:
        error = await failure_at(host.url())
    assert type(error) is InvalidResponse
    assert "more than 33,554,432 bytes" in str(error)


async def test_an_endless_error_body_is_read_partially() -> None:
    async def script(_: Incoming, writer: asyncio.StreamWriter) -> None:
        writer.write(head(403, {"content-length": 10**10}) + b'{"error": "')
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()

    async with peer(script) as host:
        error = await failure_at(host.url())
    assert type(error) is PermissionDenied
    assert len(str(error)) < 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "kind", "end"),
    [
        (402, PaymentRequired, "cut off"),
        (401, AuthenticationFailed, "cut off"),
        (402, PaymentRequired, "stalled"),
        (429, RateLimited, "trickled"),
        (402, PaymentRequired, "cut in a chunk"),
    ],
)
async def test_an_error_with_an_incomplete_body_keeps_its_class(
    status: int, kind: type[DiffioError], end: str
) -> None:
    """The status line and headers are enough; the received part of the body is kept."""
    body = b'{"error": "unfinished'
    framing: dict[str, object] = {"content-length": 500}
    if end == "cut in a chunk":
        framing = {"transfer-encoding": "chunked"}
        body = b"%x\r\n%s" % (500, body)
    start = head(status, {**framing, "retry-after": "7"}) + body

    async def script(_: Incoming, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        if end == "stalled":
            await asyncio.sleep(9)
        while end == "trickled":
            await asyncio.sleep(0.05)
            writer.write(b" ")

    options = ClientOptions(
        retry=RetryPolicy(attempts=1), timeouts=Timeouts(connect=5, read=0.5, total=1.0)
    )
    async with peer(script) as host:
        error = await failure_at(host.url(), options)
    assert type(error) is kind
    assert isinstance(error, ApiError)
    assert error.retry_after == 7
    assert "unfinished" in str(error)
