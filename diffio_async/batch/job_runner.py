"""A work from its upload to its end: the generation is started once, and waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from diffio_async.batch import job_queries
from diffio_async.batch.failures import MAX_ATTEMPTS, error_record, lost_problem, requeue_or_fail
from diffio_async.batch.settings import load_settings
from diffio_async.errors import (
    DiffioError,
    GenerationFailed,
    IdempotencyConflict,
    ModelRetired,
    NotFound,
    WaitTimeout,
)

if TYPE_CHECKING:
    from diffio_async.batch.context import RunContext
    from diffio_async.batch.records import RestorationJob


@define(eq=False)
class JobRunner:
    """One work, held by this run, whose recording is at the service."""

    context: RunContext
    job: RestorationJob

    async def run(self) -> None:
        """Start its generation if none is known, and wait for its end."""
        work = self.job
        if work.generation is None:
            started = await self._create_generation()
            if started is None:
                return
            project, generation = started
        else:
            project, generation = work.project or "", work.generation
        self.context.running[generation] = project
        try:
            await self._wait(project, generation)
        finally:
            self.context.running.pop(generation, None)  # a run that lost it may have it twice

    async def _create_generation(self) -> tuple[str, str] | None:
        desk, work = self.context, self.job
        sampling, params = load_settings(work.settings)
        successes = desk.congestion.successes
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
                await requeue_or_fail(desk, work, conflict, successes)
                return None
            ids = conflict.api_project_id, conflict.generation_id
        except NotFound as failure:
            if work.tries + 1 < MAX_ATTEMPTS:
                await desk.journal.write(
                    job_queries.reset_lost_project, desk.journal.run_id, work.id
                )
            else:
                await requeue_or_fail(desk, work, failure, successes)
            return None
        except DiffioError as failure:
            if isinstance(failure, ModelRetired):
                desk.stop(failure)
            await requeue_or_fail(desk, work, failure, successes)
            return None
        desk.congestion.on_success()
        await desk.journal.write(job_queries.generation_created, desk.journal.run_id, work.id, *ids)
        return ids

    async def _wait(self, project: str, generation: str) -> None:
        desk, journal = self.context, self.context.journal
        runner, number = journal.run_id, self.job.id
        successes = desk.congestion.successes
        try:
            await desk.generations.wait_for_complete(
                generation_id=generation,
                api_project_id=project,
                timeout=desk.plan.timeout,
                options=desk.plan.options,
            )
        except GenerationFailed as failure:
            problem = error_record(failure)
            await journal.write(job_queries.job_failed, runner, number, problem, again=False)
            self._failed(failure)
        except NotFound as failure:
            if desk.plan.free and number not in desk.restarted:
                desk.restarted.add(number)
                await journal.write(job_queries.generation_lost, runner, number)
                desk.poll_now()
                return
            problem = lost_problem(desk, failure, generation, project)
            await journal.write(job_queries.stop_waiting, runner, number, problem)
            self._failed(failure)
        except WaitTimeout as failure:
            await journal.write(job_queries.stop_waiting, runner, number, error_record(failure))
            self._failed(failure)
        except DiffioError as failure:
            await requeue_or_fail(desk, self.job, failure, successes)
        else:
            desk.congestion.on_success()
            # One step for the end and the beginning of the next stage, where there is room for it.
            with desk.download_slots() as most:
                fetches, more = await journal.write(
                    job_queries.generation_complete, runner, number, most
                )
                for fetch in fetches:
                    desk.start_download(fetch)
            if more:
                desk.ready_notifier = True
                desk.ready.notify()

    def _failed(self, failure: DiffioError) -> None:
        self.context.ended.notify()
        if self.context.plan.on_error == "stop":
            self.context.stop(failure)
