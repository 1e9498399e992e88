"""Where in a life a stage begins: what one answer tells of the whole, and the whole of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._polling.poll_model import StageStartModel, fraction_before

parts = st.floats(0, 0.9)


@given(part=parts, done=st.floats(0.01, 0.95), whole=st.floats(0.1, 1e5))
def test_the_part_and_the_whole_follow_from_each_other(
    part: float, done: float, whole: float
) -> None:
    """A job that had done so much of its last stage, which began so late in its life."""
    age = whole * (part + done * (1 - part))
    found, error = fraction_before(age, done, whole, 0.0)
    assert found == pytest.approx(part, abs=1e-6)
    assert error == 0
    known = StageStartModel()
    for _ in range(1000):
        known.add(part, 0.0)
    assert known.estimate_total(age, done, 0.0)[0] == pytest.approx(whole, rel=0.1)


@given(done=st.floats(0.01, 0.99), seen=st.lists(st.tuples(st.floats(-2, 3), st.floats(0, 5))))
def test_an_answer_tells_the_more_the_more_is_done(
    done: float, seen: list[tuple[float, float]]
) -> None:
    """Whatever was learned, the error shrinks, and the mean stays a part of a life."""
    entrance = StageStartModel()
    for part, error in seen:
        entrance.add(part, error)
    assert 0 <= entrance.mean <= 1
    whole, error = entrance.estimate_total(10.0, done, 0.003)
    later, less = entrance.estimate_total(10.0, (1 + done) / 2, 0.003)
    assert whole >= later >= 10
    assert less / later <= error / whole + 1e-9


def test_what_is_vague_counts_little() -> None:
    """One exact job outweighs a hundred of which nearly nothing is known."""
    entrance = StageStartModel()
    for _ in range(100):
        entrance.add(0.9, 5.0)
    entrance.add(0.1, 0.0)
    assert entrance.mean == pytest.approx(0.1, abs=0.05)
