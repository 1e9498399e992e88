"""A result to its file: whole under its name, or not at all."""

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
from diffio_async.batch import result_queries
from diffio_async.batch.failures import (
    disk_is_full,
    error_record,
    is_gone,
    lost_problem,
    requeue_or_fail_download,
    short,
)
from diffio_async.batch.intake import MIN_REPORTED_BYTES, exists_with
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

#: Seconds until a transcript that is still being made is asked for again.
_PENDING = 5.0
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


@define(eq=False)
class ResultDownloader:
    """One result, held by this run."""

    context: RunContext
    job: ResultDownload

    async def run(self) -> None:
        """Download it, and write down what came of it."""
        desk, fetch, journal = self.context, self.job, self.context.journal
        runner, successes = journal.run_id, desk.congestion.successes
        try:
            path = await self._path()
            size = (
                await TrackedExecutor().run(_is_complete, path, fetch)
                if self._existing_result_counts
                else None
            )
            if size is None:
                size = await self._downloaded(path)
        except TranscriptPending as failure:
            # As long as a generation may take, its transcript may, from when it was first missed.
            limit, now = desk.plan.timeout, time.monotonic()
            since = desk.pending.setdefault((fetch.file, fetch.kind), now)
            if limit is not None and now - since > limit:
                await self._failed(failure, again=True, ours=True)
            else:
                await journal.write(
                    result_queries.requeue_download, runner, fetch, _PENDING, counts=False
                )
        except InvalidTarget as failure:
            if disk_is_full(failure):
                desk.pending_downloads = failure
                await journal.write(
                    result_queries.requeue_download, runner, fetch, 0.0, counts=False
                )
            elif short(failure):
                await requeue_or_fail_download(desk, fetch, failure, successes)
            else:
                await self._failed(failure, again=True, ours=fetch.ours)
        except NotFound as failure:
            if is_gone(failure):
                await self._lost(failure)
            else:
                # Such a transcript will never be made; of another generation perhaps.
                await self._failed(failure, again=False, ours=True)
        except DiffioError as failure:
            await requeue_or_fail_download(desk, fetch, failure, successes)
        else:
            desk.congestion.on_success()
            await journal.write(result_queries.download_finished, runner, fetch, str(path), size)
        desk.ended.notify()

    async def _failed(self, failure: DiffioError, *, again: bool, ours: bool) -> None:
        journal = self.context.journal
        problem = error_record(failure)
        await journal.write(
            result_queries.download_failed,
            journal.run_id,
            self.job,
            problem,
            again=again,
            ours=ours,
        )
        if self.context.plan.on_error == "stop":
            self.context.stop(failure)

    async def _lost(self, failure: NotFound) -> None:
        """The service no longer knows the generation."""
        desk, fetch, journal = self.context, self.job, self.context.journal
        if desk.plan.free and fetch.work not in desk.restarted:
            desk.restarted.add(fetch.work)
            await journal.write(result_queries.result_to_do_again, journal.run_id, fetch)
            desk.poll_now()
            return
        _, text = lost_problem(desk, failure, fetch.generation, fetch.project)
        await journal.write(result_queries.result_lost, journal.run_id, fetch, text)
        if desk.plan.on_error == "stop":
            desk.stop(failure)

    async def _path(self) -> Path:
        """Where it goes, with its folder made; a video's ending is the service's choice."""
        fetch, path = self.job, Path(self.job.path)
        if fetch.kind == "video":
            link = await self.context.generations.get_download(
                generation_id=fetch.generation,
                api_project_id=fetch.project,
                download_type="video",
                options=self.context.plan.options,
            )
            # The service's text becomes part of a path: nothing but an ending is taken over.
            suffix = suffix_of(link.file_name)
            if suffix and path.suffix:
                path = path.with_name(truncate_name(path.stem, suffix))
        if fetch.ours or path.parent not in self.context.folders:
            await TrackedExecutor().run(_create_folder, path, fetch, self.context)
            self.context.create_folder(path.parent)
        return path

    @property
    def _existing_result_counts(self) -> bool:
        return self.context.plan.on_conflict == "skip"

    async def _downloaded(self, path: Path) -> int:
        desk, fetch = self.context, self.job
        before = 0

        def count(fact: DownloadProgress) -> None:
            nonlocal before
            desk.received += max(0, fact.received - before)
            before = fact.received

        overwrite = fetch.ours or desk.plan.on_conflict == "overwrite"
        downloaded = await desk.generations.download(
            generation_id=fetch.generation,
            api_project_id=fetch.project,
            download_file_path=path,
            download_type=cast("DownloadType", fetch.kind),
            on_conflict="overwrite" if overwrite else "error",
            resume=True,
            on_progress=count if fetch.source_size >= MIN_REPORTED_BYTES else None,
            options=desk.plan.options,
        )
        desk.received += downloaded.size - before
        return downloaded.size


def _create_folder(path: Path, fetch: ResultDownload, desk: RunContext) -> None:
    check_inside(desk.plan.root, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise InvalidTarget(
            f"the folder {str(path.parent)!r} cannot be made: {reason_of(failure)}"
        ) from failure
    if fetch.ours:
        _remove_partials(path)
    if desk.plan.on_conflict == "error" and exists_with(str(path), fetch.ours, fetch.bytes):
        raise InvalidTarget(
            f"{str(path)!r} exists and is not of this batch: move it away, and run again to fetch "
            "the result, which is paid for"
        )


def _remove_partials(path: Path) -> None:
    """Remove the trial file that a killed run may have left beside the result."""
    ending = "0" * 8 + ".part"
    known = re.escape(sibling_path(path, ending).name.removesuffix(ending))
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if re.fullmatch(known + "[0-9a-f]{8}[.]part", entry.name):
                entry.unlink(missing_ok=True)


def _is_complete(path: Path, fetch: ResultDownload) -> int | None:
    """The size of what stands under the name and is to be kept, None where nothing does."""
    if not exists_with(str(path), fetch.ours, fetch.bytes):
        return None
    try:
        return path.stat().st_size
    except OSError as failure:
        raise InvalidTarget(f"{str(path)!r} cannot be read: {reason_of(failure)}") from failure
