"""What the words need of fixtures: less than other floors."""

import pytest


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """This floor opens nothing; to look and collect after each of many small tests takes longer."""
