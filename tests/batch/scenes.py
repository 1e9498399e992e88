"""Folders of small recordings, and the outcomes of batches."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from diffio_async.batch.dry_run import PlannedFile, plan_batch
from diffio_async.batch.request import BatchRequest, RunOptions
from diffio_async.models.batches import LeftOut

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


def batch_request(sources: Any, to: Path, **how: Any) -> BatchRequest:
    """Return the request of a batch that is not bound to a service."""
    return BatchRequest.create(sources, to, service=None, run=RunOptions(), **how)


async def planned(sources: Any, to: Path, **how: Any) -> tuple[list[PlannedFile], list[LeftOut]]:
    """Return the files that a batch would restore, and the names that it would leave out."""
    found = [each async for each in plan_batch(batch_request(sources, to, **how))]
    return (
        [each for each in found if isinstance(each, PlannedFile)],
        [each for each in found if isinstance(each, LeftOut)],
    )


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
