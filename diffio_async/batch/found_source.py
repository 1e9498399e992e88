"""A recording that a listing found."""

from __future__ import annotations

from pathlib import PurePath

from attrs import frozen

from diffio_async.models.batches import BatchItem


@frozen(kw_only=True)
class FoundSource:
    """A recording that a source matches.

    Attributes:
        below: The path relative to the folder that the user named; results keep it.
        size: Bytes.
        version: The version of an object, None for a file.
        where: The location in a manifest ("files.csv, line 7"), "" for other sources.
        problem: Why it cannot be restored, None if nothing is known.
    """

    path: str
    below: PurePath
    size: int = 0
    mtime_ns: int = 0
    version: str | None = None
    item: BatchItem | None = None
    where: str = ""
    problem: str | None = None
