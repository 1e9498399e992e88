"""Fixtures of the batch tests: short pauses, frequent polls, and a bridge that already runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy, WaitPolicy, _bridge
from diffio_async._protocol import limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.sandbox import Sandbox

#: Options of a client that does not make a test wait.
QUICK = ClientOptions(
    retry=RetryPolicy(initial_delay=0.01, max_delay=0.05),
    wait=WaitPolicy(min_interval=0.02, max_polls_per_second=500),
)


@pytest.fixture(scope="session", autouse=True)
def _bridge_is_started() -> None:
    """Start the loop of the bridge before a test counts open resources."""
    _bridge.run(anyio.sleep, 0)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause a batch for hundredths of a second after a failure, instead of seconds."""
    monkeypatch.setattr(limits, "MIN_PAUSE", 0.02)
    monkeypatch.setattr(limits, "MAX_PAUSE", 0.1)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncDiffio]:
    """Return a client of the sandbox that polls and retries quickly."""
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=QUICK) as made:
        yield made
