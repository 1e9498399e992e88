"""Fixtures of the tests of models."""

import pytest
from hypothesis import settings

# No deadline: machines may be slow.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """Skip the check: these tests open nothing, and it takes longer than they do."""
