"""A recorder of telemetry, and a bridge that already runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import _bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.telemetry.recorder import Recorder


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A recorder of spans and metrics."""
    pytest.importorskip("opentelemetry.sdk", reason="the SDK is not installed")
    from tests.telemetry.recorder import Recorder

    created = Recorder()
    yield created
    created.tracers.shutdown()


@pytest.fixture(scope="session", autouse=True)
def _bridge_is_started() -> None:
    """Start the loop of the bridge before a test counts open resources."""
    _bridge.run(anyio.sleep, 0)
