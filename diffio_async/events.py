"""What happened, told to observers and progress callbacks: frozen facts without secrets."""

from __future__ import annotations

from attrs import field, frozen

from diffio_async.models.json_values import Plain


@frozen
class RequestSent(Plain):
    """One attempt is about to be made.

    `url` has no query and no credential; `attempt` counts from 1, and a redirect of a download is
    a request of the same attempt.
    """

    call: str
    method: str
    url: str
    attempt: int


@frozen
class ResponseReceived(Plain):
    """One attempt was answered, `seconds` after it was sent; a download's answer has begun."""

    call: str
    method: str
    url: str
    attempt: int
    status: int
    seconds: float
    request_id: str | None = None


@frozen
class RequestFailed(Plain):
    """One attempt got no response within `seconds`.

    `reason` says why in a few words: "refused", "name not found", "timed out", "cancelled". What
    was answered with an error status is an `ResponseReceived`.
    """

    call: str
    method: str
    url: str
    attempt: int
    seconds: float
    reason: str


@frozen
class RetryScheduled(Plain):
    """An attempt failed for `reason` and will be made again in `delay` seconds."""

    call: str
    attempt: int
    delay: float
    reason: str


@frozen
class PartUploaded(Plain):
    """One part of an upload was accepted."""

    api_project_id: str
    part_number: int
    size: int


@frozen
class UploadResumed(Plain):
    """An upload of an earlier try goes on: `sent` of its `total` bytes are there already."""

    api_project_id: str
    sent: int
    total: int


@frozen
class UploadRestarted(Plain):
    """An earlier try cannot be gone on with, for `reason`: its bytes go to a new project.

    `api_project_id` is that of the earlier try, which stays as it is.
    """

    api_project_id: str
    reason: str


@frozen
class DownloadResumed(Plain):
    """A download broke, or its link expired, for `reason`: it is asked for from byte `offset` on.

    That is 0 where nothing came yet, or where the host gave no word to tell its versions by.
    """

    offset: int
    reason: str


@frozen
class UploadProgress(Plain):
    """Bytes of a source handed to the connection, of `total`; fewer when a part is sent again.

    `rate` is bytes a second over the last five seconds, None before it can be told.
    """

    sent: int
    total: int
    # Measured, not a fact of the transfer: two tellings of the same bytes are equal.
    rate: float | None = field(default=None, eq=False, kw_only=True)

    @property
    def percent(self) -> float:
        """0 to 100."""
        return 100.0 * self.sent / self.total if self.total else 100.0


@frozen
class DownloadProgress(Plain):
    """Bytes of a result received, of `total` where the server told; fewer where it begins anew.

    `rate` is bytes a second over the last five seconds, None before it can be told.
    """

    received: int
    total: int | None
    rate: float | None = field(default=None, eq=False, kw_only=True)

    @property
    def percent(self) -> float | None:
        """0 to 100, None where the total is unknown."""
        if self.total is None:
            return None
        return 100.0 * self.received / self.total if self.total else 100.0


@frozen
class GenerationStarted(Plain):
    """A generation was accepted, and is billed: with the ids it can be waited on from anywhere."""

    generation_id: str
    api_project_id: str
    idempotency_key: str


@frozen
class ProgressUpdated(Plain):
    """A wait read progress that changed; `percent` is 0 to 100."""

    generation_id: str
    api_project_id: str | None
    status: str
    percent: float


@frozen
class PollingPaused(Plain):
    """All waits of the client ask nothing for `seconds`, for `reason`."""

    seconds: float
    reason: str


#: What observers are given.
Event = (
    RequestSent
    | ResponseReceived
    | RequestFailed
    | RetryScheduled
    | PartUploaded
    | UploadResumed
    | UploadRestarted
    | DownloadResumed
    | GenerationStarted
    | ProgressUpdated
    | PollingPaused
)
