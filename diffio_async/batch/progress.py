"""How far a batch is, counted as it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from attrs import define

from diffio_async.batch.reading import counts, left_out_counts
from diffio_async.models.batches import BatchProgress

if TYPE_CHECKING:
    from diffio_async.batch.plan import Desk
    from diffio_async.models.batches import FileOutcome


@define(eq=False)
class Counting:
    """Numbers of one run: `files` when it began, and the ends it was told of."""

    desk: Desk
    files: int
    left_out: int
    began: float
    done: int = 0
    failed: int = 0
    fresh: int = 0

    @classmethod
    async def of(cls, desk: Desk) -> Self:
        """Begin to count."""
        left_out = sum((await desk.journal.see(left_out_counts)).values())
        return cls(desk, await desk.journal.see(counts), left_out, time.monotonic())

    def ended(self, outcome: FileOutcome) -> None:
        """One more end."""
        if outcome.state == "failed":
            self.failed += 1
        else:
            self.done += 1
        self.fresh += not outcome.earlier

    def progress(self) -> BatchProgress:
        """The numbers of now."""
        desk, seconds = self.desk, time.monotonic() - self.began
        waiting = max(0, self.files - self.done - self.failed)
        return BatchProgress(
            files=self.files,
            done=self.done,
            failed=self.failed,
            left_out=self.left_out,
            uploading=desk.uploading,
            generating=desk.in_flight - desk.uploading,
            downloading=desk.fetching,
            sent_bytes=desk.sent,
            received_bytes=desk.received,
            seconds=seconds,
            files_per_minute=60.0 * self.fresh / seconds if seconds else 0.0,
            seconds_left=waiting * seconds / self.fresh if self.fresh else None,
            pausing=desk.weather.pausing if desk.weather.pause else None,
        )
