"""Decoding of the API's responses: JSON text to values, and to models."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from diffio_async._protocol.redaction import MAX_EXCERPT, redacted_excerpt
from diffio_async.errors import InvalidResponse
from diffio_async.models import json_values
from diffio_async.models.json_values import UnreadableNumber

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


def decode(
    body: bytes,
    returns: type[T],
    *,
    call: str,
    status: int,
    secrets: Iterable[str] = (),
    needs: Iterable[str] = (),
) -> T:
    """Decode the body of a successful response.

    Args:
        body: The body.
        returns: The model.
        call: The name of the call, for the message.
        status: The HTTP status.
        secrets: Texts that are masked in errors.
        needs: Optional fields of the model that this call requires.

    Raises:
        InvalidResponse: It is not a JSON object, or a required field does not fit; the message
            names it. The error has the ids of the response, whose objects may exist and be billed.
    """
    # cattrs takes a tenth of the time to import the client, which a program may do without calls.
    from diffio_async._protocol.structuring import Misfit, from_json

    data = parse_body(body)
    if not body.strip() and not any(
        field.default is attrs.NOTHING for field in attrs.fields(_as_attrs(returns))
    ):
        # A response that need not contain anything may be empty.
        data = {}
    if not isinstance(data, dict):
        raise InvalidResponse(
            f"{call} returned {status} with a body that is not a JSON object: check for a proxy or "
            "a captive portal, and whether the base URL is that of another server",
            status=status,
            body=redacted_excerpt(data, secrets),
        )
    try:
        model = from_json(data, returns)
        missing = (
            next((name for name in needs if getattr(model, name) is None), None) if needs else None
        )
        if missing is None:
            return model
        misfit = Misfit(" is missing", json_values.camel(missing))
    except Misfit as raised:
        misfit = raised
    error = InvalidResponse(
        f"{call} returned {status}, but the response does not fit the contract: {misfit}",
        status=status,
        body=redacted_excerpt(data, secrets),
    )
    error.api_project_id = json_values.token(data.get("apiProjectId"))
    error.generation_id = json_values.token(data.get("generationId"))
    raise error


def _as_attrs(returns: type[T]) -> Any:
    # attrs.fields requires the type of an attrs class.
    return returns


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
    """The text is not JSON, or exceeds the limits on depth and values."""


def json_of(body: bytes) -> object:
    """Return the value of a JSON document, in which every text can be encoded.

    Half of a surrogate pair, and bytes that are not UTF-8, become U+FFFD. A number that has no
    value here (NaN, 1e999, 5,000 digits) becomes its text.

    Raises:
        NotJson: It is not JSON, or too deep or too large.
    """
    # Some proxies put a byte order mark before the JSON.
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    containers = text.count("{") + text.count("[")
    if len(text) > MAX_VALUES and containers + text.count(",") > MAX_VALUES:
        raise NotJson(f"JSON of more than {MAX_VALUES:,} values is not read")
    try:
        value = _decode_json(text)
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    except json.JSONDecodeError as failure:
        raise NotJson(str(failure)) from None
    if containers > MAX_DEPTH and _is_deep(value):
        raise NotJson(_TOO_DEEP)
    # Most text has no escapes at all, which is found faster.
    return _encodable(value) if "\\u" in text and _ESCAPED_HALF.search(text) else value


def parse_body(body: bytes) -> object:
    """Return the JSON of a body, or its text if `json_of` fails; never binary data."""
    try:
        return json_of(body)
    except NotJson:
        text = body.decode("utf-8-sig", "replace")
    beginning = text[:MAX_EXCERPT]
    if len(_BINARY.findall(beginning)) > len(beginning) // _ONE_IN:
        return f"({len(body):,} bytes of binary data)"
    return text


def encodable(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair, so that it can be encoded.

    Besides JSON, file names that are not UTF-8 contain them (`os.fsdecode`).
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


def _decode_json(text: str) -> object:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python reads integers of 4,300 digits at most
        return _LONG_DECODER.decode(text)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return UnreadableNumber(digits)


def _real(digits: str) -> float | str:
    found = float(digits)
    return found if math.isfinite(found) else UnreadableNumber(digits)


_TOO_DEEP = f"JSON nested deeper than {MAX_DEPTH} levels is not read"
_decoder = partial(json.JSONDecoder, parse_float=_real, parse_constant=UnreadableNumber)
_DECODER, _LONG_DECODER = _decoder(), _decoder(parse_int=_integer)
