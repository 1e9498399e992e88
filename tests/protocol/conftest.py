"""Fixtures of the protocol tests."""

import pytest
from hypothesis import settings

# No deadline: a slow machine is not a counterexample.
settings.register_profile("protocol", deadline=None, max_examples=50)
settings.load_profile("protocol")


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """Skip the check: these tests open nothing, and it takes longer than they do."""
