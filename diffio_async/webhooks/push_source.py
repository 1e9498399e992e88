"""An inbox as waits listen to it: what its events tell of generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._storage.database_clock import now
from diffio_async.webhooks import inbox_queries
from diffio_async.webhooks.events import progress_from_event
from diffio_async.webhooks.inbox_file import readable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Sequence

    from diffio_async.models.generations import GenerationProgress
    from diffio_async.webhooks.inbox_file import InboxFile


class InboxPushSource:
    """The source of a client's waits; the file stays open from the first of them to its end."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file
        self._inside = False

    def __reduce__(self) -> tuple[type[InboxPushSource], tuple[InboxFile]]:
        """Pickle which file it is."""
        return InboxPushSource, (self._file,)

    async def cursor(self) -> tuple[int, float | None]:
        """The number of the newest event, and its age in seconds.

        Raises:
            DatabaseError: The file cannot be used.
        """
        if not self._inside:
            self._inside = True
            try:
                await self._file.retain()
            except BaseException:
                self._inside = False
                raise

        def newest(db: sqlite3.Connection) -> tuple[int, float | None]:
            number, received_at = inbox_queries.newest(db)
            return number, None if received_at is None else max(0.0, now(db) - received_at)

        return await self._file.read(newest)

    async def latest(self, generation_ids: Sequence[str]) -> list[GenerationProgress]:
        """The furthest that events tell of each.

        Raises:
            DatabaseError: The file cannot be used.
        """
        rows = await self._file.read(
            lambda db: [inbox_queries.most_advanced(db, each) for each in generation_ids]
        )
        events = [readable(*row) for row in rows if row is not None]
        told = [progress_from_event(event) for event in events if event is not None]
        return [progress for progress in told if progress is not None]

    async def stream(self, cursor: int) -> AsyncGenerator[list[GenerationProgress], None]:
        """What events tell from a number on, until the inbox is closed.

        Raises:
            DatabaseError: The file cannot be used.
        """
        async for _, events in self._file.changes(cursor):
            told = map(progress_from_event, events)
            yield [progress for progress in told if progress is not None]

    async def aclose(self) -> None:
        """Let the file be closed, where nobody else has it open."""
        if self._inside:
            self._inside = False
            await self._file.release()
