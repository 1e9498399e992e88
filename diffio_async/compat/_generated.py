# Written by `python -m diffio_async._codegen --write`; do not edit.
"""`DiffioClient` and its parts, in camelCase."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from diffio_async.compat import _calls, _restoring
from diffio_async.compat._calls import CompatClientCore
from diffio_async.compat.options import RequestOptionsLike
from diffio_async.compat.types import (
    AccountSettingsResponse,
    ApiKeyResponse,
    ApiKeysListResponse,
    AudioIsolationResult,
    CompleteProjectUploadResponse,
    CreateGenerationResponse,
    CreateProjectResponse,
    GenerationDownloadResponse,
    GenerationProgressResponse,
    GenerationWebhookEvent,
    ListProjectGenerationsResponse,
    ListProjectsResponse,
    RestoreInfo,
    UsageSummaryResponse,
    WebhookConfigureResponse,
    WebhookTestEventResponse,
)
from diffio_async.models.generations import DEFAULT_MODEL, DownloadType
from diffio_async.models.webhooks import WebhookMode
from diffio_async.resources import declared


class AudioIsolationClient:
    """From a recording to its generation, or to its result, in one call."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def convert(
        self,
        *,
        filePath: str | os.PathLike[str],
        contentType: str | None = None,
        contentLength: int | None = None,
        fileFormat: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        projectParams: Mapping[str, object] | None = None,
        generationParams: Mapping[str, object] | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> AudioIsolationResult:
        """Another name for `isolate`.

        Args:
            filePath: The recording's path.
            contentType: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            contentLength: Accepted and ignored: the size of the file is sent.
            fileFormat: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            projectParams: Metadata of the project, as a JSON object.
            generationParams: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: An argument is invalid; nothing was sent.
            DiffioInvalidSource: The source is missing, unreadable, too large or empty, or it
                changed.
            DiffioUploadFailed: The bytes could not be sent; no generation was started.
            DiffioApiError: The API responded with an error.
        """
        return _calls.isolate(
            self._parent,
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            fileFormat=fileFormat,
            model=model,
            sampling=sampling,
            projectParams=projectParams,
            generationParams=generationParams,
            requestOptions=requestOptions,
        )

    def isolate(
        self,
        *,
        filePath: str | os.PathLike[str],
        contentType: str | None = None,
        contentLength: int | None = None,
        fileFormat: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        projectParams: Mapping[str, object] | None = None,
        generationParams: Mapping[str, object] | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> AudioIsolationResult:
        """Upload a recording and start a generation, without waiting for its end.

        The model, the key and the settings are validated before anything is sent.

        Args:
            filePath: The recording's path.
            contentType: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            contentLength: Accepted and ignored: the size of the file is sent.
            fileFormat: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            projectParams: Metadata of the project, as a JSON object.
            generationParams: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: An argument is invalid; nothing was sent.
            DiffioInvalidSource: The source is missing, unreadable, too large or empty, or it
                changed.
            DiffioUploadFailed: The bytes could not be sent; no generation was started.
            DiffioApiError: The API responded with an error.
        """
        return _calls.isolate(
            self._parent,
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            fileFormat=fileFormat,
            model=model,
            sampling=sampling,
            projectParams=projectParams,
            generationParams=generationParams,
            requestOptions=requestOptions,
        )

    def restore_audio(
        self,
        *,
        filePath: str | os.PathLike[str],
        contentType: str | None = None,
        contentLength: int | None = None,
        fileFormat: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        projectParams: Mapping[str, object] | None = None,
        generationParams: Mapping[str, object] | None = None,
        downloadType: DownloadType = "audio",
        pollInterval: float = 2.0,
        timeout: float = 600.0,
        onProgress: Callable[[GenerationProgressResponse], object] | None = None,
        showProgress: bool = False,
        requestOptions: RequestOptionsLike = None,
        progressRequestOptions: RequestOptionsLike = None,
        downloadRequestOptions: RequestOptionsLike = None,
        raiseOnError: bool = False,
    ) -> tuple[bytes | None, RestoreInfo]:
        """Restore one recording: upload it, generate, wait, download.

        Returns the bytes and a dict with the state of the restoration. After a failure, the bytes
        are None and `error` in the dict has the reason; with `raiseOnError`, the error is raised.
        Arguments are checked before the first byte is sent.

        Args:
            filePath: The recording's path.
            contentType: MIME type of the recording. If None, it is guessed from the name.
            contentLength: Accepted and ignored: the size of the file is sent.
            fileFormat: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            projectParams: Metadata of the project, as a JSON object.
            generationParams: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            downloadType: `audio` (or `mp3`), `video` or `transcript`.
            pollInterval: Seconds between polls.
            timeout: Seconds to wait for the generation; 0 polls once.
            onProgress: Called when the progress changed, in the calling thread.
            showProgress: Print progress changes to standard error.
            requestOptions: Options of this call: an object or a dict.
            progressRequestOptions: Options of the wait, if they differ.
            downloadRequestOptions: Options of the download, if they differ.
            raiseOnError: Raise the error, with the dict as its `restoreInfo`.

        Raises:
            DiffioConfigurationError: The model, the type, the key or a time is invalid.
            DiffioInvalidSource: The source is missing, unreadable, empty or too large, or changed;
                or a video is requested of a recording without video.
            DiffioUploadFailed: The bytes could not be sent.
            DiffioGenerationFailed: The service could not restore it; the message has the reason.
            DiffioWaitTimeout: The generation took longer than `timeout`; it continues.
            DiffioIdempotencyConflict: The key was used for another upload.
            DiffioDownloadFailed: The result could not be downloaded; it still can, by the ids.
            DiffioApiError: The API responded with an error: `DiffioAuthenticationFailed`,
                `DiffioPaymentRequired`, ….
        """
        return _restoring.restore_audio(
            self._parent,
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            fileFormat=fileFormat,
            model=model,
            sampling=sampling,
            projectParams=projectParams,
            generationParams=generationParams,
            downloadType=downloadType,
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=requestOptions,
            progressRequestOptions=progressRequestOptions,
            downloadRequestOptions=downloadRequestOptions,
            raiseOnError=raiseOnError,
        )

    def restore(
        self,
        *,
        filePath: str | os.PathLike[str],
        contentType: str | None = None,
        contentLength: int | None = None,
        fileFormat: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        projectParams: Mapping[str, object] | None = None,
        generationParams: Mapping[str, object] | None = None,
        downloadType: DownloadType = "audio",
        pollInterval: float = 2.0,
        timeout: float = 600.0,
        onProgress: Callable[[GenerationProgressResponse], object] | None = None,
        showProgress: bool = False,
        requestOptions: RequestOptionsLike = None,
        progressRequestOptions: RequestOptionsLike = None,
        downloadRequestOptions: RequestOptionsLike = None,
        raiseOnError: bool = False,
    ) -> tuple[bytes | None, RestoreInfo]:
        """Restore one recording: upload it, generate, wait, download.

        Returns the bytes and a dict with the state of the restoration. After a failure, the bytes
        are None and `error` in the dict has the reason; with `raiseOnError`, the error is raised.
        Arguments are checked before the first byte is sent.

        Args:
            filePath: The recording's path.
            contentType: MIME type of the recording. If None, it is guessed from the name.
            contentLength: Accepted and ignored: the size of the file is sent.
            fileFormat: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            projectParams: Metadata of the project, as a JSON object.
            generationParams: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            downloadType: `audio` (or `mp3`), `video` or `transcript`.
            pollInterval: Seconds between polls.
            timeout: Seconds to wait for the generation; 0 polls once.
            onProgress: Called when the progress changed, in the calling thread.
            showProgress: Print progress changes to standard error.
            requestOptions: Options of this call: an object or a dict.
            progressRequestOptions: Options of the wait, if they differ.
            downloadRequestOptions: Options of the download, if they differ.
            raiseOnError: Raise the error, with the dict as its `restoreInfo`.

        Raises:
            DiffioConfigurationError: The model, the type, the key or a time is invalid.
            DiffioInvalidSource: The source is missing, unreadable, empty or too large, or changed;
                or a video is requested of a recording without video.
            DiffioUploadFailed: The bytes could not be sent.
            DiffioGenerationFailed: The service could not restore it; the message has the reason.
            DiffioWaitTimeout: The generation took longer than `timeout`; it continues.
            DiffioIdempotencyConflict: The key was used for another upload.
            DiffioDownloadFailed: The result could not be downloaded; it still can, by the ids.
            DiffioApiError: The API responded with an error: `DiffioAuthenticationFailed`,
                `DiffioPaymentRequired`, ….
        """
        return _restoring.restore_audio(
            self._parent,
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            fileFormat=fileFormat,
            model=model,
            sampling=sampling,
            projectParams=projectParams,
            generationParams=generationParams,
            downloadType=downloadType,
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=requestOptions,
            progressRequestOptions=progressRequestOptions,
            downloadRequestOptions=downloadRequestOptions,
            raiseOnError=raiseOnError,
        )


class GenerationsClient:
    """Generations of the account."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def create(
        self,
        *,
        apiProjectId: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotencyKey: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> CreateGenerationResponse:
        """Start a generation. It is billed, but only once for each idempotency key.

        Args:
            apiProjectId: The project.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotencyKey: 1 to 255 characters; random if None. Errors have it.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: An argument is invalid; nothing was sent.
            DiffioIdempotencyConflict: The key was used for another project.
            DiffioModelRetired: The model is no longer available (410).
            DiffioPaymentRequired: A billing hold or a spend limit (402).
            DiffioNotReady: The recording is not uploaded completely (409,
                `DiffioUploadIncomplete`).
        """
        return self._parent.call(
            CreateGenerationResponse.from_dict,
            self._parent.aio.generations.create,
            api_project_id=apiProjectId,
            model=_calls.served(model),
            sampling=sampling,
            params=params or None,
            idempotency_key=idempotencyKey,
            options=self._parent.options(requestOptions),
        )

    def get_progress(
        self,
        *,
        generationId: str,
        apiProjectId: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationProgressResponse:
        """Return the progress of a generation.

        Args:
            generationId: The generation.
            apiProjectId: Its project, by which the API finds it faster.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such generation.
        """
        return self._parent.call(
            GenerationProgressResponse.from_dict,
            self._parent.aio.generations.get_progress,
            generation_id=generationId,
            api_project_id=apiProjectId,
            options=self._parent.options(requestOptions),
        )

    def get_download(
        self,
        *,
        generationId: str,
        apiProjectId: str,
        downloadType: DownloadType | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationDownloadResponse:
        """Return a signed link to a result, which expires after two to six hours.

        Anyone who has the link can download the result.

        Args:
            generationId: The generation.
            apiProjectId: Its project.
            downloadType: `audio` (or `mp3`), `video` or `transcript`. If None, `video` if the
                recording has video, otherwise `audio`.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotReady: It is not complete (409), or its transcript is not
                (`DiffioTranscriptPending`).
            DiffioTranscriptUnavailable: It has no transcript and will not get one (404).
        """
        return self._parent.call(
            GenerationDownloadResponse.from_dict,
            self._parent.aio.generations.get_download,
            generation_id=generationId,
            api_project_id=apiProjectId,
            download_type=downloadType,
            options=self._parent.options(requestOptions),
        )

    def download(
        self,
        *,
        generationId: str,
        apiProjectId: str,
        downloadFilePath: str | os.PathLike[str],
        downloadType: DownloadType | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationDownloadResponse:
        """Download a result to a file, which has its name only when it is complete.

        Args:
            generationId: The generation.
            apiProjectId: Its project.
            downloadFilePath: The file to write; an existing file is replaced.
            downloadType: As for `get_download`.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioInvalidTarget: Before any request: the folder is missing or not writable. Later:
                the disk is full.
            DiffioDownloadFailed: The result could not be downloaded completely, or is damaged.
        """
        return _calls.download(
            self._parent,
            generationId=generationId,
            apiProjectId=apiProjectId,
            downloadFilePath=downloadFilePath,
            downloadType=downloadType,
            requestOptions=requestOptions,
        )

    def wait_for_complete(
        self,
        *,
        generationId: str,
        apiProjectId: str | None = None,
        pollInterval: float = 2.0,
        timeout: float = 600.0,
        onProgress: Callable[[GenerationProgressResponse], object] | None = None,
        showProgress: bool = False,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationProgressResponse:
        """Wait until a generation is complete.

        Args:
            generationId: The generation's id, or its handle.
            apiProjectId: Its project.
            pollInterval: Seconds between polls.
            timeout: Seconds to wait for the generation; 0 polls once.
            onProgress: Called when the progress changed, in the calling thread.
            showProgress: Print progress changes to standard error.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioGenerationFailed: It ended without a result; `progress` has the reason.
            DiffioWaitTimeout: It took longer than `timeout`; the generation continues.
        """
        return _restoring.wait_for_complete(
            self._parent,
            generationId=generationId,
            apiProjectId=apiProjectId,
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=requestOptions,
        )

    def create_and_wait(
        self,
        *,
        apiProjectId: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotencyKey: str | None = None,
        pollInterval: float = 2.0,
        timeout: float = 600.0,
        onProgress: Callable[[GenerationProgressResponse], object] | None = None,
        showProgress: bool = False,
        requestOptions: RequestOptionsLike = None,
        progressRequestOptions: RequestOptionsLike = None,
    ) -> tuple[CreateGenerationResponse, GenerationProgressResponse]:
        """Call `create`, then `wait_for_complete`; return both results.

        Args:
            apiProjectId: The project with the recording.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotencyKey: 1 to 255 characters; random if None. Errors have it.
            pollInterval: Seconds between polls.
            timeout: Seconds to wait for the generation; 0 polls once.
            onProgress: Called when the progress changed, in the calling thread.
            showProgress: Print progress changes to standard error.
            requestOptions: Options of this call: an object or a dict.
            progressRequestOptions: Options of the wait, if they differ.

        Raises:
            DiffioGenerationFailed: The generation ended without a result.
            DiffioWaitTimeout: The time is over; the generation continues, and the error has its
                ids.
            DiffioApiError: The API responded with an error.
        """
        return _restoring.create_and_wait(
            self._parent,
            apiProjectId=apiProjectId,
            model=model,
            sampling=sampling,
            params=params,
            idempotencyKey=idempotencyKey,
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=requestOptions,
            progressRequestOptions=progressRequestOptions,
        )


class ProjectsClient:
    """Projects of the account."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def list(self, *, requestOptions: RequestOptionsLike = None) -> ListProjectsResponse:
        """Return all projects of the account; other fields of the response are in `extra`.

        Args:
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope `projects:read`.
        """
        return self._parent.call(
            ListProjectsResponse.from_dict,
            self._parent.aio.projects.list,
            options=self._parent.options(requestOptions),
        )

    def complete_upload(
        self,
        *,
        apiProjectId: str,
        requestOptions: RequestOptionsLike = None,
    ) -> CompleteProjectUploadResponse:
        """Confirm to the API that an upload is finished; `create` does so itself. Idempotent.

        Args:
            apiProjectId: The project.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotReady: The bytes have not arrived (409, `DiffioUploadIncomplete`).
        """
        return self._parent.call(
            CompleteProjectUploadResponse.from_dict,
            self._parent.aio.projects.complete_upload,
            api_project_id=apiProjectId,
            options=self._parent.options(requestOptions),
        )

    def list_generations(
        self,
        *,
        apiProjectId: str,
        requestOptions: RequestOptionsLike = None,
    ) -> ListProjectGenerationsResponse:
        """Return all generations of a project, with their status.

        Args:
            apiProjectId: The project.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such project.
        """
        return self._parent.call(
            ListProjectGenerationsResponse.from_dict,
            self._parent.aio.projects.list_generations,
            api_project_id=apiProjectId,
            options=self._parent.options(requestOptions),
        )


class AccountClient:
    """Settings of the account that the API key belongs to."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def get_settings(self, *, requestOptions: RequestOptionsLike = None) -> AccountSettingsResponse:
        """Return the settings of the account (scope `account:read`).

        Args:
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope.
        """
        return self._parent.call(
            AccountSettingsResponse.from_dict,
            self._parent.aio.account.get_settings,
            options=self._parent.options(requestOptions),
        )

    def update_settings(
        self,
        *,
        billingPolicy: Mapping[str, object],
        requestOptions: RequestOptionsLike = None,
    ) -> AccountSettingsResponse:
        """Set the billing policy (scope `account:write`).

        Args:
            billingPolicy: `type` and what that type needs, by the API's names.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The policy is not a JSON object; nothing was sent.
            DiffioBadRequest: The API does not accept the policy.
        """
        return self._parent.call(
            AccountSettingsResponse.from_dict,
            self._parent.aio.account.update_settings,
            billing_policy=billingPolicy,
            options=self._parent.options(requestOptions),
        )


class ApiKeysClient:
    """API keys of the account."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def create(
        self,
        *,
        label: str,
        scopes: Iterable[str],
        resourceBounds: Mapping[str, object] | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> ApiKeyResponse:
        """Create a key (scope `keys:write`). Only this response has its secret, in `key`.

        The request is not repeated if its response is lost: find the key by its label with
        `list()`, and revoke it.

        Args:
            label: At most 80 characters.
            scopes: Such as `projects:read`, `generations:write`.
            resourceBounds: Resources that the key is limited to, by the API's names.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The label or the scopes are invalid; nothing was sent.
            DiffioResponseLost: The key may have been created.
        """
        return self._parent.call(
            ApiKeyResponse.from_dict,
            self._parent.aio.api_keys.create,
            label=label,
            scopes=scopes,
            resource_bounds=resourceBounds or {},
            options=self._parent.options(requestOptions),
        )

    def list(self, *, requestOptions: RequestOptionsLike = None) -> ApiKeysListResponse:
        """Return all keys of the account, without secrets (scope `keys:read`).

        Args:
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope.
        """
        return self._parent.call(
            ApiKeysListResponse.from_dict,
            self._parent.aio.api_keys.list,
            options=self._parent.options(requestOptions),
        )

    def rotate(self, *, keyId: str, requestOptions: RequestOptionsLike = None) -> ApiKeyResponse:
        """Replace the secret of a key (scope `keys:write`); the new one is in `key`.

        The request is not repeated if its response is lost: the old secret may be invalid then, and
        rotating again returns a new one.

        Args:
            keyId: The id of the key, not the key.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such key.
            DiffioResponseLost: The secret may have been changed.
        """
        return self._parent.call(
            ApiKeyResponse.from_dict,
            self._parent.aio.api_keys.rotate,
            key_id=keyId,
            options=self._parent.options(requestOptions),
        )

    def revoke(self, *, keyId: str, requestOptions: RequestOptionsLike = None) -> ApiKeyResponse:
        """Revoke a key permanently (scope `keys:write`).

        Args:
            keyId: The id of the key, not the key.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such key.
        """
        return self._parent.call(
            ApiKeyResponse.from_dict,
            self._parent.aio.api_keys.revoke,
            key_id=keyId,
            options=self._parent.options(requestOptions),
        )


class UsageClient:
    """Usage of the API keys of the account."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def summary(
        self,
        *,
        apiKeyId: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> UsageSummaryResponse:
        """Return the usage by period, and the billing (scope `usage:read`).

        Args:
            apiKeyId: Id of the API key. If None, the key of the client.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope.
        """
        return self._parent.call(
            UsageSummaryResponse.from_dict,
            self._parent.aio.usage.summary,
            api_key_id=apiKeyId,
            options=self._parent.options(requestOptions),
        )


class WebhooksClient:
    """Webhook endpoints of the API keys of the account."""

    def __init__(self, parent: CompatClientCore) -> None:
        self._parent = parent

    def send_test_event(
        self,
        *,
        eventType: str,
        mode: WebhookMode,
        apiKeyId: str | None = None,
        samplePayload: Mapping[str, object] | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> WebhookTestEventResponse:
        """Send a test event to the endpoint (scope `webhooks:write`).

        The request is not repeated if its response is lost.

        Args:
            eventType: Such as `generation.completed`.
            mode: `test` or `live`.
            apiKeyId: Id of the API key of the endpoint. If None, the key of the client.
            samplePayload: Fields of the event, by the API's names.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The type or the mode is invalid; nothing was sent.
            DiffioResponseLost: The event may have been sent.
        """
        return self._parent.call(
            WebhookTestEventResponse.from_dict,
            self._parent.aio.webhooks.send_test_event,
            event_type=eventType,
            mode=mode,
            api_key_id=apiKeyId,
            sample_payload=samplePayload,
            options=self._parent.options(requestOptions),
        )

    def configure(
        self,
        *,
        mode: WebhookMode,
        url: str,
        eventTypes: Iterable[str],
        apiKeyId: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> WebhookConfigureResponse:
        """Configure where events are delivered (scope `webhooks:write`).

        Args:
            mode: `test` or `live`.
            url: An `https://` URL.
            eventTypes: Such as `generation.completed`, `generation.failed`.
            apiKeyId: Id of the API key of the endpoint. If None, the key of the client.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The mode, the URL or the types are invalid; nothing was sent.
        """
        return self._parent.call(
            WebhookConfigureResponse.from_dict,
            self._parent.aio.webhooks.configure,
            mode=mode,
            url=url,
            event_types=eventTypes,
            api_key_id=apiKeyId,
            options=self._parent.options(requestOptions),
        )

    def verify_signature(
        self,
        *,
        payload: bytes | str,
        headers: Mapping[str, Any],
        secret: str,
    ) -> GenerationWebhookEvent:
        """Verify a delivery and return its event. Nothing is sent; see `WebhookVerifier`.

        Args:
            payload: The raw body as received. JSON that was parsed and written again does not
                verify.
            headers: The headers of the request; lists are joined.
            secret: The endpoint's signing secret (`whsec_…`).

        Raises:
            DiffioWebhookRejected: The delivery is not genuine; `code` is the reason.
            DiffioConfigurationError: The secret is malformed.
        """
        return _calls.verify_signature(
            self._parent,
            payload=payload,
            headers=headers,
            secret=secret,
        )


class DiffioClient:
    """Client of the Diffio API with the surface of the published package 0.3.10.

    It can be created at import time and shared by threads. A failed call is retried only if
    `maxRetries` is set, and never if it might be executed twice.

    Attributes:
        apiKey: The key.
        baseUrl: The URL of the API.
        audio_isolation: From a recording to its generation, or to its result, in one call.
        generations: Generations of the account.
        projects: Projects of the account.
        account: Settings of the account that the API key belongs to.
        api_keys: API keys of the account.
        usage: Usage of the API keys of the account.
        webhooks: Webhook endpoints of the API keys of the account.
    """

    audio_isolation: AudioIsolationClient = declared(AudioIsolationClient)
    generations: GenerationsClient = declared(GenerationsClient)
    projects: ProjectsClient = declared(ProjectsClient)
    account: AccountClient = declared(AccountClient)
    api_keys: ApiKeysClient = declared(ApiKeysClient)
    usage: UsageClient = declared(UsageClient)
    webhooks: WebhooksClient = declared(WebhooksClient)

    def __init__(
        self,
        *,
        apiKey: str | None = None,
        baseUrl: str | None = None,
        timeout: float | None = 60.0,
        timeoutInSeconds: float | None = None,
        httpClient: object = None,
        requestOptions: RequestOptionsLike = None,
    ) -> None:
        """Create a client; nothing is sent.

        Args:
            apiKey: The key; `DIFFIO_API_KEY` if None.
            baseUrl: The API, with or without `/v1`; `DIFFIO_API_BASE_URL` if None, and the
                hosted service if that is not set.
            timeout: Seconds for one attempt of a call; None means unlimited.
            timeoutInSeconds: Another name for `timeout`.
            httpClient: Not supported: httpx is not used.
            requestOptions: Options of all calls: an object or a dict.

        Raises:
            DiffioConfigurationError: The key is missing or invalid, the URL is not secure, or an
                option is invalid.
        """
        self._calls = CompatClientCore(
            apiKey=apiKey,
            baseUrl=baseUrl,
            timeout=timeout,
            timeoutInSeconds=timeoutInSeconds,
            httpClient=httpClient,
            requestOptions=requestOptions,
        )
        self.apiKey = self._calls.api_key
        self.baseUrl = self._calls.base_url
        self.audio_isolation = AudioIsolationClient(self._calls)
        self.generations = GenerationsClient(self._calls)
        self.projects = ProjectsClient(self._calls)
        self.account = AccountClient(self._calls)
        self.api_keys = ApiKeysClient(self._calls)
        self.usage = UsageClient(self._calls)
        self.webhooks = WebhooksClient(self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"DiffioClient(baseUrl={self.baseUrl!r})"

    def close(self) -> None:
        """Close the connections; later calls raise `DiffioClientClosed`."""
        self._calls.close()

    def create_project(
        self,
        *,
        filePath: str | os.PathLike[str],
        contentType: str | None = None,
        contentLength: int | None = None,
        params: Mapping[str, object] | None = None,
        fileFormat: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> CreateProjectResponse:
        """Create a project and upload its recording.

        Args:
            filePath: The recording's path.
            contentType: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            contentLength: Accepted and ignored: the size of the file is sent.
            params: Metadata of the project, as a JSON object.
            fileFormat: A short label such as `wav`.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioInvalidSource: Before anything is sent: the source is missing, a folder,
                unreadable or too large. Later: it changed.
            DiffioUploadFailed: The bytes could not be sent; `apiProjectId` is the project.
            DiffioResumeFileError: The `resume` file is in use, damaged, or not writable.
            DiffioResponseLost: The project may have been created; the request is not repeated.
            DiffioApiError: The API responded with an error.
        """
        return _calls.create_project(
            self._calls,
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            params=params,
            fileFormat=fileFormat,
            requestOptions=requestOptions,
        )

    def restore_audio(
        self,
        *,
        filePath: str | os.PathLike[str],
        contentType: str | None = None,
        contentLength: int | None = None,
        fileFormat: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        projectParams: Mapping[str, object] | None = None,
        generationParams: Mapping[str, object] | None = None,
        downloadType: DownloadType = "audio",
        pollInterval: float = 2.0,
        timeout: float = 600.0,
        onProgress: Callable[[GenerationProgressResponse], object] | None = None,
        showProgress: bool = False,
        requestOptions: RequestOptionsLike = None,
        progressRequestOptions: RequestOptionsLike = None,
        downloadRequestOptions: RequestOptionsLike = None,
        raiseOnError: bool = False,
    ) -> tuple[bytes | None, RestoreInfo]:
        """Restore one recording: upload it, generate, wait, download.

        Returns the bytes and a dict with the state of the restoration. After a failure, the bytes
        are None and `error` in the dict has the reason; with `raiseOnError`, the error is raised.
        Arguments are checked before the first byte is sent.

        Args:
            filePath: The recording's path.
            contentType: MIME type of the recording. If None, it is guessed from the name.
            contentLength: Accepted and ignored: the size of the file is sent.
            fileFormat: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            projectParams: Metadata of the project, as a JSON object.
            generationParams: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            downloadType: `audio` (or `mp3`), `video` or `transcript`.
            pollInterval: Seconds between polls.
            timeout: Seconds to wait for the generation; 0 polls once.
            onProgress: Called when the progress changed, in the calling thread.
            showProgress: Print progress changes to standard error.
            requestOptions: Options of this call: an object or a dict.
            progressRequestOptions: Options of the wait, if they differ.
            downloadRequestOptions: Options of the download, if they differ.
            raiseOnError: Raise the error, with the dict as its `restoreInfo`.

        Raises:
            DiffioConfigurationError: The model, the type, the key or a time is invalid.
            DiffioInvalidSource: The source is missing, unreadable, empty or too large, or changed;
                or a video is requested of a recording without video.
            DiffioUploadFailed: The bytes could not be sent.
            DiffioGenerationFailed: The service could not restore it; the message has the reason.
            DiffioWaitTimeout: The generation took longer than `timeout`; it continues.
            DiffioIdempotencyConflict: The key was used for another upload.
            DiffioDownloadFailed: The result could not be downloaded; it still can, by the ids.
            DiffioApiError: The API responded with an error: `DiffioAuthenticationFailed`,
                `DiffioPaymentRequired`, ….
        """
        return self.audio_isolation.restore_audio(
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            fileFormat=fileFormat,
            model=model,
            sampling=sampling,
            projectParams=projectParams,
            generationParams=generationParams,
            downloadType=downloadType,
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=requestOptions,
            progressRequestOptions=progressRequestOptions,
            downloadRequestOptions=downloadRequestOptions,
            raiseOnError=raiseOnError,
        )

    def create_generation(
        self,
        *,
        apiProjectId: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotencyKey: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> CreateGenerationResponse:
        """Start a generation. It is billed, but only once for each idempotency key.

        Args:
            apiProjectId: The project.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotencyKey: 1 to 255 characters; random if None. Errors have it.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: An argument is invalid; nothing was sent.
            DiffioIdempotencyConflict: The key was used for another project.
            DiffioModelRetired: The model is no longer available (410).
            DiffioPaymentRequired: A billing hold or a spend limit (402).
            DiffioNotReady: The recording is not uploaded completely (409,
                `DiffioUploadIncomplete`).
        """
        return self.generations.create(
            apiProjectId=apiProjectId,
            model=model,
            sampling=sampling,
            params=params,
            idempotencyKey=idempotencyKey,
            requestOptions=requestOptions,
        )

    def get_generation_progress(
        self,
        *,
        generationId: str,
        apiProjectId: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationProgressResponse:
        """Return the progress of a generation.

        Args:
            generationId: The generation.
            apiProjectId: Its project, by which the API finds it faster.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such generation.
        """
        return self.generations.get_progress(
            generationId=generationId,
            apiProjectId=apiProjectId,
            requestOptions=requestOptions,
        )

    def get_generation_download(
        self,
        *,
        generationId: str,
        apiProjectId: str,
        downloadType: DownloadType | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationDownloadResponse:
        """Return a signed link to a result, which expires after two to six hours.

        Anyone who has the link can download the result.

        Args:
            generationId: The generation.
            apiProjectId: Its project.
            downloadType: `audio` (or `mp3`), `video` or `transcript`. If None, `video` if the
                recording has video, otherwise `audio`.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotReady: It is not complete (409), or its transcript is not
                (`DiffioTranscriptPending`).
            DiffioTranscriptUnavailable: It has no transcript and will not get one (404).
        """
        return self.generations.get_download(
            generationId=generationId,
            apiProjectId=apiProjectId,
            downloadType=downloadType,
            requestOptions=requestOptions,
        )

    def wait_for_generation(
        self,
        *,
        generationId: str,
        apiProjectId: str | None = None,
        pollInterval: float = 2.0,
        timeout: float = 600.0,
        onProgress: Callable[[GenerationProgressResponse], object] | None = None,
        showProgress: bool = False,
        requestOptions: RequestOptionsLike = None,
    ) -> GenerationProgressResponse:
        """Wait until a generation is complete.

        Args:
            generationId: The generation's id, or its handle.
            apiProjectId: Its project.
            pollInterval: Seconds between polls.
            timeout: Seconds to wait for the generation; 0 polls once.
            onProgress: Called when the progress changed, in the calling thread.
            showProgress: Print progress changes to standard error.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioGenerationFailed: It ended without a result; `progress` has the reason.
            DiffioWaitTimeout: It took longer than `timeout`; the generation continues.
        """
        return self.generations.wait_for_complete(
            generationId=generationId,
            apiProjectId=apiProjectId,
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=requestOptions,
        )

    def list_projects(self, *, requestOptions: RequestOptionsLike = None) -> ListProjectsResponse:
        """Return all projects of the account; other fields of the response are in `extra`.

        Args:
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope `projects:read`.
        """
        return self.projects.list(requestOptions=requestOptions)

    def complete_project_upload(
        self,
        *,
        apiProjectId: str,
        requestOptions: RequestOptionsLike = None,
    ) -> CompleteProjectUploadResponse:
        """Confirm to the API that an upload is finished; `create` does so itself. Idempotent.

        Args:
            apiProjectId: The project.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotReady: The bytes have not arrived (409, `DiffioUploadIncomplete`).
        """
        return self.projects.complete_upload(
            apiProjectId=apiProjectId,
            requestOptions=requestOptions,
        )

    def list_project_generations(
        self,
        *,
        apiProjectId: str,
        requestOptions: RequestOptionsLike = None,
    ) -> ListProjectGenerationsResponse:
        """Return all generations of a project, with their status.

        Args:
            apiProjectId: The project.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such project.
        """
        return self.projects.list_generations(
            apiProjectId=apiProjectId,
            requestOptions=requestOptions,
        )

    def get_account_settings(
        self,
        *,
        requestOptions: RequestOptionsLike = None,
    ) -> AccountSettingsResponse:
        """Return the settings of the account (scope `account:read`).

        Args:
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope.
        """
        return self.account.get_settings(requestOptions=requestOptions)

    def update_account_settings(
        self,
        *,
        billingPolicy: Mapping[str, object],
        requestOptions: RequestOptionsLike = None,
    ) -> AccountSettingsResponse:
        """Set the billing policy (scope `account:write`).

        Args:
            billingPolicy: `type` and what that type needs, by the API's names.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The policy is not a JSON object; nothing was sent.
            DiffioBadRequest: The API does not accept the policy.
        """
        return self.account.update_settings(
            billingPolicy=billingPolicy,
            requestOptions=requestOptions,
        )

    def create_api_key(
        self,
        *,
        label: str,
        scopes: Iterable[str],
        resourceBounds: Mapping[str, object] | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> ApiKeyResponse:
        """Create a key (scope `keys:write`). Only this response has its secret, in `key`.

        The request is not repeated if its response is lost: find the key by its label with
        `list()`, and revoke it.

        Args:
            label: At most 80 characters.
            scopes: Such as `projects:read`, `generations:write`.
            resourceBounds: Resources that the key is limited to, by the API's names.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The label or the scopes are invalid; nothing was sent.
            DiffioResponseLost: The key may have been created.
        """
        return self.api_keys.create(
            label=label,
            scopes=scopes,
            resourceBounds=resourceBounds,
            requestOptions=requestOptions,
        )

    def list_api_keys(self, *, requestOptions: RequestOptionsLike = None) -> ApiKeysListResponse:
        """Return all keys of the account, without secrets (scope `keys:read`).

        Args:
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope.
        """
        return self.api_keys.list(requestOptions=requestOptions)

    def rotate_api_key(
        self,
        *,
        keyId: str,
        requestOptions: RequestOptionsLike = None,
    ) -> ApiKeyResponse:
        """Replace the secret of a key (scope `keys:write`); the new one is in `key`.

        The request is not repeated if its response is lost: the old secret may be invalid then, and
        rotating again returns a new one.

        Args:
            keyId: The id of the key, not the key.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such key.
            DiffioResponseLost: The secret may have been changed.
        """
        return self.api_keys.rotate(keyId=keyId, requestOptions=requestOptions)

    def revoke_api_key(
        self,
        *,
        keyId: str,
        requestOptions: RequestOptionsLike = None,
    ) -> ApiKeyResponse:
        """Revoke a key permanently (scope `keys:write`).

        Args:
            keyId: The id of the key, not the key.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioNotFound: The account has no such key.
        """
        return self.api_keys.revoke(keyId=keyId, requestOptions=requestOptions)

    def get_usage_summary(
        self,
        *,
        apiKeyId: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> UsageSummaryResponse:
        """Return the usage by period, and the billing (scope `usage:read`).

        Args:
            apiKeyId: Id of the API key. If None, the key of the client.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioPermissionDenied: The key lacks the scope.
        """
        return self.usage.summary(apiKeyId=apiKeyId, requestOptions=requestOptions)

    def send_webhook_test_event(
        self,
        *,
        eventType: str,
        mode: WebhookMode,
        apiKeyId: str | None = None,
        samplePayload: Mapping[str, object] | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> WebhookTestEventResponse:
        """Send a test event to the endpoint (scope `webhooks:write`).

        The request is not repeated if its response is lost.

        Args:
            eventType: Such as `generation.completed`.
            mode: `test` or `live`.
            apiKeyId: Id of the API key of the endpoint. If None, the key of the client.
            samplePayload: Fields of the event, by the API's names.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The type or the mode is invalid; nothing was sent.
            DiffioResponseLost: The event may have been sent.
        """
        return self.webhooks.send_test_event(
            eventType=eventType,
            mode=mode,
            apiKeyId=apiKeyId,
            samplePayload=samplePayload,
            requestOptions=requestOptions,
        )

    def configure_webhook(
        self,
        *,
        mode: WebhookMode,
        url: str,
        eventTypes: Iterable[str],
        apiKeyId: str | None = None,
        requestOptions: RequestOptionsLike = None,
    ) -> WebhookConfigureResponse:
        """Configure where events are delivered (scope `webhooks:write`).

        Args:
            mode: `test` or `live`.
            url: An `https://` URL.
            eventTypes: Such as `generation.completed`, `generation.failed`.
            apiKeyId: Id of the API key of the endpoint. If None, the key of the client.
            requestOptions: Options of this call: an object or a dict.

        Raises:
            DiffioConfigurationError: The mode, the URL or the types are invalid; nothing was sent.
        """
        return self.webhooks.configure(
            mode=mode,
            url=url,
            eventTypes=eventTypes,
            apiKeyId=apiKeyId,
            requestOptions=requestOptions,
        )
