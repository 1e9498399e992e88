"""Folders of small recordings, and the outcomes of batches."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio, FileOutcome
    from diffio_async.sandbox import Sandbox

JOURNAL = ".diffio-batch.sqlite"


def content(name: str, size: int = 700) -> bytes:
    """Return deterministic bytes that are unique to a name."""
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def recordings(folder: Path, *names: str) -> Path:
    """Create a folder with a recording of each name; `a/b.wav` creates the folder `a`."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name))
    return folder


async def restored(
    client: AsyncDiffio, sources: Any, to: Path, **how: Any
) -> dict[str, FileOutcome]:
    """Run a batch and return the last outcome of each file, by file name."""
    outcomes = client.restore_many(sources, to, **how)
    return {outcome.source.name: outcome async for outcome in outcomes}


def states(outcomes: dict[str, FileOutcome]) -> dict[str, str]:
    """Return the state of each outcome."""
    return {name: outcome.state for name, outcome in sorted(outcomes.items())}


def below(folder: Path) -> list[str]:
    """Return all files below a folder, except journals."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(JOURNAL)
    )


def rows(journal: Path, look: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a journal."""
    with closing(sqlite3.connect(journal)) as connection:
        return connection.execute(look).fetchall()


def generations(sandbox: Sandbox) -> int:
    """Return the number of generations that the server has created, and bills."""
    return len(sandbox.state.generations)
