"""`DiffioApiError` and its subclasses: one for each error of `diffio_async`, which is its cause."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffio_async import errors as native
from diffio_async._error_base import Rebuildable

#: Errors that may be caused by an API response.
_BY_RESPONSE = (native.ApiError, native.UploadFailed, native.DownloadFailed, native.InvalidResponse)


class DiffioApiError(Rebuildable):
    """Base class of all errors.

    Attributes:
        message: What went wrong; the message of the API if there is one.
        statusCode: The HTTP status, if there was a response.
        responseBody: The body of the response: JSON, or the first 2,000 characters of a text.
        code: The machine-readable code of the response.
        requestId: The id of the request, for support.
        retryAfter: Seconds until a retry, if the response specifies them.
        apiProjectId: The project that the failure concerns, when one had been created.
        generationId: The generation that the failure concerns, when one had been created.
        idempotencyKey: The key of the generation; a request with the same key returns the same
            generation and is not billed again.
        restoreInfo: State of the restoration, for errors of `restore_audio(raiseOnError=True)`.
    """

    code: str | None = None
    requestId: str | None = None
    retryAfter: float | None = None
    apiProjectId: str | None = None
    generationId: str | None = None
    idempotencyKey: str | None = None
    restoreInfo: RestoreInfo | None = None

    def __init__(
        self,
        message: str,
        statusCode: int | None = None,
        responseBody: Any = None,
        *state: Mapping[str, object],
    ) -> None:
        super().__init__(message)
        self.message = message
        self.statusCode = statusCode
        self.responseBody = responseBody
        for attributes in state:
            self._restore(attributes)

    def _positional(self) -> tuple[Any, ...]:
        return self.message, self.statusCode, self.responseBody

    def __str__(self) -> str:
        known = [] if self.statusCode is None else [f"statusCode={self.statusCode}"]
        if self.responseBody is not None:
            known.append("responseBody set")
        return f"{self.message} ({', '.join(known)})" if known else str(self.message)


# `*state` is for task queues, which rebuild errors from `args`; it is not shown in the signature.
_shown = inspect.signature(DiffioApiError.__init__)
setattr(  # noqa: B010 - functions have no such attribute for type checkers
    DiffioApiError.__init__,
    "__signature__",
    _shown.replace(parameters=[p for p in _shown.parameters.values() if p.name != "state"]),
)


class DiffioConfigurationError(DiffioApiError, ValueError):
    """A key, URL, option or argument is invalid; nothing was sent."""


class DiffioClientClosed(DiffioApiError, RuntimeError):
    """The client was closed; create a new one."""


class DiffioConnectionFailed(DiffioApiError):
    """The request never reached the server, so it was not accepted."""


class DiffioResponseLost(DiffioApiError):
    """The request was sent, but no complete response arrived: it may have been accepted."""


class DiffioResponseTimeout(DiffioResponseLost, TimeoutError):
    """No response arrived in time: the request may have been accepted."""


class DiffioBadRequest(DiffioApiError):
    """400: a field is missing or invalid."""


class DiffioAuthenticationFailed(DiffioApiError):
    """401: the key is missing or wrong."""


class DiffioPaymentRequired(DiffioApiError):
    """402: a billing hold."""


class DiffioSpendLimitExceeded(DiffioPaymentRequired):
    """402 `spendLimitExceeded`: the account's own limit is reached."""


class DiffioPermissionDenied(DiffioApiError):
    """403: the key is not active, or lacks the scope."""


class DiffioNotFound(DiffioApiError):
    """404: no such project, generation or key for this account."""


class DiffioTranscriptUnavailable(DiffioNotFound):
    """404 `TRANSCRIPT_UNAVAILABLE`: this generation will never have a transcript."""


class DiffioNotReady(DiffioApiError):
    """409: the state of the project or generation does not allow the call yet."""


class DiffioUploadIncomplete(DiffioNotReady):
    """409 `uploadNotLanded`: the bytes of the recording have not arrived at the service."""


class DiffioTranscriptPending(DiffioNotReady):
    """409 `TRANSCRIPT_PENDING`: the transcript is not finished yet."""


class DiffioModelRetired(DiffioApiError, ValueError):
    """410 `model_retired`: the model is no longer served."""


class DiffioRateLimited(DiffioApiError):
    """429: too many requests."""


class DiffioServerError(DiffioApiError):
    """5xx: the service failed."""


class DiffioInvalidResponse(DiffioApiError):
    """A successful response violates the contract (for example, the page of a captive portal)."""


class DiffioUploadFailed(DiffioApiError):
    """A source could not be sent completely."""


class DiffioInvalidSource(DiffioUploadFailed, ValueError):
    """The source is missing, unreadable, too large, empty, or changed while it was read."""


class DiffioSourceUnreadable(DiffioInvalidSource, OSError):
    """The operating system does not allow the source to be read."""


class DiffioSourceMissing(DiffioSourceUnreadable, FileNotFoundError):
    """The file does not exist."""


class DiffioResumeFileError(DiffioUploadFailed):
    """The file from which uploads are resumed cannot be used."""


class DiffioDownloadFailed(DiffioApiError):
    """A result could not be downloaded completely; no file exists under its final name."""


class DiffioInvalidTarget(DiffioDownloadFailed, OSError):
    """The target's folder is missing or not writable, or the target is not a regular file."""


class DiffioIdempotencyConflict(DiffioApiError):
    """The key was already used for a generation of another project; nothing was started."""


class DiffioGenerationFailed(DiffioApiError, RuntimeError):
    """The generation ended without a result; `progress` is the last response."""

    progress: GenerationProgressResponse | None = None


class DiffioBatchFailed(DiffioApiError):
    """Some of many files ended without a result."""


class DiffioWaitTimeout(DiffioApiError, RuntimeError, TimeoutError):
    """The wait ended; the generation continues. `progress` is the last response."""

    progress: GenerationProgressResponse | None = None


class DiffioBatchStopped(DiffioApiError):
    """The batch stopped early; run it again to resume."""


class DiffioDatabaseError(DiffioApiError):
    """A journal or inbox file cannot be used."""


class DiffioWebhookRejected(DiffioApiError):
    """A webhook delivery has an invalid signature, time stamp or body."""


#: Names of ids in notes and attributes.
_IDS = {
    "api_project_id": "apiProjectId",
    "generation_id": "generationId",
    "idempotency_key": "idempotencyKey",
}
#: Beginnings of messages that programs of the published package may look for.
_BEGINNINGS = {
    native.GenerationFailed: "Generation failed",
    native.WaitTimeout: "Timed out waiting for generation completion",
}


def to_compat_error(failure: native.DiffioError) -> DiffioApiError:
    """Return the error that corresponds to a DiffioError; raise it from that error."""
    response = _response_of(failure)
    message, status, body = str(failure), None, None
    if isinstance(response, native.ApiError):
        message, status, body = _server_message(response), response.status, response.body
    elif isinstance(response, native.InvalidResponse):
        status, body = response.status, response.body
    if type(failure) in _BEGINNINGS:
        message = f"{_BEGINNINGS[type(failure)]}: {message}"
    error = _class_for(failure)(message, status, body or None)
    if isinstance(response, native.ApiError):
        error.code, error.requestId = response.code, response.request_id
        error.retryAfter = response.retry_after
    error.apiProjectId, error.generationId = failure.api_project_id, failure.generation_id
    error.idempotencyKey = failure.idempotency_key
    for note in (getattr(response, "hint", ""), *getattr(failure, "__notes__", ())):
        if note:
            error.add_note(_respelled(note))
    return error


def respell(interruption: BaseException) -> None:
    """Rename the ids in the notes and attributes of a KeyboardInterrupt or SystemExit, in place."""
    interruption.__notes__ = [_respelled(note) for note in getattr(interruption, "__notes__", ())]
    for name, ours in _IDS.items():
        if (value := vars(interruption).pop(name, None)) is not None:
            setattr(interruption, ours, value)


def _respelled(note: str) -> str:
    for name, ours in _IDS.items():
        note = note.replace(f"{name}=", f"{ours}=", 1)
    return note


def _response_of(failure: BaseException | None) -> BaseException | None:
    """Return the response error that caused a failure, or None."""
    while isinstance(failure, _BY_RESPONSE):
        if isinstance(failure, (native.ApiError, native.InvalidResponse)):
            return failure
        failure = failure.__cause__
    return None


def _server_message(response: native.ApiError) -> str:
    """Return the message of the API alone, as the published package does."""
    error = response.body.get("error") if isinstance(response.body, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    return str(error) if error else f"Request failed with status {response.status}"


def _class_for(failure: native.DiffioError) -> type[DiffioApiError]:
    if isinstance(failure, native.InvalidSource) and isinstance(failure.__cause__, OSError):
        missing = isinstance(failure.__cause__, FileNotFoundError)
        return DiffioSourceMissing if missing else DiffioSourceUnreadable
    for ours in type(failure).__mro__:
        kind = globals().get(f"Diffio{ours.__name__}")
        if kind is not None:
            found: type[DiffioApiError] = kind
            return found
    return DiffioApiError


# For frameworks that resolve the annotations at run time.
from diffio_async.compat.types import GenerationProgressResponse, RestoreInfo  # noqa: E402
