"""From the API's camelCase JSON to models: strict scalars, tolerant of what is yet to come."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import cattrs
from cattrs.errors import BaseValidationError, ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from diffio_async._wire.contents import kept, parsed
from diffio_async.errors import ResponseInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

_DIGITS = re.compile(r"[+-]?[0-9]{1,40}")


def camel(name: str) -> str:
    """`api_project_id` -> `apiProjectId`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def decoded(
    body: bytes, returns: type[T], *, call: str, status: int, secrets: Iterable[str] = ()
) -> T:
    """A successful answer's body as a model.

    Raises:
        ResponseInvalid: It is not a JSON object, or a field does not fit; the message names it.
            The ids that the answer holds are kept: what it speaks of may exist and be billed.
    """
    data = parsed(body)
    if not body.strip() and not any(_due(field) for field in attrs.fields(_attrs(returns))):
        # An answer that need say nothing may say nothing.
        data = {}
    if not isinstance(data, dict):
        raise ResponseInvalid(
            f"{call} was answered {status} with something that is not a JSON object: is there a "
            "proxy or a captive portal on the way, or is the base URL another server's?",
            status=status,
            body=kept(data, secrets),
        )
    try:
        return _converter().structure(data, returns)
    except (BaseValidationError, ValueError, TypeError, KeyError) as failure:
        error = ResponseInvalid(
            f"{call} was answered {status}, but the answer does not fit the contract: "
            f"{_place(failure)}",
            status=status,
            body=kept(data, secrets),
        )
    error.api_project_id = _id(data.get("apiProjectId"))
    error.generation_id = _id(data.get("generationId"))
    raise error


def structured(data: object, returns: type[T]) -> T:
    """JSON of our own as a model.

    Raises:
        ValueError: A field does not fit; the message names it.
    """
    try:
        return _converter().structure(data, returns)
    except (BaseValidationError, ValueError, TypeError, KeyError) as failure:
        place = _place(failure)
    raise ValueError(place)


def _attrs(returns: type[T]) -> Any:
    # attrs.fields wants to be told that this is one of its classes.
    return returns


def _due(field: attrs.Attribute[Any]) -> bool:
    return field.default is attrs.NOTHING


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _place(failure: BaseException) -> str:
    """The path of the first field that did not fit, and why."""
    path: list[str] = []
    while isinstance(failure, BaseValidationError):
        if isinstance(failure, ClassValidationError):
            named, others = failure.group_exceptions()
            pairs: list[tuple[BaseException, str]] = [(e, camel(note.name)) for e, note in named]
        elif isinstance(failure, IterableValidationError):
            numbered, others = failure.group_exceptions()
            pairs = [(e, str(note.index)) for e, note in numbered]
        else:
            pairs, others = [], list(failure.exceptions)
        if pairs:
            failure, step = pairs[0]
            path.append(step)
        else:
            failure = others[0]
    if isinstance(failure, KeyError):
        return f"{'.'.join(path)} is missing"
    return f"{'.'.join(path)}: {failure}" if path else str(failure)


def _text(value: object, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string is due, not {_shown(value)}")
    return value


def _flag(value: object, _: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false is due, not {_shown(value)}")
    return value


def _number(value: object, _: Any) -> float:
    # "12.5" has been seen where 12.5 is due.
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise TypeError(f"a number is due, not {_shown(value)}")


def _whole(value: object, _: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        # Not by way of a float, which is exact to 2**53 only.
        return int(value)
    number = _number(value, _)
    if not number.is_integer():
        raise TypeError(f"a whole number is due, not {_shown(value)}")
    return int(number)


def _instant(value: object, _: Any) -> datetime:
    """ISO 8601; a time stamp without a zone is UTC."""
    try:
        instant = datetime.fromisoformat(_text(value, _))
    except ValueError:
        raise TypeError(f"an ISO 8601 time stamp is due, not {_shown(value)}") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _shown(value: object) -> str:
    # The value of a field that does not fit may be a secret: say its kind only.
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "such a string"
        case dict():
            return "an object"
        case list():
            return "a list"
    return "such a number"


@cache
def _converter() -> cattrs.Converter:
    """Hooks are made when a class is first decoded: nobody decodes all of them."""
    converter = cattrs.Converter(detailed_validation=True)
    for kind, hook in (
        (str, _text),
        (bool, _flag),
        (float, _number),
        (int, _whole),
        (datetime, _instant),
    ):
        converter.register_structure_hook(kind, hook)
    # Fields whose shape the contract leaves open come as they are.
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook_func(
        lambda kind: getattr(kind, "__origin__", None) is Mapping, _mapping
    )
    converter.register_structure_hook_factory(attrs.has, lambda cls: _model_hook(converter, cls))
    converter.register_structure_hook_func(
        lambda kind: getattr(kind, "__origin__", None) is tuple,
        lambda value, kind: _rows(converter, value, kind),
    )
    return converter


def _mapping(value: object, _: Any) -> object:
    """An object with the API's own keys, as it came."""
    if not isinstance(value, dict):
        raise TypeError(f"an object is due, not {_shown(value)}")
    return value


def _rows(converter: cattrs.Converter, value: object, kind: Any) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise TypeError(f"a list is due, not {_shown(value)}")
    return tuple(converter.structure(value, list[kind.__args__[0]]))


def _model_hook(converter: cattrs.Converter, cls: Any) -> Callable[[Any, Any], Any]:
    """The hook of one model: camelCase in, unknown fields kept in `extra`, null like absent."""
    attrs.resolve_types(cls)
    fields = {field.name: camel(field.name) for field in attrs.fields(cls) if field.name != "extra"}
    optional = {camel(field.name) for field in attrs.fields(cls) if not _due(field)}
    overrides: dict[str, Any] = {name: override(rename=wire) for name, wire in fields.items()}
    structure = make_dict_structure_fn(cls, converter, extra=override(omit=True), **overrides)
    known = set(fields.values())

    def hook(value: object, kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"an object is due, not {_shown(value)}")
        due = {
            name: item
            for name, item in value.items()
            if name in known and not (item is None and name in optional)
        }
        model = structure(due, kind)
        extra = {name: item for name, item in value.items() if name not in known}
        return attrs.evolve(model, extra=extra) if extra else model

    return hook
