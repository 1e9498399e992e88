"""Download stage: write a result to its file, completely or not at all."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import define

from diffio_async._storage.atomic_write import sibling_path
from diffio_async._storage.local_paths import suffix_of, truncate_name
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async.batch import file_queries
from diffio_async.batch.failures import (
    disk_is_full,
    error_record,
    generation_is_unknown,
    is_shortage,
    lost_generation_record,
    requeue_or_fail_download,
)
from diffio_async.batch.intake import MIN_REPORTED_BYTES, foreign_file_exists
from diffio_async.batch.records import check_inside
from diffio_async.errors import (
    DiffioError,
    InvalidTarget,
    NotFound,
    TranscriptPending,
)

if TYPE_CHECKING:
    from diffio_async.batch.context import RunContext
    from diffio_async.batch.records import ResultDownload
    from diffio_async.events import DownloadProgress
    from diffio_async.models.generations import DownloadType

#: Seconds until a pending transcript is requested again.
_PENDING_RETRY_SECONDS = 5.0
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


@define(eq=False)
class ResultDownloader:
    """One leased result."""

    context: RunContext
    job: ResultDownload

    async def run(self) -> None:
        """Download the result, and record the outcome."""
        context, download, journal = self.context, self.job, self.context.journal
        run_id, successes = journal.run_id, context.congestion.successes
        try:
            path = await self._prepare_path()
            size = (
                await TrackedExecutor().run(_kept_size, path, download)
                if self._keeps_existing
                else None
            )
            if size is None:
                size = await self._download(path)
        except TranscriptPending as failure:
            # The timeout of a generation applies to its transcript too, from the first request.
            limit, now = context.plan.timeout, time.monotonic()
            since = context.transcript_pending_since.setdefault(
                (download.file_id, download.download_type), now
            )
            if limit is not None and now - since > limit:
                await self._failed(failure, retryable=True, owned=True)
            else:
                await journal.write(
                    file_queries.requeue_download,
                    run_id,
                    download,
                    _PENDING_RETRY_SECONDS,
                    counts=False,
                )
        except InvalidTarget as failure:
            if disk_is_full(failure):
                context.downloads_stopped = failure
                await journal.write(
                    file_queries.requeue_download, run_id, download, 0.0, counts=False
                )
            elif is_shortage(failure):
                await requeue_or_fail_download(context, download, failure, successes)
            else:
                await self._failed(failure, retryable=True, owned=download.owned)
        except NotFound as failure:
            if generation_is_unknown(failure):
                await self._lost(failure)
            else:
                # This generation will never have such a result.
                await self._failed(failure, retryable=False, owned=True)
        except DiffioError as failure:
            await requeue_or_fail_download(context, download, failure, successes)
        else:
            context.congestion.on_success()
            await journal.write(file_queries.finish_download, run_id, download, str(path), size)
        context.file_ended.notify()

    async def _failed(self, failure: DiffioError, *, retryable: bool, owned: bool) -> None:
        journal = self.context.journal
        problem = error_record(failure)
        await journal.write(
            file_queries.fail_download,
            journal.run_id,
            self.job,
            problem,
            retryable=retryable,
            owned=owned,
        )
        if self.context.plan.on_error == "stop":
            self.context.stop(failure)

    async def _lost(self, failure: NotFound) -> None:
        """Restart or fail a result whose generation the service no longer knows."""
        context, download, journal = self.context, self.job, self.context.journal
        if context.plan.unbilled and download.job_id not in context.restarted_jobs:
            context.restarted_jobs.add(download.job_id)
            await journal.write(file_queries.restart_lost_job, journal.run_id, download)
            context.scan_now()
            return
        _, text = lost_generation_record(context, failure, download.generation, download.project)
        await journal.write(file_queries.fail_lost_result, journal.run_id, download, text)
        if context.plan.on_error == "stop":
            context.stop(failure)

    async def _prepare_path(self) -> Path:
        """Create the folder and return the path; the service chooses the suffix of a video."""
        download, path = self.job, Path(self.job.path)
        if download.download_type == "video":
            link = await self.context.generations.get_download(
                generation_id=download.generation,
                api_project_id=download.project,
                download_type="video",
                options=self.context.plan.options,
            )
            # Only the suffix of the server's file name is used: the path must not depend on it.
            suffix = suffix_of(link.file_name)
            if suffix and path.suffix:
                path = path.with_name(truncate_name(path.stem, suffix))
        if download.owned or path.parent not in self.context.known_folders:
            await TrackedExecutor().run(_create_folder, path, download, self.context)
            self.context.remember_folder(path.parent)
        return path

    @property
    def _keeps_existing(self) -> bool:
        return self.context.plan.on_conflict == "skip"

    async def _download(self, path: Path) -> int:
        context, download = self.context, self.job
        before = 0

        def count(fact: DownloadProgress) -> None:
            nonlocal before
            context.received_bytes += max(0, fact.received - before)
            before = fact.received

        overwrite = download.owned or context.plan.on_conflict == "overwrite"
        downloaded = await context.generations.download(
            generation_id=download.generation,
            api_project_id=download.project,
            download_file_path=path,
            download_type=cast("DownloadType", download.download_type),
            on_conflict="overwrite" if overwrite else "error",
            resume=True,
            on_progress=count if download.source_size >= MIN_REPORTED_BYTES else None,
            options=context.plan.options,
        )
        context.received_bytes += downloaded.size - before
        return downloaded.size


def _create_folder(path: Path, download: ResultDownload, context: RunContext) -> None:
    check_inside(context.plan.root, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise InvalidTarget(
            f"the folder {str(path.parent)!r} cannot be created: {reason_of(failure)}"
        ) from failure
    if download.owned:
        _remove_partials(path)
    if context.plan.on_conflict == "error" and foreign_file_exists(
        str(path), download.owned, download.bytes
    ):
        raise InvalidTarget(
            f"{str(path)!r} exists and was not written by this batch. Move it away and run the "
            "batch again to download the result, which is already paid for"
        )


def _remove_partials(path: Path) -> None:
    """Remove the partial file that a killed run may have left beside the result."""
    ending = "0" * 8 + ".part"
    known = re.escape(sibling_path(path, ending).name.removesuffix(ending))
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if re.fullmatch(known + "[0-9a-f]{8}[.]part", entry.name):
                entry.unlink(missing_ok=True)


def _kept_size(path: Path, download: ResultDownload) -> int | None:
    """Return the size of an existing file that must be kept, None if there is none."""
    if not foreign_file_exists(str(path), download.owned, download.bytes):
        return None
    try:
        return path.stat().st_size
    except OSError as failure:
        raise InvalidTarget(f"{str(path)!r} cannot be read: {reason_of(failure)}") from failure
