"""What a worker of a cluster does: read, upload and store, by orders that are safe to repeat.

A worker has no API key. It sends the bytes of a recording with the token of its upload, and
receives a result by a signed link; the coordinator makes all calls of the API.
"""

from __future__ import annotations

import asyncio
import filecmp
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from distributed import get_worker

from diffio_async._downloads.download import download_result
from diffio_async._http.transport import ApiTransport
from diffio_async._storage.append_log import AlreadyInUse
from diffio_async._storage.files import sibling_path
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.resume_file import UploadCheckpoint, etags_as_json, etags_from_json
from diffio_async._uploads.source import FileSource
from diffio_async._uploads.upload import Upload
from diffio_async._uploads.uploader import Uploader, project_from_record
from diffio_async.batch.executor import MIN_CHECKPOINT_BYTES, ResultsExist
from diffio_async.batch.local_executor import open_recording
from diffio_async.batch.result_folder import kept_size, prepare_result
from diffio_async.dask.orders import NothingToDo, OrderFailed, RecordingFacts, StoredResult
from diffio_async.errors import DiffioError, DownloadFailed, InvalidSource, InvalidTarget

if TYPE_CHECKING:
    from diffio_async.batch.executor import RecordingOrder
    from diffio_async.dask.orders import DownloadOrder, Service, UploadOrder
    from diffio_async.models.generations import Download
    from diffio_async.models.projects import UploadRecord

#: In place of an API key, which no worker has: the API would refuse it.
_NO_KEY = "a-worker-has-no-key"
#: Seconds between attempts to store a result that another worker is storing at the moment.
_IN_USE_SECONDS = 0.5

_uploaders: dict[tuple[asyncio.AbstractEventLoop, Service], Uploader] = {}


def _uploader(service: Service) -> Uploader:
    """Return the uploader of this event loop for a service; orders share its connections."""
    key = asyncio.get_running_loop(), service
    if key not in _uploaders:
        _uploaders[key] = Uploader(ApiTransport(_NO_KEY, service.base_url, service.options))
    return _uploaders[key]


async def read_recording(order: RecordingOrder) -> RecordingFacts | NothingToDo | OrderFailed:
    """Check that the results of a recording can be stored, and hash it."""
    try:
        async with open_recording(order) as source:
            return RecordingFacts(
                digest=await source.digest(),
                size=source.size,
                name=source.name,
                fingerprint=_fingerprint(source, order.path),
            )
    except ResultsExist:
        return NothingToDo()
    except DiffioError as failure:
        return OrderFailed.of(failure)


def _fingerprint(source: object, path: str) -> tuple[int, int]:
    if not isinstance(source, FileSource):
        raise InvalidSource(f"{path!r} is not a file")
    return source.fingerprint


@define
class _PartReporter:
    """Upload store that reports received parts to the coordinator, which has the record.

    The reports contain no credential: the scheduler keeps them for a while.
    """

    order: UploadOrder
    _reported: set[int] = field(factory=set)

    async def load(self, digest: str) -> UploadRecord | None:  # noqa: ARG002 - see UploadStore
        """Return nothing: the order has the record."""
        return None

    async def save(self, record: UploadRecord) -> None:
        """Report the parts that were not reported yet."""
        if record.size <= MIN_CHECKPOINT_BYTES:
            return  # the few bytes are sent again
        new = {
            number: etag for number, etag in record.etags.items() if number not in self._reported
        }
        self._reported |= new.keys()
        report = {
            "order": self.order.number,
            "upload_id": record.upload_id,
            "part_size_bytes": record.part_size_bytes,
            "etags": etags_as_json(new),
        }
        get_worker().log_event(self.order.topic, report)

    async def forget(self, digest: str) -> None:
        """Do nothing: the coordinator deletes the record."""


class KeylessUpload(Upload):
    """Upload whose confirmation by the API is left to the coordinator."""

    async def is_received(self, api_project_id: str, *, retry_409: bool) -> bool | None:  # noqa: ARG002
        """Return that it is unknown."""
        return None

    async def confirm(self, api_project_id: str) -> None:
        """Do nothing."""


async def send_recording(order: UploadOrder) -> OrderFailed | None:
    """Send the missing bytes of a recording to its project."""
    uploader = _uploader(order.service)
    try:
        record = await _latest_record(order)
        async with open_source(order.path, max_bytes=order.max_bytes) as source:
            if _fingerprint(source, order.path) != order.facts.fingerprint:
                raise InvalidSource(
                    f"{order.path!r} changed since it was read: try again when nothing writes to it"
                )
            checkpoint = UploadCheckpoint(_PartReporter(order), record)
            upload = KeylessUpload(uploader.sender, uploader.limiter(), source, None, None)
            await upload.send(project_from_record(record), record.content_type, checkpoint)
    except DiffioError as failure:
        return OrderFailed.of(failure)
    return None


async def _latest_record(order: UploadOrder) -> UploadRecord:
    """Return the record of the order, with the parts that a worker sent before it died."""
    record = order.record
    if record.size <= MIN_CHECKPOINT_BYTES:
        return record
    scheduler: Any = get_worker().scheduler  # its methods have no types
    for _, report in await scheduler.events(topic=order.topic):
        if report["order"] == order.number:
            is_same = report["upload_id"] == record.upload_id
            record = evolve(
                record,
                upload_id=report["upload_id"],
                part_size_bytes=report["part_size_bytes"],
                etags={**(record.etags if is_same else {}), **etags_from_json(report["etags"])},
            )
    return record


async def store_result(order: DownloadOrder) -> StoredResult | OrderFailed:
    """Download a result and store it."""
    try:
        while True:
            try:
                size = await _store(order)
                return StoredResult(size=size, worker=get_worker().address)
            except InvalidTarget as failure:
                # Another worker carries out the same order: it has not died, but left the cluster.
                if not isinstance(failure.__cause__, AlreadyInUse):
                    raise
            await asyncio.sleep(_IN_USE_SECONDS)
    except DiffioError as failure:
        return OrderFailed.of(failure)


async def _store(order: DownloadOrder) -> int:
    result, threads = order.result, TrackedExecutor()
    if result.on_conflict == "skip":
        size = await threads.run(kept_size, result)
        if size is not None:
            return size
    path, overwrite = Path(result.path), result.owned or result.on_conflict == "overwrite"
    try:
        return await _download(order, path, overwrite=overwrite)
    except InvalidTarget:
        # A worker that carried out this order may have died after the file was published.
        if overwrite or not await threads.run(path.is_file):
            raise
        copy = sibling_path(path, f"{secrets.token_hex(4)}.part")
        try:
            size = await _download(order, copy)
            if not await threads.run(partial(filecmp.cmp, copy, path, shallow=False)):
                raise
        finally:
            await threads.run(partial(copy.unlink, missing_ok=True))
        return size


async def _download(order: DownloadOrder, path: Path, *, overwrite: bool | None = None) -> int:
    """Download a result to its path; with `overwrite` None, to a temporary file."""
    result, links = order.result, iter([order.link])

    async def get_link() -> Download:
        link = next(links, None)
        if link is None:
            raise DownloadFailed("the link to the result has expired: another one is requested")
        return link

    is_result = overwrite is not None
    downloaded = await download_result(
        _uploader(order.service).sender,
        get_link,
        None,
        path,
        "overwrite" if overwrite else "error",
        None,
        result_key=(result.project, result.generation, result.download_type),
        resume=is_result,
        before_open=partial(prepare_result, result) if is_result else None,
    )
    return downloaded.size
