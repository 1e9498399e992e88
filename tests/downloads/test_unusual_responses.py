"""Unusual responses of storage hosts: nothing is saved that may be incomplete."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import os
from pathlib import Path

import pytest

from diffio_async import AsyncDiffio, ClientOptions, DownloadFailed, RetryPolicy, ServerError
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.downloads.scenes import RESULT, entries, finished, leads_to, linked, media
from tests.http.peers import Incoming, head, peer, responds, sends

CONTENT = os.urandom(300_000)


def chunked(content: bytes, *, complete: bool = True, **headers: str) -> bytes:
    """Return a chunked response, which has an end marker."""
    pieces = [content[at : at + 70_000] for at in range(0, len(content), 70_000)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return (
        head(200, {"transfer-encoding": "chunked", **headers})
        + body
        + (b"0\r\n\r\n" if complete else b"")
    )


async def test_a_result_without_any_length_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its end cannot be distinguished from a broken connection."""
    async with peer(sends(head(200, {"connection": "close"}) + CONTENT)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="does not announce where the result ends"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert len(host.requests) == 1
    assert entries(tmp_path) == []


async def test_a_chunked_result_is_complete_after_its_last_chunk(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is requested again otherwise."""
    async with peer(sends(chunked(CONTENT, complete=False)), sends(chunked(CONTENT))) as host:
        leads_to(sandbox, host.url("/r"))
        result = await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert result.size == len(CONTENT)
    assert len(host.requests) == 2


@pytest.mark.parametrize("coding", ["chunked, identity", "chunked,chunked", "gzip", "x, chunked"])
async def test_chunks_are_an_end_only_where_they_are_the_only_coding(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, coding: str
) -> None:
    """With other codings the body ends with the connection, and may be incomplete."""
    response = chunked(CONTENT, complete=False).replace(b"chunked", coding.encode(), 1)
    async with peer(sends(response)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []


async def test_an_encoded_error_keeps_its_class_and_its_text(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    page = gzip.compress(b"<Error><Code>SlowDown</Code></Error>")
    for more in ({"content_encoding": "gzip"}, {}):
        sandbox.faults.clear()
        async with peer(responds(503, page, **more)) as host:
            leads_to(sandbox, host.url("/r"))
            with pytest.raises(DownloadFailed) as caught:
                await linked(client).download()
        error = caught.value.__cause__
        assert isinstance(error, ServerError)
        assert error.body == "<Error><Code>SlowDown</Code></Error>"


async def test_a_chunked_result_that_broke_is_resumed_by_its_etag(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    async def rest(request: Incoming, writer: asyncio.StreamWriter) -> None:
        start = int(request.headers["range"][len("bytes=") : -1])
        reports = {
            "content-length": len(CONTENT) - start,
            "content-range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}",
        }
        await sends(head(206, reports) + CONTENT[start:])(request, writer)

    broken = sends(chunked(CONTENT[:200_000], complete=False, etag='"one"'), then=0.2)
    async with peer(broken, rest) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT


@pytest.mark.parametrize("encoding", ["gzip", "identity, gzip", "aws-chunked,GZIP", "x-gzip"])
@pytest.mark.parametrize("framed", ["length", "chunks"])
async def test_an_encoded_result_is_decoded(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, encoding: str, framed: str
) -> None:
    """Its length, ETag and digests are those of the encoded bytes."""
    packed = gzip.compress(CONTENT)
    fields = {"etag": '"packed"', "content-encoding": encoding, "accept-ranges": "bytes"}
    digest = base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode()
    if framed == "length":
        complete = (
            head(200, {"content-length": len(packed), "content-md5": digest, **fields}) + packed
        )
    else:
        complete = chunked(packed, complete=True, **fields)
    broken = complete[: len(complete) // 2]
    async with peer(sends(broken), sends(complete)) as host:
        leads_to(sandbox, host.url("/r"))
        result = await linked(client).download(tmp_path / "voice.mp3")
    assert (tmp_path / "voice.mp3").read_bytes() == CONTENT
    assert result.size == len(CONTENT)
    assert [request.headers.get("range") for request in host.requests] == [None, None]


@pytest.mark.parametrize(
    "encoding", ["aws-chunked", "", "UTF-8", "none", "binary", ",", "identity,identity", "8bit"]
)
async def test_an_invalid_encoding_name_is_ignored(
    client: AsyncDiffio, sandbox: Sandbox, encoding: str
) -> None:
    async with peer(responds(200, CONTENT, content_encoding=encoding, etag='"one"')) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT
    assert len(host.requests) == 1


async def test_a_result_that_is_wrongly_labelled_as_encoded_is_kept_unchanged(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    async with peer(responds(200, CONTENT, content_encoding="gzip")) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == CONTENT


async def test_an_encoded_result_that_ends_early_is_incomplete(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its framing is complete."""
    packed = gzip.compress(CONTENT)[:-100]
    async with peer(responds(200, packed, content_encoding="gzip")) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="ended early"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("encoding", ["br", "gzip, zstd", "compress"])
async def test_an_encoding_that_was_not_requested_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, encoding: str
) -> None:
    """It is not supported."""
    packed = gzip.compress(CONTENT)
    async with peer(responds(200, packed, content_encoding=encoding)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="encoding that was not requested"):
            await linked(client).download()
    assert host.requests[0].headers["accept-encoding"] == "identity"


async def test_a_result_that_is_itself_compressed_is_kept_unchanged(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    packed = gzip.compress(CONTENT)
    async with peer(responds(200, packed, content_encoding="Identity")) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == packed


@pytest.mark.parametrize(
    "response",
    [
        head(206, {"content-length": 9}) + b"some part",
        head(206, {"content-length": 9, "content-range": "bytes 5-13/14"}) + b"some part",
        head(206, {"content-length": 9, "content-range": "bytes 0-8/*"}) + b"some part",
        head(204) + b"",
        head(304, {"etag": '"one"'}),
        head(300, {"content-length": 0}),
        head(302, {"content-length": 0}),
        head(416, {"content-length": 0}),
    ],
)
async def test_a_response_that_is_not_a_complete_result_is_not_saved(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, response: bytes
) -> None:
    async with peer(sends(response)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed):
            await linked(client).download(tmp_path / "voice.mp3")
    assert len(host.requests) == 1
    assert entries(tmp_path) == []


async def test_a_first_part_that_was_not_requested_is_completed(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    part = head(206, {"content-length": 5, "content-range": "bytes 0-4/9", "etag": '"one"'})
    rest = head(206, {"content-length": 4, "content-range": "bytes 5-8/9", "etag": '"one"'})
    async with peer(sends(part + b"some "), sends(rest + b"part")) as host:
        leads_to(sandbox, host.url("/r"))
        assert (await linked(client).download()).content == b"some part"
    assert host.requests[1].headers["range"] == "bytes=5-"


@pytest.mark.parametrize("response", [b"\x00\x01garbage\r\n\r\n", b"", b"SSH-2.0-OpenSSH_9\r\n"])
async def test_a_response_that_is_not_http_ends_as_a_failed_download(
    client: AsyncDiffio, sandbox: Sandbox, response: bytes
) -> None:
    async with peer(sends(response)) as host:
        leads_to(sandbox, host.url("/r?signature=SECRET"))
        with pytest.raises(DownloadFailed, match="could not be downloaded") as caught:
            await linked(client).download()
    assert "SECRET" not in "".join([str(caught.value), *caught.value.__notes__])


async def test_a_storage_page_that_quotes_the_signature_is_masked(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Storage hosts quote the signature when they refuse it."""
    page = b"<Error><SignatureProvided>a/b+c0123456789==</SignatureProvided></Error>"
    async with peer(responds(403, page, content_type="application/xml")) as host:
        leads_to(sandbox, host.url("/r?X-Amz-Signature=a%2Fb%2Bc0123456789%3D%3D&v=1"))
        with pytest.raises(DownloadFailed) as caught:
            await linked(client).download()
    error: BaseException | None = caught.value
    while error is not None:
        assert "c0123456789" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__


async def test_a_host_that_stays_broken_ends_as_a_failed_download_with_its_cause(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = await finished(client, CONTENT)
    page = RespondWith(503, {"Content-Type": "text/html"}, text="<html><h1>Bad gateway</h1></html>")
    sandbox.faults.add(Fault(path=RESULT, times=None, action=page))
    with pytest.raises(DownloadFailed, match="download returned 503") as caught:
        await job.download(tmp_path / "voice.mp3")
    assert isinstance(caught.value.__cause__, ServerError)
    assert "html" not in str(caught.value)
    assert len(media(sandbox)) == 5
    assert entries(tmp_path) == []


@pytest.mark.parametrize("more", [{}, {"etag": '"one"'}])
async def test_a_host_that_always_sends_the_same_part_ends_the_download(
    client: AsyncDiffio, sandbox: Sandbox, more: dict[str, str]
) -> None:
    """A repeated part that was not requested is a failure with limited attempts."""
    part = head(206, {"content-length": 100, "content-range": "bytes 0-99/300000", **more})
    async with peer(sends(part + bytes(100))) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed):
            await linked(client).download()
    assert len(host.requests) < 12


@pytest.mark.slow
async def test_a_host_that_sends_a_byte_per_response_gets_requests_with_pauses(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    async def one_byte(request: Incoming, writer: asyncio.StreamWriter) -> None:
        start = int(request.headers.get("range", "bytes=0-")[len("bytes=") : -1])
        extent = {"content-length": 1, "content-range": f"bytes {start}-{start}/300000"}
        await sends(head(206, {**extent, "etag": '"one"'}) + b"x")(request, writer)

    options = ClientOptions(retry=RetryPolicy(initial_delay=0.1))
    async with peer(one_byte) as host:
        leads_to(sandbox, host.url("/r"))
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as patient:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    await linked(patient).download()
    assert 1 < len(host.requests) <= 14


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=utf-8", b"<html>Log in</html>"),
        ("application/json", b'{"error": "expired"}'),
        ("application/xml", b"<Error><Code>AccessDenied</Code></Error>"),
        ("audio/mpeg", b""),
    ],
)
async def test_a_page_or_nothing_is_not_saved_as_the_result(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, kind: str, body: bytes
) -> None:
    """A successful response that cannot be audio is refused, with the reason."""
    async with peer(responds(200, body, content_type=kind)) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="where audio or video was requested"):
            await linked(client).download(tmp_path / "voice.mp3")
    assert entries(tmp_path) == []


async def test_the_error_of_a_broken_download_does_not_mention_acceptance(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A GET changes nothing at the server."""
    async with peer(sends(head(200, {"content-length": 100}) + b"x")) as host:
        leads_to(sandbox, host.url("/r"))
        with pytest.raises(DownloadFailed, match="broke before") as caught:
            await linked(client).download()
    assert "accepted" not in str(caught.value)
