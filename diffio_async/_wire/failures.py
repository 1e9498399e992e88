"""What an answer that is no success means: the right error, with what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._wire.calls import Host
from diffio_async._wire.contents import MAX_SHOWN, kept, parsed
from diffio_async._wire.dates import http_date
from diffio_async._wire.hints import hint_for
from diffio_async._wire.redaction import scrubbed
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
_SHOWN_IN_MESSAGE = 300
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


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the server asks to wait: `Retry-After-Ms`, or `Retry-After` as seconds or a date.

    A date is compared with the response's own `Date`, because the clock of this machine may be
    wrong; with `now` where the response has none. `headers` has lower-case names. What cannot be
    read counts as not said.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit)
        if seconds is not None:
            return seconds
    date = http_date(headers.get("retry-after", ""))
    if date is None:
        return None
    sent = http_date(headers.get("date", "")) or now
    return max(0.0, (date - sent).total_seconds())


def _seconds(text: str, unit: float) -> float | None:
    try:
        seconds = float(text) * unit
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def request_id(headers: Mapping[str, str], secrets: Iterable[str] = ()) -> str | None:
    """The server's name for a request, by the lower-case headers of its answer."""
    given = next((headers[name] for name in _REQUEST_IDS if name in headers), None)
    return None if given is None else scrubbed(given, secrets, _LONGEST_ID)


def error_for(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    call: str,
    host: Host,
    now: datetime,
    secrets: Iterable[str] = (),
    about: str = "",
) -> ApiError:
    """The error an answer stands for; `secrets` never show in it, whatever the server echoes.

    `about` names what was asked for, where the hint depends on it.
    """
    secrets = tuple(secrets)
    # Scrubbed after it is parsed: JSON has several spellings for one text.
    content = parsed(body)
    found, said = (_line(text, secrets) for text in _code_and_message(content))
    code = found or None
    wait = retry_after(headers, now)
    # Elsewhere a 403 is a link that has expired, not a key without a scope.
    hint = hint_for(call, status, code, about) if host is Host.API else None
    kind = _kind(status, code, hint) if host is Host.API else None
    if kind is None:
        kind = ServerError if status >= 500 else ApiError  # noqa: PLR2004 - the class of statuses
    message = f"{call} was answered {status}"
    if code:
        message += f" {code}"
    if said:
        message += f": {said.rstrip('.')}"
    if (status, code) in BY_CODE:
        advice = kind.advice
    elif host is Host.API and status in _ADDRESSING and _is_page(content):
        advice = "Check the base URL (DIFFIO_API_BASE_URL): another server than the API answered."
    else:
        advice = hint or kind.advice or _advice(status, headers, host)
    shown = advice
    if wait is not None:
        shown = f"{advice} The server asks to wait {wait:g} s.".strip()
    error = kind(
        f"{message}. {shown}".rstrip() if shown else message,
        status=status,
        code=code,
        request_id=request_id(headers, secrets),
        body=kept(content, secrets),
        retry_after=wait,
    )
    if advice != kind.advice:
        error.advice = advice
    return error


def _kind(status: int, code: str | None, hint: str | None) -> type[ApiError] | None:
    """The class of an answer of the API's, None where the contract has no word for it."""
    if status == 410 and (code is not None or hint is not None):  # noqa: PLR2004 - Gone
        # Other things than models may be gone: where the code or the call says so.
        return BY_CODE.get((status, code or ""))
    return BY_CODE.get((status, code or ""), BY_STATUS.get(status))


def _is_page(content: object) -> bool:
    """Whether a body is a page of HTML or XML, which no answer of the API is."""
    return isinstance(content, str) and content.lstrip().startswith("<")


def _advice(status: int, headers: Mapping[str, str], host: Host) -> str:
    if host is Host.API and 300 <= status < 400:  # noqa: PLR2004 - the class of statuses
        return (
            "It points elsewhere, and credentials are not carried to another address: check the "
            "base URL."
            if "location" in headers
            else "Check the base URL."
        )
    return ""


def _code_and_message(content: object) -> tuple[str, str]:
    """The code and the words of an error body: the API's, the edge's, or some proxy's page."""
    if not isinstance(content, dict):
        text = content if isinstance(content, str) else ""
        # A page of HTML or XML helps nobody in a message; it is kept in `body`.
        return "", "" if _is_page(text) else text
    error = content.get("error")
    inner = error if isinstance(error, dict) else content
    said = inner.get("message") if isinstance(error, dict) else error
    if not isinstance(said, str):
        said = next(
            (inner[k] for k in ("message", "detail", "title") if isinstance(inner.get(k), str)), ""
        )
    # A code may also stand where the words should.
    codes = (inner.get("code"), content.get("code"), said if said in _CODES else None)
    code = next((each for each in codes if isinstance(each, str) and each), "")
    return code, "" if code == said else said


def _line(text: str, secrets: tuple[str, ...]) -> str:
    text = scrubbed(text, secrets, MAX_SHOWN)
    # Whatever a terminal would obey is left out.
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _SHOWN_IN_MESSAGE else f"{text[:_SHOWN_IN_MESSAGE]}…"


def conflict(generation: Generation, key: str) -> IdempotencyConflict:
    """The error for an answer that is another project's generation."""
    error = IdempotencyConflict(
        "the idempotency key was used before, for project "
        f"{generation.api_project_id}: wait for generation {generation.generation_id} of it, or "
        "use another key for another job"
    )
    error.idempotency_key = key
    error.generation_id, error.api_project_id = generation.generation_id, generation.api_project_id
    return error
