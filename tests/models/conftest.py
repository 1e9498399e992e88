"""What the words need of fixtures: less than other floors."""

import pytest
from hypothesis import settings

# A slow machine is no counterexample.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """This floor opens nothing; to look and collect after each of many small tests takes longer."""
