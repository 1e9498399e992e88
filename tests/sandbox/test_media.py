"""Downloads: ranges, validators, and expiry of links."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_caller import calling, echoing

from diffio_async.sandbox.transfers import ByteRange, Unsatisfiable, parse_range

CONTENT = bytes(range(200))


async def test_a_complete_file_has_a_length_and_a_strong_etag() -> None:
    async with calling(echoing()) as caller:
        got = await caller.send("GET", await caller.link(await caller.restored(CONTENT)))
    assert got.body == CONTENT
    assert got.headers["Content-Length"] == "200"
    assert got.headers["Accept-Ranges"] == "bytes"
    assert re.fullmatch(r'"[0-9a-f]{32}"', got.headers["ETag"])


async def test_each_range_has_the_digest_of_the_complete_file() -> None:
    expected = f"sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"
    async with calling(echoing()) as caller:
        link = await caller.link(await caller.restored(CONTENT))
        whole = await caller.send("GET", link)
        part = await caller.send("GET", link, headers={"Range": "bytes=5-9"})
    assert (whole.headers["Repr-Digest"], part.headers["Repr-Digest"]) == (expected, expected)


@pytest.mark.parametrize(
    ("header", "status", "content_range", "body"),
    [
        ("bytes=0-9", 206, "bytes 0-9/200", CONTENT[:10]),
        ("bytes=190-", 206, "bytes 190-199/200", CONTENT[190:]),
        ("bytes=190-500", 206, "bytes 190-199/200", CONTENT[190:]),
        ("bytes=-5", 206, "bytes 195-199/200", CONTENT[195:]),
        ("bytes=0-0,5-6", 200, None, CONTENT),
        ("pages=1-2", 200, None, CONTENT),
        ("bytes=9-3", 200, None, CONTENT),
        ("bytes=200-", 416, "bytes */200", None),
    ],
)
async def test_ranges(
    header: str, status: int, content_range: str | None, body: bytes | None
) -> None:
    """A single range is served, an invalid header ignored, a range outside the file refused."""
    async with calling(echoing()) as caller:
        link = await caller.link(await caller.restored(CONTENT))
        got = await caller.send("GET", link, headers={"Range": header})
    assert (got.status, got.headers.get("Content-Range")) == (status, content_range)
    if body is not None:
        assert got.body == body


async def test_a_range_of_another_version_returns_the_complete_file() -> None:
    async with calling(echoing()) as caller:
        link = await caller.link(await caller.restored(CONTENT))
        etag = (await caller.send("GET", link)).headers["ETag"]
        same = {"Range": "bytes=5-", "If-Range": etag}
        assert (await caller.send("GET", link, headers=same)).status == 206
        other = {"Range": "bytes=5-", "If-Range": '"other"'}
        got = await caller.send("GET", link, headers=other)
        assert (got.status, got.body) == (200, CONTENT)
        known = await caller.send("GET", link, headers={"If-None-Match": etag})
        assert (known.status, known.body) == (304, b"")


async def test_a_link_is_valid_only_for_its_method_and_path() -> None:
    async with calling(echoing()) as caller:
        ids = await caller.restored(CONTENT)
        link = await caller.link(ids)
        assert (await caller.send("PUT", link, data=b"x")).status == 403
        assert (await caller.send("GET", link.replace("/audio?", "/transcript?"))).status == 403
        assert (await caller.send("GET", link.partition("?")[0])).status == 403
        got = await caller.send("GET", link[:-1] + ("0" if link[-1] != "0" else "1"))
        assert got.status == 403
        assert got.headers["Content-Type"].startswith("application/xml")


async def test_links_expire_by_time_and_on_request() -> None:
    async with calling(echoing()) as caller:
        ids = await caller.restored(CONTENT)
        first, second = await caller.link(ids), await caller.link(ids)
        caller.sandbox.forget_link(first)
        assert (await caller.send("GET", first)).status == 403
        assert (await caller.send("GET", second)).status == 200
        caller.sandbox.forget_link()
        got = await caller.send("GET", second)
        assert (got.status, b"ExpiredToken" in got.body) == (403, True)
        assert (await caller.send("GET", await caller.link(ids))).status == 200
    async with calling(echoing(link_ttl=0)) as caller:
        made = await caller.ok("create_project", fileName="a")
        put = await caller.send("PUT", made["uploadUrl"], data=b"x")
        assert (put.status, b"ExpiredToken" in put.body) == (403, True)
        assert (await caller.edge(made, "start")).status == 401


@given(
    first=st.one_of(st.none(), st.integers(0, 50)),
    last=st.one_of(st.none(), st.integers(0, 50)),
    size=st.integers(0, 40),
)
def test_a_range_is_never_empty_and_never_outside(
    first: int | None, last: int | None, size: int
) -> None:
    def spelled(number: int | None) -> str:
        return "" if number is None else str(number)

    try:
        stretch = parse_range(f"bytes={spelled(first)}-{spelled(last)}", size)
    except Unsatisfiable:
        assert size == 0 or last == 0 or (first is not None and first >= size)
    else:
        assert stretch is None or 0 <= stretch.start < stretch.end <= size


@given(st.text(max_size=30))
def test_no_range_header_breaks_the_reader(header: str) -> None:
    try:
        stretch = parse_range(header, 100)
    except Unsatisfiable:
        return
    assert stretch is None or isinstance(stretch, ByteRange)
