"""Generation stage: create the generation of an uploaded job once, and wait for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from diffio_async.batch import job_queries
from diffio_async.batch.failures import (
    MAX_ATTEMPTS,
    error_record,
    lost_generation_record,
    requeue_or_fail,
)
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
    """One leased job whose recording is uploaded."""

    context: RunContext
    job: RestorationJob

    async def run(self) -> None:
        """Create the generation if the job has none, and wait for its end."""
        job = self.job
        if job.generation is None:
            started = await self._create_generation()
            if started is None:
                return
            project, generation = started
        else:
            project, generation = job.project or "", job.generation
        self.context.running_generations[generation] = project
        try:
            await self._wait(project, generation)
        finally:
            self.context.running_generations.pop(
                generation, None
            )  # after a lost lease the run may have leased it twice

    async def _create_generation(self) -> tuple[str, str] | None:
        context, job = self.context, self.job
        sampling, params = load_settings(job.settings)
        successes = context.congestion.successes
        try:
            generation = await context.generations.create(
                api_project_id=job.project or "",
                model=job.model,
                sampling=sampling or None,
                params=params or None,
                idempotency_key=job.key,
                options=context.plan.options,
            )
            ids = generation.api_project_id, generation.generation_id
        except IdempotencyConflict as conflict:
            # The key is derived from the content: the other project contains the same recording.
            if conflict.api_project_id is None or conflict.generation_id is None:
                await requeue_or_fail(context, job, conflict, successes)
                return None
            ids = conflict.api_project_id, conflict.generation_id
        except NotFound as failure:
            if job.attempts + 1 < MAX_ATTEMPTS:
                await context.journal.write(
                    job_queries.reset_lost_project, context.journal.run_id, job.id
                )
            else:
                await requeue_or_fail(context, job, failure, successes)
            return None
        except DiffioError as failure:
            if isinstance(failure, ModelRetired):
                context.stop(failure)
            await requeue_or_fail(context, job, failure, successes)
            return None
        context.congestion.on_success()
        await context.journal.write(
            job_queries.record_generation, context.journal.run_id, job.id, *ids
        )
        return ids

    async def _wait(self, project: str, generation: str) -> None:
        context, journal = self.context, self.context.journal
        run_id, job_id = journal.run_id, self.job.id
        successes = context.congestion.successes
        try:
            await context.generations.wait_for_complete(
                generation_id=generation,
                api_project_id=project,
                timeout=context.plan.timeout,
                options=context.plan.options,
            )
        except GenerationFailed as failure:
            problem = error_record(failure)
            await journal.write(job_queries.fail_job, run_id, job_id, problem, retryable=False)
            self._failed(failure)
        except NotFound as failure:
            if context.plan.unbilled and job_id not in context.restarted_jobs:
                context.restarted_jobs.add(job_id)
                await journal.write(job_queries.restart_job, run_id, job_id)
                context.scan_now()
                return
            problem = lost_generation_record(context, failure, generation, project)
            await journal.write(job_queries.stop_waiting, run_id, job_id, problem)
            self._failed(failure)
        except WaitTimeout as failure:
            await journal.write(job_queries.stop_waiting, run_id, job_id, error_record(failure))
            self._failed(failure)
        except DiffioError as failure:
            await requeue_or_fail(context, self.job, failure, successes)
        else:
            context.congestion.on_success()
            # One transaction completes the job and leases its results if a download slot is free.
            with context.download_slots() as max_downloads:
                downloads, more = await journal.write(
                    job_queries.record_completion, run_id, job_id, max_downloads
                )
                for download in downloads:
                    context.start_download(download)
            if more:
                context.more_downloads = True
                context.result_ready.notify()

    def _failed(self, failure: DiffioError) -> None:
        self.context.file_ended.notify()
        if self.context.plan.on_error == "stop":
            self.context.stop(failure)
