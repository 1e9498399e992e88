"""A file's turn: its content is looked at, and uploaded unless a generation of it is paid for."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import define, field

from diffio_async._engine.opening import opened
from diffio_async._engine.system_errors import reason_of
from diffio_async._wire.containers import check_video_possible
from diffio_async.batch import ends, works
from diffio_async.batch.joining import Joined, joined
from diffio_async.batch.keeping import Keeping
from diffio_async.batch.kinds import may_have_been_done
from diffio_async.batch.paths import check_inside
from diffio_async.batch.troubles import file_set_back, set_back
from diffio_async.errors import DiffioError, SourceUnusable, TargetUnusable
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Collection

    from diffio_async._engine.sources import RegularFile
    from diffio_async.batch.plan import Desk, Plan
    from diffio_async.batch.rows import File, Place, Work
    from diffio_async.events import UploadProgress
    from diffio_async.types import SourceLike


#: Bytes of a recording from which on it is told on the way how far it is.
WORTH_TELLING = MIB


class _Kept(Exception):
    """All its results are there already, and are to be kept."""


@define(eq=False)
class Intake:
    """One file, from its turn until its recording is at the service."""

    desk: Desk
    file: File
    #: What this run holds: the file, then the work that it is part of.
    held: File | Work = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.held = self.file

    async def run(self) -> Work | None:
        """The work, uploaded and held; None where nothing is left to do here."""
        desk, runner = self.desk, self.desk.journal.runner
        successes = desk.weather.successes
        try:
            limit = desk.plan.max_upload_bytes
            async with opened(self.file.path, max_bytes=limit, first=self._look_at_places) as found:
                source = cast("RegularFile", found)  # what a path is opened as
                work = await self._joined(source)
                return None if work is None else await self._uploaded(work, source)
        except _Kept:
            await desk.journal.do(ends.file_skipped, runner, self.file.id)
        except (SourceUnusable, TargetUnusable) as failure:
            await file_set_back(desk, self.file, failure, successes)
        desk.ended.tell()
        return None

    def _look_at_places(self) -> None:
        """Before anything is paid: can there be results, and may they have their names? Blocks."""
        file, desk = self.file, self.desk
        if all_kept(file.path, file.places, desk.plan, desk.folders):
            raise _Kept

    async def _joined(self, source: RegularFile) -> Work | None:
        if source.size == 0:
            raise SourceUnusable(f"{self.file.path!r} is empty: there is nothing to restore")
        desk = self.desk
        digest = await source.digest()
        work = await desk.journal.do(
            joined, desk.journal.runner, self.file.id, digest, source.size, desk.plan.seconds
        )
        if work is Joined.TOO_DEAR:
            desk.stop(
                f"another generation would bill more than {desk.plan.seconds:g} seconds in all "
                "(max_spend_seconds)"
            )
        if isinstance(work, Joined):
            desk.ready.tell()
            desk.ended.tell()
            return None
        self.held = work
        return work

    async def _uploaded(self, work: Work, source: RegularFile) -> Work | None:
        desk, runner = self.desk, self.desk.journal.runner
        before = 0

        def count(fact: UploadProgress) -> None:
            nonlocal before
            desk.sent += max(0, fact.sent - before)
            before = fact.sent

        successes, keeping = desk.weather.successes, Keeping(desk.journal, work)
        try:
            project = await desk.projects.create(
                cast("SourceLike", source),  # it is open, and stays so
                file_name=source.name,
                params=desk.plan.project_params,
                resume=keeping,
                on_progress=count if source.size >= WORTH_TELLING else None,
                options=desk.plan.options,
            )
        except DiffioError as failure:
            await self._failed(work, failure, keeping, successes)
            return None
        desk.sent += source.size - before
        desk.weather.good()
        await desk.journal.do(works.uploaded, runner, work.id, project.api_project_id)
        return work.at_project(project.api_project_id)

    async def _failed(
        self, work: Work, failure: DiffioError, keeping: Keeping, successes: int
    ) -> None:
        journal, project = self.desk.journal, failure.api_project_id
        if project is not None and not keeping.kept:
            await journal.do(works.project_in_vain, journal.runner, work.id, project)
        elif project is None and may_have_been_done(failure):
            await journal.do(works.project_unheard, journal.runner, work.id)
        await set_back(self.desk, work, failure, successes)


def all_kept(
    path: str, places: tuple[Place, ...], plan: Plan, known: Collection[Path] = ()
) -> bool:
    """Whether all results of a file are there already, and are to be kept; blocks.

    Raises:
        SourceUnusable: There cannot be such a result of this file.
        TargetUnusable: A name is taken, or nothing could be written there.
    """
    check_video_possible({each.kind for each in places}, Path(path).name)
    there = _not_ours(places, plan.root, known)
    if there and plan.on_conflict == "error":
        raise TargetUnusable(
            f"{there[0]!r} exists and is not of this batch: choose another folder, or say "
            "on_conflict='overwrite' or 'skip' (--on-conflict)"
        )
    return bool(there) and plan.on_conflict == "skip" and len(there) == len(places)


def _not_ours(places: tuple[Place, ...], root: Path, known: Collection[Path]) -> list[str]:
    """The paths that somebody else's files have; `known` are folders that results were written to.

    Raises:
        TargetUnusable: Nothing could be written there.
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
            raise _no_place(str(folder), failure) from failure
        if not usable:
            raise TargetUnusable(f"nothing can be written in {str(there)!r}")
    return [each.path for each in places if stands_there(each.path, each.ours, each.bytes)]


def _read_only(folder: Path) -> bool:
    """Whether the file system takes no writes at all: `os.access` does not tell that apart."""
    if not hasattr(os, "statvfs"):
        return False
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def stands_there(path: str, ours: bool, size: int | None) -> bool:
    """Whether something stands under the name that the batch did not write."""
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as failure:
        raise _no_place(path, failure) from failure
    return not ours or (size is not None and status.st_size != size)


def _no_place(path: str, failure: OSError | ValueError) -> TargetUnusable:
    return TargetUnusable(f"{path!r} cannot be written: {reason_of(failure)}")
