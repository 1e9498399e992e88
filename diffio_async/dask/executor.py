"""Executor of a batch on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define, field, frozen
from distributed import Security

from diffio_async._protocol.media_types import content_type_of
from diffio_async._reporting import log
from diffio_async._store_url import is_store_url
from diffio_async._uploads.resume_file import etags_from_json
from diffio_async._uploads.upload import Upload
from diffio_async._uploads.uploader import ProjectSpec, ResumableUpload
from diffio_async._validators import positive_int
from diffio_async.batch.executor import ResultsExist
from diffio_async.dask import worker
from diffio_async.dask.checks import check_cluster
from diffio_async.dask.connection import connected
from diffio_async.dask.order_queue import OrderQueue
from diffio_async.dask.orders import (
    DownloadOrder,
    NothingToDo,
    Service,
    UploadOrder,
    shared_options,
)
from diffio_async.errors import DiffioError
from diffio_async.resources.projects import UNNAMED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from distributed import Future

    from diffio_async._uploads.resume_file import UploadCheckpoint
    from diffio_async._uploads.source import Source
    from diffio_async.batch.executor import (
        RecordingOrder,
        ResultOrder,
        RunResources,
        StoredResult,
    )
    from diffio_async.dask.orders import ReadRecording, RecordingFacts
    from diffio_async.events import DownloadProgress, UploadProgress
    from diffio_async.models.generations import DownloadType
    from diffio_async.models.projects import CreatedProject, UploadStore
    from diffio_async.types import Callback

T = TypeVar("T")


@frozen
class DaskExecutor:
    """Executor of `restore_many` whose workers read, upload and store the recordings.

    The process that calls `restore_many` keeps the journal, makes all calls of the API and waits
    for the generations. The workers move the bytes; they need no API key.

    Attributes:
        cluster: The address of a scheduler (`tcp://host:8786`, `tls://host:8786`), an object with
            a `scheduler_address` (a `LocalCluster`), or a `distributed.Client`.
        security: Certificates of TLS; None for those of the client, or of Dask's configuration.
        max_orders: Maximum number of recordings being read and uploaded, and of results being
            downloaded, including those that wait for a worker.
        allow_insecure: Accept a scheduler on another machine without TLS. Any program that reaches
            its port can run code on all machines of the cluster, and read the tokens of uploads.
    """

    cluster: Any  # an address, or an object of distributed, which has no types
    security: Security | None = None
    max_orders: int = field(default=256, validator=positive_int)
    allow_insecure: bool = False

    @contextlib.asynccontextmanager
    async def start_run(self, run: RunResources) -> AsyncIterator[RunningExecutor]:
        """Connect, and check the workers.

        Raises:
            ConfigurationError: The scheduler cannot be reached, or a worker cannot take part: the
                message has the reason. Nothing was billed.
        """
        async with connected(
            self.cluster, self.security, allow_insecure=self.allow_insecure
        ) as client:
            orders = OrderQueue(client, await check_cluster(client, run))
            executor = RunningExecutor(orders, run, self.max_orders, self.max_orders)
            client.subscribe_topic(orders.name, executor.on_parts)
            try:
                await orders.start()
                yield executor
            finally:
                await orders.close()


@define(eq=False)
class RunningExecutor:
    """Connection to the cluster during one run."""

    orders: OrderQueue
    run: RunResources
    max_uploads: int
    max_downloads: int
    _uploads: dict[int, UploadCheckpoint] = field(factory=dict)
    _numbers: Iterator[int] = field(factory=itertools.count)
    #: Free entries of the metadata. Each upload uses one, so that there are not as many as files.
    _entries: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._entries = list(range(self.max_uploads))

    @functools.cached_property
    def service(self) -> Service:
        """The service, without the key."""
        sender = self.run.uploader.sender
        return Service(sender.base_url, shared_options(sender.options))

    @contextlib.asynccontextmanager
    async def open_recording(self, order: RecordingOrder) -> AsyncIterator[RemoteRecording]:
        """See `Executor`."""
        async with self.orders.carried_out(worker.read_recording, order) as (future, fact):
            read = cast("ReadRecording | NothingToDo", fact)
            if isinstance(read, NothingToDo):
                raise ResultsExist
            # The fact stays at its worker, with the object that the worker has spooled.
            kept = future if is_store_url(order.path) else None
            yield RemoteRecording(self, order, read.facts, kept)

    async def store_result(
        self,
        order: ResultOrder,
        on_progress: Callback[DownloadProgress] | None,  # noqa: ARG002 - only the size is known
    ) -> StoredResult:
        """See `Executor`."""
        link = await self.run.generations.get_download(
            generation_id=order.generation,
            api_project_id=order.project,
            download_type=cast("DownloadType", order.download_type),
            options=self.run.plan.options,
        )
        download = DownloadOrder(service=self.service, result=order, link=link)
        return await self.orders.carry_out(worker.store_result, download)

    async def send(self, recording: RemoteRecording, checkpoint: UploadCheckpoint) -> None:
        """Let a worker send the missing bytes of a recording.

        Raises:
            DiffioError: The worker's error, or the connection to the cluster failed.
        """
        number, entry = next(self._numbers), self._entries.pop()
        self._uploads[number] = checkpoint
        order = UploadOrder(
            service=self.service,
            path=recording.order.path,
            max_bytes=recording.order.max_bytes,
            facts=recording.facts,
            record=checkpoint.record,
            run=self.orders.name,
            number=number,
            entry=entry,
        )
        try:
            await self.orders.carry_out(worker.send_recording, order, recording.kept)
        finally:
            del self._uploads[number]
            self._entries.append(entry)

    async def on_parts(self, event: tuple[float, dict[str, Any]]) -> None:
        """Record the parts that a worker reports, so that another worker can resume the upload."""
        _, report = event
        checkpoint = self._uploads.get(report["order"])
        if checkpoint is None:
            return  # the upload has ended
        try:
            await checkpoint.merge(
                report["upload_id"], report["part_size_bytes"], etags_from_json(report["etags"])
            )
        except Exception as failure:  # noqa: BLE001 - raised by the next step of the run
            log.warning("received parts could not be recorded: %s", failure)


@define(eq=False)
class RemoteRecording:
    """A recording that a worker has read."""

    executor: RunningExecutor
    order: RecordingOrder
    facts: RecordingFacts
    #: What the worker returned, while it may still have the recording open.
    kept: Future[Any] | None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.facts.size

    @property
    def name(self) -> str | None:
        """File name, for messages."""
        return self.facts.name

    async def digest(self) -> str:
        """See `Recording`."""
        return self.facts.digest

    async def upload(
        self,
        store: UploadStore,
        on_progress: Callback[UploadProgress] | None,  # noqa: ARG002 - only the size is known
    ) -> str:
        """See `Recording`."""
        run = self.executor.run
        name = self.name or UNNAMED
        spec = ProjectSpec.create(
            file_name=name,
            content_type=content_type_of(name),
            size=self.size,
            params=run.plan.project_params,
        )
        uploader, sender = run.uploader, run.uploader.sender
        with sender.operation("upload") as operation:
            upload = _RemoteUpload(
                sender,
                uploader.limiter(),
                cast("Source", self),  # its size, name and digest are used
                None,
                run.plan.options,
                self,
            )
            record = await ResumableUpload(upload, store, spec).run()
            operation.api_project_id, operation.size = record.api_project_id, record.size
        return record.api_project_id


@frozen
class _RemoteUpload(Upload):
    """Upload whose bytes a worker sends."""

    recording: RemoteRecording

    async def send(
        self,
        created: CreatedProject,
        content_type: str,  # noqa: ARG002 - the worker has it from the record
        checkpoint: UploadCheckpoint | None = None,
    ) -> None:
        """Let a worker send the bytes, and confirm them with the API."""
        # A batch has a store, and so a checkpoint.
        project, has_confirmation = created.api_project_id, created.upload is not None
        try:
            await self.recording.executor.send(self.recording, cast("UploadCheckpoint", checkpoint))
        except DiffioError:
            # A worker may have completed the upload before it died, or another one in its place.
            if has_confirmation and await self.is_received(project, retry_409=False):
                return
            raise
        if has_confirmation:
            await self.confirm(project)
