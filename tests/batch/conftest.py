"""Fixtures of the batch tests: short pauses, and a bridge that is already running."""

import anyio
import pytest

from diffio_async import _bridge
from diffio_async._protocol import concurrency_limit


@pytest.fixture(scope="session", autouse=True)
def _bridge_is_started() -> None:
    """Start the loop of the bridge before a test counts open resources."""
    _bridge.run(anyio.sleep, 0)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause a batch for hundredths of a second after a failure, instead of seconds."""
    monkeypatch.setattr(concurrency_limit, "MIN_PAUSE", 0.02)
    monkeypatch.setattr(concurrency_limit, "MAX_PAUSE", 0.1)
