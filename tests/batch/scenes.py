"""Folders of small recordings, and what a batch made of them."""

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
    """Bytes that are a name's own, the same each time."""
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def recordings(folder: Path, *names: str) -> Path:
    """A folder with a recording under each name; `a/b.wav` makes the folder `a`."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name))
    return folder


async def restored(
    client: AsyncDiffio, sources: Any, to: Path, **how: Any
) -> dict[str, FileOutcome]:
    """What became of each file, by its name; of one that is told twice, the last."""
    outcomes = client.restore_many(sources, to, **how)
    return {outcome.source.name: outcome async for outcome in outcomes}


def states(outcomes: dict[str, FileOutcome]) -> dict[str, str]:
    """The state of each."""
    return {name: outcome.state for name, outcome in sorted(outcomes.items())}


def below(folder: Path) -> list[str]:
    """Every file in a folder, journals left out."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(JOURNAL)
    )


def rows(journal: Path, look: str) -> list[tuple[Any, ...]]:
    """Rows of a journal."""
    with closing(sqlite3.connect(journal)) as connection:
        return connection.execute(look).fetchall()


def generations(sandbox: Sandbox) -> int:
    """How many generations the server has ever made: what it bills."""
    return len(sandbox.state.generations)
