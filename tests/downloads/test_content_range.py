"""Parsing of `Content-Range`, lengths and ETags, and the headers of range requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._downloads.ranges import (
    ContentExtent,
    parse_extent,
    range_headers,
    strong_etag,
)


@pytest.mark.parametrize(
    ("status", "headers", "found"),
    [
        (200, {"content-length": "10"}, ContentExtent(0, 10, 10, bounded=True)),
        (200, {"content-length": "0"}, ContentExtent(0, 0, 0, bounded=True)),
        (200, {"transfer-encoding": "Chunked"}, ContentExtent(0, None, None, bounded=True)),
        (200, {}, ContentExtent(0, None, None, bounded=False)),
        (200, {"content-length": "-1"}, ContentExtent(0, None, None, bounded=False)),
        (
            206,
            {"content-range": "bytes 3-9/10", "content-length": "7"},
            ContentExtent(3, 10, 10, bounded=True),
        ),
        (200, {"content-length": "1" * 5000}, ContentExtent(0, None, None, bounded=False)),
        (206, {"content-range": f"bytes 3-{'9' * 5000}/*"}, None),
        (206, {"content-range": " Bytes 3-9/* "}, ContentExtent(3, 10, None, bounded=False)),
        (206, {"content-range": "bytes 3-9/10", "content-length": "8"}, None),
        (206, {}, None),
        (206, {"content-range": "bytes */10"}, None),
        (206, {"content-range": "bytes 9-3/10"}, None),
        (206, {"content-range": "bytes 3-10/10"}, None),
        (206, {"content-range": "items 3-9/10"}, None),
        (206, {"content-range": "bytes 3-9/10, 11-12/20"}, None),
    ],
)
def test_the_extent_of_a_response_is_parsed(
    status: int, headers: dict[str, str], found: ContentExtent | None
) -> None:
    assert parse_extent(status, headers) == found


@given(value=st.text(), length=st.text())
def test_any_headers_have_a_valid_extent_or_none(value: str, length: str) -> None:
    for status in (200, 206):
        found = parse_extent(status, {"content-range": value, "content-length": length})
        assert found is None or found.total is None or 0 <= found.start <= found.total


def test_only_a_strong_etag_is_used_to_resume() -> None:
    assert strong_etag({"etag": ' "abc" '}) == '"abc"'
    for weak in ('W/"abc"', "abc", "", '"', '"abc', '"a"b"'):
        assert strong_etag({"etag": weak}) is None
    assert strong_etag({}) is None


def test_a_range_request_requires_the_same_version() -> None:
    assert range_headers(5, None, '"abc"') == {"Range": "bytes=5-", "If-Range": '"abc"'}
    assert range_headers(5, 9, '"abc"') == {"Range": "bytes=5-8", "If-Range": '"abc"'}
