"""Parts, ranges and the pace of questions."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._downloads.ranges import (
    ContentExtent,
    parse_extent,
    range_headers,
    strong_etag,
)
from diffio_async._polling.next_poll import backoff_delay
from diffio_async._uploads.parts import MAX_PARTS, plan_parts
from diffio_async.errors import InvalidResponse
from diffio_async.options import MIB, WaitPolicy


@given(size=st.integers(0, 10**6), parts=st.integers(1, 2000), slack=st.integers(0, 5000))
def test_parts_cover_every_byte_once(size: int, parts: int, slack: int) -> None:
    part_size = size // parts + 1 + slack
    plan = plan_parts(size, part_size)
    assert [part.number for part in plan] == list(range(1, len(plan) + 1))
    assert plan[0].offset == 0
    assert all(one.offset + one.size == next_.offset for one, next_ in pairwise(plan))
    assert plan[-1].offset + plan[-1].size == size
    assert all(part.size == part_size for part in plan[:-1])
    assert 0 < plan[-1].size <= part_size or size == 0


def test_an_empty_file_is_one_empty_part() -> None:
    (part,) = plan_parts(0, 32 * MIB)
    assert (part.number, part.offset, part.size) == (1, 0, 0)


def test_a_file_of_whole_parts_has_no_empty_last_one() -> None:
    assert [part.size for part in plan_parts(64 * MIB, 32 * MIB)] == [32 * MIB] * 2


@pytest.mark.parametrize("part_size", [0, -1])
def test_a_part_size_that_is_none_is_the_servers_fault(part_size: int) -> None:
    with pytest.raises(InvalidResponse, match="part size"):
        plan_parts(10, part_size)


def test_a_tiny_part_size_does_not_fill_the_memory() -> None:
    assert len(plan_parts(MAX_PARTS, 1)) == MAX_PARTS
    with pytest.raises(InvalidResponse, match="parts"):
        plan_parts(2048 * MIB, 1)


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
def test_what_a_response_says_of_its_bytes(
    status: int, headers: dict[str, str], found: ContentExtent | None
) -> None:
    assert parse_extent(status, headers) == found


@given(value=st.text(), length=st.text())
def test_any_headers_have_an_extent_or_none(value: str, length: str) -> None:
    for status in (200, 206):
        found = parse_extent(status, {"content-range": value, "content-length": length})
        assert found is None or found.total is None or 0 <= found.start <= found.total


def test_only_a_strong_etag_can_resume() -> None:
    assert strong_etag({"etag": ' "abc" '}) == '"abc"'
    for weak in ('W/"abc"', "abc", "", '"', '"abc', '"a"b"'):
        assert strong_etag({"etag": weak}) is None
    assert strong_etag({}) is None


def test_the_rest_is_asked_for_of_the_same_version_only() -> None:
    assert range_headers(5, None, '"abc"') == {"Range": "bytes=5-", "If-Range": '"abc"'}
    assert range_headers(5, 9, '"abc"') == {"Range": "bytes=5-8", "If-Range": '"abc"'}


@given(
    first=st.floats(0.001, 1e6),
    longest=st.floats(0.001, 1e6),
    waited=st.floats(0, 1e9),
    jitter=st.floats(0, 1),
)
def test_a_pause_is_near_a_tenth_of_the_wait(
    first: float, longest: float, waited: float, jitter: float
) -> None:
    """Never more than a fifth over the longest, never none at all."""
    first, longest = sorted((first, longest))
    pause = backoff_delay(WaitPolicy(min_interval=first, max_interval=longest), waited, jitter)
    assert 0.79 * min(first, longest) <= pause <= 1.21 * longest
    assert pause <= 1.21 * max(first, waited / 10)


def test_a_fleet_does_not_march_in_step() -> None:
    policy = WaitPolicy()
    assert backoff_delay(policy, 60, 0.0) == pytest.approx(4.8)
    assert backoff_delay(policy, 60, 1.0) == pytest.approx(7.2)
