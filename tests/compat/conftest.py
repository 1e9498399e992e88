"""A sandbox in a thread of its own: the calls under test block theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diffio_async import _bridge as bridge
from diffio_async.compat import DiffioClient
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose generations finish at once: the result is the upload, unchanged."""
    try:
        with bridge.enter(Sandbox, engine="echo") as running:
            yield running
        assert running.violations == []
    finally:
        bridge.stop()


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[DiffioClient]:
    """A client of the sandbox, in the guide's spelling."""
    with DiffioClient(apiKey=sandbox.api_key, baseUrl=sandbox.base_url) as made:
        yield made
