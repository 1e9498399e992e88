"""Executor of a batch in this process."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, cast

from attrs import define

from diffio_async._storage.threads import TrackedExecutor
from diffio_async._store_url import StoreUrl, is_store_url, place_of
from diffio_async._uploads.open_source import open_source
from diffio_async.batch.executor import ResultsExist, StoredResult
from diffio_async.batch.result_folder import keeps_all_results, kept_size, prepare_result
from diffio_async.batch.result_objects import keeps_all_objects, kept_object_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async._uploads.source import Source
    from diffio_async.batch.executor import RecordingOrder, ResultOrder
    from diffio_async.batch.request import Plan
    from diffio_async.events import DownloadProgress, UploadProgress
    from diffio_async.models.generations import DownloadType
    from diffio_async.models.projects import UploadStore
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects
    from diffio_async.types import Callback, SourceLike


@define(eq=False)
class LocalExecutor:
    """Moves the bytes on the event loop and the worker threads of this process."""

    projects: AsyncProjects
    generations: AsyncGenerations
    plan: Plan
    max_uploads: int = 32
    max_downloads: int = 8

    @contextlib.asynccontextmanager
    async def open_recording(self, order: RecordingOrder) -> AsyncIterator[LocalRecording]:
        """See `Executor`."""
        async with open_recording(order) as source:
            yield LocalRecording(self, source)

    async def store_result(
        self, order: ResultOrder, on_progress: Callback[DownloadProgress] | None
    ) -> StoredResult:
        """See `Executor`."""
        root = place_of(order.root)
        size = None
        if isinstance(root, StoreUrl):
            size = await kept_object_size(order, root)
        elif order.on_conflict == "skip":
            size = await TrackedExecutor().run(kept_size, order)
        if size is not None:
            return StoredResult(size=size)
        is_local = not isinstance(root, StoreUrl)
        downloaded = await self.generations._download(  # noqa: SLF001
            order.generation,
            order.project,
            order.path,
            cast("DownloadType", order.download_type),
            on_conflict="overwrite" if order.overwrites else "error",
            resume=is_local,
            on_progress=on_progress,
            options=self.plan.options,
            before_open=partial(prepare_result, order) if is_local else None,
        )
        return StoredResult(size=downloaded.size)


@contextlib.asynccontextmanager
async def open_recording(order: RecordingOrder) -> AsyncIterator[Source]:
    """Open a recording; see `Executor.open_recording`."""

    def check_files() -> None:
        if keeps_all_results(order):
            raise ResultsExist

    is_local = not is_store_url(order.root)
    if not is_local:
        await check_results(order)
    async with open_source(
        order.path, max_bytes=order.max_bytes, before_open=check_files if is_local else None
    ) as source:
        yield source


async def check_results(order: RecordingOrder) -> None:
    """Check that the results of a recording can be stored.

    Raises:
        InvalidTarget: The path of a result is used by another file, or is not writable.
        ResultsExist: Nothing is to be done.
    """
    root = place_of(order.root)
    if isinstance(root, StoreUrl):
        keeps_all = await keeps_all_objects(order, root)
    else:
        keeps_all = await TrackedExecutor().run(keeps_all_results, order)
    if keeps_all:
        raise ResultsExist


@define(eq=False)
class LocalRecording:
    """An open file."""

    executor: LocalExecutor
    source: Source

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.source.size

    async def digest(self) -> str:
        """See `Recording`."""
        return await self.source.digest()

    async def upload(self, store: UploadStore, on_progress: Callback[UploadProgress] | None) -> str:
        """See `Recording`."""
        plan = self.executor.plan
        project = await self.executor.projects.create(
            cast("SourceLike", self.source),  # an open source is accepted too
            file_name=self.source.name,
            params=plan.project_params,
            resume=store,
            on_progress=on_progress,
            options=plan.options,
        )
        return project.api_project_id
