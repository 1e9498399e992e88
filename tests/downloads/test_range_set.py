"""Sets of byte ranges, and their allocation to connections."""

from hypothesis import given
from hypothesis import strategies as st

from diffio_async._downloads.ranges import RangeAllocator, RangeSet, Segment

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


@given(RANGES, st.integers(0, 50))
def test_a_range_set_equals_a_set_of_bytes(ranges: list[tuple[int, int]], limit: int) -> None:
    range_set = RangeSet(ranges)
    present = {byte for start, end in ranges for byte in range(start, end)}
    assert {byte for start, end in range_set for byte in range(start, end)} == present
    assert range_set.size == len(present)
    assert range_set.end == (max(present) + 1 if present else 0)
    assert bool(range_set) == bool(present)
    ends = [bound for each in range_set for bound in each]
    assert ends == sorted(set(ends)), "ranges do not touch"
    missing = {byte for start, end in range_set.gaps(limit) for byte in range(start, end)}
    assert missing == set(range(limit)) - present
    assert set(range_set.before(limit)) == set(RangeSet((s, min(e, limit)) for s, e in ranges))


@given(RANGES, st.integers(1, 50), st.lists(st.integers(0, 9), max_size=60))
def test_each_missing_byte_is_fetched_by_one_connection(
    ranges: list[tuple[int, int]], total: int, steps: list[int]
) -> None:
    """In any order of acquiring, splitting, releasing and finishing segments."""
    present = RangeSet(ranges).before(total)
    allocator = RangeAllocator.for_missing(present, total)
    fetched: list[int] = [byte for each in present for byte in range(*each)]
    for step in [*steps, *[9] * (3 * total)]:
        if step < 3 or not allocator.active:
            allocator.acquire(min_size=1)
        elif step == 3:
            allocator.release(allocator.active[-1])
        elif allocator.active:
            segment = allocator.active[step % len(allocator.active)]
            if segment.remaining:
                fetched.append(segment.at)
                segment.at += 1
            if segment.remaining == 0:
                allocator.release(segment)
    assert sorted(fetched) == list(range(total))


def test_a_segment_of_unknown_length_is_not_split() -> None:
    allocator = RangeAllocator()
    only = allocator.acquire(1)
    assert only is not None
    assert (only.at, only.end, only.remaining) == (0, None, None)
    assert allocator.acquire(1) is None


def test_the_largest_segment_is_split_if_its_half_is_large_enough() -> None:
    allocator = RangeAllocator(pending=[], active=[Segment(0, 10), Segment(50, 90)])
    acquired = allocator.acquire(20)
    assert acquired is not None
    assert (acquired.at, acquired.end) == (70, 90)
    assert [(segment.at, segment.end) for segment in allocator.active] == [
        (0, 10),
        (50, 70),
        (70, 90),
    ]
    assert allocator.acquire(11) is None
