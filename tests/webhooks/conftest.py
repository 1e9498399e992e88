"""The bridge's loop is one for the process: it is there before a test counts what is open."""

import anyio
import pytest

from diffio_async import _bridge


@pytest.fixture(scope="session", autouse=True)
def _bridge_stands() -> None:
    _bridge.run(anyio.sleep, 0)
