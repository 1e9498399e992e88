"""Stretches of bytes, against a set of their numbers; and who fetches which."""

from hypothesis import given
from hypothesis import strategies as st

from diffio_async._downloads.ranges import RangeAllocator, RangeSet, Segment

STRETCHES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


@given(STRETCHES, st.integers(0, 50))
def test_stretches_are_what_a_set_of_bytes_would_be(
    stretches: list[tuple[int, int]], limit: int
) -> None:
    spans = RangeSet(stretches)
    there = {byte for start, end in stretches for byte in range(start, end)}
    assert {byte for start, end in spans for byte in range(start, end)} == there
    assert spans.size == len(there)
    assert spans.end == (max(there) + 1 if there else 0)
    assert bool(spans) == bool(there)
    ends = [bound for span in spans for bound in span]
    assert ends == sorted(set(ends)), "they never touch"
    missing = {byte for start, end in spans.gaps(limit) for byte in range(start, end)}
    assert missing == set(range(limit)) - there
    assert set(spans.before(limit)) == set(RangeSet((s, min(e, limit)) for s, e in stretches))


@given(STRETCHES, st.integers(1, 50), st.lists(st.integers(0, 9), max_size=60))
def test_each_missing_byte_is_fetched_by_one_connection(
    stretches: list[tuple[int, int]], total: int, steps: list[int]
) -> None:
    """However shares are taken, cut, given back and finished."""
    there = RangeSet(stretches).before(total)
    shares = RangeAllocator.for_missing(there, total)
    fetched: list[int] = [byte for span in there for byte in range(*span)]
    for step in [*steps, *[9] * (3 * total)]:
        if step < 3 or not shares.active:
            shares.acquire(min_size=1)
        elif step == 3:
            shares.release(shares.active[-1])
        elif shares.active:
            share = shares.active[step % len(shares.active)]
            if share.remaining:
                fetched.append(share.at)
                share.at += 1
            if share.remaining == 0:
                shares.release(share)
    assert sorted(fetched) == list(range(total))


def test_a_share_of_unknown_length_is_not_cut() -> None:
    shares = RangeAllocator()
    only = shares.acquire(1)
    assert only is not None
    assert (only.at, only.end, only.remaining) == (0, None, None)
    assert shares.acquire(1) is None


def test_half_of_the_largest_is_taken_where_that_is_worth_it() -> None:
    shares = RangeAllocator(pending=[], active=[Segment(0, 10), Segment(50, 90)])
    taken = shares.acquire(20)
    assert taken is not None
    assert (taken.at, taken.end) == (70, 90)
    assert [(share.at, share.end) for share in shares.active] == [(0, 10), (50, 70), (70, 90)]
    assert shares.acquire(11) is None
