"""A result to its file: whole under its name, or not at all."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import define

from diffio_async._engine.file_names import shortened, suffix_of
from diffio_async._engine.placing import beside
from diffio_async._engine.system_errors import reason_of
from diffio_async._engine.threads import Threads
from diffio_async.batch import fetches
from diffio_async.batch.intake import WORTH_TELLING, stands_there
from diffio_async.batch.kinds import disk_is_full, short
from diffio_async.batch.paths import check_inside
from diffio_async.batch.troubles import fetch_set_back, is_gone, lost_problem, problem_of
from diffio_async.errors import (
    DiffioError,
    NotFound,
    TargetUnusable,
    TranscriptPending,
)

if TYPE_CHECKING:
    from diffio_async.batch.plan import Desk
    from diffio_async.batch.rows import Fetch
    from diffio_async.events import DownloadProgress
    from diffio_async.models.generations import DownloadType

#: Seconds until a transcript that is still being made is asked for again.
_PENDING = 5.0
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


@define(eq=False)
class Fetching:
    """One result, held by this run."""

    desk: Desk
    fetch: Fetch

    async def run(self) -> None:
        """Download it, and write down what came of it."""
        desk, fetch, journal = self.desk, self.fetch, self.desk.journal
        runner, successes = journal.runner, desk.weather.successes
        try:
            path = await self._path()
            size = await Threads().run(_there, path, fetch) if self._keeps else None
            if size is None:
                size = await self._downloaded(path)
        except TranscriptPending as failure:
            # As long as a generation may take, its transcript may, from when it was first missed.
            limit, now = desk.plan.timeout, time.monotonic()
            since = desk.pending.setdefault((fetch.file, fetch.kind), now)
            if limit is not None and now - since > limit:
                await self._failed(failure, again=True, ours=True)
            else:
                await journal.do(fetches.fetch_put_back, runner, fetch, _PENDING, counts=False)
        except TargetUnusable as failure:
            if disk_is_full(failure):
                desk.unfetched = failure
                await journal.do(fetches.fetch_put_back, runner, fetch, 0.0, counts=False)
            elif short(failure):
                await fetch_set_back(desk, fetch, failure, successes)
            else:
                await self._failed(failure, again=True, ours=fetch.ours)
        except NotFound as failure:
            if is_gone(failure):
                await self._lost(failure)
            else:
                # Such a transcript will never be made; of another generation perhaps.
                await self._failed(failure, again=False, ours=True)
        except DiffioError as failure:
            await fetch_set_back(desk, fetch, failure, successes)
        else:
            desk.weather.good()
            await journal.do(fetches.fetched, runner, fetch, str(path), size)
        desk.ended.tell()

    async def _failed(self, failure: DiffioError, *, again: bool, ours: bool) -> None:
        journal = self.desk.journal
        problem = problem_of(failure)
        await journal.do(
            fetches.fetch_failed, journal.runner, self.fetch, problem, again=again, ours=ours
        )
        if self.desk.plan.on_error == "stop":
            self.desk.stop(failure)

    async def _lost(self, failure: NotFound) -> None:
        """The service no longer knows the generation."""
        desk, fetch, journal = self.desk, self.fetch, self.desk.journal
        if desk.plan.free and fetch.work not in desk.restarted:
            desk.restarted.add(fetch.work)
            await journal.do(fetches.result_to_do_again, journal.runner, fetch)
            desk.look_now()
            return
        _, text = lost_problem(desk, failure, fetch.generation, fetch.project)
        await journal.do(fetches.result_lost, journal.runner, fetch, text)
        if desk.plan.on_error == "stop":
            desk.stop(failure)

    async def _path(self) -> Path:
        """Where it goes, with its folder made; a video's ending is the service's choice."""
        fetch, path = self.fetch, Path(self.fetch.path)
        if fetch.kind == "video":
            link = await self.desk.generations.get_download(
                generation_id=fetch.generation,
                api_project_id=fetch.project,
                download_type="video",
                options=self.desk.plan.options,
            )
            # The service's text becomes part of a path: nothing but an ending is taken over.
            suffix = suffix_of(link.file_name)
            if suffix and path.suffix:
                path = path.with_name(shortened(path.stem, suffix))
        if fetch.ours or path.parent not in self.desk.folders:
            await Threads().run(_make_place, path, fetch, self.desk)
            self.desk.made(path.parent)
        return path

    @property
    def _keeps(self) -> bool:
        return self.desk.plan.on_conflict == "skip"

    async def _downloaded(self, path: Path) -> int:
        desk, fetch = self.desk, self.fetch
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
            on_progress=count if fetch.source_size >= WORTH_TELLING else None,
            options=desk.plan.options,
        )
        desk.received += downloaded.size - before
        return downloaded.size


def _make_place(path: Path, fetch: Fetch, desk: Desk) -> None:
    check_inside(desk.plan.root, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise TargetUnusable(
            f"the folder {str(path.parent)!r} cannot be made: {reason_of(failure)}"
        ) from failure
    if fetch.ours:
        _sweep(path)
    if desk.plan.on_conflict == "error" and stands_there(str(path), fetch.ours, fetch.bytes):
        raise TargetUnusable(
            f"{str(path)!r} exists and is not of this batch: move it away, and run again to fetch "
            "the result, which is paid for"
        )


def _sweep(path: Path) -> None:
    """Remove the trial file that a killed run may have left beside the result."""
    ending = "0" * 8 + ".part"
    known = re.escape(beside(path, ending).name.removesuffix(ending))
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if re.fullmatch(known + "[0-9a-f]{8}[.]part", entry.name):
                entry.unlink(missing_ok=True)


def _there(path: Path, fetch: Fetch) -> int | None:
    """The size of what stands under the name and is to be kept, None where nothing does."""
    if not stands_there(str(path), fetch.ours, fetch.bytes):
        return None
    try:
        return path.stat().st_size
    except OSError as failure:
        raise TargetUnusable(f"{str(path)!r} cannot be read: {reason_of(failure)}") from failure
