"""Starts the bridge's loop before a test counts open descriptors, as it lasts for the process."""

import anyio
import pytest

from diffio_async import _bridge


@pytest.fixture(scope="session", autouse=True)
def _bridge_is_started() -> None:
    _bridge.run(anyio.sleep, 0)
