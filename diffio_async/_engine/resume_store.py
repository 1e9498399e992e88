"""The store that an argument `resume` means."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._engine.local_paths import local_path
from diffio_async._engine.resume_file import ResumeFile
from diffio_async._engine.threads import Threads
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async._engine.server_clock import ServerClock
    from diffio_async.models.resuming import UploadRecord, UploadStore


@contextlib.asynccontextmanager
async def resume_store(
    resume: str | os.PathLike[str] | UploadStore | None, clock: ServerClock
) -> AsyncIterator[UploadStore | None]:
    """A store of the user's as it is; a path's file is open, and locked, meanwhile.

    `clock` says which records of the file have expired.

    Raises:
        ConfigurationError: It is neither a path nor a store.
        ResumeUnusable: The file cannot be used, or another upload uses it.
    """
    if resume is None:
        yield None
    elif not isinstance(resume, (str, os.PathLike)):
        if not all(callable(getattr(resume, name, None)) for name in ("load", "save", "forget")):
            raise ConfigurationError(
                "resume is the path of a file to keep the upload's state in, or a store with "
                f"load, save and forget; not a {type(resume).__name__}"
            )
        yield resume
    elif not (path := local_path(resume, "resume")):
        raise ConfigurationError("resume is an empty path: name a file to keep the state in")
    else:
        store = _InThreads(ResumeFile(path), Threads())
        try:
            try:
                await store.threads.patiently(store.file.open)
            except (OSError, MemoryError) as failure:
                raise store.file.not_opened(failure) from failure
            yield store
        finally:
            # A thread may still be opening or writing it, though nobody waits for that any more.
            try:
                await store.threads.settle()
            finally:
                store.file.close(clock.estimate())


@frozen
class _InThreads:
    """The file as a store: it blocks in threads."""

    file: ResumeFile
    threads: Threads

    async def load(self, digest: str) -> UploadRecord | None:
        return self.file.records.get(digest)

    async def save(self, record: UploadRecord) -> None:
        await self.threads.run(self.file.save, record)

    async def forget(self, digest: str) -> None:
        await self.threads.run(self.file.forget, digest)
