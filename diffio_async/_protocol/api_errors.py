"""Error responses mapped to errors, with advice on what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._protocol.codec import encodable, parse_body
from diffio_async._protocol.redaction import message_excerpt, redact, redacted_excerpt
from diffio_async._protocol.requests import Host
from diffio_async._protocol.retry import retry_after
from diffio_async.errors import (
    ApiError,
    AuthenticationFailed,
    BadRequest,
    IdempotencyConflict,
    ModelRetired,
    NotFound,
    NotReady,
    PaymentRequired,
    PermissionDenied,
    RateLimited,
    ServerError,
    SpendLimitExceeded,
    TranscriptPending,
    TranscriptUnavailable,
    UploadIncomplete,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from diffio_async.models.generations import Generation

_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid", "cf-ray")
_LONGEST_ID = 200

#: Errors by HTTP status and, where the contract names one, by code.
BY_STATUS: Mapping[int, type[ApiError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    402: PaymentRequired,
    403: PermissionDenied,
    404: NotFound,
    409: NotReady,
    410: ModelRetired,
    429: RateLimited,
}
BY_CODE: Mapping[tuple[int, str], type[ApiError]] = {
    (402, "spendLimitExceeded"): SpendLimitExceeded,
    (404, "TRANSCRIPT_UNAVAILABLE"): TranscriptUnavailable,
    (409, "TRANSCRIPT_PENDING"): TranscriptPending,
    (409, "uploadNotLanded"): UploadIncomplete,
    (410, "model_retired"): ModelRetired,
}
#: Statuses of a server that does not know the endpoint.
_ADDRESSING = frozenset({404, 405, 410})
_CODES = {code for _, code in BY_CODE}


def request_id(headers: Mapping[str, str], secrets: Iterable[str] = ()) -> str | None:
    """Return the server's id of a request, from the headers of its response."""
    for name in _REQUEST_IDS:
        if name in headers:
            return redact(encodable(headers[name]), secrets, _LONGEST_ID)
    return None


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    call: str,
    host: Host,
    now: datetime,
    clock_known: bool = True,
    secrets: Iterable[str] = (),
    about: str = "",
) -> ApiError:
    """Return the error for a response; `secrets` are masked in all of its texts.

    `about` is what was requested, if the hint depends on it.
    """
    secrets = tuple(secrets)
    # Redacted after it is parsed: JSON has several spellings of one text.
    content = parse_body(body)
    found, message_text = (message_excerpt(text, secrets) for text in _code_and_message(content))
    code = found or None
    wait = retry_after(headers, now, clock_known=clock_known)
    # At other hosts, 403 means an expired link, not a key without a scope.
    hint = hint_for(call, status, code, about) if host is Host.API else None
    kind = _error_class(status, code, hint) if host is Host.API else None
    if kind is None:
        kind = ServerError if status >= 500 else ApiError  # noqa: PLR2004 - the class of statuses
    message = f"{call} returned {status}"
    if code:
        message += f" {code}"
    if message_text:
        message += f": {message_text.rstrip('.')}"
    if (status, code) in BY_CODE:
        advice = kind.hint
    elif host is Host.API and status in _ADDRESSING and _is_page(content):
        advice = "Check the base URL (DIFFIO_API_BASE_URL): the response is not from the API."
    else:
        advice = hint or kind.hint or _hint(status, headers, host)
    shown = advice
    if wait is not None:
        shown = f"{advice} The server requests to wait {_seconds_text(wait)} s.".strip()
    error = kind(
        f"{message}. {shown}".rstrip() if shown else message,
        status=status,
        code=code,
        request_id=request_id(headers, secrets),
        body=redacted_excerpt(content, secrets),
        retry_after=wait,
    )
    if advice != kind.hint:
        error.hint = advice
    return error


def _seconds_text(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 1000 else f"{seconds:g}"  # noqa: PLR2004 - readable


def _error_class(status: int, code: str | None, hint: str | None) -> type[ApiError] | None:
    """Return the error class of an API response; None if the contract does not define one."""
    if status == 410 and (code is not None or hint is not None):  # noqa: PLR2004 - Gone
        # The code or the call may indicate that something else than a model is gone.
        return BY_CODE.get((status, code or ""))
    return BY_CODE.get((status, code or ""), BY_STATUS.get(status))


def _is_page(content: object) -> bool:
    """Return whether a body is a page of HTML or XML, which the API never sends."""
    return isinstance(content, str) and content.lstrip().startswith("<")


def _hint(status: int, headers: Mapping[str, str], host: Host) -> str:
    if host is Host.API and 300 <= status < 400:  # noqa: PLR2004 - the class of statuses
        return (
            "It points elsewhere, and credentials are not carried to another address: check the "
            "base URL."
            if "location" in headers
            else "Check the base URL."
        )
    return ""


def _code_and_message(content: object) -> tuple[str, str]:
    """Return the code and the message of an error body of the API, the edge or a proxy."""
    if not isinstance(content, dict):
        text = content if isinstance(content, str) else ""
        # A page of HTML or XML does not belong in a message; it is kept in `body`.
        return "", "" if _is_page(text) else text
    error = content.get("error")
    inner = error if isinstance(error, dict) else content
    message_text = inner.get("message") if isinstance(error, dict) else error
    if not isinstance(message_text, str):
        message_text = next(
            (inner[k] for k in ("message", "detail", "title") if isinstance(inner.get(k), str)), ""
        )
    # The message may be the code.
    codes = (
        inner.get("code"),
        content.get("code"),
        message_text if message_text in _CODES else None,
    )
    code = next((each for each in codes if isinstance(each, str) and each), "")
    return code, "" if code == message_text else message_text


def idempotency_conflict(generation: Generation, key: str) -> IdempotencyConflict:
    """Return the error for a response that has another project's generation."""
    error = IdempotencyConflict(
        "the idempotency key was used before, for project "
        f"{message_excerpt(generation.api_project_id)}: wait for generation "
        f"{message_excerpt(generation.generation_id)} of it, or use another key for another job"
    )
    error.idempotency_key = key
    error.generation_id, error.api_project_id = generation.generation_id, generation.api_project_id
    return error


#: The API's error code for a download type that a generation does not have.
DOWNLOAD_UNAVAILABLE = "downloadUnavailable"
_AUDIO_INSTEAD = "download the audio instead (download_type='audio')"


def check_has_picture(kind: str, has_video: bool | None) -> None:
    """Check, before a result is requested, that a completed generation can have it.

    Args:
        kind: The download type, by the API's name.
        has_video: Whether the recording has a picture, as its progress reports; None if unknown.

    Raises:
        NotFound: The type is video, and the recording has no picture.
    """
    if kind == "video" and has_video is False:
        reason = "the recording has no picture, so there is no video"
        # The status, code and body are those of the response to a request for the video.
        error = NotFound(
            f"{reason}: {_AUDIO_INSTEAD}",
            status=404,
            code=DOWNLOAD_UNAVAILABLE,
            body={"error": reason, "code": DOWNLOAD_UNAVAILABLE},
        )
        error.hint = f"{_AUDIO_INSTEAD.capitalize()}."
        raise error


_ACCOUNT = "and that the key belongs to the account that made it."
_NO_ENDPOINT = (
    "Check the base URL (DIFFIO_API_BASE_URL): there is no such endpoint at that address."
)
_UPLOAD = (
    "Wait until the upload is complete: projects.create returns then, and projects.complete_upload "
    "confirms an upload that was made otherwise."
)
_KEY_STATE = (
    "The state of the API key does not allow it: see api_keys.list for keys that are active."
)
_GONE = "It was deleted or has expired."

#: By call and status; otherwise, the advice of the status applies.
_OF_CALLS: Mapping[str, Mapping[int, str]] = {
    "create_project": {404: _NO_ENDPOINT},
    "complete_project_upload": {
        404: f"Check the id of the project, {_ACCOUNT}",
        409: "Wait until all bytes of the upload have arrived, then call again.",
        410: f"{_GONE} Upload the recording again.",
    },
    "list_projects": {404: _NO_ENDPOINT},
    "list_project_generations": {404: f"Check the id of the project, {_ACCOUNT}", 410: _GONE},
    "create_generation": {
        404: f"Check the id of the project and the name of the model, {_ACCOUNT}",
        409: _UPLOAD,
    },
    "get_generation_progress": {
        404: f"Check the ids of the generation and its project, {_ACCOUNT}",
        410: _GONE,
    },
    "get_generation_download": {
        409: "Wait until the generation is complete (generations.wait_for_complete), then retry.",
        410: _GONE,
    },
    "account/settings/get": {404: _NO_ENDPOINT},
    "account/settings/update": {
        404: _NO_ENDPOINT,
        409: "Read the settings (account.get_settings), then try again.",
    },
    "api_keys/create": {
        403: "A key can hand on only the scopes that it has, and needs keys:write for that.",
        404: _NO_ENDPOINT,
        409: "Look at the keys that exist (api_keys.list) before another attempt.",
    },
    "api_keys/list": {404: _NO_ENDPOINT},
    "api_keys/rotate": {
        404: f"Check the id of the key (key_id), {_ACCOUNT}",
        409: _KEY_STATE,
        410: _KEY_STATE,
    },
    "api_keys/revoke": {
        404: f"Check the id of the key (key_id), {_ACCOUNT}",
        409: _KEY_STATE,
        410: _KEY_STATE,
    },
    "usage/summary": {404: f"Check the id of the key (api_key_id), {_ACCOUNT}"},
    "webhooks/configure": {
        404: f"Check the id of the key (api_key_id), {_ACCOUNT}",
        409: "Read the message: the endpoint cannot be changed now.",
    },
    "webhooks/send_test_event": {
        404: "Configure the endpoint of this mode (webhooks.configure), and check api_key_id.",
        409: "Check that the endpoint of this mode is configured (webhooks.configure).",
    },
}
#: By status and code, whatever the call.
_OF_CODES: Mapping[tuple[int, str], str] = {
    (403, "keyNotActive"): "Use a key that is active: this one was rotated or revoked.",
    (409, "keyNotActive"): _KEY_STATE,
    (409, "generationNotComplete"): _OF_CALLS["get_generation_download"][409],
    (409, "generationFailed"): (
        "The generation ended without a result (generations.get_progress has the reason): start "
        "another one."
    ),
}


def hint_for(call: str, status: int, code: str | None, about: str = "") -> str | None:
    """Return what to do about a failed call; None if there is only the advice of its status.

    Args:
        call: The name of the call.
        status: The HTTP status.
        code: The machine-readable code of the response, if any.
        about: What was requested, such as a download type.
    """
    if call == "get_generation_download" and status == 404:  # noqa: PLR2004 - not found
        return _no_result(about, certain=code == DOWNLOAD_UNAVAILABLE)
    return _OF_CODES.get((status, code or ""), _OF_CALLS.get(call, {}).get(status))


def _no_result(kind: str, *, certain: bool) -> str:
    """Return the advice on a missing result; the ids of a generation that completed are valid."""
    what = f"The {kind}" if kind else "A result of this type"
    guess = kind == "video" and not certain
    reason = ", usually because the recording has no picture" if guess else ""
    instead = "" if kind == "audio" else f"{reason}: {_AUDIO_INSTEAD}"
    ids = "" if certain else " If the ids were kept elsewhere, check them too."
    return f"{what} is not available for this generation{instead}.{ids}"
