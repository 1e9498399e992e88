"""Structuring of the API's camelCase JSON as models.

A response is invalid only if a required field of its model is. Another field of the wrong type is
None, or the field's default, and its value is kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, get_args

import attrs
import cattrs
from attrs import frozen

from diffio_async.models import json_values

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


_flag = _scalar(json_values.flag, "true or false")
#: Most ids are ASCII identifiers, which are printable; those of newer Pythons may have joiners.
_FITS_NAME = "type(value) is str and value.isascii() and value.isidentifier() and len(value) < 256"


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
        (bool, _flag),
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
    """Reader of one field of a model; of the items of a list if `row`."""

    wire: str
    default: Any
    kind: Any
    read: Read
    row: bool
    strict: bool

    @property
    def required(self) -> bool:
        return self.default is attrs.NOTHING

    @property
    def fits(self) -> str:
        """The expression for whether a `value` is that of the attribute, without a call."""
        by_hook = {_text: "type(value) is str", _flag: "type(value) is bool", _token: _FITS_NAME}
        fits = by_hook.get(self.read, "True" if self.kind is object else "False")
        return f"value is None or {fits}" if self.default is None else fits

    def default_for(self, misfit: Misfit, data: dict[str, Any], extra: dict[str, Any]) -> Any:
        """Return the default in place of a value that does not fit, and is added to `extra`.

        Raises:
            Misfit: The field is required, or the value is invalid and `strict`.
        """
        value = data.get(self.wire)
        if self.required and self.wire not in data:
            raise Misfit(" is missing", self.wire)
        if self.required or (self.strict and value is not None):
            misfit.path.append(self.wire)
            raise misfit
        if value is not None:
            extra[self.wire] = value
        factory = getattr(self.default, "factory", None)
        return self.default if factory is None else factory()

    def rows(self, data: dict[str, Any], extra: dict[str, Any]) -> Any:
        """Return the items of a list that fit; null is an empty list.

        Raises:
            Misfit: The field is required, and is missing, or an item does not fit.
        """
        value = data.get(self.wire, attrs.NOTHING)
        try:
            rows = self._rows(value)
        except Misfit as misfit:
            return self.default_for(misfit, data, extra)
        if len(rows) < len(value or ()):
            extra[self.wire] = value
        return rows

    def _rows(self, value: object) -> tuple[object, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise Misfit(f": expected a list, got {_type_name(value)}")
        rows = []
        for number, item in enumerate(value):
            try:
                rows.append(self.read(item, self.kind))
            except Misfit as misfit:
                if self.strict or self.required:
                    misfit.path.append(str(number))
                    raise
        return tuple(rows)


def _field(converter: cattrs.Converter, field: attrs.Attribute[Any], *, strict: bool) -> _Field:
    kind = field.type
    row = getattr(kind, "__origin__", None) is tuple
    if row:
        kind = get_args(kind)[0]
    elif type(None) in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    names = not strict and kind is str and not row and field.name.endswith(_NAMES)
    read = _token if names else converter.get_structure_hook(kind)
    return _Field(json_values.camel(field.name), field.default, kind, read, row, strict)


def _model_hook(converter: cattrs.Converter, cls: Any, *, strict: bool) -> Read:
    """Return the hook of a model: invalid fields are kept in `extra`.

    It is compiled, and fills an object of a class that is not frozen, which then becomes a model:
    the constructor of a frozen class calls a function for each attribute.
    """
    attrs.resolve_types(cls)
    names = {each.name: _field(converter, each, strict=strict) for each in attrs.fields(cls)}
    has_extra = names.pop("extra", None) is not None
    thawed = {"__slots__": cls.__slots__, "__setattr__": object.__setattr__}
    draft = type(cls.__name__, cls.__bases__, {**thawed, "__delattr__": object.__delattr__})
    lines = [
        "def hook(data, _):",
        "    if not isinstance(data, dict):",
        "        raise Misfit(f': expected an object, got {type_name(data)}')",
        "    model, extra, get = new(draft), {}, data.get",
        "    if not known.issuperset(data):",
        "        extra = {wire: value for wire, value in data.items() if wire not in known}",
    ]
    for name, field in names.items():
        if field.row:
            lines.append(f"    model.{name} = fields[{name!r}].rows(data, extra)")
            continue
        lines += [
            f"    value = get({field.wire!r})",
            f"    if not ({field.fits}):",
            "        try:",
            f"            value = read_{name}(value, kind_{name})",
            "        except Misfit as misfit:",
            f"            value = fields[{name!r}].default_for(misfit, data, extra)",
            f"    model.{name} = value",
        ]
    lines += ["    model.extra = extra"] * has_extra
    lines += ["    model.__class__ = cls", "    return model"]
    scope: dict[str, Any] = {
        "Misfit": Misfit,
        "cls": cls,
        "draft": draft,
        "fields": names,
        "known": frozenset(field.wire for field in names.values()),
        "new": object.__new__,
        "type_name": _type_name,
        **{f"read_{name}": field.read for name, field in names.items()},
        **{f"kind_{name}": field.kind for name, field in names.items()},
    }
    exec("\n".join(lines), scope)  # noqa: S102 - its names are those of the fields
    hook: Read = scope["hook"]
    return hook
