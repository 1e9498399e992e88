# Written by `python -m diffio_async._codegen --write`; do not edit.
"""Blocking client: the surface of the coroutine client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from diffio_async import _bridge as bridge
from diffio_async.batch.naming import DEFAULT_NAME
from diffio_async.batch.sources import RECORDINGS
from diffio_async.client import AsyncDiffio
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.account import AccountSettings, ApiKey, UsageSummary
from diffio_async.models.batches import DEFAULT_IN_FLIGHT, BatchProgress, FileOutcome, LeftOut
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
from diffio_async.resources.account import AsyncAccounts, AsyncApiKeys, AsyncUsageReports
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import AsyncProjects
from diffio_async.resources.webhooks import AsyncWebhooks
from diffio_async.restoration import AsyncAudioIsolation
from diffio_async.types import BatchConflict, Callback, OnConflict, OnError, SourceLike, Sources
from diffio_async.webhooks.inbox import WebhookInbox


class Projects:
    """The projects of the account the key belongs to."""

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
            source: A path, bytes, a binary file object (read from where it stands), an upload that
                a web framework received, or an async iterator of bytes. What can be read only once
                (iterators, pipes, `GzipFile`s) is kept in a temporary file until it is sent.
            file_name: The recording's name; the source's own where None.
            content_type: Its MIME type; the source's own where None, or guessed from the name.
            file_format: A short label such as `wav`.
            params: Your own words about the project, kept with it.
            resume: A file, or a store, that keeps what is needed to go on: the next call with the
                same content and the same `resume`, in another process too, sends what is missing
                to the same project, under the name and words that was made with. A failed upload
                is then left open at the service, until its session ends.
            on_progress: Told of bytes handed to the connection; fewer when a part is sent again.
            options: Options of this call.

        Raises:
            InvalidSource: Before anything is sent: the source is missing, a folder, unreadable or
                too large. On the way: it changed.
            UploadFailed: The bytes could not be sent; `api_project_id` names the project.
            ResumeFileError: The `resume` file is in use, damaged, or cannot be written.
            ResponseLost: The project may have been created, and was not asked for a second time.
            ApiError: The API refused to create it.
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
        """Tell the API that an upload is finished; `create` does so itself. Safe to repeat.

        Raises:
            NotReady: The bytes have not landed (409).
        """
        return bridge.run(self._aio.complete_upload, api_project_id=api_project_id, options=options)

    def list(self, *, options: RequestOptions | None = None) -> ListResponse[ProjectSummary]:
        """Every project of the account; other fields of the response are in `extra`."""
        return bridge.run(self._aio.list, options=options)

    def list_generations(
        self, *, api_project_id: str, options: RequestOptions | None = None
    ) -> ListResponse[GenerationSummary]:
        """Every generation of a project, with its status.

        Raises:
            NotFound: The account has no such project.
        """
        return bridge.run(
            self._aio.list_generations,
            api_project_id=api_project_id,
            options=options,
        )


class Generations:
    """The generations of the key's account."""

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
            poll_interval: Seconds between questions, beside the client's budget; None lets the
                client choose.
            timeout: Seconds; None is the client's, `math.inf` no limit, 0 asks once.
            on_progress: Told of progress that changed; what it raises is logged.
            show_progress: Write progress that changed to standard error.
            options: Options of each question; the wait itself is what asks again.

        Raises:
            GenerationFailed: It ended without a result; `progress` has the reason.
            WaitTimeout: The deadline came first; the generation goes on.
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
        """Progress whenever it changed; what is told last says `complete`.

        Args:
            generation_id: The generation's id, or its handle.
            api_project_id: Its project.
            timeout: Seconds; None is the client's, `math.inf` no limit, 0 asks once.
            options: Options of each question.

        Raises:
            GenerationFailed: It ended without a result; `progress` has the reason.
            WaitTimeout: The deadline came first; the generation goes on.
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
        """Wait until all generations have ended, one way or the other.

        However many they are, the client polls no more often than its rate limit allows
        (`WaitPolicy.max_polls_per_second`), and all generations of one project at once.

        Args:
            generations: Ids, handles, or models with an id, from any iterable.
            api_project_id: The project of those that have none of their own.
            timeout: Seconds for each, from when it is taken from the iterable; None is the
                client's, `math.inf` no limit, 0 asks once.
            on_progress: Told of progress that changed, of any of them.
            show_progress: Show counts by state, the rate and an estimate of the end on standard
                error: as a live table on a terminal (with the extra `cli`), else as lines.
            raise_on_failure: Raise in the end, if one did not complete.
            options: Options of each question.

        Returns:
            An outcome for each, in the order given; failures and time-outs are in them.

        Raises:
            BatchFailed: With `raise_on_failure`: the errors of all, and `outcomes`.
            ConfigurationError: An item is no generation.
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
        """The outcome of each generation, as they end.

        Args:
            generations: Ids, handles, or models with an id, from any iterable, which may be
                endless. An iterator that is not asynchronous is run in a thread of its own.
            api_project_id: The project of those that have none of their own.
            timeout: Seconds for each, from when it is taken from the iterable; None is the
                client's, `math.inf` no limit, 0 asks once.
            on_progress: Told of progress that changed, of any of them.
            max_pending: Number of generations waited for at once; more are taken as these end.
            options: Options of each question.

        Raises:
            ConfigurationError: An item is no generation.
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
        """Start a generation. It is billed, and never twice for one key.

        Args:
            api_project_id: The project.
            model: Which are served is the server's word.
            sampling: The model's settings (`seed`, `preset`, …).
            params: Your own words about it (`prompt`, `tag`, …).
            idempotency_key: 1 to 255 characters, made anew where None; every error has it.
            options: Options of this call.

        Raises:
            ConfigurationError: An argument cannot be right; nothing was sent.
            IdempotencyConflict: The key was used before, for another project.
            ModelRetired: The model is no longer served (410).
            PaymentRequired: A billing hold or a spend limit (402).
            NotReady: The upload has not landed (409).
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
        """The generation of a handle that was kept, here or elsewhere; asks whether it exists.

        Raises:
            ConfigurationError: It is no handle.
            NotFound: There is no such generation for this key.
        """
        return bridge.run(self._aio.attach, handle, options=options)

    def get_progress(
        self,
        *,
        generation_id: str,
        api_project_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """How far a generation is; the project's id speeds the look-up."""
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
        """`create`, then `wait_for_complete`: arguments and errors are theirs."""
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
        """A signed link to a result, good for some hours. Whoever has it has the recording.

        `download_type` None is the server's choice: `video` where there is one, else `audio`.

        Raises:
            NotReady: It is not complete (409), or its transcript is not (`TranscriptPending`).
            TranscriptUnavailable: There will be no transcript (404).
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
        """Download a result to a file, which gets its name only when it is whole, or to memory.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            download_file_path: The file to write; None keeps the result in memory.
            download_type: As for `get_download`.
            on_conflict: `error` or `overwrite`, where the file exists.
            resume: Go on from what an earlier download to this file left, and leave what this one
                has when it fails: in a hidden file beside it, gone when the result is whole.
            on_progress: Told of bytes received.
            options: Options of this call.

        Raises:
            InvalidTarget: Before anything is asked: the folder is missing or not writable, or
                the file exists. Later: the disk is full.
            DownloadFailed: The result could not be fetched whole, or is damaged.
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

        Arguments and errors are those of `projects.create` and `generations.create`. The model,
        the key and the settings are validated before anything is sent.
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
    """Read and change the settings of the account the key belongs to."""

    def __init__(self, aio: AsyncAccounts) -> None:
        self._aio = aio

    def get_settings(self, *, options: RequestOptions | None = None) -> AccountSettings:
        """The account's settings (scope `account:read`)."""
        return bridge.run(self._aio.get_settings, options=options)

    def update_settings(
        self, *, billing_policy: Mapping[str, object], options: RequestOptions | None = None
    ) -> AccountSettings:
        """Set the billing policy (scope `account:write`).

        Args:
            billing_policy: In the API's own keys: `type`, and what that type needs.
            options: Options of this call.

        Raises:
            ConfigurationError: The policy is no JSON object; nothing was sent.
            BadRequest: The API takes no such policy.
        """
        return bridge.run(self._aio.update_settings, billing_policy=billing_policy, options=options)


class ApiKeys:
    """The keys of the account."""

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
        """Make a key (scope `keys:write`). Its secret is in `key`, now and never again.

        Never sent twice when the answer was lost: look with `list()` for a key of that label,
        and revoke it.

        Args:
            label: At most 80 characters.
            scopes: Such as `projects:read`, `generations:write`.
            resource_bounds: What the key is bound to, in the API's own keys.
            options: Options of this call.

        Raises:
            ConfigurationError: The label or the scopes cannot be right; nothing was sent.
            ResponseLost: A key may have been made.
        """
        return bridge.run(
            self._aio.create,
            label=label,
            scopes=scopes,
            resource_bounds=resource_bounds,
            options=options,
        )

    def list(self, *, options: RequestOptions | None = None) -> ListResponse[ApiKey]:
        """Every key of the account, without its secret (scope `keys:read`)."""
        return bridge.run(self._aio.list, options=options)

    def rotate(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """Give a key a new secret, which is in `key` (scope `keys:write`).

        Never sent twice when the answer was lost: the old secret may be worthless by then, and
        rotating again gives one that is known.

        Raises:
            NotFound: The account has no such key.
            ResponseLost: The secret may have been changed.
        """
        return bridge.run(self._aio.rotate, key_id=key_id, options=options)

    def revoke(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """End a key for good (scope `keys:write`).

        Raises:
            NotFound: The account has no such key.
        """
        return bridge.run(self._aio.revoke, key_id=key_id, options=options)


class UsageReports:
    """The usage of the account's keys."""

    def __init__(self, aio: AsyncUsageReports) -> None:
        self._aio = aio

    def summary(
        self, *, api_key_id: str | None = None, options: RequestOptions | None = None
    ) -> UsageSummary:
        """Usage by period, and billing (scope `usage:read`).

        Args:
            api_key_id: The key whose usage is asked for; the calling one where None.
            options: Options of this call.
        """
        return bridge.run(self._aio.summary, api_key_id=api_key_id, options=options)


class Webhooks:
    """The webhook endpoints of the account's keys."""

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
        """Say where events are delivered (scope `webhooks:write`).

        Args:
            mode: `test` or `live`.
            url: An `https://` URL.
            event_types: Such as `generation.completed`, `generation.failed`.
            api_key_id: The key whose endpoint it is; the calling one where None.
            options: Options of this call.

        Raises:
            ConfigurationError: The mode, the URL or the types cannot be right; nothing was sent.
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
        """Have an event delivered to the endpoint (scope `webhooks:write`).

        Never sent twice when the answer was lost.

        Args:
            event_type: Such as `generation.completed`.
            mode: `test` or `live`.
            api_key_id: The key whose endpoint gets it; the calling one where None.
            sample_payload: Fields of the event, in the API's own keys.
            options: Options of this call.
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
        """The event of a delivery, if it is genuine. Nothing is sent; `WebhookVerifier` does it.

        Args:
            payload: The raw body, as it came: JSON that was parsed and written again does not
                verify.
            headers: The request's headers, in any case.
            secret: The endpoint's signing secret (`whsec_…`).

        Raises:
            WebhookRejected: It is not, with the reason.
            ConfigurationError: The secret cannot be one.
        """
        return self._aio.verify_signature(payload=payload, headers=headers, secret=secret)


class Diffio:
    """A client of the Diffio API.

    Make it anywhere, at import time too, and keep it: connections are opened when they are
    needed, for each event loop its own.

    Attributes:
        projects: Upload recordings, list them.
        generations: Start, follow and download restorations.
        audio_isolation: Upload and start in one call.
        account: The account's settings.
        api_keys: Make, list, rotate and revoke keys.
        usage: What was processed, and what it costs.
        webhooks: Where events are delivered, and whether a delivery is genuine.
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
        inbox: WebhookInbox | None = None,
    ) -> None:
        """Make a client; nothing is sent.

        Args:
            api_key: The key; `DIFFIO_API_KEY` where None.
            base_url: The API, with or without `/v1`; `DIFFIO_API_BASE_URL` where None, and the
                hosted service where that is unset.
            options: Time-outs, retries, limits, proxy, TLS, observers.
            inbox: Where webhooks of this account are received, by this process or another on this
                machine: every wait ends the moment its event arrives, and questions fall to safety
                checks while events come.

        Raises:
            ConfigurationError: The key is missing or cannot be one, or the address is not secure.
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
        """Restore one recording: upload it, generate, wait, download.

        Whatever can be known to be wrong is raised before the first byte is sent. Every later
        error keeps `api_project_id`, `generation_id` and `idempotency_key`, so that nothing that
        was uploaded or billed is out of reach.

        Args:
            source: A path, bytes, a binary file object or an async iterator of bytes.
            to: The file to write, or a folder (the name is then `{stem}.restored.mp3`, `.json`, or
                the video's ending); None keeps the result in memory.
            model: `diffio-` and a name; which are served is the server's word.
            download_type: `audio` (or `mp3`), `video` or `transcript`.
            file_name: The recording's name; the source's own where None.
            content_type: Its MIME type; guessed from the name where None.
            file_format: A short label such as `wav`.
            sampling: The model's settings.
            project_params: Your own words about the project.
            generation_params: Your own words about the generation.
            idempotency_key: The generation's key; made anew where None. Another `restore` with the
                same key uploads anew and raises `IdempotencyConflict`, which has the ids of the
                first one's generation; none is billed.
            on_conflict: `error` or `overwrite`, where the target exists.
            poll_interval: Seconds between questions; None lets the pause adapt.
            timeout: Seconds the generation is waited for; None is the client's (an hour),
                `math.inf` no limit. A transcript that is pending is waited for as well.
            on_progress: Told of `UploadProgress`, `GenerationProgress` and `DownloadProgress`.
            options: Options of every request.

        Raises:
            ConfigurationError: The model, the type, the key or a time cannot be right.
            InvalidSource: The source is missing, unreadable, empty, too large, or changed; or a
                video is wanted of a recording that is certainly sound alone.
            InvalidTarget: The target's folder is missing or not writable, or the target exists.
            UploadFailed: The bytes could not be sent.
            GenerationFailed: The service could not restore it; the message has its reason.
            WaitTimeout: The generation took longer than `timeout`; it goes on.
            IdempotencyConflict: The key was used before, for another upload.
            DownloadFailed: The result could not be fetched; it can be, with the ids.
            ApiError: The API refused, by status: `AuthenticationFailed`, `PaymentRequired`, ….
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
    ) -> Iterator[FileOutcome]:
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
            options=options,
        )

    def close(self) -> None:
        """Close the connections. Calls in flight and later ones raise `ClientClosed`.

        Pauses end at once. Uploads under way, in other threads too, are aborted first, which may
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
