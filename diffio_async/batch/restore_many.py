"""Entry point of batches: `client.restore_many(…)`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._polling.poller import Poller
from diffio_async._storage.local_paths import local_path
from diffio_async._validators import several
from diffio_async.batch.context import Plan
from diffio_async.batch.journal import DEFAULT_JOURNAL
from diffio_async.batch.naming import DEFAULT_NAME
from diffio_async.batch.records import absolute
from diffio_async.batch.session import (
    BatchRequest,
    normalize_download_types,
    run_batch,
)
from diffio_async.batch.settings import (
    JobSettings,
    service_of,
)
from diffio_async.batch.sources import RECORDINGS
from diffio_async.models.batches import DEFAULT_IN_FLIGHT, BatchProgress, FileOutcome, LeftOut
from diffio_async.models.generations import DEFAULT_MODEL, DownloadType
from diffio_async.options import ClientOptions, RequestOptions
from diffio_async.resources.account import AsyncAccounts
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import AsyncProjects
from diffio_async.types import BatchConflict, Callback, OnError, Sources

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async.models.batches import BatchProgress, FileOutcome, LeftOut
    from diffio_async.options import ClientOptions
    from diffio_async.resources.account import AsyncAccounts
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects
    from diffio_async.types import Callback


#: The client's poll rate is for so many generations; it is scaled up with their number, up to the
#: factor: long waits need fewer polls.
_AT_A_TIME, _WIDEST = 10, 20


class AsyncBatches:
    """Callable that restores many recordings, each billed once."""

    def __init__(
        self,
        projects: AsyncProjects,
        generations: AsyncGenerations,
        accounts: AsyncAccounts,
        pacer: Poller,
        options: ClientOptions,
        *,
        base_url: str,
    ) -> None:
        self._projects = projects
        self._generations = generations
        self._accounts = accounts
        self._base_url = base_url
        self._pacer = pacer
        self._options = options

    async def __call__(
        self,
        sources: Sources | None,
        to: str | os.PathLike[str],
        *,
        journal: str | os.PathLike[str] | None = None,
        model: str = DEFAULT_MODEL,
        download_types: Iterable[DownloadType] = ("audio",),
        name: str = DEFAULT_NAME,
        recursive: bool = True,
        suffixes: Iterable[str] = RECORDINGS,
        sampling: Mapping[str, object] | None = None,
        project_params: Mapping[str, object] | None = None,
        generation_params: Mapping[str, object] | None = None,
        max_in_flight: int = DEFAULT_IN_FLIGHT,
        on_conflict: BatchConflict = "error",
        on_error: OnError = "continue",
        max_spend_seconds: float | None = None,
        retry_failed: bool = False,
        salt: str | None = None,
        timeout: float | None = None,
        on_progress: Callback[BatchProgress] | None = None,
        on_left_out: Callback[LeftOut] | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Restore many recordings, each billed once, also across crashes and restarts.

        All files are recorded in a journal before the first upload, and each step before the next
        one. Run the same again after a crash, a stop or a break out of the loop to resume. Files
        with the same content share one generation. Several processes can share one journal, and
        so the work.

        Args:
            sources: Files, folders, globs, manifests (`.csv`, `.jsonl`) or `BatchItem`s: one, an
                iterable, or an async iterable. None processes what the journal lists.
            to: The folder of the results, created if missing; sub-folders of sources are kept.
            journal: The journal, on a local disk; None for `.diffio-batch.sqlite` in `to`.
            model: Model id; a manifest can set another one for a file.
            download_types: What to download for each: `audio`, `video`, `transcript`.
            name: Template of the results' names, with `{stem}`, `{name}`, `{type}`, `{ext}`, and
                `{parent}` for the name of the source's folder.
            recursive: Whether sub-folders are read.
            suffixes: The suffixes of recordings in folders, such as `.wav`.
            sampling: The model's settings.
            project_params: Your own metadata of the projects.
            generation_params: Your own metadata of the generations.
            max_in_flight: Maximum number of files that are uploaded or generated concurrently.
            on_conflict: `error`, `overwrite` or `skip`, if the path of a result exists.
            on_error: `continue`, or `stop` to start nothing new after a failure.
            max_spend_seconds: Start nothing new if all generations of the journal would bill more
                seconds than these; 60 are counted for each, the minimum.
            retry_failed: Start failed generations again, which bills them again.
            salt: Input of the idempotency keys: with the same salt, another machine's batch is not
                billed again for the same content. None generates one with the journal.
            timeout: Seconds to wait for each generation; None for the client's timeout.
            on_progress: Called with the progress, a few times per second.
            on_left_out: Called before the first upload, for each name that was found and is not
                restored: results, hidden names, other types, links to folders, and so on.
            options: Options of every request.

        Yields:
            The outcome of each file, in the order in which the files end; first those that ended in
            earlier runs. A failed file does not stop the others.

        Raises:
            ConfigurationError: An argument is invalid, a source matches nothing, two results would
                have the same path, or the journal belongs to another batch, service or account.
                Nothing was sent.
            BatchStopped: The key or the account was rejected, the disk is full, the limit is
                reached, or a file failed and `on_error` is `stop`. Running steps have ended.
            DatabaseError: The journal cannot be used.
        """
        folder = absolute(local_path(to, "the folder of the results"))
        request = BatchRequest(
            sources=sources,
            to=folder,
            journal=folder / DEFAULT_JOURNAL
            if journal is None
            else Path(local_path(journal, "the journal")),
            service=service_of(
                self._base_url, allow_insecure_http=self._options.allow_insecure_http
            ),
            settings=JobSettings.validated(model, sampling, generation_params),
            download_types=normalize_download_types(download_types),
            name=name,
            recursive=recursive,
            suffixes=frozenset(
                f".{suffix.lower().removeprefix('.')}" for suffix in several(suffixes, "suffixes")
            ),
            salt=salt,
            retry_failed=retry_failed,
            plan=Plan(
                root=folder,
                on_conflict=on_conflict,
                on_error=on_error,
                max_in_flight=max_in_flight,
                max_upload_bytes=self._options.max_upload_bytes,
                max_spend_seconds=max_spend_seconds,
                timeout=timeout,
                project_params=project_params,
                options=options or RequestOptions(),
            ),
        )
        outcomes = self._run(request, on_progress=on_progress, on_left_out=on_left_out)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def _run(
        self,
        order: BatchRequest,
        *,
        on_progress: Callback[BatchProgress] | None = None,
        on_left_out: Callback[LeftOut] | None = None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Run a request; `__call__` documents it."""
        order.check()
        outcomes = run_batch(
            self._projects,
            self._generations,
            self._accounts,
            order,
            self._options,
            on_progress=on_progress,
            on_left_out=on_left_out,
        )
        # A budget is meant for a few waits: here it is for each ten that can be in flight.
        with self._pacer.multiplied_rate_limit(min(_WIDEST, order.plan.max_in_flight / _AT_A_TIME)):
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome
