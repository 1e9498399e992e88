"""Interface of what moves the bytes of a batch, and the orders that it carries out.

The scheduler keeps the journal, starts generations and waits. An executor reads recordings, uploads
them and stores results. An order is complete in itself and can be carried out twice: an executor on
other machines repeats an order whose worker has died.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from diffio_async._uploads.uploader import Uploader
from diffio_async.batch.request import Plan
from diffio_async.batch.schema import ResultPath
from diffio_async.options import MIB
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.types import BatchConflict

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from diffio_async.events import DownloadProgress, UploadProgress
    from diffio_async.models.projects import UploadStore
    from diffio_async.types import Callback


#: Size in bytes above which the state of an upload is saved after each part.
MIN_CHECKPOINT_BYTES = 8 * MIB


@frozen(kw_only=True)
class RecordingOrder:
    """Order to read a recording whose results can be stored.

    Attributes:
        path: The recording.
        results: Where its results are stored.
        root: The folder of the results.
        on_conflict: What to do if a file exists that the batch did not write.
        max_bytes: Upload limit in bytes.
    """

    path: str
    results: tuple[ResultPath, ...]
    root: str
    on_conflict: BatchConflict
    max_bytes: int


@frozen(kw_only=True)
class ResultOrder:
    """Order to download one result and to store it.

    Attributes:
        path: Where it is stored.
        root: The folder of the results.
        owned: Whether the batch wrote the file that now exists at `path`, if there is one.
        bytes: The size of that file, None if unknown.
        on_conflict: What to do if a file exists that the batch did not write.
    """

    path: str
    root: str
    download_type: str
    generation: str
    project: str
    owned: bool
    bytes: int | None
    on_conflict: BatchConflict

    @property
    def overwrites(self) -> bool:
        """Whether what exists at `path` is replaced."""
        return self.owned or self.on_conflict == "overwrite"


@frozen(kw_only=True)
class StoredResult:
    """A stored result.

    Attributes:
        size: Size in bytes.
        worker: Address of the worker of a cluster that stored it, None without a cluster.
    """

    size: int
    worker: str | None = None


class ResultsExist(Exception):
    """All results of a recording exist and must not be replaced."""


class Recording(Protocol):
    """A recording that was opened and can be uploaded."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        ...

    async def digest(self) -> str:
        """Return the SHA-256 of the content in hex.

        Raises:
            InvalidSource: It cannot be read, or it changed.
        """
        ...

    async def upload(self, store: UploadStore, on_progress: Callback[UploadProgress] | None) -> str:
        """Upload the content to a new project, or to that of the store; return the project's id.

        Raises:
            DiffioError: As `projects.create`.
        """
        ...


class Executor(Protocol):
    """What moves the bytes of one run.

    Attributes:
        max_uploads: Maximum number of recordings that are read and uploaded concurrently.
        max_downloads: Maximum number of results that are downloaded concurrently.
    """

    max_uploads: int
    max_downloads: int

    def open_recording(self, order: RecordingOrder) -> AbstractAsyncContextManager[Recording]:
        """Open a recording, after checking that its results can be stored.

        Raises:
            InvalidSource: The recording is missing, unreadable or too large, or cannot have a
                result of this type.
            InvalidTarget: The path of a result is used by another file, or is not writable.
            ResultsExist: Nothing is to be done.
        """
        ...

    async def store_result(
        self, order: ResultOrder, on_progress: Callback[DownloadProgress] | None
    ) -> StoredResult:
        """Download and store a result, or keep the existing file.

        Raises:
            InvalidTarget: The path is used by another file, or is not writable.
            DiffioError: As `generations.download`.
        """
        ...


@frozen(kw_only=True)
class RunResources:
    """What an executor needs of the run that it belongs to.

    Attributes:
        sample: A recording that the run will read, None if absent.
    """

    uploader: Uploader = field(repr=False)
    generations: AsyncGenerations = field(repr=False)
    plan: Plan
    sample: str | None
