"""The work of `diffio-async batch` and `batch retry`: run, tell, and say how to go on."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, cast

from diffio_async._storage.threads import TrackedExecutor
from diffio_async.batch.journal import Journal, identity_of, journal_at, options_of
from diffio_async.batch.journal_queries import download_types_of
from diffio_async.batch.service import SANDBOX, check_service, service_in
from diffio_async.cli.batch.options import BatchOptions
from diffio_async.cli.batch.progress import make_reporter
from diffio_async.cli.environment import Sent, check_environment, connected
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.interrupts import interruption_reported
from diffio_async.errors import BatchStopped, ConfigurationError, DatabaseError

if TYPE_CHECKING:
    from diffio_async.cli.batch.options import Given
    from diffio_async.cli.batch.progress import BatchReporter
    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import DiffioError
    from diffio_async.models.generations import DownloadType
    from diffio_async.types import BatchConflict


async def restore(asked: BatchOptions, *, as_json: bool) -> int:
    """Restore what was asked for, and tell of each file as it ends.

    Raises:
        ConfigurationError: Nothing can be sent as things are, and nothing was.
        DatabaseError: The journal cannot be used.
    """
    if not asked.sandbox:
        check_environment(without="or add --sandbox to restore on this machine, without a key")
    asked.order().check()
    await _check_service(asked)
    async with AsyncExitStack() as stack:
        sent = Sent()
        client = await _client(asked, stack, sent)
        shown = stack.enter_context(make_reporter(as_json=as_json))
        try:
            await _run(client, asked, shown)
        except BatchStopped as error:
            shown.stopped(error)
            return FAILED
        except (ConfigurationError, DatabaseError) as error:
            if not sent.any:
                raise
            shown.stopped(_stopped(error, asked, shown))
            return FAILED
        except asyncio.CancelledError:
            shown.interrupted(asked.journal_path)
            interruption_reported()
            raise
        shown.finished(asked.journal_path)
        return FAILED if shown.failed else OK


async def _check_service(asked: BatchOptions) -> None:
    """Find out whether the journal is of this service, before a sandbox is made beside it."""
    path = asked.journal_path
    if asked.service is None or not await TrackedExecutor().run(os.path.isfile, path):
        return
    journal = await Journal.open(path, create=False)
    try:
        await journal.read(check_service, journal.path, asked.service)
    finally:
        await journal.close()


async def _run(client: AsyncDiffio, asked: BatchOptions, shown: BatchReporter) -> None:
    # The client alone cannot tell that its service is the sandbox of this batch.
    outcomes = client.restore_many._run(  # noqa: SLF001
        asked.order(), on_progress=shown.progressed, on_left_out=shown.left_out
    )
    async with aclosing(outcomes):
        async for outcome in outcomes:
            shown.ended(outcome)


def _stopped(error: DiffioError, asked: BatchOptions, shown: BatchReporter) -> BatchStopped:
    """What ended a run in which something was sent already."""
    stopped = BatchStopped(
        f"the batch stopped: {str(error).rstrip('.')}. Correct it and run the same again: what was "
        "sent is not billed again"
    )
    stopped.journal, stopped.__cause__ = str(asked.journal_path), error
    if shown.last is not None:
        stopped.remaining_files = shown.last.files - shown.last.done - shown.last.failed
    return stopped


async def _client(asked: BatchOptions, stack: AsyncExitStack, sent: Sent) -> AsyncDiffio:
    if not asked.sandbox:
        return await stack.enter_async_context(connected(observer=sent))
    from diffio_async.sandbox import Sandbox, SandboxError

    try:
        sandbox = await stack.enter_async_context(Sandbox(asked.sandbox_data))
    except SandboxError as error:
        raise ConfigurationError(
            f"the sandbox of this batch cannot start: {error}. If another run of the batch is "
            "under way, wait for its end: one at a time uses its sandbox"
        ) from error
    return await stack.enter_async_context(
        connected(sandbox.api_key, sandbox.base_url, observer=sent)
    )


async def retry(path: str, given: Given, *, as_json: bool) -> int:
    """Go on with a batch under its own terms, failed generations included.

    Raises:
        ConfigurationError: The journal lists nothing.
        DatabaseError: It is no journal.
    """
    at = journal_at(path)
    journal = await Journal.open(at, create=False)
    try:
        terms, kinds = await journal.read(identity_of), await journal.read(download_types_of)
        last, service = await journal.read(options_of), await journal.read(service_in)
    finally:
        await journal.close()
    if terms is None or not kinds:
        raise ConfigurationError(f"the journal {str(at)!r} lists no file yet")
    stops = last.on_error == "stop" if given.stop_on_error is None else given.stop_on_error
    asked = BatchOptions(
        paths=None,
        output=terms.to,
        journal=str(at),
        model=terms.model,
        sampling=json.loads(terms.sampling),
        params=json.loads(terms.params),
        project_params=last.project_params,
        kinds=cast("tuple[DownloadType, ...]", kinds),
        name=terms.name,
        jobs=last.max_in_flight if given.jobs is None else given.jobs,
        on_conflict=given.on_conflict or cast("BatchConflict", last.on_conflict),
        stop_on_error=stops,
        max_spend=last.max_spend_seconds if given.max_spend is None else given.max_spend,
        timeout=last.timeout if given.timeout is None else given.timeout,
        sandbox=given.sandbox or service == SANDBOX,
        retry=True,
    )
    return await restore(asked, as_json=as_json)
