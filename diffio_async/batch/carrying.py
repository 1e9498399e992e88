"""A work from its upload to its end: the generation is started once, and waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from diffio_async.batch import works
from diffio_async.batch.settings import opened_settings
from diffio_async.batch.troubles import MOST_TRIES, lost_problem, problem_of, set_back
from diffio_async.errors import (
    DiffioError,
    GenerationFailed,
    IdempotencyConflict,
    ModelRetired,
    NotFound,
    WaitTimeout,
)

if TYPE_CHECKING:
    from diffio_async.batch.plan import Desk
    from diffio_async.batch.rows import Work


@define(eq=False)
class Carrying:
    """One work, held by this run, whose recording is at the service."""

    desk: Desk
    work: Work

    async def run(self) -> None:
        """Start its generation if none is known, and wait for its end."""
        work = self.work
        if work.generation is None:
            started = await self._started()
            if started is None:
                return
            project, generation = started
        else:
            project, generation = work.project or "", work.generation
        self.desk.running[generation] = project
        try:
            await self._waited(project, generation)
        finally:
            self.desk.running.pop(generation, None)  # a run that lost it may have it twice

    async def _started(self) -> tuple[str, str] | None:
        desk, work = self.desk, self.work
        sampling, params = opened_settings(work.settings)
        successes = desk.weather.successes
        try:
            generation = await desk.generations.create(
                api_project_id=work.project or "",
                model=work.model,
                sampling=sampling or None,
                params=params or None,
                idempotency_key=work.key,
                options=desk.plan.options,
            )
            ids = generation.api_project_id, generation.generation_id
        except IdempotencyConflict as conflict:
            # The key is made of the content: that other project holds the same recording.
            if conflict.api_project_id is None or conflict.generation_id is None:
                await set_back(desk, work, conflict, successes)
                return None
            ids = conflict.api_project_id, conflict.generation_id
        except NotFound as failure:
            if work.tries + 1 < MOST_TRIES:
                await desk.journal.do(works.project_lost, desk.journal.runner, work.id)
            else:
                await set_back(desk, work, failure, successes)
            return None
        except DiffioError as failure:
            if isinstance(failure, ModelRetired):
                desk.stop(failure)
            await set_back(desk, work, failure, successes)
            return None
        desk.weather.good()
        await desk.journal.do(works.started, desk.journal.runner, work.id, *ids)
        return ids

    async def _waited(self, project: str, generation: str) -> None:
        desk, journal = self.desk, self.desk.journal
        runner, number = journal.runner, self.work.id
        successes = desk.weather.successes
        try:
            await desk.generations.wait_for_complete(
                generation_id=generation,
                api_project_id=project,
                timeout=desk.plan.timeout,
                options=desk.plan.options,
            )
        except GenerationFailed as failure:
            problem = problem_of(failure)
            await journal.do(works.work_failed, runner, number, problem, again=False)
            self._failed(failure)
        except NotFound as failure:
            if desk.plan.free and number not in desk.restarted:
                desk.restarted.add(number)
                await journal.do(works.generation_lost, runner, number)
                desk.look_now()
                return
            problem = lost_problem(desk, failure, generation, project)
            await journal.do(works.wait_ended, runner, number, problem)
            self._failed(failure)
        except WaitTimeout as failure:
            await journal.do(works.wait_ended, runner, number, problem_of(failure))
            self._failed(failure)
        except DiffioError as failure:
            await set_back(desk, self.work, failure, successes)
        else:
            desk.weather.good()
            # One step for the end and the beginning of the next stage, where there is room for it.
            with desk.room_to_fetch() as most:
                fetches, more = await journal.do(works.complete, runner, number, most)
                for fetch in fetches:
                    desk.begin_fetch(fetch)
            if more:
                desk.more_ready = True
                desk.ready.tell()

    def _failed(self, failure: DiffioError) -> None:
        self.desk.ended.tell()
        if self.desk.plan.on_error == "stop":
            self.desk.stop(failure)
