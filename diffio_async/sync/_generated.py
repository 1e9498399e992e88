# Written by `python -m diffio_async._codegen --write`; do not edit.
"""Blocking client: the surface of the coroutine client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

import diffio_async.webhooks as _webhooks
from diffio_async import _bridge as bridge
from diffio_async._protocol.media_types import RECORDING_ENDINGS
from diffio_async.client import AsyncDiffio
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.account import AccountSettings, ApiKey, UsageSummary
from diffio_async.models.batches import (
    DEFAULT_IN_FLIGHT,
    DEFAULT_NAME,
    BatchProgress,
    FileOutcome,
    LeftOut,
)
from diffio_async.models.generations import (
    DEFAULT_MODEL,
    Download,
    DownloadResult,
    DownloadType,
    Generation,
    GenerationProgress,
    GenerationSummary,
    Isolation,
    Outcome,
    Restoration,
)
from diffio_async.models.json_values import ListResponse
from diffio_async.models.projects import (
    Project,
    ProjectSummary,
    UploadConfirmation,
    UploadStore,
)
from diffio_async.models.webhooks import (
    SentTestEvent,
    WebhookEndpoint,
    WebhookEvent,
    WebhookMode,
)
from diffio_async.options import ClientOptions, RequestOptions
from diffio_async.resources import declared
from diffio_async.resources.account import (
    AsyncAccounts,
    AsyncApiKeys,
    AsyncUsageReports,
    AsyncWebhooks,
)
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import AsyncProjects
from diffio_async.restoration import AsyncAudioIsolation
from diffio_async.types import (
    BatchConflict,
    BatchExecutor,
    Callback,
    OnConflict,
    OnError,
    SourceLike,
    Sources,
)


class Projects:
    """Projects of the account."""

    def __init__(self, aio: AsyncProjects) -> None:
        self._aio = aio

    def create(
        self,
        source: SourceLike,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        file_format: str | None = None,
        params: Mapping[str, object] | None = None,
        resume: str | os.PathLike[str] | UploadStore | None = None,
        on_progress: Callback[UploadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> Project:
        """Create a project and upload its recording.

        Args:
            source: A path, a URL as text (`s3://bucket/key`), bytes, a binary file object (read
                from its position), an upload received by a web framework, or an async iterator of
                bytes. Objects and sources that can be read only once (iterators, pipes,
                `GzipFile`s) are first copied to a temporary file.
            file_name: Name of the recording. If None, the name of the source.
            content_type: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            file_format: A short label such as `wav`.
            params: Metadata of the project, as a JSON object.
            resume: A file, or a store, for the state of the upload. The next call with the same
                content and the same `resume`, also in another process, sends the missing bytes to
                the same project, whose name and metadata do not change. A failed upload is then
                not aborted: it can be resumed until its session ends.
            on_progress: Receives the number of bytes passed to the connection, which decreases when
                a part is sent again.
            options: Options of this call.

        Raises:
            InvalidSource: Before anything is sent: the source is missing, a folder, unreadable or
                too large. Later: it changed.
            UploadFailed: The bytes could not be sent; `api_project_id` is the project.
            ResumeFileError: The `resume` file is in use, damaged, or not writable.
            ResponseLost: The project may have been created; the request is not repeated.
            ApiError: The API responded with an error.
        """
        return bridge.run(
            self._aio.create,
            source,
            file_name=file_name,
            content_type=content_type,
            file_format=file_format,
            params=params,
            resume=resume,
            on_progress=bridge.hook(on_progress),
            options=options,
        )

    def complete_upload(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> UploadConfirmation:
        """Confirm to the API that an upload is finished; `create` does so itself. Idempotent.

        Args:
            api_project_id: The project.
            options: Options of this call.

        Raises:
            NotReady: The bytes have not arrived (409, `UploadIncomplete`).
        """
        return bridge.run(self._aio.complete_upload, api_project_id=api_project_id, options=options)

    def list(self, *, options: RequestOptions | None = None) -> ListResponse[ProjectSummary]:
        """Return all projects of the account; other fields of the response are in `extra`.

        Args:
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope `projects:read`.
        """
        return bridge.run(self._aio.list, options=options)

    def list_generations(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> ListResponse[GenerationSummary]:
        """Return all generations of a project, with their status.

        Args:
            api_project_id: The project.
            options: Options of this call.

        Raises:
            NotFound: The account has no such project.
        """
        return bridge.run(
            self._aio.list_generations,
            api_project_id=api_project_id,
            options=options,
        )


class Generations:
    """Generations of the account."""

    def __init__(self, aio: AsyncGenerations) -> None:
        self._aio = aio

    def wait_for_complete(
        self,
        *,
        generation_id: str,
        api_project_id: str | None = None,
        poll_interval: float | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        show_progress: bool = False,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """Wait until a generation is complete.

        Args:
            generation_id: The generation's id, or its handle.
            api_project_id: Its project.
            poll_interval: Seconds between polls, within the rate limit of the client. If None, the
                interval adapts.
            timeout: Maximum seconds. If None, that of the client; `math.inf` for no limit; 0 polls
                once.
            on_progress: Receives progress that changed. Its exceptions are logged.
            show_progress: Write progress that changed to standard error.
            options: Options of each poll. Failed polls are repeated by the wait, not by `retry`.

        Raises:
            GenerationFailed: It ended without a result; `progress` has the reason.
            WaitTimeout: It took longer than `timeout`; the generation continues.
        """
        return bridge.run(
            self._aio.wait_for_complete,
            generation_id=generation_id,
            api_project_id=api_project_id,
            poll_interval=poll_interval,
            timeout=timeout,
            on_progress=bridge.hook(on_progress),
            show_progress=show_progress,
            options=options,
        )

    def watch(
        self,
        generation_id: str,
        *,
        api_project_id: str | None = None,
        timeout: float | None = None,
        options: RequestOptions | None = None,
    ) -> Iterator[GenerationProgress]:
        """Yield progress whenever it changes; the last one is complete.

        Args:
            generation_id: The generation's id, or its handle.
            api_project_id: Its project.
            timeout: Maximum seconds. If None, that of the client; `math.inf` for no limit; 0 polls
                once.
            options: Options of each poll.

        Raises:
            GenerationFailed: It ended without a result; `progress` has the reason.
            WaitTimeout: It took longer than `timeout`; the generation continues.
        """
        return bridge.iterate(
            self._aio.watch,
            generation_id,
            api_project_id=api_project_id,
            timeout=timeout,
            options=options,
        )

    def wait_many(
        self,
        generations: Iterable[object] | AsyncIterable[object],
        *,
        api_project_id: str | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        show_progress: bool = False,
        raise_on_failure: bool = False,
        options: RequestOptions | None = None,
    ) -> list[Outcome]:
        """Wait until all generations have ended, with or without a result.

        The client polls no more often than its rate limit allows
        (`WaitPolicy.max_polls_per_second`), and all generations of one project at once.

        Args:
            generations: Ids, handles, or models with an id, from any iterable.
            api_project_id: The project of ids without one.
            timeout: Maximum seconds for each, from when it is taken from the iterable. If None,
                that of the client; `math.inf` for no limit; 0 polls once.
            on_progress: Receives progress that changed, of any of them.
            show_progress: Show counts by state, the rate and an estimate of the end on standard
                error: as a live table on a terminal (with the extra `cli`), else as lines.
            raise_on_failure: Raise at the end, if one did not complete.
            options: Options of each poll.

        Returns:
            An outcome for each, in the order passed. Failures and time-outs are in `error`.

        Raises:
            BatchFailed: With `raise_on_failure`: all errors, and `outcomes`.
            ConfigurationError: An item is not a generation.
        """
        return bridge.run(
            self._aio.wait_many,
            generations,
            api_project_id=api_project_id,
            timeout=timeout,
            on_progress=bridge.hook(on_progress),
            show_progress=show_progress,
            raise_on_failure=raise_on_failure,
            options=options,
        )

    def as_completed(
        self,
        generations: Iterable[object] | AsyncIterable[object],
        *,
        api_project_id: str | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        max_pending: int = 10_000,
        options: RequestOptions | None = None,
    ) -> Iterator[Outcome]:
        """Yield the outcome of each generation when it ends.

        Args:
            generations: Ids, handles, or models with an id, from any iterable, which may be
                infinite. An iterator that is not asynchronous runs in a thread of its own.
            api_project_id: The project of ids without one.
            timeout: Maximum seconds for each, from when it is taken from the iterable. If None,
                that of the client; `math.inf` for no limit; 0 polls once.
            on_progress: Receives progress that changed, of any of them.
            max_pending: Maximum number of generations waited for at once. More are taken from the
                iterable as these end.
            options: Options of each poll.

        Raises:
            ConfigurationError: An item is not a generation.
        """
        return bridge.iterate(
            self._aio.as_completed,
            generations,
            api_project_id=api_project_id,
            timeout=timeout,
            on_progress=bridge.hook(on_progress),
            max_pending=max_pending,
            options=options,
        )

    def create(
        self,
        *,
        api_project_id: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        options: RequestOptions | None = None,
    ) -> Generation:
        """Start a generation. It is billed, but only once for each idempotency key.

        Args:
            api_project_id: The project.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: 1 to 255 characters; random if None. Errors have it.
            options: Options of this call.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            IdempotencyConflict: The key was used for another project.
            ModelRetired: The model is no longer available (410).
            PaymentRequired: A billing hold or a spend limit (402).
            NotReady: The recording is not uploaded completely (409, `UploadIncomplete`).
        """
        return bridge.run(
            self._aio.create,
            api_project_id=api_project_id,
            model=model,
            sampling=sampling,
            params=params,
            idempotency_key=idempotency_key,
            options=options,
        )

    def attach(self, handle: str, *, options: RequestOptions | None = None) -> Generation:
        """Return the generation of a handle, after a request that checks that it exists.

        Args:
            handle: The `handle` of a generation, for example from another process.
            options: Options of this call.

        Raises:
            ConfigurationError: It is not a handle.
            NotFound: The account has no such generation.
        """
        return bridge.run(self._aio.attach, handle, options=options)

    def get_progress(
        self,
        *,
        generation_id: str,
        api_project_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """Return the progress of a generation.

        Args:
            generation_id: The generation.
            api_project_id: Its project, by which the API finds it faster.
            options: Options of this call.

        Raises:
            NotFound: The account has no such generation.
        """
        return bridge.run(
            self._aio.get_progress,
            generation_id=generation_id,
            api_project_id=api_project_id,
            options=options,
        )

    def create_and_wait(
        self,
        *,
        api_project_id: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        poll_interval: float | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        show_progress: bool = False,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """Call `create`, then `wait_for_complete`; return the last progress.

        Args:
            api_project_id: The project with the recording.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: 1 to 255 characters; random if None. Errors have it.
            poll_interval: Seconds between polls, as for `wait_for_complete`. None is adaptive.
            timeout: Seconds, as for `wait_for_complete`.
            on_progress: Called when the progress changed.
            show_progress: Print progress changes to standard error.
            options: Options of both calls.

        Raises:
            GenerationFailed: The generation ended without a result.
            WaitTimeout: The time is over; the generation continues, and the error has its ids.
            ApiError: The API responded with an error.
        """
        return bridge.run(
            self._aio.create_and_wait,
            api_project_id=api_project_id,
            model=model,
            sampling=sampling,
            params=params,
            idempotency_key=idempotency_key,
            poll_interval=poll_interval,
            timeout=timeout,
            on_progress=bridge.hook(on_progress),
            show_progress=show_progress,
            options=options,
        )

    def get_download(
        self,
        *,
        generation_id: str,
        api_project_id: str,
        download_type: DownloadType | None = None,
        options: RequestOptions | None = None,
    ) -> Download:
        """Return a signed link to a result, which expires after two to six hours.

        Anyone who has the link can download the result.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            download_type: `audio` (or `mp3`), `video` or `transcript`. If None, `video` if the
                recording has video, otherwise `audio`.
            options: Options of this call.

        Raises:
            NotReady: It is not complete (409), or its transcript is not (`TranscriptPending`).
            TranscriptUnavailable: It has no transcript and will not get one (404).
        """
        return bridge.run(
            self._aio.get_download,
            generation_id=generation_id,
            api_project_id=api_project_id,
            download_type=download_type,
            options=options,
        )

    def download(
        self,
        *,
        generation_id: str,
        api_project_id: str,
        download_file_path: str | os.PathLike[str] | None = None,
        download_type: DownloadType | None = None,
        on_conflict: OnConflict = "error",
        resume: bool = False,
        on_progress: Callback[DownloadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> DownloadResult:
        """Download a result to memory, or to a file that appears only when it is complete.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            download_file_path: The file to write, or the URL of an object (`s3://bucket/key`). If
                None, the result is kept in memory.
            download_type: As for `get_download`.
            on_conflict: `error` or `overwrite`, if the file exists.
            resume: Resume an earlier download to this file, and keep what was received if this one
                fails: in a hidden file beside it, which is deleted when the result is complete.
            on_progress: Receives the progress, in bytes.
            options: Options of this call.

        Raises:
            InvalidTarget: Before the first request: the folder is missing or not writable, or
                the file exists. Later: the disk is full.
            DownloadFailed: The result could not be downloaded completely, or is damaged.
        """
        return bridge.run(
            self._aio.download,
            generation_id=generation_id,
            api_project_id=api_project_id,
            download_file_path=download_file_path,
            download_type=download_type,
            on_conflict=on_conflict,
            resume=resume,
            on_progress=bridge.hook(on_progress),
            options=options,
        )


class AudioIsolation:
    """Shortcut of the guide: upload a recording and start its generation."""

    def __init__(self, aio: AsyncAudioIsolation) -> None:
        self._aio = aio

    def isolate(
        self,
        source: SourceLike,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        file_format: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        project_params: Mapping[str, object] | None = None,
        generation_params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        on_progress: Callback[UploadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> Isolation:
        """Upload a recording and start a generation, without waiting for its end.

        The model, the key and the settings are validated before anything is sent.

        Args:
            source: The recording, as for `projects.create`.
            file_name: Name of the recording. If None, the name of the source.
            content_type: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            file_format: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            project_params: Metadata of the project, as a JSON object.
            generation_params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: Key of the generation, 1 to 255 characters; random if None.
            on_progress: Receives the progress of the upload, in bytes.
            options: Options of each request.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            InvalidSource: The source is missing, unreadable, too large or empty, or it changed.
            UploadFailed: The bytes could not be sent; no generation was started.
            ApiError: The API responded with an error.
        """
        return bridge.run(
            self._aio.isolate,
            source,
            file_name=file_name,
            content_type=content_type,
            file_format=file_format,
            model=model,
            sampling=sampling,
            project_params=project_params,
            generation_params=generation_params,
            idempotency_key=idempotency_key,
            on_progress=bridge.hook(on_progress),
            options=options,
        )


class Accounts:
    """Settings of the account that the API key belongs to."""

    def __init__(self, aio: AsyncAccounts) -> None:
        self._aio = aio

    def get_settings(self, *, options: RequestOptions | None = None) -> AccountSettings:
        """Return the settings of the account (scope `account:read`).

        Args:
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope.
        """
        return bridge.run(self._aio.get_settings, options=options)

    def update_settings(
        self, *, billing_policy: Mapping[str, object], options: RequestOptions | None = None
    ) -> AccountSettings:
        """Set the billing policy (scope `account:write`).

        Args:
            billing_policy: `type` and what that type needs, by the API's names.
            options: Options of this call.

        Raises:
            ConfigurationError: The policy is not a JSON object; nothing was sent.
            BadRequest: The API does not accept the policy.
        """
        return bridge.run(self._aio.update_settings, billing_policy=billing_policy, options=options)


class ApiKeys:
    """API keys of the account."""

    def __init__(self, aio: AsyncApiKeys) -> None:
        self._aio = aio

    def create(
        self,
        *,
        label: str,
        scopes: Iterable[str],
        resource_bounds: Mapping[str, object] | None = None,
        options: RequestOptions | None = None,
    ) -> ApiKey:
        """Create a key (scope `keys:write`). Only this response has its secret, in `key`.

        The request is not repeated if its response is lost: find the key by its label with
        `list()`, and revoke it.

        Args:
            label: At most 80 characters.
            scopes: Such as `projects:read`, `generations:write`.
            resource_bounds: Resources that the key is limited to, by the API's names.
            options: Options of this call.

        Raises:
            ConfigurationError: The label or the scopes are invalid; nothing was sent.
            ResponseLost: The key may have been created.
        """
        return bridge.run(
            self._aio.create,
            label=label,
            scopes=scopes,
            resource_bounds=resource_bounds,
            options=options,
        )

    def list(self, *, options: RequestOptions | None = None) -> ListResponse[ApiKey]:
        """Return all keys of the account, without secrets (scope `keys:read`).

        Args:
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope.
        """
        return bridge.run(self._aio.list, options=options)

    def rotate(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """Replace the secret of a key (scope `keys:write`); the new one is in `key`.

        The request is not repeated if its response is lost: the old secret may be invalid then,
        and rotating again returns a new one.

        Args:
            key_id: Id of the key, not its secret.
            options: Options of this call.

        Raises:
            NotFound: The account has no such key.
            ResponseLost: The secret may have been changed.
        """
        return bridge.run(self._aio.rotate, key_id=key_id, options=options)

    def revoke(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """Revoke a key permanently (scope `keys:write`).

        Args:
            key_id: Id of the key, not its secret.
            options: Options of this call.

        Raises:
            NotFound: The account has no such key.
        """
        return bridge.run(self._aio.revoke, key_id=key_id, options=options)


class UsageReports:
    """Usage of the API keys of the account."""

    def __init__(self, aio: AsyncUsageReports) -> None:
        self._aio = aio

    def summary(
        self, *, api_key_id: str | None = None, options: RequestOptions | None = None
    ) -> UsageSummary:
        """Return the usage by period, and the billing (scope `usage:read`).

        Args:
            api_key_id: Id of the API key. If None, the key of the client.
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope.
        """
        return bridge.run(self._aio.summary, api_key_id=api_key_id, options=options)


class Webhooks:
    """Webhook endpoints of the API keys of the account."""

    def __init__(self, aio: AsyncWebhooks) -> None:
        self._aio = aio

    def configure(
        self,
        *,
        mode: WebhookMode,
        url: str,
        event_types: Iterable[str],
        api_key_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> WebhookEndpoint:
        """Configure where events are delivered (scope `webhooks:write`).

        Args:
            mode: `test` or `live`.
            url: An `https://` URL.
            event_types: Such as `generation.completed`, `generation.failed`.
            api_key_id: Id of the API key of the endpoint. If None, the key of the client.
            options: Options of this call.

        Raises:
            ConfigurationError: The mode, the URL or the types are invalid; nothing was sent.
        """
        return bridge.run(
            self._aio.configure,
            mode=mode,
            url=url,
            event_types=event_types,
            api_key_id=api_key_id,
            options=options,
        )

    def send_test_event(
        self,
        *,
        event_type: str,
        mode: WebhookMode,
        api_key_id: str | None = None,
        sample_payload: Mapping[str, object] | None = None,
        options: RequestOptions | None = None,
    ) -> SentTestEvent:
        """Send a test event to the endpoint (scope `webhooks:write`).

        The request is not repeated if its response is lost.

        Args:
            event_type: Such as `generation.completed`.
            mode: `test` or `live`.
            api_key_id: Id of the API key of the endpoint. If None, the key of the client.
            sample_payload: Fields of the event, by the API's names.
            options: Options of this call.

        Raises:
            ConfigurationError: The type or the mode is invalid; nothing was sent.
            ResponseLost: The event may have been sent.
        """
        return bridge.run(
            self._aio.send_test_event,
            event_type=event_type,
            mode=mode,
            api_key_id=api_key_id,
            sample_payload=sample_payload,
            options=options,
        )

    def verify_signature(
        self, *, payload: bytes | str, headers: Mapping[str, str], secret: str
    ) -> WebhookEvent:
        """Verify a delivery and return its event. Nothing is sent; see `WebhookVerifier`.

        Args:
            payload: The raw body as received. JSON that was parsed and written again does not
                verify.
            headers: The request's headers, in any case.
            secret: The endpoint's signing secret (`whsec_…`).

        Raises:
            WebhookRejected: The delivery is not genuine; `code` is the reason.
            ConfigurationError: The secret is malformed.
        """
        return self._aio.verify_signature(payload=payload, headers=headers, secret=secret)


class Diffio:
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

    projects: Projects = declared(Projects)
    generations: Generations = declared(Generations)
    audio_isolation: AudioIsolation = declared(AudioIsolation)
    account: Accounts = declared(Accounts)
    api_keys: ApiKeys = declared(ApiKeys)
    usage: UsageReports = declared(UsageReports)
    webhooks: Webhooks = declared(Webhooks)

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
        self._aio = AsyncDiffio(api_key, base_url=base_url, options=options, inbox=inbox)
        self.projects = Projects(self._aio.projects)
        self.generations = Generations(self._aio.generations)
        self.audio_isolation = AudioIsolation(self._aio.audio_isolation)
        self.account = Accounts(self._aio.account)
        self.api_keys = ApiKeys(self._aio.api_keys)
        self.usage = UsageReports(self._aio.usage)
        self.webhooks = Webhooks(self._aio.webhooks)

    def restore(
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
        return bridge.run(
            self._aio.restore,
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
            on_progress=bridge.hook(on_progress),
            options=options,
        )

    def restore_many(
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
    ) -> Iterator[FileOutcome]:
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
        return bridge.iterate(
            self._aio.restore_many,
            sources,
            to,
            journal=journal,
            model=model,
            download_types=download_types,
            name=name,
            recursive=recursive,
            suffixes=suffixes,
            sampling=sampling,
            project_params=project_params,
            generation_params=generation_params,
            max_in_flight=max_in_flight,
            on_conflict=on_conflict,
            on_error=on_error,
            max_spend_seconds=max_spend_seconds,
            retry_failed=retry_failed,
            salt=salt,
            timeout=timeout,
            on_progress=bridge.hook(on_progress),
            on_left_out=bridge.hook(on_left_out),
            executor=executor,
            options=options,
        )

    def close(self) -> None:
        """Close the connections. Calls in flight and later calls raise `ClientClosed`.

        Delays end at once. Running uploads, also in other threads, are aborted first, which may
        take up to five seconds.
        """
        return bridge.run(self._aio.aclose)

    def __enter__(self) -> Self:
        bridge.run(self._aio.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return bridge.run(self._aio.__aexit__, kind, error, traceback)

    def __repr__(self) -> str:
        return repr(self._aio).replace("AsyncDiffio", "Diffio", 1)
