"""Fault plans as JSON; errors contain the location of the mistake."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from attrs import NOTHING, Attribute, fields

from diffio_async.sandbox.faults import ACTION_NAMES, ORIGINS, Action, Fault

_MAX_SECONDS = 1e9
#: Maximum size of a plan file.
_MAX_PLAN_BYTES = 16 * 1024 * 1024


class PlanError(ValueError):
    """An invalid plan; the message begins with the location, e.g. `faults[2].path`."""


def read_plan(source: str | PathLike[str] | Mapping[str, Any]) -> list[Fault]:
    """Read a plan from a JSON file or a decoded object.

    A plan is `{"faults": [{"path": "*create_project", "action": "lose_response"}, …]}`; each fault
    has the fields of `Fault`, and its action is a name or `{"name": {parameters}}`.

    Raises:
        PlanError: The plan is invalid; the message begins with the location.
        OSError: The file cannot be read.
    """
    if isinstance(source, Mapping):
        plan: Any = source
    else:
        with Path(source).open("rb") as file:
            content = file.read(_MAX_PLAN_BYTES + 1)
        if len(content) > _MAX_PLAN_BYTES:
            raise PlanError(f"{source} has more than {_MAX_PLAN_BYTES:,} bytes")
        try:
            plan = json.loads(content.decode("utf-8"))
        except ValueError as error:
            raise PlanError(f"{source} is not JSON: {error}") from error
        except RecursionError:
            raise PlanError(f"{source} is nested too deeply") from None
    _require_known(plan, {"faults"}, "the plan")
    faults = plan.get("faults")
    if not isinstance(faults, list):
        raise PlanError("faults: must be a list")
    return [_fault(item, f"faults[{location}]") for location, item in enumerate(faults)]


def _fault(item: Any, location: str) -> Fault:
    _require_known(item, {attribute.name for attribute in fields(Fault)}, location)
    if "action" not in item:
        raise PlanError(f"{location}.action: is required")
    values: dict[str, Any] = {"action": _action(item["action"], f"{location}.action")}
    for name, parse in _FAULT_FIELDS.items():
        if name in item:
            values[name] = parse(item[name], f"{location}.{name}")
    try:
        return Fault(**values)
    except ValueError as error:
        raise PlanError(f"{location}.action: {error}") from error


def _action(item: Any, location: str) -> Action:
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise PlanError(f"{location}: must be a name or an object with one name")
    ((name, parameters),) = item.items()
    action_class = ACTION_NAMES.get(name)
    if action_class is None:
        raise PlanError(f"{location}: {name!r} is not one of {', '.join(ACTION_NAMES)}")
    location = f"{location}.{name}"
    attributes: dict[str, Attribute[Any]] = {
        attribute.name: attribute for attribute in fields(action_class)
    }
    _require_known(parameters, attributes, location)
    values = {}
    for parameter, attribute in attributes.items():
        if parameter in parameters:
            values[parameter] = _PARAMETERS[parameter](
                parameters[parameter], f"{location}.{parameter}"
            )
        elif attribute.default is NOTHING:
            raise PlanError(f"{location}.{parameter}: is required")
    return action_class(**values)


def _require_known(item: Any, known: Any, location: str) -> None:
    if not isinstance(item, Mapping):
        raise PlanError(f"{location}: must be an object")
    for name in item:
        if name not in known:
            raise PlanError(f"{location}.{name}: is not one of {', '.join(sorted(known))}")


def _text(value: Any, location: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{location}: must be a string")
    return value


def _optional_text(value: Any, location: str) -> str | None:
    return None if value is None else _text(value, location)


def _origin(value: Any, location: str) -> str | None:
    if value is not None and value not in ORIGINS:
        raise PlanError(f"{location}: must be one of {', '.join(ORIGINS)}")
    return _optional_text(value, location)


def _integer(value: Any, location: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PlanError(f"{location}: must be a non-negative integer")
    return value


def _optional_integer(value: Any, location: str) -> int | None:
    return None if value is None else _integer(value, location)


def _status(value: Any, location: str) -> int:
    if _integer(value, location) not in range(200, 600):
        raise PlanError(f"{location}: must be a status from 200 to 599")
    return int(value)


def _seconds(value: Any, location: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= _MAX_SECONDS
    ):
        raise PlanError(f"{location}: must be a non-negative number of seconds")
    return float(value)


def _share(value: Any, location: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise PlanError(f"{location}: must be a number from 0 to 1")
    return float(value)


def _headers(value: Any, location: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise PlanError(f"{location}: must be an object")
    for name, text in value.items():
        if not isinstance(text, str) or any(ch in name + text for ch in "\r\n\0"):
            raise PlanError(f"{location}.{name}: must be a string without line breaks")
    return value


def _any(value: Any, location: str) -> Any:
    del location
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
    "json": _any,
    "text": _optional_text,
    "seconds": _seconds,
    "fraction": _share,
    "after": _integer,
    "bytes": _integer,
    "copies": _integer,
}
