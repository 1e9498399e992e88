"""A client for the sandbox of the pytest plugin, which has a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diffio_async import _bridge as bridge
from diffio_async.compat import DiffioClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async.sandbox import Sandbox


@pytest.fixture
def sandbox(diffio_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox of the test; the loop of blocking calls is stopped after the test."""
    yield diffio_sandbox
    bridge.stop()


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[DiffioClient]:
    """A client of the sandbox, in the guide's spelling."""
    with DiffioClient(apiKey=sandbox.api_key, baseUrl=sandbox.base_url) as made:
        yield made
