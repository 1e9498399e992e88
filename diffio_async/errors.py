"""One tree of errors: each pickles, keeps the ids of what was paid for, and holds no secret."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from diffio_async._text import printable

_ARGS: Any = BaseException.__dict__["args"]
_PLAIN = (str, int, float, list, dict, type(None))


class Rebuildable(Exception):
    """An exception that `type(error)(*error.args)` makes again, as task queues do.

    After the message `args` has a dict of the attributes that are plain data.
    """

    if not TYPE_CHECKING:  # type checkers know `args` from BaseException, where it is no property

        @property
        def args(self) -> tuple[Any, ...]:
            """Return what the constructor takes."""
            return self._constructor_args()

        @args.setter
        def args(self, value: Iterable[Any]) -> None:
            _ARGS.__set__(self, value)

    def _constructor_args(self) -> tuple[Any, ...]:
        state = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and isinstance(value, _PLAIN)
        }
        return (*self._positional(), state) if state else self._positional()

    def _positional(self) -> tuple[Any, ...]:
        found: tuple[Any, ...] = _ARGS.__get__(self)
        return found

    def _restore(self, state: object) -> None:
        """Take over what `args` had; names that the class does not know are left out."""
        if isinstance(state, Mapping):
            vars(self).update({n: value for n, value in state.items() if hasattr(self, str(n))})


class DiffioError(Rebuildable):
    """The root of all that this package raises on purpose.

    `str(error)` is one printable line, whatever a server or a file name put into it; `args` has
    the message as it is, and a dict of the attributes that are plain data.

    Attributes:
        api_project_id: The project the failure concerns, when one had been created.
        generation_id: The generation the failure concerns, when one had been created.
        idempotency_key: The key a generation was asked for with; the same key again is answered
            with the same generation, and not billed twice.
    """

    api_project_id: str | None = None
    generation_id: str | None = None
    idempotency_key: str | None = None

    def __init__(self, message: str = "", state: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self._restore(state)

    def __str__(self) -> str:
        return printable(super().__str__())

    def __reduce__(self) -> tuple[Callable[..., DiffioError], tuple[object, ...]]:
        """Pickle by state, so that constructors may take keywords."""
        return _rebuild, (type(self), self._positional(), self.__dict__)


def _rebuild(
    kind: type[DiffioError], args: tuple[object, ...], state: dict[str, object]
) -> DiffioError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(DiffioError, ValueError):
    """A key, address, option or argument cannot be right; nothing was sent."""


class ClientClosed(DiffioError):
    """The client was closed; make a new one."""


class ConnectionFailed(DiffioError):
    """The request never reached the server, so it was not accepted.

    Attributes:
        permanent: True where another try cannot help (a certificate that does not verify, say).
        cause: Why, in a few words: "refused", "name not found", "timed out".
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
    """The request was sent and no whole answer came: it may or may not have been accepted."""


class ResponseTimeout(ResponseLost, TimeoutError):
    """No answer came in time: the request may or may not have been accepted."""


class ApiError(DiffioError):
    """The server answered with an error.

    Attributes:
        status: The HTTP status.
        code: The machine-readable code of the body, where there is one.
        request_id: The server's name for the request, where it gave one; quote it to support.
        body: What the server sent, decoded from JSON or cut to its first 2,000 characters.
        retry_after: Seconds the server asks to wait, where it does.
        hint: What to do about it, where that is known; the message ends with it.
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
    """400: a field is missing, mistyped or refused."""


class AuthenticationFailed(ApiError):
    """401: the key is missing or wrong."""

    hint = (
        "Check the API key (DIFFIO_API_KEY or api_key=…): it is missing, mistyped, rotated, "
        "revoked, or of another service than the base URL."
    )


class PaymentRequired(ApiError):
    """402: a billing hold."""

    hint = "Update the billing details of the account; calls are blocked until then."


class SpendLimitExceeded(PaymentRequired):
    """402 `spendLimitExceeded`: the account's own limit is reached."""

    hint = "Raise the spend limit in the account's billing policy, or wait for the next period."


class PermissionDenied(ApiError):
    """403: the key is not active, or lacks the scope."""

    hint = "Use a key that is active and has the scope this call needs."


class NotFound(ApiError):
    """404: no such project, generation or key for this account."""

    hint = "Check the id, and that the key belongs to the account that made it."


class TranscriptUnavailable(NotFound):
    """404 `TRANSCRIPT_UNAVAILABLE`: this generation has no transcript and will get none."""

    hint = "Download the audio instead; this generation will get no transcript."


class NotReady(ApiError):
    """409: the state of what the call names does not allow it yet; the message says which."""

    hint = "Wait until what it depends on is ready, then ask again."


class UploadIncomplete(NotReady):
    """409 `uploadNotLanded`: the bytes of the recording have not arrived at the service."""

    hint = (
        "Wait until the upload is complete: projects.create returns then, and "
        "projects.complete_upload confirms an upload that was made otherwise."
    )


class TranscriptPending(NotReady):
    """409 `TRANSCRIPT_PENDING`: the transcript is still being made."""

    hint = "Ask again in a few seconds."


class ModelRetired(ApiError):
    """410 `model_retired`: the model is no longer served."""

    hint = "Choose a model that is served, such as diffio-4.6-flash."


class RateLimited(ApiError):
    """429: too many requests."""

    hint = "Send fewer requests at a time, or let the retry policy wait longer."


class ServerError(ApiError):
    """5xx: the service failed."""


class InvalidResponse(DiffioError):
    """A successful answer does not fit the contract (a captive portal's page, say).

    Attributes:
        status: The HTTP status.
        body: What the server sent, decoded from JSON or cut to its first 2,000 characters.
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
    """The key belongs to another project's generation, which the ids name; nothing was started."""


class UploadFailed(DiffioError):
    """A source could not be sent whole; `__cause__` says why."""


class InvalidSource(UploadFailed):
    """The source is missing, unreadable, too large, empty, or changed while it was read."""


class ResumeFileError(UploadFailed):
    """The file that `resume` names cannot be used: it is in use, damaged, or cannot be written."""


class DownloadFailed(DiffioError):
    """A result could not be fetched whole; nothing was left under its final name."""


class InvalidTarget(DownloadFailed):
    """The target's folder is missing or not writable, or the target exists."""


class GenerationFailed(DiffioError):
    """It ended without a result; `progress` is the last that was read, its `error` the reason."""

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
    """The wait ended before the generation, which goes on; `progress` is the last read, if any."""

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
    """A batch ended before all its files did, for `__cause__`: run again, it goes on.

    `journal` is the path of its journal, `remaining_files` how many files have no end yet.
    """

    journal: str = ""
    remaining_files: int = 0


class DatabaseError(DiffioError):
    """A file that remembers work (a batch journal, say) cannot be used; the message says why."""


class BatchFailed(DiffioError, ExceptionGroup[DiffioError]):
    """Some of many ended without a result; `outcomes` has all of them, in the order given."""

    outcomes: tuple[outcome_models.Outcome, ...] = ()

    def __new__(cls, message: str = "", errors: Iterable[object] = ()) -> Self:
        """Make a group; what a task queue made texts of becomes errors again."""
        return super().__new__(cls, message, cls._members(errors))

    def __init__(self, message: str = "", errors: Iterable[object] = ()) -> None:
        super().__init__(message)
        self.args = (message, self._members(errors))

    @staticmethod
    def _members(errors: Iterable[object]) -> list[DiffioError]:
        members = [e if isinstance(e, DiffioError) else DiffioError(str(e)) for e in errors]
        return members or [DiffioError("its errors are not known")]

    def _constructor_args(self) -> tuple[Any, ...]:
        return self._positional()


class WebhookRejected(DiffioError):
    """A delivery is not genuine, timely or readable: answer 400. `code` is a word for why."""

    def __init__(
        self, message: str = "", state: Mapping[str, object] | None = None, *, reason: str = ""
    ) -> None:
        self.code = reason
        super().__init__(message, state)


# For those who read the annotations at run time. Models name errors in theirs, too, and either may
# be imported first.
from diffio_async.models import outcomes as outcome_models  # noqa: E402
from diffio_async.models.generations import GenerationProgress  # noqa: E402
