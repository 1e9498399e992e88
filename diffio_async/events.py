"""Events for observers and progress callbacks: frozen, without secrets."""

from __future__ import annotations

from attrs import field, frozen

from diffio_async.models.json_values import Plain


@frozen
class OperationStarted(Plain):
    """An operation starts: a call of the client that consists of several requests.

    It is emitted in the task of the caller, and so are the events of its requests, unless a shared
    poll makes them.

    Attributes:
        name: `restore`, `upload`, `create_generation`, `wait`, `download`; in a batch, `batch_file`
            for all of a file but its `batch_download`; `webhook` for the handling of an event.
        operation_id: Number of the operation in this process; events that belong to it have it too.
        parent_id: The operation that it is a part of, None if it is not.
        generation_id: Its generation, if it is known at the start.
        api_project_id: Its project, if it is known at the start.
    """

    name: str
    operation_id: int
    parent_id: int | None
    generation_id: str | None = None
    api_project_id: str | None = None


@frozen
class OperationEnded(Plain):
    """An operation ended after `seconds`.

    Attributes:
        name: As in `OperationStarted`, like the next four.
        operation_id: The operation.
        parent_id: The operation that it was a part of.
        generation_id: Its generation, if one is known now.
        api_project_id: Its project, if one is known now.
        seconds: Duration.
        size: Bytes that an upload or a download transferred.
        error: Name of the class of the exception that it raised (`CancelledError` if it was
            cancelled), None if it succeeded.
    """

    name: str
    operation_id: int
    parent_id: int | None
    generation_id: str | None
    api_project_id: str | None
    seconds: float
    size: int | None = None
    error: str | None = None


@frozen
class RequestSent(Plain):
    """A request is about to be sent.

    Attributes:
        call: Name of the call.
        method: HTTP method.
        url: URL without query and credentials.
        attempt: Number of the attempt, from 1. A redirect of a download is another request of the
            same attempt.
        operation_id: The operation that the request belongs to, if any: see `OperationStarted`.
    """

    call: str
    method: str
    url: str
    attempt: int
    # Excluded from equality, because operations are numbered in each process.
    operation_id: int | None = field(default=None, eq=False, kw_only=True)


@frozen
class ResponseReceived(Plain):
    """A response arrived (of a download: its headers).

    Attributes:
        call: Name of the call.
        method: HTTP method.
        url: URL without query and credentials.
        attempt: Number of the attempt, from 1.
        status: HTTP status, which may be an error.
        seconds: Time since its request.
        request_id: Id by which the service finds the request.
        operation_id: The operation that it belongs to, if any: see `OperationStarted`.
    """

    call: str
    method: str
    url: str
    attempt: int
    status: int
    seconds: float
    request_id: str | None = None
    operation_id: int | None = field(default=None, eq=False, kw_only=True)


@frozen
class RequestFailed(Plain):
    """A request failed without a response. One with an error status is a `ResponseReceived`.

    Attributes:
        call: Name of the call.
        method: HTTP method.
        url: URL without query and credentials.
        attempt: Number of the attempt, from 1.
        seconds: Time since the request was sent.
        reason: "refused", "name not found", "timed out", "cancelled" or the like.
        operation_id: The operation that it belongs to, if any: see `OperationStarted`.
    """

    call: str
    method: str
    url: str
    attempt: int
    seconds: float
    reason: str
    operation_id: int | None = field(default=None, eq=False, kw_only=True)


@frozen
class RetryScheduled(Plain):
    """An attempt failed and will be repeated.

    Attributes:
        call: Name of the call.
        attempt: Number of the attempt that failed, from 1.
        delay: Seconds until the next attempt.
        reason: The class and the text of the failure.
        operation_id: The operation that it belongs to, if any: see `OperationStarted`.
    """

    call: str
    attempt: int
    delay: float
    reason: str
    operation_id: int | None = field(default=None, eq=False, kw_only=True)


@frozen
class PartUploaded(Plain):
    """A part of an upload was accepted; `size` is in bytes, `part_number` counts from 1."""

    api_project_id: str
    part_number: int
    size: int


@frozen
class UploadResumed(Plain):
    """A previous upload is resumed: `sent` of its `total` bytes have arrived already."""

    api_project_id: str
    sent: int
    total: int


@frozen
class UploadRestarted(Plain):
    """A previous upload cannot be resumed (`reason`); the file is uploaded to a new project.

    `api_project_id` is the previous project, which is not changed.
    """

    api_project_id: str
    reason: str


@frozen
class DownloadResumed(Plain):
    """A download was interrupted or its link expired (`reason`); it resumes at byte `offset`.

    `offset` is 0 if nothing was received, or if the host sent no validator (`ETag`) of the version.
    """

    offset: int
    reason: str


@frozen
class UploadProgress(Plain):
    """Progress of an upload.

    Attributes:
        sent: Bytes passed to the connection. Decreases when a part is sent again.
        total: Size of the source in bytes.
        rate: Bytes per second over the last five seconds, None at the start.
    """

    sent: int
    total: int
    # Excluded from equality, because it is measured.
    rate: float | None = field(default=None, eq=False, kw_only=True)

    @property
    def percent(self) -> float:
        """Percentage, 0 to 100."""
        return 100.0 * self.sent / self.total if self.total else 100.0


@frozen
class DownloadProgress(Plain):
    """Progress of a download.

    Attributes:
        received: Bytes received. Decreases when the download restarts.
        total: Size of the result in bytes, None if the host did not send it.
        rate: Bytes per second over the last five seconds, None at the start.
    """

    received: int
    total: int | None
    rate: float | None = field(default=None, eq=False, kw_only=True)

    @property
    def percent(self) -> float | None:
        """Percentage, 0 to 100; None if the total is unknown."""
        if self.total is None:
            return None
        return 100.0 * self.received / self.total if self.total else 100.0


@frozen
class GenerationStarted(Plain):
    """A generation was accepted, and is billed. Any process can wait for it by the ids.

    Attributes:
        generation_id: The generation.
        api_project_id: Its project.
        idempotency_key: The key; a request with the same one returns this generation.
        operation_id: The operation that it belongs to, if any: see `OperationStarted`.
    """

    generation_id: str
    api_project_id: str
    idempotency_key: str
    operation_id: int | None = field(default=None, eq=False, kw_only=True)


@frozen
class GenerationEnded(Plain):
    """Polling, or an event, reported that a generation ended; once, however many wait for it.

    Attributes:
        generation_id: The generation.
        api_project_id: Its project, if it is known.
        status: Its last status.
        max_delay: Most seconds since its end: those since the last response in which it had not
            ended. None if that is unknown: an event reported the end, or the first response did.
    """

    generation_id: str
    api_project_id: str | None
    status: str
    # Excluded from equality, because it is measured.
    max_delay: float | None = field(default=None, eq=False, kw_only=True)


@frozen
class ProgressUpdated(Plain):
    """A wait received progress that changed.

    Attributes:
        generation_id: The generation.
        api_project_id: Its project, None if the response lacks it.
        status: As in `GenerationProgress`.
        percent: Percentage of the whole generation, 0 to 100.
    """

    generation_id: str
    api_project_id: str | None
    status: str
    percent: float


@frozen
class PollingPaused(Plain):
    """All waits of the client pause polling for `seconds` (`reason`)."""

    seconds: float
    reason: str


@frozen
class PollRateChanged(Plain):
    """The rate limit of the polls of a client is known, or changed by a tenth or more.

    Attributes:
        polls_per_second: The limit.
        client_number: Number of the client in this process.
    """

    polls_per_second: float
    client_number: int = field(eq=False)


#: All events that observers receive.
Event = (
    OperationStarted
    | OperationEnded
    | RequestSent
    | ResponseReceived
    | RequestFailed
    | RetryScheduled
    | PartUploaded
    | UploadResumed
    | UploadRestarted
    | DownloadResumed
    | GenerationStarted
    | GenerationEnded
    | ProgressUpdated
    | PollingPaused
    | PollRateChanged
)
