"""Whatever befalls a batch: every file once, byte-right, paid for once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.batch.chaos import Chaos

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_nothing_is_lost_or_paid_twice(processes: int, tmp_path: Path) -> None:
    """Faults on every wire and a SIGKILL at random instants; then the server's books are read."""
    files = 60 if processes == 1 else 30
    kills = 6 if processes == 1 else 2
    figures = await Chaos(tmp_path, files, kills, seed=7 * processes, processes=processes).run()
    assert figures.kills == kills, figures
    assert figures.struck > files / 2, figures
    assert (figures.right, figures.left_over, figures.unfinished) == (files, [], {}), figures
    assert (figures.generations, figures.most_per_file) == (files, 1), figures
    # What an answer was lost of is at most what the journal says may be there.
    noted = figures.orphans_known + figures.orphans_suspected
    assert figures.orphans_at_the_server <= noted, figures
