"""A file's turn: its content is looked at, and uploaded unless a generation of it is paid for."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import define, field

from diffio_async._protocol.containers import check_video_possible
from diffio_async._storage.system_errors import reason_of
from diffio_async._uploads.open_source import open_source
from diffio_async.batch import file_queries, job_queries
from diffio_async.batch.assignment import Assignment, assign_job
from diffio_async.batch.failures import file_set_back, outcome_unknown, requeue_or_fail
from diffio_async.batch.records import check_inside
from diffio_async.batch.upload_store import JournalUploadStore
from diffio_async.errors import DiffioError, InvalidSource, InvalidTarget
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Collection

    from diffio_async._uploads.source import FileSource
    from diffio_async.batch.context import Plan, RunContext
    from diffio_async.batch.records import RestorationJob, ResultPath, SourceFile
    from diffio_async.events import UploadProgress
    from diffio_async.types import SourceLike


#: Bytes of a recording from which on it is told on the way how far it is.
MIN_REPORTED_BYTES = MIB


class _KeptResult(Exception):
    """All its results are there already, and are to be kept."""


@define(eq=False)
class FileIntake:
    """One file, from its turn until its recording is at the service."""

    context: RunContext
    file: SourceFile
    #: What this run holds: the file, then the work that it is part of.
    held: SourceFile | RestorationJob = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.held = self.file

    async def run(self) -> RestorationJob | None:
        """The work, uploaded and held; None where nothing is left to do here."""
        desk, runner = self.context, self.context.journal.run_id
        successes = desk.congestion.successes
        try:
            limit = desk.plan.max_upload_bytes
            async with open_source(
                self.file.path, max_bytes=limit, before_open=self._check_result_paths
            ) as found:
                source = cast("FileSource", found)  # what a path is opened as
                work = await self._assigned(source)
                return None if work is None else await self._uploaded(work, source)
        except _KeptResult:
            await desk.journal.write(file_queries.file_skipped, runner, self.file.id)
        except (InvalidSource, InvalidTarget) as failure:
            await file_set_back(desk, self.file, failure, successes)
        desk.ended.notify()
        return None

    def _check_result_paths(self) -> None:
        """Before anything is paid: can there be results, and may they have their names? Blocks."""
        file, desk = self.file, self.context
        if all_kept(file.path, file.result_paths, desk.plan, desk.folders):
            raise _KeptResult

    async def _assigned(self, source: FileSource) -> RestorationJob | None:
        check_not_empty(source, self.file.path)
        desk = self.context
        digest = await source.digest()
        work = await desk.journal.write(
            assign_job, desk.journal.run_id, self.file.id, digest, source.size, desk.plan.seconds
        )
        if work is Assignment.OVER_BUDGET:
            desk.stop(
                f"another generation would bill more than {desk.plan.seconds:g} seconds in all "
                "(max_spend_seconds)"
            )
        if isinstance(work, Assignment):
            desk.ready.notify()
            desk.ended.notify()
            return None
        self.held = work
        return work

    async def _uploaded(self, work: RestorationJob, source: FileSource) -> RestorationJob | None:
        desk, runner = self.context, self.context.journal.run_id
        before = 0

        def count(fact: UploadProgress) -> None:
            nonlocal before
            desk.sent += max(0, fact.sent - before)
            before = fact.sent

        successes, keeping = desk.congestion.successes, JournalUploadStore(desk.journal, work)
        try:
            project = await desk.projects.create(
                cast("SourceLike", source),  # it is open, and stays so
                file_name=source.name,
                params=desk.plan.project_params,
                resume=keeping,
                on_progress=count if source.size >= MIN_REPORTED_BYTES else None,
                options=desk.plan.options,
            )
        except DiffioError as failure:
            await self._failed(work, failure, keeping, successes)
            return None
        desk.sent += source.size - before
        desk.congestion.on_success()
        await desk.journal.write(
            job_queries.upload_finished, runner, work.id, project.api_project_id
        )
        return work.at_project(project.api_project_id)

    async def _failed(
        self,
        work: RestorationJob,
        failure: DiffioError,
        keeping: JournalUploadStore,
        successes: int,
    ) -> None:
        journal, project = self.context.journal, failure.api_project_id
        if project is not None and not keeping.saved:
            await journal.write(job_queries.record_orphan, journal.run_id, work.id, project)
        elif project is None and outcome_unknown(failure):
            await journal.write(job_queries.record_possible_orphan, journal.run_id, work.id)
        await requeue_or_fail(self.context, work, failure, successes)


def check_not_empty(source: FileSource, path: str) -> None:
    """Refuse a file without content.

    Raises:
        InvalidSource: It is empty.
    """
    if source.size == 0:
        raise InvalidSource(f"{path!r} is empty: there is nothing to restore")


def all_kept(
    path: str, places: tuple[ResultPath, ...], plan: Plan, known: Collection[Path] = ()
) -> bool:
    """Whether all results of a file are there already, and are to be kept; blocks.

    Raises:
        InvalidSource: There cannot be such a result of this file.
        InvalidTarget: A name is taken, or nothing could be written there.
    """
    check_video_possible({each.kind for each in places}, Path(path).name)
    there = _foreign_results(places, plan.root, known)
    if there and plan.on_conflict == "error":
        raise InvalidTarget(
            f"{there[0]!r} exists and is not of this batch: choose another folder, or say "
            "on_conflict='overwrite' or 'skip' (--on-conflict)"
        )
    return bool(there) and plan.on_conflict == "skip" and len(there) == len(places)


def _foreign_results(
    places: tuple[ResultPath, ...], root: Path, known: Collection[Path]
) -> list[str]:
    """The paths that somebody else's files have; `known` are folders that results were written to.

    Raises:
        InvalidTarget: Nothing could be written there.
    """
    paths = [Path(each.path) for each in places]
    for path in paths:
        check_inside(root, path)
    for folder in {path.parent for path in paths}.difference(known):
        try:
            there = next(each for each in (folder, *folder.parents) if each.exists())
            if _read_only(there):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # noqa: TRY301 - as below
            usable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        except OSError as failure:
            raise _folder_problem(str(folder), failure) from failure
        if not usable:
            raise InvalidTarget(f"nothing can be written in {str(there)!r}")
    return [each.path for each in places if exists_with(each.path, each.ours, each.bytes)]


def _read_only(folder: Path) -> bool:
    """Whether the file system takes no writes at all: `os.access` does not tell that apart."""
    if not hasattr(os, "statvfs"):
        return False
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def exists_with(path: str, ours: bool, size: int | None) -> bool:
    """Whether something stands under the name that the batch did not write."""
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as failure:
        raise _folder_problem(path, failure) from failure
    return not ours or (size is not None and status.st_size != size)


def _folder_problem(path: str, failure: OSError | ValueError) -> InvalidTarget:
    return InvalidTarget(f"{path!r} cannot be written: {reason_of(failure)}")
