"""On a cluster whose processes are killed, every file is restored exactly, and billed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.chaos import ClusterChaos
from tests.stores.conftest import _only_local_stores

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["_only_local_stores"]


@pytest.mark.slow
async def test_nothing_is_lost_or_billed_twice(tmp_path: Path) -> None:
    """Two workers, the coordinator and the scheduler are killed; sandbox and bucket are checked."""
    figures = await ClusterChaos(tmp_path, files=40, kills=2, seed=5, workers=2).run()
    assert figures.unfinished == {}, figures
    assert (figures.right, figures.left_over) == (40, []), figures
    assert (figures.generations, figures.most_per_file) == (40, 1), figures
    assert figures.kills == 4, figures
    # The journal counts every project that may exist because a response was lost.
    noted = figures.orphans_known + figures.orphans_suspected
    assert figures.orphans_at_the_server <= noted, figures
