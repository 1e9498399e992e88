"""What one run does with the files of its journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from diffio_async.options import RequestOptions
from diffio_async.types import BatchConflict, OnError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async.batch.congestion import CongestionControl
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.records import ResultDownload
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects


class Notifier:
    """Told by one, heard by all who wait; what is told while nobody waits is not lost."""

    def __init__(self) -> None:
        self._told = 0
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake all who wait."""
        self._told += 1
        self._event.set()
        self._event = asyncio.Event()

    @property
    def version(self) -> int:
        """How often: what to pass to `wait`, read before looking whether there is work."""
        return self._told

    async def wait(self, since: int, seconds: float) -> None:
        """Return when something was told after `since`, or after so many seconds."""
        if self._told != since:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


#: Downloads at once.
MAX_DOWNLOADS = 8
_MAX_FOLDERS = 1000
#: Clocks differ: seconds after which what is due is due by the journal's clock, too.
_DOWNLOAD_DELAY = 0.002


@frozen(kw_only=True)
class Plan:
    """How files are restored; times in seconds.

    `seconds` limits what all generations of the journal may bill at least. A `timeout` of None is
    the client's. `root` is the folder of the results; `free` where the service bills nothing.
    """

    root: Path
    on_conflict: BatchConflict
    on_error: OnError
    max_in_flight: int
    max_upload_bytes: int
    seconds: float | None
    timeout: float | None
    project_params: Mapping[str, object] | None
    options: RequestOptions
    free: bool = False


@define(eq=False)
class RunContext:
    """What the stages of one run share.

    `stopped` is why nothing new is started, `pending_downloads` why nothing is downloaded.
    `has_room` is notified when something new may be started, `ready` when a result may be
    downloaded, `ended` when a file may have ended.
    """

    journal: Journal
    projects: AsyncProjects
    generations: AsyncGenerations
    plan: Plan
    congestion: CongestionControl
    has_room: Notifier = field(factory=Notifier)
    ready: Notifier = field(factory=Notifier)
    ended: Notifier = field(factory=Notifier)
    stopped: Exception | str | None = None
    pending_downloads: Exception | None = None
    #: Whether there may be results to fetch that nobody has taken.
    ready_notifier: bool = True
    #: Begins the download of a result that is held.
    start_download: Callable[[ResultDownload], None] = field(default=lambda _: None)
    #: Folders of results that are there.
    folders: set[Path] = field(factory=set)
    uploading: int = 0
    in_flight: int = 0
    downloading: int = 0
    #: The generations that this run waits for, each with its project.
    running: dict[str, str] = field(factory=dict)
    #: When results were first found not to be ready yet; seconds of the monotonic clock.
    pending: dict[tuple[int, str], float] = field(factory=dict)
    #: When rows that nobody holds are looked for next; seconds of the monotonic clock.
    poll_at: float = 0.0
    sent: int = 0
    received: int = 0
    #: Works that were started again in this run, their generation being unknown to the service.
    restarted: set[int] = field(factory=set)

    def stop(self, why: Exception | str) -> None:
        """Begin nothing new; what runs goes on."""
        if self.stopped is None:
            self.stopped = why
        self.notify_all()

    @contextlib.contextmanager
    def download_slots(self) -> Iterator[int]:
        """Keep a place for a download free during the body; 1 where there is one, or else 0."""
        open_ = self.pending_downloads is None and not self.congestion.pause
        most = int(open_ and self.downloading < MAX_DOWNLOADS)
        self.downloading += most
        try:
            yield most
        finally:
            self.downloading -= most

    def create_folder(self, folder: Path) -> None:
        """A folder of results is there; not all of very many are remembered."""
        if len(self.folders) >= _MAX_FOLDERS:
            self.folders.clear()
        self.folders.add(folder)

    def poll_in(self, seconds: float) -> None:
        """Something was put back, and is due then."""
        asyncio.get_running_loop().call_later(seconds + _DOWNLOAD_DELAY, self.poll_now)

    def poll_now(self) -> None:
        """There may be rows that nobody holds."""
        self.poll_at = 0.0
        self.notify_all()

    def notify_all(self) -> None:
        """Let everybody look anew."""
        for news in (self.has_room, self.ready, self.ended):
            news.notify()
