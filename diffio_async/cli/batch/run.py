"""`diffio-async batch` and `batch retry`: the request, the run itself, and how it ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from attrs import evolve

from diffio_async._protocol.urls import allows_insecure_http
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._validators import optional_local_path
from diffio_async.batch.journal import (
    SANDBOX,
    Journal,
    check_service,
    identity_of,
    journal_at,
    options_of,
    recorded_service,
    service_of,
)
from diffio_async.batch.journal_queries import download_types_of
from diffio_async.batch.request import BatchRequest
from diffio_async.cli import FAILED, OK
from diffio_async.cli.batch.progress import BatchReporter
from diffio_async.cli.client import RequestWatch, check_environment, open_client
from diffio_async.cli.command import log_to_console, mark_interruption_reported
from diffio_async.cli.files import DASH
from diffio_async.errors import BatchStopped, ConfigurationError, DatabaseError
from diffio_async.options import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffio_async.batch.restart import Mark
    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import DiffioError
    from diffio_async.types import BatchExecutor


def make_request(
    paths: Sequence[str] | None,
    output: str,
    *,
    journal: str | None,
    sandbox: bool,
    dry_run: bool = False,
    **options: Any,
) -> BatchRequest:
    """Check the environment, and return the request for the library.

    Args:
        paths: The sources; None for the files that the journal already lists.
        output: Folder of the results.
        journal: The journal; None for the default in `output`.
        sandbox: Whether the batch uses its own sandbox, and no key.
        dry_run: Whether nothing will be sent, so that no key is needed.
        options: Further arguments of `BatchRequest.create`.
    """
    if not (sandbox or dry_run):
        check_environment(alternative="or add --sandbox to restore locally without a key")
    if DASH in (output, *(paths or ())):
        raise ConfigurationError(
            "a batch has no standard input or output: use diffio-async restore for -"
        )
    return BatchRequest.create(
        paths,
        output,
        journal=optional_local_path(journal, "--journal"),
        service=SANDBOX if sandbox else _service(),
        **options,
    )


def executor_of(dask: str | None) -> BatchExecutor | None:
    """Return the executor that `--dask` names, None for this process.

    Raises:
        ConfigurationError: The extra is not installed, or it does not name a cluster.
    """
    if dask is None:
        return None
    try:
        from diffio_async.dask.local import executor_for
    except ImportError as failure:
        raise ConfigurationError(str(failure)) from failure
    log_to_console(logging.WARNING, tracebacks=False)
    return executor_for(dask)


def _service() -> str | None:
    """Return the service of the environment, None if it does not name one."""
    url = os.environ.get("DIFFIO_API_BASE_URL")
    if not url and not os.environ.get("DIFFIO_API_KEY"):
        return None
    return service_of(url or DEFAULT_BASE_URL, allow_insecure_http=allows_insecure_http(os.environ))


async def restore(request: BatchRequest, *, as_json: bool) -> int:
    """Run a batch and report each file when it ends. Return the exit code."""
    request.check()
    await _check_service(request)
    async with AsyncExitStack() as stack:
        watch = RequestWatch()
        client = await _open_client(request, stack, watch)
        reporter = BatchReporter(as_json=as_json)
        stack.enter_context(reporter.live())
        # The public method does not accept a service, which here may be the batch's own sandbox.
        outcomes = client._run_batch(  # noqa: SLF001
            request, on_progress=reporter.on_progress, on_left_out=reporter.on_left_out
        )
        try:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    reporter.on_outcome(outcome)
        except BatchStopped as error:
            reporter.on_stopped(error)
            return FAILED
        except (ConfigurationError, DatabaseError) as error:
            if not watch.any_sent:
                raise
            reporter.on_stopped(_batch_stopped(error, request, reporter))
            return FAILED
        except asyncio.CancelledError:
            reporter.on_interrupt(request.journal)
            mark_interruption_reported()
            raise
        reporter.on_finished(request.journal)
        return FAILED if reporter.failed else OK


async def _check_service(request: BatchRequest) -> None:
    """Check that an existing journal belongs to the service, before a sandbox is created."""
    if request.service is None or not await TrackedExecutor().run(os.path.isfile, request.journal):
        return
    journal = await Journal.open(request.journal, create=False)
    try:
        await journal.read(check_service, journal.path, request.service)
    finally:
        await journal.close()


async def _open_client(
    request: BatchRequest, stack: AsyncExitStack, watch: RequestWatch
) -> AsyncDiffio:
    if request.service != SANDBOX:
        return await stack.enter_async_context(open_client(observer=watch))
    from diffio_async.sandbox import Sandbox, SandboxError

    data = request.journal.with_name(f"{request.journal.name}-sandbox")
    try:
        sandbox = await stack.enter_async_context(Sandbox(data))
    except SandboxError as error:
        raise ConfigurationError(
            f"the sandbox of this batch cannot start: {error}. If another run of the batch is "
            "active, wait for its end: one at a time uses its sandbox"
        ) from error
    return await stack.enter_async_context(
        open_client(sandbox.api_key, sandbox.base_url, observer=watch)
    )


def _batch_stopped(
    cause: DiffioError, request: BatchRequest, reporter: BatchReporter
) -> BatchStopped:
    """Return the error of a run that failed after requests were sent."""
    error = BatchStopped(
        f"the batch stopped: {str(cause).rstrip('.')}. Correct it and run the same command "
        "again: what was sent is not billed again"
    )
    error.journal, error.__cause__ = str(request.journal), cause
    progress = reporter.progress
    if progress is not None:
        error.remaining_files = progress.files - progress.done - progress.failed
    return error


async def retry(
    path: str,
    overrides: Mapping[str, object],
    *,
    sandbox: bool,
    dask: str | None = None,
    as_json: bool,
    marks: Sequence[Mark] = (),
) -> int:
    """Resume a batch, and retry failed generations or marked files. Return the exit code.

    Args:
        path: The journal, or its folder.
        overrides: Fields of `RunOptions`; None means the value of the previous run.
        sandbox: Whether to use the sandbox even if the journal does not record it.
        dask: The cluster that moves the bytes, None for this process.
        as_json: Whether to print JSON.
        marks: Files to restore again, in place of failed generations.
    """
    journal_path = journal_at(path)
    journal = await Journal.open(journal_path, create=False)
    try:
        identity = await journal.read(identity_of)
        download_types = await journal.read(download_types_of)
        previous = await journal.read(options_of)
        service = await journal.read(recorded_service)
    finally:
        await journal.close()
    if identity is None or not download_types:
        raise ConfigurationError(f"the journal {str(journal_path)!r} does not list any file yet")
    changes: dict[str, Any] = {
        name: value for name, value in overrides.items() if value is not None
    }
    request = make_request(
        None,
        identity.to,
        journal=str(journal_path),
        sandbox=sandbox or service == SANDBOX,
        model=identity.model,
        sampling=json.loads(identity.sampling),
        generation_params=json.loads(identity.params),
        download_types=download_types,
        name=identity.name,
        retry_failed=not marks,
        marks=marks,
        executor=executor_of(dask),
        run=evolve(previous, **changes),
    )
    return await restore(request, as_json=as_json)
