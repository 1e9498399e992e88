"""Division of a file into parts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._uploads.parts import MAX_PARTS, plan_parts
from diffio_async.errors import InvalidResponse
from diffio_async.options import MIB


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


def test_a_multiple_of_the_part_size_has_no_empty_last_part() -> None:
    assert [part.size for part in plan_parts(64 * MIB, 32 * MIB)] == [32 * MIB] * 2


@pytest.mark.parametrize("part_size", [0, -1])
def test_a_part_size_of_zero_or_less_is_an_invalid_response(part_size: int) -> None:
    with pytest.raises(InvalidResponse, match="part size"):
        plan_parts(10, part_size)


def test_too_many_parts_are_an_invalid_response() -> None:
    assert len(plan_parts(MAX_PARTS, 1)) == MAX_PARTS
    with pytest.raises(InvalidResponse, match="parts"):
        plan_parts(2048 * MIB, 1)
