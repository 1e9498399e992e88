"""Fixtures every test shares."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The package stands on aiohttp, so on asyncio alone."""
    return "asyncio"
