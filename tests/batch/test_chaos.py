"""Under faults and kills, every file is restored exactly, and billed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.batch.chaos import Chaos

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_nothing_is_lost_or_billed_twice(processes: int, tmp_path: Path) -> None:
    """The server's state is checked after faults on every connection and random SIGKILLs."""
    files = 60 if processes == 1 else 30
    kills = 6 if processes == 1 else 2
    figures = await Chaos(tmp_path, files, kills, seed=7 * processes, processes=processes).run()
    assert figures.kills == kills, figures
    assert figures.struck > files / 2, figures
    assert (figures.right, figures.left_over, figures.unfinished) == (files, [], {}), figures
    assert (figures.generations, figures.most_per_file) == (files, 1), figures
    # The journal counts every project that may exist because a response was lost.
    noted = figures.orphans_known + figures.orphans_suspected
    assert figures.orphans_at_the_server <= noted, figures
