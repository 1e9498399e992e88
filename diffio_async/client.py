"""The async client."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import evolve

# Its names are loaded when they are used, also by `typing.get_type_hints`.
import diffio_async.webhooks as _webhooks
from diffio_async._http.transport import ApiTransport
from diffio_async._polling.poller import Poller
from diffio_async._protocol.media_types import RECORDING_ENDINGS
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.urls import allows_insecure_http
from diffio_async._reporting import INTERRUPTIONS
from diffio_async._storage.loops import running_loop
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.batches import (
    DEFAULT_IN_FLIGHT,
    DEFAULT_NAME,
    BatchProgress,
    FileOutcome,
    LeftOut,
)
from diffio_async.models.generations import (
    DEFAULT_MODEL,
    DownloadType,
    GenerationProgress,
    Restoration,
)
from diffio_async.options import DEFAULT_BASE_URL, ClientOptions, RequestOptions
from diffio_async.resources import declared
from diffio_async.resources.account import (
    AsyncAccounts,
    AsyncApiKeys,
    AsyncUsageReports,
    AsyncWebhooks,
)
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import AsyncProjects
from diffio_async.restoration import AsyncAudioIsolation, restore
from diffio_async.types import (
    BatchConflict,
    BatchExecutor,
    Callback,
    OnConflict,
    OnError,
    SourceLike,
    Sources,
)

if TYPE_CHECKING:
    from diffio_async.batch.request import BatchRequest


class AsyncDiffio:
    """Async client of the Diffio API.

    It may be created anywhere, also at import time, and should be reused: connections are opened
    on first use, separately for each event loop.

    Attributes:
        projects: Upload and list recordings.
        generations: Start, wait for and download restorations.
        audio_isolation: Upload a recording and start its restoration in one call.
        account: Settings of the account.
        api_keys: Create, list, rotate and revoke API keys.
        usage: Usage and its cost.
        webhooks: Configure endpoints, and verify deliveries.
    """

    projects: AsyncProjects = declared(AsyncProjects)
    generations: AsyncGenerations = declared(AsyncGenerations)
    audio_isolation: AsyncAudioIsolation = declared(AsyncAudioIsolation)
    account: AsyncAccounts = declared(AsyncAccounts)
    api_keys: AsyncApiKeys = declared(AsyncApiKeys)
    usage: AsyncUsageReports = declared(AsyncUsageReports)
    webhooks: AsyncWebhooks = declared(AsyncWebhooks)

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        options: ClientOptions | None = None,
        inbox: _webhooks.WebhookInbox | None = None,
    ) -> None:
        """Create a client; nothing is sent.

        Args:
            api_key: The API key. If None, `DIFFIO_API_KEY` of the environment.
            base_url: URL of the API, with or without `/v1`. If None, `DIFFIO_API_BASE_URL` of the
                environment, or the hosted service.
            options: Time-outs, retries, limits, proxy, TLS, observers.
            inbox: Inbox for the webhooks of this account, received by this process or another on
                this machine. Each wait ends when its event arrives, and polls are rare while events
                are received.

        Raises:
            ConfigurationError: The API key is missing or malformed, or the URL is not secure.
        """
        options = options or ClientOptions()
        if allows_insecure_http(os.environ):
            options = evolve(options, allow_insecure_http=True)
        self._sender = ApiTransport(
            api_key if api_key is not None else os.environ.get("DIFFIO_API_KEY"),
            base_url
            if base_url is not None
            else os.environ.get("DIFFIO_API_BASE_URL") or DEFAULT_BASE_URL,
            options,
        )
        self.projects = AsyncProjects(self._sender)
        self._pacer = Poller(self._sender, None if inbox is None else inbox.push_source())
        self.generations = AsyncGenerations(self._sender, self._pacer)
        self.audio_isolation = AsyncAudioIsolation(self.projects, self.generations)
        self.account = AsyncAccounts(self._sender)
        self.api_keys = AsyncApiKeys(self._sender)
        self.usage = AsyncUsageReports(self._sender)
        self.webhooks = AsyncWebhooks(self._sender)

    async def restore(
        self,
        source: SourceLike,
        to: str | os.PathLike[str] | None = None,
        *,
        model: str = DEFAULT_MODEL,
        download_type: DownloadType = "audio",
        file_name: str | None = None,
        content_type: str | None = None,
        file_format: str | None = None,
        sampling: Mapping[str, object] | None = None,
        project_params: Mapping[str, object] | None = None,
        generation_params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        poll_interval: float | None = None,
        timeout: float | None = None,
        on_progress: Callback[UploadProgress | GenerationProgress | DownloadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> Restoration:
        """Restore one recording: upload it, start a generation, wait for it, download the result.

        Invalid arguments are found before the first byte is sent. Every later error has
        `api_project_id`, `generation_id` and `idempotency_key`, from which the restoration can be
        continued.

        Args:
            source: A path, a URL as text (`s3://bucket/key`), bytes, a binary file object or an
                async iterator of bytes.
            to: The file or the object to write, or a folder (the name is then
                `{stem}.restored.mp3`, `.json`, or has the suffix of the video). A URL names a
                folder if it ends with a slash. If None, the result is kept in memory.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            download_type: `audio` (or `mp3`), `video` or `transcript`.
            file_name: Name of the recording. If None, the name of the source.
            content_type: MIME type of the recording. If None, it is guessed from the name.
            file_format: A short label such as `wav`.
            sampling: Settings of the model (`seed`, `preset`, …).
            project_params: Metadata of the project, as a JSON object.
            generation_params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: Key of the generation, 1 to 255 characters; random if None. A second
                `restore` with the same key uploads again and raises `IdempotencyConflict` with the
                ids of the first generation; it is not billed.
            on_conflict: `error` or `overwrite`, if the target exists.
            poll_interval: Seconds between polls. If None, the interval adapts.
            timeout: Maximum seconds to wait for the generation and for a pending transcript. If
                None, that of the client (one hour); `math.inf` for no limit.
            on_progress: Receives `UploadProgress`, `GenerationProgress` and `DownloadProgress`.
            options: Options of every request.

        Raises:
            ConfigurationError: The model, the type, the key or a time is invalid.
            InvalidSource: The source is missing, unreadable, empty or too large, or changed; or a
                video is requested of a recording without video.
            InvalidTarget: The target exists, or its folder is missing or not writable.
            UploadFailed: The bytes could not be sent.
            GenerationFailed: The service could not restore it; the message has the reason.
            WaitTimeout: The generation took longer than `timeout`; it continues.
            IdempotencyConflict: The key was used for another upload.
            DownloadFailed: The result could not be downloaded; it still can, by the ids.
            ApiError: The API responded with an error: `AuthenticationFailed`, `PaymentRequired`, ….
        """
        with self._sender.operation("restore") as operation:
            restored = await restore(
                self.audio_isolation,
                self.generations,
                source,
                to,
                model=model,
                download_type=download_type,
                file_name=file_name,
                content_type=content_type,
                file_format=file_format,
                sampling=sampling,
                project_params=project_params,
                generation_params=generation_params,
                idempotency_key=idempotency_key,
                on_conflict=on_conflict,
                poll_interval=poll_interval,
                timeout=timeout,
                on_progress=on_progress,
                options=options,
                wait=self._sender.options.wait,
                pause=self._sender.closing.sleep,
            )
            operation.api_project_id = restored.project.api_project_id
            operation.generation_id = restored.generation.generation_id
        return restored

    async def restore_many(
        self,
        sources: Sources | None,
        to: str | os.PathLike[str],
        *,
        journal: str | os.PathLike[str] | None = None,
        model: str = DEFAULT_MODEL,
        download_types: Iterable[DownloadType] = ("audio",),
        name: str = DEFAULT_NAME,
        recursive: bool = True,
        suffixes: Iterable[str] | None = RECORDING_ENDINGS,
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
        executor: BatchExecutor | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Restore many recordings, each billed once, also across crashes and restarts.

        All files are recorded in a journal before the first upload, and each step before the next
        one. Run the same again after a crash, a stop or a break out of the loop to resume. Files
        with the same content share one generation. Several processes can share one journal, and
        so the work.

        Args:
            sources: Files, folders, globs, manifests (`.csv`, `.jsonl`), URLs or `BatchItem`s: one,
                an iterable, or an async iterable. None processes what the journal lists.
            to: The folder of the results, created if missing, or its URL (`s3://bucket/folder/`);
                sub-folders of sources are kept.
            journal: The journal, on a local disk; None for `.diffio-batch.sqlite` in `to`. It must
                be named if `to` is a URL.
            model: Model id; a manifest can set another one for a file.
            download_types: What to download for each: `audio`, `video`, `transcript`.
            name: Template of the results' names, with `{stem}`, `{name}`, `{type}`, `{ext}`, and
                `{parent}` for the name of the source's folder.
            recursive: Whether sub-folders are read.
            suffixes: The suffixes of recordings in folders, such as `.wav`. None takes every file.
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
            executor: What reads, uploads and stores the files: `dask.DaskExecutor` for the workers
                of a cluster, which needs a `salt`; None for this process.
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
        # Loaded here: most programs restore no batch.
        from diffio_async.batch.journal import service_of
        from diffio_async.batch.request import BatchRequest, RunOptions

        request = BatchRequest.create(
            sources,
            to,
            service=service_of(
                self._sender.base_url,
                allow_insecure_http=self._sender.options.allow_insecure_http,
            ),
            journal=journal,
            model=model,
            download_types=download_types,
            name=name,
            recursive=recursive,
            suffixes=suffixes,
            sampling=sampling,
            generation_params=generation_params,
            salt=salt,
            retry_failed=retry_failed,
            options=options,
            executor=executor,
            run=RunOptions(
                on_conflict=on_conflict,
                on_error=on_error,
                max_in_flight=max_in_flight,
                max_spend_seconds=max_spend_seconds,
                timeout=timeout,
                project_params=project_params,
            ),
        )
        outcomes = self._run_batch(request, on_progress=on_progress, on_left_out=on_left_out)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    def _run_batch(
        self,
        request: BatchRequest,
        *,
        on_progress: Callback[BatchProgress] | None,
        on_left_out: Callback[LeftOut] | None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Run a request; the command passes a service of its own: the sandbox of the batch."""
        from diffio_async.batch.restore_many import run_batch

        return run_batch(
            request,
            projects=self.projects,
            generations=self.generations,
            accounts=self.account,
            options=self._sender.options,
            on_progress=on_progress,
            on_left_out=on_left_out,
        )

    async def aclose(self) -> None:
        """Close the connections. Calls in flight and later calls raise `ClientClosed`.

        Delays end at once. Running uploads, also in other threads, are aborted first, which may
        take up to five seconds.
        """
        await self._close()

    async def _close(self, *, interrupted: bool = False) -> None:
        try:
            await self._sender.aclose(interrupted=interrupted)
        finally:
            if self._pacer.source is not None:
                await self._pacer.source.aclose()

    async def __aenter__(self) -> Self:
        running_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close(interrupted=isinstance(error, INTERRUPTIONS))

    def __repr__(self) -> str:
        return f"AsyncDiffio(base_url={public_url(self._sender.base_url)!r})"

    def __del__(self) -> None:
        # Only a warning: nothing is scheduled from here.
        sender = getattr(self, "_sender", None)
        if sender is not None and sender.sessions.open:
            warnings.warn(
                f"{self!r} was left open: use it in a with statement, or close it",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )
