"""Decode the body of a response, and cut from it what an error may keep."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from diffio_async._wire.redaction import Scrubber

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters of one text that errors keep, and of all texts of one body together.
MAX_SHOWN = 2000
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
    """The text is not JSON, or nested deeper or in more values than is read; the message says."""


def json_of(body: bytes) -> object:
    """The value of a JSON document, in which every text can be encoded.

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


def parsed(body: bytes) -> object:
    """The JSON of a body, or its text where `json_of` does not read it; never binary data."""
    try:
        return json_of(body)
    except NotJson:
        text = body.decode("utf-8-sig", "replace")
    beginning = text[:MAX_SHOWN]
    if len(_BINARY.findall(beginning)) > len(beginning) // _ONE_IN:
        return f"({len(body):,} bytes of binary data)"
    return text


def kept(content: object, secrets: Iterable[str] = ()) -> object:
    """What `parsed` returned, fit to be kept in an error: without secrets, and a few KB at most."""
    scrubber = Scrubber(secrets)
    if isinstance(content, str):
        return scrubber.text(content, MAX_SHOWN)
    return scrubber.json(content, MAX_KEPT, MAX_SHOWN)


def encodable(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair: such text can be encoded.

    Beside JSON, file names that are not UTF-8 have them (`os.fsdecode`).
    """
    return _HALF.sub("\ufffd", text)


def _encodable(value: object) -> object:
    if isinstance(value, str):
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
        return digits


def _real(digits: str) -> float | str:
    found = float(digits)
    return found if math.isfinite(found) else digits


_TOO_DEEP = f"JSON nested deeper than {MAX_DEPTH} levels is not read"
_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=str)
