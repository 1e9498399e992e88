"""How far a batch is, counted as it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from attrs import define

from diffio_async.batch.journal_queries import file_count, left_out_counts
from diffio_async.models.batches import BatchProgress

if TYPE_CHECKING:
    from diffio_async.batch.context import RunContext
    from diffio_async.models.batches import FileOutcome


@define(eq=False)
class ProgressCounter:
    """Numbers of one run: `files` when it began, and the ends it was told of."""

    context: RunContext
    files: int
    left_out: int
    started_at: float
    done: int = 0
    failed: int = 0
    finished_now: int = 0

    @classmethod
    async def of(cls, desk: RunContext) -> Self:
        """Begin to count."""
        left_out = sum((await desk.journal.read(left_out_counts)).values())
        return cls(desk, await desk.journal.read(file_count), left_out, time.monotonic())

    def ended(self, outcome: FileOutcome) -> None:
        """One more end."""
        if outcome.state == "failed":
            self.failed += 1
        else:
            self.done += 1
        self.finished_now += not outcome.from_earlier_run

    def progress(self) -> BatchProgress:
        """The numbers of now."""
        desk, seconds = self.context, time.monotonic() - self.started_at
        waiting = max(0, self.files - self.done - self.failed)
        return BatchProgress(
            files=self.files,
            done=self.done,
            failed=self.failed,
            left_out=self.left_out,
            uploading=desk.uploading,
            generating=desk.in_flight - desk.uploading,
            downloading=desk.downloading,
            sent_bytes=desk.sent,
            received_bytes=desk.received,
            seconds=seconds,
            files_per_minute=60.0 * self.finished_now / seconds if seconds else 0.0,
            eta_seconds=waiting * seconds / self.finished_now if self.finished_now else None,
            pause_reason=desk.congestion.pause_reason if desk.congestion.pause else None,
        )
