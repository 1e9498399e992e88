"""Options and shared state of one run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from diffio_async._storage.notifier import Notifier
from diffio_async.options import RequestOptions
from diffio_async.types import BatchConflict, OnError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async.batch.congestion import CongestionControl
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.records import ResultDownload
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects


#: Maximum number of concurrent downloads.
MAX_DOWNLOADS = 8
_MAX_FOLDERS = 1000
#: Seconds added to a delay, because the journal's clock may differ from the loop's.
_CLOCK_TOLERANCE = 0.002


@frozen(kw_only=True)
class Plan:
    """How the files of a run are restored; times in seconds.

    Attributes:
        root: The folder of the results.
        max_spend_seconds: Limit of the minimum cost of all generations of the journal.
        timeout: Limit of each wait; None for the client's.
        unbilled: Whether the service bills nothing (the sandbox).
    """

    root: Path
    on_conflict: BatchConflict
    on_error: OnError
    max_in_flight: int
    max_upload_bytes: int
    max_spend_seconds: float | None
    timeout: float | None
    project_params: Mapping[str, object] | None
    options: RequestOptions
    unbilled: bool = False


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
    #: Jobs restarted in this run because the service did not know their generation.
    restarted_jobs: set[int] = field(factory=set)

    def stop(self, reason: Exception | str) -> None:
        """Start nothing new; running steps continue to their end."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.notify_all()

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
