"""Fault plans as JSON, refused with the place of the mistake."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from attrs import NOTHING, Attribute, fields

from diffio_async.sandbox.faults import ACTION_NAMES, ORIGINS, Action, Fault

_LONGEST = 1e9
#: Bytes of a plan's file.
_LARGEST_PLAN = 16 * 1024 * 1024


class PlanError(ValueError):
    """A plan is wrong; the message begins with the place, like `faults[2].action.answer.status`."""


def read_plan(source: str | PathLike[str] | Mapping[str, Any]) -> list[Fault]:
    """Read a plan from a JSON file or an object already decoded.

    A plan is `{"faults": [{"path": "*create_project", "action": "lose_answer"}, …]}`; each fault
    has the fields of `Fault`, and its action is a name or `{"name": {parameters}}`.

    Raises:
        PlanError: Naming the place of the first mistake.
        OSError: The file cannot be read.
    """
    if isinstance(source, Mapping):
        plan: Any = source
    else:
        with Path(source).open("rb") as file:
            content = file.read(_LARGEST_PLAN + 1)
        if len(content) > _LARGEST_PLAN:
            raise PlanError(f"{source} has more than {_LARGEST_PLAN:,} bytes")
        try:
            plan = json.loads(content.decode("utf-8"))
        except ValueError as error:
            raise PlanError(f"{source} is not JSON: {error}") from error
        except RecursionError:
            raise PlanError(f"{source} is nested too deeply") from None
    _only(plan, {"faults"}, "the plan")
    faults = plan.get("faults")
    if not isinstance(faults, list):
        raise PlanError("faults: must be a list")
    return [_fault(item, f"faults[{place}]") for place, item in enumerate(faults)]


def _fault(item: Any, place: str) -> Fault:
    _only(item, {attribute.name for attribute in fields(Fault)}, place)
    if "action" not in item:
        raise PlanError(f"{place}.action: is required")
    values: dict[str, Any] = {"action": _action(item["action"], f"{place}.action")}
    for name, read in _FAULT_FIELDS.items():
        if name in item:
            values[name] = read(item[name], f"{place}.{name}")
    try:
        return Fault(**values)
    except ValueError as error:
        raise PlanError(f"{place}.action: {error}") from error


def _action(item: Any, place: str) -> Action:
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise PlanError(f"{place}: must be a name or an object with one name")
    ((name, given),) = item.items()
    kind = ACTION_NAMES.get(name)
    if kind is None:
        raise PlanError(f"{place}: {name!r} is none of {', '.join(ACTION_NAMES)}")
    place = f"{place}.{name}"
    wanted: dict[str, Attribute[Any]] = {one.name: one for one in fields(kind)}
    _only(given, wanted, place)
    values = {}
    for parameter, attribute in wanted.items():
        if parameter in given:
            values[parameter] = _PARAMETERS[parameter](given[parameter], f"{place}.{parameter}")
        elif attribute.default is NOTHING:
            raise PlanError(f"{place}.{parameter}: is required")
    return kind(**values)


def _only(item: Any, known: Any, place: str) -> None:
    if not isinstance(item, Mapping):
        raise PlanError(f"{place}: must be an object")
    for name in item:
        if name not in known:
            raise PlanError(f"{place}.{name}: is not one of {', '.join(sorted(known))}")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{place}: must be a string")
    return value


def _optional_text(value: Any, place: str) -> str | None:
    return None if value is None else _text(value, place)


def _origin(value: Any, place: str) -> str | None:
    if value is not None and value not in ORIGINS:
        raise PlanError(f"{place}: must be one of {', '.join(ORIGINS)}")
    return _optional_text(value, place)


def _integer(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PlanError(f"{place}: must be a whole number from 0 up")
    return value


def _optional_integer(value: Any, place: str) -> int | None:
    return None if value is None else _integer(value, place)


def _status(value: Any, place: str) -> int:
    if _integer(value, place) not in range(200, 600):
        raise PlanError(f"{place}: must be a status from 200 to 599")
    return int(value)


def _seconds(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise PlanError(f"{place}: must be a number of seconds from 0 up")
    return float(value)


def _share(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise PlanError(f"{place}: must be a number from 0 to 1")
    return float(value)


def _headers(value: Any, place: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise PlanError(f"{place}: must be an object")
    for name, text in value.items():
        if not isinstance(text, str) or any(ch in name + text for ch in "\r\n\0"):
            raise PlanError(f"{place}.{name}: must be a string of one line")
    return value


def _anything(value: Any, place: str) -> Any:
    del place
    return value


_FAULT_FIELDS = {
    "origin": _origin,
    "method": _optional_text,
    "path": _text,
    "skip": _integer,
    "times": _optional_integer,
    "rate": _share,
    "seed": _integer,
}
_PARAMETERS = {
    "status": _status,
    "headers": _headers,
    "json": _anything,
    "text": _optional_text,
    "seconds": _seconds,
    "fraction": _share,
    "after": _integer,
    "bytes": _integer,
    "copies": _integer,
}
