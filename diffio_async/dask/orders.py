"""Orders for the workers of a cluster, and what they return: both pickle, without the API key."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from diffio_async._reporting import log
from diffio_async._storage.system_errors import causes_of
from diffio_async.batch.executor import ResultOrder
from diffio_async.errors import DiffioError
from diffio_async.models.generations import Download
from diffio_async.models.projects import UploadRecord
from diffio_async.options import ClientOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffio_async._uploads.source import Source

#: Options that the workers share with the coordinator. The others may contain a secret (headers, a
#: proxy's password) or do not pickle (an SSL context, observers).
_SHARED = (
    "timeouts",
    "max_concurrent_parts",
    "max_download_connections",
    "max_connections_per_host",
    "max_upload_bytes",
    "trust_env",
    "allow_insecure_http",
)


def shared_options(options: ClientOptions) -> ClientOptions:
    """Return the options of a client that its workers use too."""
    shared = {name: getattr(options, name) for name in _SHARED}
    return ClientOptions(retry=evolve(options.retry, on=None), **shared)


@frozen
class Service:
    """The service that a batch uses, without its key."""

    base_url: str
    options: ClientOptions


@frozen(kw_only=True)
class RecordingFacts:
    """A recording that a worker has read.

    Attributes:
        digest: SHA-256 of the content in hex.
        fingerprint: Size in bytes and modification time in ns of a file; the upload requires the
            same. None for an object of a store, whose digest is compared.
    """

    digest: str
    size: int
    name: str | None
    fingerprint: tuple[int, int] | None


class ReadRecording:
    """Fact: a recording was read. On the worker that read it, `source` may still be open."""

    def __init__(self, facts: RecordingFacts, source: Source | None = None) -> None:
        self.facts, self.source = facts, source

    def __reduce__(self) -> tuple[type[ReadRecording], tuple[RecordingFacts]]:
        """Pickle without the source, which no other process can read."""
        return ReadRecording, (self.facts,)


@frozen(kw_only=True)
class UploadOrder:
    """Order to send a recording to the project that `record` describes.

    Attributes:
        run: Name of the run, and the topic of the events that report received parts.
        number: Number of the order.
        entry: Entry of the scheduler's metadata of the run where the received parts are recorded;
            a later order uses it again.
    """

    service: Service
    path: str
    max_bytes: int
    facts: RecordingFacts
    # It contains the token of the upload.
    record: UploadRecord = field(repr=False)
    run: str
    number: int
    entry: int


@frozen(kw_only=True)
class DownloadOrder:
    """Order to store the result that a signed link leads to."""

    service: Service
    result: ResultOrder
    link: Download = field(repr=False)


@frozen
class NotAdmitted:
    """Fact: the order was not carried out, as this worker has to be checked first."""

    worker: str


class NothingToDo:
    """Fact: all results of a recording exist and must not be replaced."""


@frozen(kw_only=True)
class OrderFailed:
    """Fact: an order failed.

    Attributes:
        chain: The error and its causes, which pickling alone loses.
        worker: Address of the worker.
    """

    chain: tuple[BaseException, ...]
    worker: str | None = None

    @classmethod
    def of(cls, failure: Exception) -> OrderFailed:
        """Return the fact for a failure."""
        return cls(chain=tuple(_portable(each) for each in causes_of(failure)))

    def error(self) -> DiffioError:
        """Return the error, with its causes."""
        first, *causes = self.chain
        if self.worker and isinstance(first, DiffioError) and _is_of_system(causes):
            # The error itself keeps its notes, and the attributes that no constructor takes.
            first.args = (f"{first.args[0]} (on the worker {self.worker})",)
        for effect, cause in pairwise((first, *causes)):
            effect.__cause__ = cause
        if isinstance(first, DiffioError):
            return first
        error = DiffioError(f"{type(first).__name__}: {first}")
        error.__cause__ = first
        return error


def _is_of_system(causes: Iterable[BaseException]) -> bool:
    """Return whether the machine may be the cause: its disk, its mounts, its network."""
    return any(isinstance(each, OSError) for each in causes)


def _portable(failure: BaseException) -> BaseException:
    """Return the error, or one with its message if it does not pickle."""
    try:
        pickle.loads(pickle.dumps(failure))  # noqa: S301 - bytes made here
    except Exception:  # noqa: BLE001 - any class may fail in any way
        log.debug("a %s does not pickle: its message is returned", type(failure).__name__)
        return DiffioError(f"{type(failure).__name__}: {failure}")
    return failure
