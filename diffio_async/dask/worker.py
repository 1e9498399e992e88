"""What a worker of a cluster does: read, upload and store, by orders that are safe to repeat.

A worker has no API key. It sends the bytes of a recording with the token of its upload, and
receives a result by a signed link; the coordinator makes all calls of the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import filecmp
import itertools
import secrets
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from distributed import get_worker

from diffio_async._downloads.download import download_result
from diffio_async._downloads.part_file import PartFile
from diffio_async._downloads.sinks import translate_os_errors
from diffio_async._http.transport import ApiTransport
from diffio_async._reporting import log
from diffio_async._storage.append_log import AlreadyInUse
from diffio_async._storage.files import publish, sibling_path
from diffio_async._storage.threads import TrackedExecutor, wait_all_uncancelled
from diffio_async._store_url import StoreUrl, is_store_url, parse_url, place_of
from diffio_async._stores.writing import own_size
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.resume_file import (
    UploadCheckpoint,
    etags_as_json,
    etags_from_json,
    with_parts,
)
from diffio_async._uploads.source import FileSource
from diffio_async._uploads.upload import Upload
from diffio_async._uploads.uploader import Uploader, project_from_record
from diffio_async.batch.executor import MIN_CHECKPOINT_BYTES, ResultsExist, StoredResult
from diffio_async.batch.local_executor import open_recording
from diffio_async.batch.result_folder import kept_size, prepare_result
from diffio_async.batch.result_objects import kept_object_size
from diffio_async.dask.checks import admitted
from diffio_async.dask.orders import (
    NotAdmitted,
    NothingToDo,
    OrderFailed,
    ReadRecording,
    RecordingFacts,
)
from diffio_async.errors import (
    DiffioError,
    DownloadFailed,
    InvalidSource,
    InvalidTarget,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async._uploads.source import FileFingerprint, Source
    from diffio_async.batch.executor import RecordingOrder, ResultOrder
    from diffio_async.dask.orders import DownloadOrder, Service, UploadOrder
    from diffio_async.models.generations import Download
    from diffio_async.models.projects import UploadRecord

#: In place of an API key, which no worker has: the API would refuse it.
_NO_KEY = "a-worker-has-no-key"
#: Maximum of objects of stores whose spools are open until they are uploaded, in one process.
_MAX_KEPT = 32
_kept = set[int]()
_closing = set[object]()
_numbers = itertools.count()

_uploaders: dict[tuple[asyncio.AbstractEventLoop, Service], Uploader] = {}


def _uploader(service: Service) -> Uploader:
    """Return the uploader of this event loop for a service; orders share its connections."""
    key = asyncio.get_running_loop(), service
    if key not in _uploaders:
        _uploaders[key] = Uploader(ApiTransport(_NO_KEY, service.base_url, service.options))
    return _uploaders[key]


async def carry_out(*order: object, run: str, work: Callable[..., Awaitable[object]]) -> object:
    """Carry out an order, unless this worker has joined the cluster and is not checked yet."""
    if run not in admitted:
        return NotAdmitted(get_worker().address)
    try:
        fact = await work(*order)
    except Exception as failure:
        # Whatever else fails a task is of Dask, or of another version of this package.
        log.exception("an order failed unexpectedly")
        fact = OrderFailed.of(failure)
    return evolve(fact, worker=get_worker().address) if isinstance(fact, OrderFailed) else fact


async def read_recording(order: RecordingOrder) -> ReadRecording | NothingToDo | OrderFailed:
    """Check that the results of a recording can be stored, and hash it.

    An object of a store is spooled. The spool stays open until Dask releases the returned fact, so
    that the upload on the same worker need not read the store again.
    """
    try:
        async with contextlib.AsyncExitStack() as stack:
            source = await stack.enter_async_context(open_recording(order))
            facts = RecordingFacts(
                digest=await source.digest(),
                size=source.size,
                name=source.name,
                fingerprint=_fingerprint(source, order.path),
            )
            if not is_store_url(order.path) or len(_kept) >= _MAX_KEPT:
                return ReadRecording(facts)
            read = ReadRecording(facts, source)
            _keep_open(read, stack.pop_all())
            return read
    except ResultsExist:
        return NothingToDo()
    except DiffioError as failure:
        return OrderFailed.of(failure)


def _keep_open(read: ReadRecording, stack: contextlib.AsyncExitStack) -> None:
    """Close a source when Dask releases the fact that has it."""
    loop, number = asyncio.get_running_loop(), next(_numbers)
    _kept.add(number)

    async def close() -> None:
        await stack.aclose()
        _kept.discard(number)
        _closing.discard(asyncio.current_task())

    def start() -> None:
        _closing.add(loop.create_task(close()))

    def released() -> None:
        with contextlib.suppress(RuntimeError):  # the worker has ended, and with it the file
            loop.call_soon_threadsafe(start)

    weakref.finalize(read, released)


def _fingerprint(source: Source, path: str) -> FileFingerprint | None:
    if is_store_url(path):
        return None
    if not isinstance(source, FileSource):
        raise InvalidSource(f"{path!r} is not a file")
    return source.fingerprint


@define
class _PartReporter:
    """Upload store that reports received parts.

    The coordinator, which has the record, gets those that are new, as an event. All of them are
    kept by the scheduler: if this worker dies, it gives the same order to another one. The reports
    contain no credential.
    """

    order: UploadOrder
    _reported: set[str] = field(factory=set)

    async def load(self, digest: str) -> UploadRecord | None:  # noqa: ARG002 - see UploadStore
        """Return nothing: the order has the record."""
        return None

    async def save(self, record: UploadRecord) -> None:
        """Report the parts that were not reported yet."""
        if record.size <= MIN_CHECKPOINT_BYTES:
            return  # the few bytes are sent again
        order, worker = self.order, get_worker()
        report = {
            "order": order.number,
            "upload_id": record.upload_id,
            "part_size_bytes": record.part_size_bytes,
        }
        etags = etags_as_json(record.etags)
        new = {number: etag for number, etag in etags.items() if number not in self._reported}
        self._reported |= new.keys()
        worker.log_event(order.run, {**report, "etags": new})
        scheduler: Any = worker.scheduler  # its methods have no types
        with contextlib.suppress(OSError):  # without its scheduler, this worker ends
            await scheduler.set_metadata(keys=_entry_of(order), value={**report, "etags": etags})

    async def forget(self, digest: str) -> None:
        """Do nothing: the coordinator deletes the record."""


class KeylessUpload(Upload):
    """Upload whose confirmation by the API is left to the coordinator."""

    async def is_received(self, api_project_id: str, *, retry_409: bool) -> bool | None:  # noqa: ARG002
        """Return that it is unknown."""
        return None

    async def confirm(self, api_project_id: str) -> None:
        """Do nothing."""


async def send_recording(order: UploadOrder, read: object = None) -> OrderFailed | None:
    """Send the missing bytes of a recording to its project.

    Args:
        order: The order.
        read: What `read_recording` returned, on this worker or another one.
    """
    uploader = _uploader(order.service)
    try:
        record = await _latest_record(order)
        async with contextlib.AsyncExitStack() as stack:
            source = read.source if isinstance(read, ReadRecording) else None
            if source is None:
                opening = open_source(order.path, max_bytes=order.max_bytes)
                source = await stack.enter_async_context(opening)
            await _check_unchanged(order, source)
            checkpoint = UploadCheckpoint(_PartReporter(order), record)
            upload = KeylessUpload(uploader.sender, uploader.limiter(), source, None, None)
            await upload.send(project_from_record(record), record.content_type, checkpoint)
    except DiffioError as failure:
        return OrderFailed.of(failure)
    return None


async def _check_unchanged(order: UploadOrder, source: Source) -> None:
    """Check that a recording is the one that was read.

    Raises:
        InvalidSource: It is another one.
    """
    facts = order.facts
    is_same = (
        await source.digest() == facts.digest
        if facts.fingerprint is None
        else _fingerprint(source, order.path) == facts.fingerprint
    )
    if not is_same:
        raise InvalidSource(
            f"{order.path!r} changed since it was read: try again when nothing writes to it"
        )


async def _latest_record(order: UploadOrder) -> UploadRecord:
    """Return the record of the order, with the parts that a worker sent before it died."""
    record = order.record
    if record.size <= MIN_CHECKPOINT_BYTES:
        return record
    scheduler: Any = get_worker().scheduler
    report = await scheduler.get_metadata(keys=_entry_of(order), default=None)
    if report is None or report["order"] != order.number:
        return record  # no other worker has begun it
    etags = etags_from_json(report["etags"])
    return with_parts(record, report["upload_id"], report["part_size_bytes"], etags)


def _entry_of(order: UploadOrder) -> list[str]:
    return [order.run, str(order.entry)]


async def store_result(order: DownloadOrder) -> StoredResult | OrderFailed:
    """Download a result and store it."""
    root = place_of(order.result.root)
    try:
        if isinstance(root, StoreUrl):
            size = await _store_object(order, root)
        else:
            size = await _store_file(order, Path(order.result.path))
    except DiffioError as failure:
        return OrderFailed.of(failure)
    return StoredResult(size=size, worker=get_worker().address)


async def _store_file(order: DownloadOrder, path: Path) -> int:
    result, threads = order.result, TrackedExecutor()
    if result.on_conflict == "skip":
        size = await threads.run(kept_size, result)
        if size is not None:
            return size
    try:
        return await _download(order, path, overwrite=result.overwrites)
    except asyncio.CancelledError:
        # This worker leaves the cluster, and another one may have stored the result.
        removing = threads.start(_remove_part, result, also_in_use=False)
        await wait_all_uncancelled([removing])
        raise
    except InvalidTarget as failure:
        # Another worker was given the same order before. It has stored the file and died, or it is
        # still running, or is stopped: then this one uses another temporary name.
        in_use = isinstance(failure.__cause__, AlreadyInUse)
        if not in_use and (result.overwrites or not await threads.run(path.is_file)):
            raise
        copy = sibling_path(path, f"{secrets.token_hex(4)}.part")
        try:
            size = await _download(order, copy)
            with translate_os_errors(path):
                if not await threads.run(_publish, copy, path, overwrite=result.overwrites):
                    raise
        finally:
            await threads.run(partial(copy.unlink, missing_ok=True))
        await threads.run(_remove_part, result, also_in_use=True)
        return size


def _publish(copy: Path, path: Path, *, overwrite: bool) -> bool:
    """Give a file its final name; return whether it has that, or a file of equal content has."""
    try:
        publish(copy, path, "overwrite" if overwrite else "error")
    except FileExistsError:
        return filecmp.cmp(copy, path, shallow=False)
    return True


def _remove_part(result: ResultOrder, *, also_in_use: bool) -> None:
    part = PartFile(Path(result.path), _key_of(result))
    part.remove_left(also_in_use=also_in_use)


async def _store_object(order: DownloadOrder, root: StoreUrl) -> int:
    result = order.result
    try:
        size = await kept_object_size(result, root)
        if size is not None:
            return size
        return await _download(order, result.path, overwrite=result.overwrites)
    except InvalidTarget:
        # A worker that carried out this order may have died after the object was written.
        size = await own_size(parse_url(result.path, "the result"), _owner(result))
        if size is None:
            raise
        return size


def _owner(result: ResultOrder) -> str:
    return "/".join(_key_of(result))


def _key_of(result: ResultOrder) -> tuple[str, str, str]:
    return result.project, result.generation, result.download_type


async def _download(
    order: DownloadOrder, path: Path | str, *, overwrite: bool | None = None
) -> int:
    """Download a result to its path or URL; with `overwrite` None, to a temporary file."""
    result, links = order.result, iter([order.link])

    async def get_link() -> Download:
        link = next(links, None)
        if link is None:
            raise DownloadFailed("the link to the result has expired: another one is requested")
        return link

    is_file = overwrite is not None and isinstance(path, Path)
    downloaded = await download_result(
        _uploader(order.service).sender,
        get_link,
        None,
        path,
        "overwrite" if overwrite else "error",
        None,
        result_key=_key_of(result),
        resume=is_file,
        before_open=partial(prepare_result, result) if is_file else None,
    )
    return downloaded.size
