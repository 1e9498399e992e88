"""Start the bridge's event loop before a test counts open resources."""

import anyio
import pytest

from diffio_async import _bridge


@pytest.fixture(scope="session", autouse=True)
def _bridge_stands() -> None:
    _bridge.run(anyio.sleep, 0)
