"""Fixtures of the tests on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diffio_async._protocol import limits
from tests.cluster.processes import ClusterProcesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause a batch for hundredths of a second after a failure, instead of seconds."""
    monkeypatch.setattr(limits, "MIN_PAUSE", 0.02)
    monkeypatch.setattr(limits, "MAX_PAUSE", 0.1)


@pytest.fixture
async def cluster(_no_task_left: None, tmp_path: Path) -> AsyncIterator[ClusterProcesses]:
    """A cluster with two workers."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    async with ClusterProcesses(folder, workers=2) as started:
        yield started
