"""The door to batches: `client.restore_many(…)`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

from diffio_async._engine.local_paths import local_path
from diffio_async._engine.pacing import Pacer
from diffio_async._wire.several import several
from diffio_async.batch.journal import DEFAULT_JOURNAL
from diffio_async.batch.many import Order, restore_many, wire_kinds
from diffio_async.batch.naming import DEFAULT_NAME
from diffio_async.batch.paths import absolute
from diffio_async.batch.plan import Plan
from diffio_async.batch.service import service_of
from diffio_async.batch.settings import Settings
from diffio_async.batch.sources import RECORDINGS
from diffio_async.models.batches import DEFAULT_IN_FLIGHT, BatchProgress, FileOutcome, LeftOut
from diffio_async.models.generations import DEFAULT_MODEL, DownloadType
from diffio_async.options import ClientOptions, RequestOptions
from diffio_async.resources.account import AsyncAccounts
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import AsyncProjects
from diffio_async.types import BatchConflict, Callback, OnError, Sources

#: So many generations in flight have the client's whole budget of questions, and so many times that
#: is the most, however many there are: what takes longer need not be asked about as often.
_AT_A_TIME, _WIDEST = 10, 20


class AsyncBatches:
    """Restores many recordings, each paid for once: call it."""

    def __init__(
        self,
        projects: AsyncProjects,
        generations: AsyncGenerations,
        accounts: AsyncAccounts,
        pacer: Pacer,
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
        """Restore many recordings, each paid for once, whatever happens on the way.

        All is written down in a journal before the first upload, and each step before the next.
        Run it again after a crash, a stop or a break out of the loop, and it goes on. Files of
        the same content share one generation; several processes with one journal share the work.

        Args:
            sources: Files, folders, globs, manifests (`.csv`, `.jsonl`) or `BatchItem`s: one, an
                iterable, or an async iterable. None works on what the journal lists already.
            to: The folder of the results, made if missing; sub-folders of sources are kept.
            journal: The journal, on a local disk; `.diffio-batch.sqlite` in `to` where None.
            model: `diffio-` and a name; a manifest may name another for a file.
            download_types: What is fetched of each: `audio`, `video`, `transcript`.
            name: The results' names: `{stem}`, `{name}`, `{type}`, `{ext}`, and `{parent}` for the
                name of the folder that the source lies in.
            recursive: Whether folders in folders are read.
            suffixes: The endings by which recordings are known in folders, such as `.wav`.
            sampling: The model's settings.
            project_params: Your own words about the projects.
            generation_params: Your own words about the generations.
            max_in_flight: Files uploaded or generated at once.
            on_conflict: `error`, `overwrite` or `skip`, where a result's name is taken.
            on_error: `continue`, or `stop`: after a failure begin nothing new.
            max_spend_seconds: Begin nothing new where all generations of the journal would bill
                more seconds than these: 60 are counted for each, the least it can be.
            retry_failed: Start failed generations anew, which bills them anew.
            salt: Makes the idempotency keys: with the same one, another machine's batch is not
                billed again for the same content. Made anew with the journal where None.
            timeout: Seconds each generation is waited for; None is the client's.
            on_progress: Told a few times a second.
            on_left_out: Called before the first upload, for each name that was found and is not
                restored: results, hidden names, other types, links to folders, and so on.
            options: Options of every request.

        Yields:
            What became of each file, in the order they end; first those that ended in earlier
            runs. A file that fails does not stop the others.

        Raises:
            ConfigurationError: Before anything is sent: an argument is wrong, a source names
                nothing, two results would have one name, or the journal is of another batch,
                service or account.
            BatchStopped: The key or the account was refused, the disk is full, the limit is
                reached, or a file failed and `on_error` is `stop`: what ran has ended.
            DatabaseUnusable: The journal cannot be used.
        """
        folder = absolute(local_path(to, "the folder of the results"))
        order = Order(
            sources=sources,
            to=folder,
            journal=folder / DEFAULT_JOURNAL
            if journal is None
            else Path(local_path(journal, "the journal")),
            service=service_of(self._base_url),
            settings=Settings.of(model, sampling, generation_params),
            kinds=wire_kinds(download_types),
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
                seconds=max_spend_seconds,
                timeout=timeout,
                project_params=project_params,
                options=options or RequestOptions(),
            ),
        )
        outcomes = self._run(order, on_progress=on_progress, on_left_out=on_left_out)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def _run(
        self,
        order: Order,
        *,
        on_progress: Callback[BatchProgress] | None = None,
        on_left_out: Callback[LeftOut] | None = None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Do what `order` says; `__call__` has the words."""
        outcomes = restore_many(
            self._projects,
            self._generations,
            self._accounts,
            order,
            self._options,
            on_progress=on_progress,
            on_left_out=on_left_out,
        )
        # A budget is meant for a few waits: here it is for each ten that can be in flight.
        with self._pacer.widened(min(_WIDEST, order.plan.max_in_flight / _AT_A_TIME)):
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome
