"""Error responses mapped to errors, with advice on what to do next."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from diffio_async._protocol.dates import http_date
from diffio_async._protocol.endpoints import Host
from diffio_async._protocol.hints import hint_for
from diffio_async._protocol.redaction import Scrubber, redact
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
from diffio_async.models.scalars import UnreadableNumber

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from diffio_async.models.generations import Generation

#: Characters of one text that errors keep, and of all texts of one body together.
MAX_EXCERPT = 2000
MAX_KEPT = 8000
#: How deep a JSON document may be nested: everything that walks one afterwards can recurse.
MAX_DEPTH = 100
#: Values in one JSON document. Small ones take a hundred times as much memory as text.
MAX_VALUES = 2_000_000

# Text that is not UTF-8 has some such characters, binary data has many.
_BINARY = re.compile("[\x00-\x08\x0e-\x1f\ufffd]")
_ONE_IN = 8
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")


class NotJson(ValueError):
    """The text is not JSON, or exceeds the limits on depth and values; the message says which."""


def json_of(body: bytes) -> object:
    """Return the value of a JSON document, in which every text can be encoded.

    Half of a surrogate pair, and bytes that are not UTF-8, become U+FFFD. A number that has no
    value here (NaN, 1e999, 5,000 digits) stays the text that it was.

    Raises:
        NotJson: It is not JSON, or too deep or too large.
    """
    # Some proxies put a byte order mark before the JSON.
    text = body.decode("utf-8-sig", "replace")
    containers = text.count("{") + text.count("[")
    if containers + text.count(",") > MAX_VALUES:
        raise NotJson(f"JSON of more than {MAX_VALUES:,} values is not read")
    try:
        value: object = _DECODER.decode(text)
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    except ValueError as failure:
        raise NotJson(str(failure)) from None
    if containers > MAX_DEPTH and _is_deep(value):
        raise NotJson(_TOO_DEEP)
    return _encodable(value) if _ESCAPED_HALF.search(text) else value


def parse_body(body: bytes) -> object:
    """Return the JSON of a body, or its text where `json_of` fails; never binary data."""
    try:
        return json_of(body)
    except NotJson:
        text = body.decode("utf-8-sig", "replace")
    beginning = text[:MAX_EXCERPT]
    if len(_BINARY.findall(beginning)) > len(beginning) // _ONE_IN:
        return f"({len(body):,} bytes of binary data)"
    return text


def redacted_excerpt(content: object, secrets: Iterable[str] = ()) -> object:
    """Return parsed content for an error: with secrets masked, and a few KB at most."""
    scrubber = Scrubber(secrets)
    if isinstance(content, str):
        return scrubber.text(content, MAX_EXCERPT)
    return scrubber.json(content, MAX_KEPT, MAX_EXCERPT)


def encodable(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair: such text can be encoded.

    Beside JSON, file names that are not UTF-8 have them (`os.fsdecode`).
    """
    return _HALF.sub("\ufffd", text)


def _encodable(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, UnreadableNumber):
        return encodable(value)
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    if isinstance(value, dict):
        return {encodable(name): _encodable(each) for name, each in value.items()}
    return value


def _is_deep(value: object) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # Python reads 4,300 digits at most
        return UnreadableNumber(digits)


def _real(digits: str) -> float | str:
    found = float(digits)
    return found if math.isfinite(found) else UnreadableNumber(digits)


_TOO_DEEP = f"JSON nested deeper than {MAX_DEPTH} levels is not read"
_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=UnreadableNumber)


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


#: Seconds until a date that are waited for on the word of this machine's clock alone.
_MAX_UNVERIFIED_WAIT = 60.0


def retry_after(
    headers: Mapping[str, str], now: datetime, *, clock_known: bool = True
) -> float | None:
    """Seconds the server asks to wait: `Retry-After-Ms`, or `Retry-After` as seconds or a date.

    A date is compared with the response's own `Date`, because the clock of this machine may be
    wrong; with `now` where the response has none. Of several values the largest counts.
    `headers` has lower-case names. What cannot be read is ignored, as is a date far ahead where
    the server's clock is not known.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit)
        if seconds is not None:
            return seconds
    date = http_date(headers.get("retry-after", ""))
    if date is None:
        return None
    sent = http_date(headers.get("date", ""))
    seconds = max(0.0, (date - (sent or now)).total_seconds())
    if sent is None and not clock_known and seconds > _MAX_UNVERIFIED_WAIT:
        return None
    return seconds


def _seconds(text: str, unit: float) -> float | None:
    try:
        # Repeated headers were joined by commas.
        seconds = max(map(float, text.split(","))) * unit
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def request_id(headers: Mapping[str, str], secrets: Iterable[str] = ()) -> str | None:
    """Return the server's id of a request, from the lower-case headers of its response."""
    given = next((headers[name] for name in _REQUEST_IDS if name in headers), None)
    return None if given is None else redact(given, secrets, _LONGEST_ID)


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

    `about` names what was requested, where the hint depends on it.
    """
    secrets = tuple(secrets)
    # Scrubbed after it is parsed: JSON has several spellings for one text.
    content = parse_body(body)
    found, message_text = (message_excerpt(text, secrets) for text in _code_and_message(content))
    code = found or None
    wait = retry_after(headers, now, clock_known=clock_known)
    # Elsewhere a 403 is a link that has expired, not a key without a scope.
    hint = hint_for(call, status, code, about) if host is Host.API else None
    kind = _error_class(status, code, hint) if host is Host.API else None
    if kind is None:
        kind = ServerError if status >= 500 else ApiError  # noqa: PLR2004 - the class of statuses
    message = f"{call} was answered {status}"
    if code:
        message += f" {code}"
    if message_text:
        message += f": {message_text.rstrip('.')}"
    if (status, code) in BY_CODE:
        advice = kind.hint
    elif host is Host.API and status in _ADDRESSING and _is_page(content):
        advice = "Check the base URL (DIFFIO_API_BASE_URL): another server than the API answered."
    else:
        advice = hint or kind.hint or _hint(status, headers, host)
    shown = advice
    if wait is not None:
        shown = f"{advice} The server asks to wait {_seconds_text(wait)} s.".strip()
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
    """Return the error class of an API response; None where the contract does not define one."""
    if status == 410 and (code is not None or hint is not None):  # noqa: PLR2004 - Gone
        # Other things than models may be gone: where the code or the call indicates it.
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
    # A code may also stand in the place of the message.
    codes = (
        inner.get("code"),
        content.get("code"),
        message_text if message_text in _CODES else None,
    )
    code = next((each for each in codes if isinstance(each, str) and each), "")
    return code, "" if code == message_text else message_text


def message_excerpt(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text of a server as one short line for a message, with secrets masked."""
    text = redact(text, secrets, MAX_EXCERPT)
    # Whatever a terminal would obey is left out.
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _SHOWN_IN_MESSAGE else f"{text[:_SHOWN_IN_MESSAGE]}…"


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
