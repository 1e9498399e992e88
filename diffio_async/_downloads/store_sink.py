"""Sink of a download to an object: a spool on disk, which is written to the store when complete."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async import _system
from diffio_async._downloads.sinks import FileSink, translate_os_errors
from diffio_async._storage.files import truncate_name
from diffio_async._stores.writing import check_object, write_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from diffio_async._downloads.ranges import Representation
    from diffio_async._store_url import StoreUrl
    from diffio_async.types import OnConflict


class StoreSink(FileSink):
    """Sink that spools to an unnamed temporary file; a small result stays in memory."""

    def __init__(self, url: StoreUrl, owner: str) -> None:
        """Create a sink for an object; `owner` identifies the result."""
        super().__init__(Path(tempfile.gettempdir(), truncate_name(url.name or "result")))
        self._url, self._owner = url, owner

    @contextlib.asynccontextmanager
    async def opened(
        self, on_conflict: OnConflict, before_open: Callable[[], object] | None = None
    ) -> AsyncIterator[None]:
        """Check the object; after the body, write it to the store.

        `before_open` is called first, in a thread; its exceptions are raised.

        Raises:
            InvalidTarget: The object cannot be written; raised before the body if possible.
        """
        if before_open is not None:
            await self._threads.run(before_open)
        await check_object(self._url, on_conflict)
        try:
            yield
            await write_object(self._url, self._read, self._size(), on_conflict, owner=self._owner)
            self.discard()
        finally:
            await self._close()

    async def restart(self, version: Representation) -> None:
        """Discard what was written, and expect the bytes of a version."""
        await super().restart(version)
        if _system.MOVES_OPEN_FILES:
            # Without a name it does not outlive a process that is killed.
            self._file.path.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.ranges.size if self._buffer is None else len(self._buffer.content())

    async def _read(self, offset: int, length: int) -> bytes:
        if self._buffer is not None:
            return self._buffer.content()[offset : offset + length]
        with translate_os_errors(self._target):
            return await self._threads.run(self._file.read_at, offset, length)
