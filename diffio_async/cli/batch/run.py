"""`diffio-async batch` and `batch retry`: options, the run itself, and how it ended."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import frozen

from diffio_async._protocol.urls import allows_insecure_http
from diffio_async._storage.local_paths import local_path
from diffio_async._storage.threads import TrackedExecutor
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
from diffio_async.batch.request import BatchRequest, RunOptions
from diffio_async.batch.schema import DEFAULT_JOURNAL, absolute
from diffio_async.cli import FAILED, OK
from diffio_async.cli.batch.progress import BatchReporter
from diffio_async.cli.client import RequestWatch, check_environment, open_client
from diffio_async.cli.command import mark_interruption_reported
from diffio_async.cli.files import DASH
from diffio_async.errors import BatchStopped, ConfigurationError, DatabaseError
from diffio_async.models.generations import DownloadType
from diffio_async.options import DEFAULT_BASE_URL
from diffio_async.types import BatchConflict

if TYPE_CHECKING:
    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import DiffioError


@frozen(kw_only=True)
class BatchOptions:
    """Options of `batch`. `paths` is None for the files that the journal already lists."""

    paths: tuple[str, ...] | None
    output: str
    journal: str | None
    recursive: bool = True
    model: str
    download_types: tuple[DownloadType, ...]
    name: str
    jobs: int
    on_conflict: BatchConflict = "error"
    stop_on_error: bool = False
    max_spend: float | None = None
    timeout: float | None = None
    salt: str | None = None
    sandbox: bool = False
    retry: bool = False
    sampling: dict[str, object] | None = None
    params: dict[str, object] | None = None
    project_params: Mapping[str, object] | None = None

    @property
    def folder(self) -> Path:
        """The folder of the results.

        Raises:
            ConfigurationError: A path is `-`, which a batch does not support.
        """
        if self.output == DASH or (self.paths and DASH in self.paths):
            raise ConfigurationError(
                "a batch has no standard input or output: use diffio-async restore for -"
            )
        return absolute(local_path(self.output, "-o"))

    @property
    def journal_path(self) -> Path:
        """The path of the journal."""
        return (
            self.folder / DEFAULT_JOURNAL
            if self.journal is None
            else Path(local_path(self.journal, "--journal"))
        )

    @property
    def sandbox_data(self) -> Path:
        """The folder of the sandbox's data, beside the journal."""
        return self.journal_path.with_name(self.journal_path.name + "-sandbox")

    @property
    def service(self) -> str | None:
        """The service of the options and the environment, None if neither names one."""
        if self.sandbox:
            return SANDBOX
        url = os.environ.get("DIFFIO_API_BASE_URL")
        if url or os.environ.get("DIFFIO_API_KEY"):
            return service_of(
                url or DEFAULT_BASE_URL, allow_insecure_http=allows_insecure_http(os.environ)
            )
        return None

    def request(self) -> BatchRequest:
        """Return the request for the library.

        Raises:
            ConfigurationError: The name of the model is invalid.
        """
        return BatchRequest.create(
            self.paths,
            self.folder,
            service=self.service,
            journal=self.journal_path,
            model=self.model,
            download_types=self.download_types,
            name=self.name,
            recursive=self.recursive,
            sampling=self.sampling,
            generation_params=self.params,
            salt=self.salt,
            retry_failed=self.retry,
            run=RunOptions(
                on_conflict=self.on_conflict,
                on_error="stop" if self.stop_on_error else "continue",
                max_in_flight=self.jobs,
                max_spend_seconds=self.max_spend,
                timeout=self.timeout,
                project_params=self.project_params,
            ),
        )


@frozen(kw_only=True)
class RetryOptions:
    """Options of `batch retry`. None means the value of the previous run."""

    jobs: int | None = None
    on_conflict: BatchConflict | None = None
    stop_on_error: bool | None = None
    max_spend: float | None = None
    timeout: float | None = None
    sandbox: bool = False


async def restore(options: BatchOptions, *, as_json: bool) -> int:
    """Run a batch and report each file when it ends. Return the exit code.

    Raises:
        ConfigurationError: The options are invalid; nothing was sent.
        DatabaseError: The journal cannot be used.
    """
    if not options.sandbox:
        check_environment(alternative="or add --sandbox to restore locally without a key")
    options.request().check()
    await _check_service(options)
    async with AsyncExitStack() as stack:
        watch = RequestWatch()
        client = await _open_client(options, stack, watch)
        reporter = stack.enter_context(BatchReporter(as_json=as_json))
        try:
            await _run(client, options, reporter)
        except BatchStopped as error:
            reporter.on_stopped(error)
            return FAILED
        except (ConfigurationError, DatabaseError) as error:
            if not watch.any_sent:
                raise
            reporter.on_stopped(_batch_stopped(error, options, reporter))
            return FAILED
        except asyncio.CancelledError:
            reporter.on_interrupt(options.journal_path)
            mark_interruption_reported()
            raise
        reporter.on_finished(options.journal_path)
        return FAILED if reporter.failed else OK


async def _check_service(options: BatchOptions) -> None:
    """Check that an existing journal belongs to the service, before a sandbox is created."""
    path = options.journal_path
    if options.service is None or not await TrackedExecutor().run(os.path.isfile, path):
        return
    journal = await Journal.open(path, create=False)
    try:
        await journal.read(check_service, journal.path, options.service)
    finally:
        await journal.close()


async def _open_client(
    options: BatchOptions, stack: AsyncExitStack, watch: RequestWatch
) -> AsyncDiffio:
    if not options.sandbox:
        return await stack.enter_async_context(open_client(observer=watch))
    from diffio_async.sandbox import Sandbox, SandboxError

    try:
        sandbox = await stack.enter_async_context(Sandbox(options.sandbox_data))
    except SandboxError as error:
        raise ConfigurationError(
            f"the sandbox of this batch cannot start: {error}. If another run of the batch is "
            "active, wait for its end: one at a time uses its sandbox"
        ) from error
    return await stack.enter_async_context(
        open_client(sandbox.api_key, sandbox.base_url, observer=watch)
    )


async def _run(client: AsyncDiffio, options: BatchOptions, reporter: BatchReporter) -> None:
    # The public method does not accept a service, which here may be the batch's own sandbox.
    outcomes = client._run_batch(  # noqa: SLF001
        options.request(), on_progress=reporter.on_progress, on_left_out=reporter.on_left_out
    )
    async with aclosing(outcomes):
        async for outcome in outcomes:
            reporter.on_outcome(outcome)


def _batch_stopped(
    cause: DiffioError, options: BatchOptions, reporter: BatchReporter
) -> BatchStopped:
    """Return the error of a run that failed after requests were sent."""
    error = BatchStopped(
        f"the batch stopped: {str(cause).rstrip('.')}. Correct it and run the same command "
        "again: what was sent is not billed again"
    )
    error.journal, error.__cause__ = str(options.journal_path), cause
    progress = reporter.progress
    if progress is not None:
        error.remaining_files = progress.files - progress.done - progress.failed
    return error


async def retry(path: str, overrides: RetryOptions, *, as_json: bool) -> int:
    """Resume a batch with its stored options, and retry failed generations. Return the exit code.

    Raises:
        ConfigurationError: The journal does not list any file.
        DatabaseError: The file is not a journal.
    """
    journal_path = journal_at(path)
    journal = await Journal.open(journal_path, create=False)
    try:
        identity = await journal.read(identity_of)
        download_types = await journal.read(download_types_of)
        stored = await journal.read(options_of)
        service = await journal.read(recorded_service)
    finally:
        await journal.close()
    if identity is None or not download_types:
        raise ConfigurationError(f"the journal {str(journal_path)!r} does not list any file yet")
    stop_on_error = overrides.stop_on_error
    max_spend, timeout = overrides.max_spend, overrides.timeout
    options = BatchOptions(
        paths=None,
        output=identity.to,
        journal=str(journal_path),
        model=identity.model,
        sampling=json.loads(identity.sampling),
        params=json.loads(identity.params),
        project_params=stored.project_params,
        download_types=cast("tuple[DownloadType, ...]", download_types),
        name=identity.name,
        jobs=stored.max_in_flight if overrides.jobs is None else overrides.jobs,
        on_conflict=overrides.on_conflict or stored.on_conflict,
        stop_on_error=stored.on_error == "stop" if stop_on_error is None else stop_on_error,
        max_spend=stored.max_spend_seconds if max_spend is None else max_spend,
        timeout=stored.timeout if timeout is None else timeout,
        sandbox=overrides.sandbox or service == SANDBOX,
        retry=True,
    )
    return await restore(options, as_json=as_json)
