"""Decoding of the API's camelCase JSON to models.

A response is invalid only if a required field of its model is. Another field of the wrong type is
None, or the field's default, and its value is kept in `extra`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import attrs
import cattrs
from attrs import frozen

from diffio_async._protocol.redaction import MAX_EXCERPT, redacted_excerpt
from diffio_async.errors import InvalidResponse
from diffio_async.models import json_values
from diffio_async.models.json_values import UnreadableNumber

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")
Read = Callable[[Any, Any], Any]

#: Endings of the names of fields that name something: see `json_values.token`.
_NAMES = ("_id", "_url", "_token", "key", "etag")


class Misfit(Exception):
    """A value does not fit the model; `path` locates it, the innermost step first."""

    def __init__(self, why: str, *path: str) -> None:
        super().__init__(why)
        self.path = list(path)

    def __str__(self) -> str:
        path = ".".join(reversed(self.path))
        return f"{path}{self.args[0]}" if path else str(self.args[0]).removeprefix(": ")


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


def from_json(data: object, returns: type[T]) -> T:
    """Structure JSON of the API as a model.

    Raises:
        Misfit: A required field does not fit.
    """
    return _converter(strict=False).structure(data, returns)


def structure(data: object, returns: type[T]) -> T:
    """Structure JSON of this package as a model.

    Raises:
        ValueError: A field does not fit; the message names it.
    """
    try:
        return _converter(strict=True).structure(data, returns)
    except Misfit as misfit:
        message = str(misfit)
    raise ValueError(message)


def _as_attrs(returns: type[T]) -> Any:
    # attrs.fields requires the type of an attrs class.
    return returns


def _scalar(read: Callable[[Any], Any], wanted: str) -> Read:
    def hook(value: object, _: Any) -> Any:
        found = read(value)
        if found is None:
            raise Misfit(f": expected {wanted}, got {_type_name(value)}")
        return found

    return hook


def _mapping(value: object, _: Any) -> Mapping[str, object]:
    """Return an object unchanged, with the API's keys."""
    if not isinstance(value, dict):
        raise Misfit(f": expected an object, got {_type_name(value)}")
    return value


def _text(value: object, _: Any) -> str:
    # Not an `UnreadableNumber`.
    if type(value) is not str:
        raise Misfit(f": expected a string, got {_type_name(value)}")
    return value


def _token(value: object, _: Any) -> str:
    found = json_values.token(value)
    if found is None or type(value) is not str:
        _text(value, _)
        raise Misfit(": expected a printable string that is not empty, got another string")
    return found


def _type_name(value: object) -> str:
    # The value of a field that does not fit may be a secret: name its type only.
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "another string"
        case dict():
            return "an object"
        case list():
            return "a list"
    return "another number"


@cache
def _converter(*, strict: bool) -> cattrs.Converter:
    """Return the converter, which creates the hook of a class when that is first decoded."""
    converter = cattrs.Converter(detailed_validation=False)
    for kind, hook in (
        (str, _text),
        (bool, _scalar(json_values.flag, "true or false")),
        (float, _scalar(json_values.number, "a number")),
        (int, _scalar(json_values.integer, "a whole number")),
        (datetime, _scalar(json_values.instant, "an ISO 8601 time stamp")),
    ):
        converter.register_structure_hook(kind, hook)
    # Fields that the contract does not specify are returned unchanged.
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook_func(
        lambda kind: getattr(kind, "__origin__", None) is Mapping, _mapping
    )
    converter.register_structure_hook_factory(
        attrs.has, lambda cls: _model_hook(converter, cls, strict=strict)
    )
    return converter


@frozen
class _Field:
    """Reader of one field of a model (null is absence if `optional`); if `row`, of list items.

    Values of the type `unread` fit as they are: a call of `read` takes longer than the comparison.
    """

    name: str
    required: bool
    kind: Any
    read: Read
    row: bool
    unread: type | None
    optional: bool

    def rows(self, value: object, strict: bool) -> tuple[object, ...]:
        """Return the items that fit; null is an empty list.

        Raises:
            Misfit: It is not a list, or an item does not fit and the field is required.
        """
        if value is None:
            return ()
        if not isinstance(value, list):
            raise Misfit(f": expected a list, got {_type_name(value)}")
        rows = []
        for number, item in enumerate(value):
            try:
                rows.append(self.read(item, self.kind))
            except Misfit as misfit:
                if strict or self.required:
                    misfit.path.append(str(number))
                    raise
        return tuple(rows)


def _field(converter: cattrs.Converter, field: attrs.Attribute[Any], *, strict: bool) -> _Field:
    kind, required = field.type, field.default is attrs.NOTHING
    row = getattr(kind, "__origin__", None) is tuple
    if row:
        kind = get_args(kind)[0]
    elif type(None) in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    names = not strict and kind is str and not row and field.name.endswith(_NAMES)
    read = _token if names else converter.get_structure_hook(kind)
    unread = kind if kind in {str, bool} and not row and not names else None
    return _Field(field.name, required, kind, read, row, unread, not (required or row))


def _model_hook(converter: cattrs.Converter, cls: Any, *, strict: bool) -> Read:
    """Return the hook of a model: invalid fields are kept in `extra`, null is absent."""
    attrs.resolve_types(cls)
    fields = {
        json_values.camel(field.name): _field(converter, field, strict=strict)
        for field in attrs.fields(cls)
        if field.name != "extra"
    }
    required = [(wire, field.name) for wire, field in fields.items() if field.required]

    def hook(data: object, _: Any) -> Any:
        if not isinstance(data, dict):
            raise Misfit(f": expected an object, got {_type_name(data)}")
        known: dict[str, Any] = {}
        for wire, value in data.items():
            field = fields.get(wire)
            if field is not None:
                if type(value) is field.unread:
                    known[field.name] = value
                    continue
                if value is None and field.optional:
                    continue
                try:
                    read = field.rows(value, strict) if field.row else field.read(value, field.kind)
                    known[field.name] = read
                    if not (field.row and value is not None and len(read) < len(value)):
                        continue
                except Misfit as misfit:
                    if strict or field.required:
                        misfit.path.append(wire)
                        raise
            known.setdefault("extra", {})[wire] = value  # most models have none
        for wire, name in required:
            if name not in known:
                raise Misfit(" is missing", wire)
        return cls(**known)

    return hook


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
    if containers + text.count(",") > MAX_VALUES:
        raise NotJson(f"JSON of more than {MAX_VALUES:,} values is not read")
    try:
        value = _decode_json(text)
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    except json.JSONDecodeError as failure:
        raise NotJson(str(failure)) from None
    if containers > MAX_DEPTH and _is_deep(value):
        raise NotJson(_TOO_DEEP)
    return _encodable(value) if _ESCAPED_HALF.search(text) else value


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
