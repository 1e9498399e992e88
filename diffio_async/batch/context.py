"""State shared by the stages of one run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._storage.notifier import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from diffio_async.batch.congestion import CongestionControl
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.request import Plan
    from diffio_async.batch.schema import ResultDownload
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects


#: Maximum number of concurrent downloads.
MAX_DOWNLOADS = 8
_MAX_FOLDERS = 1000
#: Seconds added to a delay, because the journal's clock may differ from the loop's.
_CLOCK_TOLERANCE = 0.002


@define(eq=False)
class RunContext:
    """State shared by the stages of one run.

    `stop_reason` is why no new job is started, `downloads_stopped` why no download is started.
    `slot_freed` is notified when a new job may start, `result_ready` when a result may be
    downloaded, `file_ended` when a file may have ended.
    """

    journal: Journal
    projects: AsyncProjects
    generations: AsyncGenerations
    plan: Plan
    congestion: CongestionControl
    slot_freed: Notifier = field(factory=Notifier)
    result_ready: Notifier = field(factory=Notifier)
    file_ended: Notifier = field(factory=Notifier)
    stop_reason: Exception | str | None = None
    downloads_stopped: Exception | None = None
    #: Whether the journal may have ready results that no run leases.
    more_downloads: bool = True
    #: Starts the download of a leased result.
    start_download: Callable[[ResultDownload], None] = field(default=lambda _: None)
    #: Folders of results that exist.
    known_folders: set[Path] = field(factory=set)
    uploading: int = 0
    in_flight: int = 0
    downloading: int = 0
    #: The generations that this run waits for, and their projects.
    running_generations: dict[str, str] = field(factory=dict)
    #: When transcripts were first found to be pending, in monotonic seconds.
    transcript_pending_since: dict[tuple[int, str], float] = field(factory=dict)
    #: When the journal is scanned for rows without a lease, in monotonic seconds.
    next_scan_at: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    _restarted_jobs: set[int] = field(factory=set)

    def stop(self, reason: Exception | str) -> None:
        """Start nothing new; running steps continue to their end."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.notify_all()

    def on_file_failed(self, failure: Exception) -> None:
        """Report a failed file, and stop the run if `on_error` is `stop`."""
        self.file_ended.notify()
        if self.plan.on_error == "stop":
            self.stop(failure)

    def may_restart(self, job: int) -> bool:
        """Return whether to restart a job whose generation is unknown: once, if unbilled."""
        if not self.plan.unbilled or job in self._restarted_jobs:
            return False
        self._restarted_jobs.add(job)
        return True

    @contextlib.contextmanager
    def download_slots(self) -> Iterator[int]:
        """Reserve a download slot during the body; yield 1 if one was free, else 0."""
        can_start = self.downloads_stopped is None and not self.congestion.pause
        slots = int(can_start and self.downloading < MAX_DOWNLOADS)
        self.downloading += slots
        try:
            yield slots
        finally:
            self.downloading -= slots

    def remember_folder(self, folder: Path) -> None:
        """Record that a folder of results exists; the set is bounded."""
        if len(self.known_folders) >= _MAX_FOLDERS:
            self.known_folders.clear()
        self.known_folders.add(folder)

    def scan_in(self, seconds: float) -> None:
        """Scan the journal after a delay, when a requeued row is due."""
        asyncio.get_running_loop().call_later(seconds + _CLOCK_TOLERANCE, self.scan_now)

    def scan_now(self) -> None:
        """Scan the journal for rows without a lease as soon as possible."""
        self.next_scan_at = 0.0
        self.notify_all()

    def notify_all(self) -> None:
        """Wake the waiters of all notifiers."""
        for notifier in (self.slot_freed, self.result_ready, self.file_ended):
            notifier.notify()
