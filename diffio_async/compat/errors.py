"""`DiffioApiError` and its kinds: one for each error of `diffio_async`, which is its cause."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffio_async import errors as native
from diffio_async._error_base import Rebuildable

#: Failures whose reason may be an answer of a server's.
_BY_ANSWER = (native.ApiError, native.UploadFailed, native.DownloadFailed, native.InvalidResponse)


class DiffioApiError(Rebuildable):
    """The root of all that this package raises on purpose.

    Attributes:
        message: What went wrong, in the server's words where it said so.
        statusCode: The HTTP status, where a server answered.
        responseBody: What the server sent: JSON, or the first 2,000 characters of a text.
        code: The machine-readable code of the answer, where it has one.
        requestId: The server's name for the request; quote it to support.
        retryAfter: Seconds the server asks to wait, where it does.
        apiProjectId: The project that the failure concerns, when one had been created.
        generationId: The generation that the failure concerns, when one had been created.
        idempotencyKey: The key a generation was asked for with; the same key again is answered
            with the same generation, and not billed twice.
        restoreInfo: On errors of `restore_audio(raiseOnError=True)`: how far it got.
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


# `args` adds `*state`, for task queues; the signature shown is that of the published package.
_shown = inspect.signature(DiffioApiError.__init__)
setattr(  # noqa: B010 - functions have no such attribute for type checkers
    DiffioApiError.__init__,
    "__signature__",
    _shown.replace(parameters=[p for p in _shown.parameters.values() if p.name != "state"]),
)


class DiffioConfigurationError(DiffioApiError, ValueError):
    """A key, address, option or argument cannot be right; nothing was sent."""


class DiffioClientClosed(DiffioApiError, RuntimeError):
    """The client was closed; make a new one."""


class DiffioConnectionFailed(DiffioApiError):
    """The request never reached the server, so it was not accepted."""


class DiffioResponseLost(DiffioApiError):
    """The request was sent and no whole answer came: it may or may not have been accepted."""


class DiffioResponseTimeout(DiffioResponseLost, TimeoutError):
    """No answer came in time: the request may or may not have been accepted."""


class DiffioBadRequest(DiffioApiError):
    """400: a field is missing, mistyped or refused."""


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
    """404 `TRANSCRIPT_UNAVAILABLE`: this generation has no transcript and will get none."""


class DiffioNotReady(DiffioApiError):
    """409: the state of what the call names does not allow it yet; the message says which."""


class DiffioUploadIncomplete(DiffioNotReady):
    """409 `uploadNotLanded`: the bytes of the recording have not arrived at the service."""


class DiffioTranscriptPending(DiffioNotReady):
    """409 `TRANSCRIPT_PENDING`: the transcript is still being made."""


class DiffioModelRetired(DiffioApiError, ValueError):
    """410 `model_retired`: the model is no longer served."""


class DiffioRateLimited(DiffioApiError):
    """429: too many requests."""


class DiffioServerError(DiffioApiError):
    """5xx: the service failed."""


class DiffioInvalidResponse(DiffioApiError):
    """A successful answer does not fit the contract (a captive portal's page, say)."""


class DiffioUploadFailed(DiffioApiError):
    """A source could not be sent whole."""


class DiffioInvalidSource(DiffioUploadFailed, ValueError):
    """The source is missing, unreadable, too large, empty, or changed while it was read."""


class DiffioSourceUnreadable(DiffioInvalidSource, OSError):
    """The system does not let the source be read."""


class DiffioSourceMissing(DiffioSourceUnreadable, FileNotFoundError):
    """There is no such file."""


class DiffioResumeFileError(DiffioUploadFailed):
    """The file that uploads are gone on with from cannot be used."""


class DiffioDownloadFailed(DiffioApiError):
    """A result could not be fetched whole; nothing was left under its final name."""


class DiffioInvalidTarget(DiffioDownloadFailed, OSError):
    """The target's folder is missing or not writable, or it is no file that can be replaced."""


class DiffioIdempotencyConflict(DiffioApiError):
    """The key was used before, for another project's generation; nothing was started."""


class DiffioGenerationFailed(DiffioApiError, RuntimeError):
    """The generation ended without a result; `progress` is the last that was read."""

    progress: GenerationProgressResponse | None = None


class DiffioBatchFailed(DiffioApiError):
    """Some of many ended without a result."""


class DiffioWaitTimeout(DiffioApiError, RuntimeError, TimeoutError):
    """The wait ended before the generation did, which goes on; `progress` as last read."""

    progress: GenerationProgressResponse | None = None


class DiffioBatchStopped(DiffioApiError):
    """A batch ended before all its files did; running it again goes on."""


class DiffioDatabaseError(DiffioApiError):
    """A file that remembers work cannot be used."""


class DiffioWebhookRejected(DiffioApiError):
    """A delivery is not genuine, not timely or not readable."""


#: Ids in notes, in the guide's spelling.
_IDS = {
    "api_project_id": "apiProjectId",
    "generation_id": "generationId",
    "idempotency_key": "idempotencyKey",
}
#: What the wait says first, as programs may look for it.
_BEGINNINGS = {
    native.GenerationFailed: "Generation failed",
    native.WaitTimeout: "Timed out waiting for generation completion",
}


def to_compat_error(failure: native.DiffioError) -> DiffioApiError:
    """The error of the guide's kind for one of ours, to be raised from it."""
    answer = _response_of(failure)
    message, status, body = str(failure), None, None
    if isinstance(answer, native.ApiError):
        message, status, body = _server_message(answer), answer.status, answer.body
    elif isinstance(answer, native.InvalidResponse):
        status, body = answer.status, answer.body
    if type(failure) in _BEGINNINGS:
        message = f"{_BEGINNINGS[type(failure)]}: {message}"
    error = _class_for(failure)(message, status, body or None)
    if isinstance(answer, native.ApiError):
        error.code, error.requestId = answer.code, answer.request_id
        error.retryAfter = answer.retry_after
    error.apiProjectId, error.generationId = failure.api_project_id, failure.generation_id
    error.idempotencyKey = failure.idempotency_key
    for note in (getattr(answer, "hint", ""), *getattr(failure, "__notes__", ())):
        if note:
            error.add_note(_respelled(note))
    return error


def respell(interruption: BaseException) -> None:
    """Give Ctrl-C or an exit the ids it cut off under the guide's names, as every error has them.

    What interrupts is the caller's own, so it stays the same object.
    """
    interruption.__notes__ = [_respelled(note) for note in getattr(interruption, "__notes__", ())]
    for name, ours in _IDS.items():
        if (value := vars(interruption).pop(name, None)) is not None:
            setattr(interruption, ours, value)


def _respelled(note: str) -> str:
    for name, ours in _IDS.items():
        note = note.replace(f"{name}=", f"{ours}=", 1)
    return note


def _response_of(failure: BaseException | None) -> BaseException | None:
    """The answer that is at the bottom of a failure, if there is one."""
    while isinstance(failure, _BY_ANSWER):
        if isinstance(failure, (native.ApiError, native.InvalidResponse)):
            return failure
        failure = failure.__cause__
    return None


def _server_message(answer: native.ApiError) -> str:
    """The server's words alone, as the published package gives them."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    return str(error) if error else f"Request failed with status {answer.status}"


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


# For those who read the annotations at run time.
from diffio_async.compat.types import GenerationProgressResponse, RestoreInfo  # noqa: E402
