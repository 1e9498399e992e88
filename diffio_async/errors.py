"""Error classes. Each pickles, has the ids of what was paid for, and contains no secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from diffio_async import _error_base
from diffio_async.models.generations import GenerationProgress, Outcome

DiffioError = _error_base.DiffioError
ConfigurationError = _error_base.ConfigurationError


class ClientClosed(DiffioError):
    """The client was closed. Create a new one."""


class ConnectionFailed(DiffioError):
    """The request never reached the server, so it was not accepted.

    Attributes:
        permanent: True if a retry cannot help (for example, an invalid certificate).
        cause: The reason in a few words: "refused", "name not found", "timed out".
    """

    def __init__(
        self,
        message: str = "",
        state: Mapping[str, object] | None = None,
        *,
        permanent: bool = False,
        cause: str = "",
    ) -> None:
        self.permanent = permanent
        self.cause = cause
        super().__init__(message, state)


class ResponseLost(DiffioError):
    """The request was sent, but no complete response arrived: it may have been accepted."""


class ResponseTimeout(ResponseLost, TimeoutError):
    """The response did not arrive in time: the request may have been accepted."""


class ApiError(DiffioError):
    """The server responded with an error.

    Attributes:
        status: The HTTP status.
        code: The machine-readable code in the body, if any.
        request_id: The server's id of the request, if any. Include it in support requests.
        body: The response: parsed if it is JSON, otherwise its first 2,000 characters.
        retry_after: Seconds to wait before a retry, if the server specified them.
        hint: What to do, if known. The message ends with it.
    """

    hint: str = ""

    def __init__(
        self,
        message: str = "",
        state: Mapping[str, object] | None = None,
        *,
        status: int = 0,
        code: str | None = None,
        request_id: str | None = None,
        body: object = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after
        super().__init__(message, state)


class BadRequest(ApiError):
    """400: a field is missing, has the wrong type or an invalid value."""


class AuthenticationFailed(ApiError):
    """401: the API key is missing or wrong."""

    hint = (
        "Check the API key (DIFFIO_API_KEY or api_key=…): it is missing, mistyped, rotated, "
        "revoked, or belongs to another service than the base URL."
    )


class PaymentRequired(ApiError):
    """402: the account has a billing hold."""

    hint = "Update the billing details of the account; calls are blocked until then."


class SpendLimitExceeded(PaymentRequired):
    """402 `spendLimitExceeded`: the spend limit of the account is reached."""

    hint = "Raise the spend limit in the account's billing policy, or wait for the next period."


class PermissionDenied(ApiError):
    """403: the API key is not active, or lacks the scope."""

    hint = "Use an active key with the scope that this call needs."


class NotFound(ApiError):
    """404: the account has no such project, generation or key."""

    hint = "Check the id, and that the key belongs to the account that created it."


class TranscriptUnavailable(NotFound):
    """404 `TRANSCRIPT_UNAVAILABLE`: the generation has no transcript and will not get one."""

    hint = "Download the audio instead; this generation will not get a transcript."


class NotReady(ApiError):
    """409: the project or generation is not in the required state yet; see the message."""

    hint = "Wait until what it depends on is ready, then call again."


class UploadIncomplete(NotReady):
    """409 `uploadNotLanded`: the bytes of the recording have not arrived at the service."""

    hint = (
        "Wait until the upload is complete: projects.create returns then, and "
        "projects.complete_upload confirms an upload that was sent otherwise."
    )


class TranscriptPending(NotReady):
    """409 `TRANSCRIPT_PENDING`: the transcript is not ready yet."""

    hint = "Call again in a few seconds."


class ModelRetired(ApiError):
    """410 `model_retired`: the model is no longer available."""

    hint = "Choose an available model, such as diffio-4.6-flash."


class RateLimited(ApiError):
    """429: too many requests."""

    hint = "Send fewer requests at a time, or allow longer delays in the retry policy."


class ServerError(ApiError):
    """5xx: the service failed."""

    hint = "Try again later."


class InvalidResponse(DiffioError):
    """A response with a success status is not valid (for example, a captive portal's page).

    Attributes:
        status: The HTTP status.
        body: The response: parsed if it is JSON, otherwise its first 2,000 characters.
    """

    def __init__(
        self,
        message: str = "",
        state: Mapping[str, object] | None = None,
        *,
        status: int | None = None,
        body: object = None,
    ) -> None:
        self.status = status
        self.body = body
        super().__init__(message, state)


class IdempotencyConflict(DiffioError):
    """The idempotency key was used for another project; the ids are that generation's."""


class UploadFailed(DiffioError):
    """A source could not be sent completely; `__cause__` is the reason."""


class InvalidSource(UploadFailed):
    """The source is missing, unreadable, too large or empty, or changed while it was read."""


class ResumeFileError(UploadFailed):
    """The file of `resume` is in use, damaged, or not writable."""


class DownloadFailed(DiffioError):
    """A result could not be downloaded completely; there is no file under its final name."""


class InvalidTarget(DownloadFailed):
    """The folder of the target is missing or not writable, or the target exists."""


class GenerationFailed(DiffioError):
    """The generation ended without a result.

    Attributes:
        progress: Its last progress; `progress.reason` is the reason.
    """

    def __init__(
        self,
        message: str = "",
        state: Mapping[str, object] | None = None,
        *,
        progress: GenerationProgress | None = None,
    ) -> None:
        self.progress = progress
        super().__init__(message, state)


class WaitTimeout(DiffioError, TimeoutError):
    """The wait ended before the generation, which continues.

    Attributes:
        progress: Its last progress, None before the first one.
    """

    def __init__(
        self,
        message: str = "",
        state: Mapping[str, object] | None = None,
        *,
        progress: GenerationProgress | None = None,
    ) -> None:
        self.progress = progress
        super().__init__(message, state)


class BatchStopped(DiffioError):
    """The batch stopped early; `__cause__` is the reason. Run it again to resume.

    Attributes:
        journal: Path of its journal.
        remaining_files: Number of files that have not ended.
    """

    journal: str = ""
    remaining_files: int = 0


class DatabaseError(DiffioError):
    """A batch journal or webhook inbox cannot be used; the message has the reason."""


class BatchFailed(DiffioError, ExceptionGroup[DiffioError]):
    """Some of several generations ended without a result.

    Attributes:
        outcomes: The outcomes of all generations, in the order they were passed.
    """

    outcomes: tuple[Outcome, ...] = ()

    def __new__(cls, message: str = "", errors: Iterable[object] = ()) -> Self:
        """Create a group. Members that a task queue converted to text become errors again."""
        return super().__new__(cls, message, cls._members(errors))

    def __init__(self, message: str = "", errors: Iterable[object] = ()) -> None:
        super().__init__(message)
        self.args = (message, self._members(errors))

    @staticmethod
    def _members(errors: Iterable[object]) -> list[DiffioError]:
        members = [e if isinstance(e, DiffioError) else DiffioError(str(e)) for e in errors]
        return members or [DiffioError("its errors are unknown")]

    def _constructor_args(self) -> tuple[Any, ...]:
        return self._positional()


class WebhookRejected(DiffioError):
    """A delivery is not genuine, too old, or not an event. Respond with status 400.

    Attributes:
        code: `missing_header`, `bad_signature`, `too_old`, `too_new`, `not_json` or
            `not_an_object`.
    """

    def __init__(
        self, message: str = "", state: Mapping[str, object] | None = None, *, code: str = ""
    ) -> None:
        self.code = code
        super().__init__(message, state)
