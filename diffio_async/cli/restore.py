"""The work of `diffio-async restore`: several files through one client, each on its own."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, cast

import anyio
from attrs import evolve

from diffio_async._storage.system_errors import shortage_of
from diffio_async.cli.environment import connected
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.interrupts import interruption_reported
from diffio_async.cli.pipes import DASH, piped, spare_file, write_out
from diffio_async.cli.task_results import Failed, Interrupted, InterruptedEarly, Subject, Succeeded
from diffio_async.errors import DiffioError, UploadFailed
from diffio_async.events import GenerationStarted

if TYPE_CHECKING:
    from diffio_async.cli.pipes import Piped
    from diffio_async.cli.progress import Reporter
    from diffio_async.cli.restore_request import RestoreRequest
    from diffio_async.cli.resume_command import ResumeCommand
    from diffio_async.cli.task_results import TaskResult
    from diffio_async.events import Event
    from diffio_async.types import SourceLike


async def restore_files(order: RestoreRequest, reporter: Reporter) -> int:
    """Restore each file, a few at a time; one that fails does not stop the others.

    What can be known to be wrong is reported before the first byte is sent.

    Raises:
        ConfigurationError: Nothing can be sent as things are, and nothing was.
    """
    order.check()
    done: list[bool] = []
    async with AsyncExitStack() as stack:
        stdin = None
        if DASH in order.files:
            stdin = await stack.enter_async_context(piped(order.stdin_name))
            order = evolve(order, stdin_name=stdin.name)
        work = _Restorations(order, reporter, stdin)
        await work.connected(stack)
        turns = anyio.CapacityLimiter(order.jobs)
        short: list[DiffioError] = []

        async def restore(file: str) -> None:
            async with turns:
                # No upload is paid for whose result the disk has no room for.
                outcome = _not_begun(file, short[0]) if short else await work.restored(file)
            if isinstance(outcome, Failed) and not short and _lasts(outcome.error):
                short.append(outcome.error)
            done.append(outcome.done)
            reporter.ended(outcome)

        stack.enter_context(reporter)
        reporter.expecting(len(order.each_file()))
        usable = []
        for file in order.each_file():
            try:
                await order.check_file(file)
            except DiffioError as error:
                done.append(False)
                reporter.ended(Failed(subject=Subject(file), error=error))
            else:
                usable.append(file)
        async with anyio.create_task_group() as group:
            for file in usable:
                group.start_soon(restore, file)
    return OK if all(done) else FAILED


def _lasts(failure: DiffioError) -> bool:
    """Whether every other file would meet the same, as it would a full disk."""
    shortage = shortage_of(failure)
    return shortage is not None and not shortage.passing


def _not_begun(file: str, failure: DiffioError) -> Failed:
    error = UploadFailed(f"it was not begun, and nothing was sent: {failure}")
    error.__cause__ = failure
    return Failed(subject=Subject(file), error=error)


class _Restorations:
    """One client, and the generations it has started, by their idempotency keys."""

    def __init__(self, order: RestoreRequest, reporter: Reporter, stdin: Piped | None) -> None:
        self._order, self._reporter, self._stdin = order, reporter, stdin
        self._started: dict[str, GenerationStarted] = {}

    async def connected(self, stack: AsyncExitStack) -> None:
        """Make the client, and the sandbox where it is asked for; `stack` closes them."""
        given: tuple[str | None, str | None] = None, None
        if self._order.sandbox:
            from diffio_async.sandbox import Sandbox

            sandbox = await stack.enter_async_context(Sandbox())
            given = sandbox.api_key, sandbox.base_url
        self._client = await stack.enter_async_context(connected(*given, observer=self._observe))

    def _observe(self, event: Event) -> None:
        if isinstance(event, GenerationStarted):
            self._started[event.idempotency_key] = event

    async def restored(self, file: str) -> TaskResult:
        """Restore one file; where that is interrupted, say at once what goes on without us."""
        order = self._order
        piped_in = self._stdin if file == DASH else None
        name = order.name_of(file) if piped_in else file
        begun, subject, key = time.monotonic(), Subject(name), str(uuid.uuid4())
        stack = ExitStack()
        to = stack.enter_context(spare_file()) if order.to_stdout else order.folder(file)
        try:
            restoration = await self._client.restore(
                # What was opened already is a source too, though no user can have one.
                cast("SourceLike", piped_in.source) if piped_in else file,
                to,
                file_name=piped_in.name if piped_in else None,
                model=order.model,
                download_type=order.download_type,
                on_conflict="overwrite" if order.overwrite else "error",
                timeout=order.timeout,
                idempotency_key=key,
                on_progress=lambda fact: self._reporter.progressed(subject, fact),
            )
            if order.to_stdout:
                await write_out(to)
        except Exception as failure:
            shortage = shortage_of(failure)
            if isinstance(failure, DiffioError):
                error = failure
            elif shortage is not None:
                # The other files go on: they may be paid for already.
                error = DiffioError(shortage.text)
                error.__cause__ = failure
            else:
                raise
            going_on = self._resume_command(file, key)
            return Failed(
                subject=subject,
                seconds=time.monotonic() - begun,
                error=error,
                resume=None if going_on is None else going_on.for_error(error),
            )
        except asyncio.CancelledError as error:
            going_on = self._resume_command(file, key)
            self._reporter.ended(
                self._interrupted_early(subject, error)
                if going_on is None
                else Interrupted(subject=subject, resume=going_on)
            )
            interruption_reported()
            raise
        finally:
            stack.close()
        return Succeeded(
            subject=subject,
            event="restored",
            seconds=time.monotonic() - begun,
            path=None if order.to_stdout else restoration.path,
            progress=restoration.progress,
            download=restoration.download,
            model=restoration.generation.model_key,
        )

    def _interrupted_early(
        self, subject: Subject, error: asyncio.CancelledError
    ) -> InterruptedEarly:
        # Nothing of a sandbox outlives the command.
        ids = {} if self._order.sandbox else vars(error)
        return InterruptedEarly(
            subject=subject,
            api_project_id=ids.get("api_project_id"),
            idempotency_key=ids.get("idempotency_key"),
            may_be_billed=ids.get("may_be_billed", False),
        )

    def _resume_command(self, file: str, key: str) -> ResumeCommand | None:
        started = self._started.get(key)
        return None if started is None else self._order.resume_command(file, started)
