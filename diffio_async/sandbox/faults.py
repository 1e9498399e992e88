"""Faults injected into requests, and plans of them as JSON."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any

from attrs import NOTHING, Attribute, define, field, fields, frozen

#: The three origins that clients send requests to, and the deliveries of the sandbox.
ORIGINS = ("api", "edge", "media", "webhooks")


@frozen
class Drop:
    """Close the connection before the request is read or handled."""


@frozen
class RefuseBody:
    """Respond with `status`, `headers` and `json`, and close without reading the request's body."""

    status: int = 503
    headers: Mapping[str, str] = field(factory=dict)
    json: Any = None


@frozen
class Delay:
    """Wait `seconds` before the request is handled; faults that follow in the plan apply."""

    seconds: float


@frozen
class RespondWith:
    """Read the body and send `status`, `headers` and `json`, or else `text`; handle nothing."""

    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    json: Any = None
    text: str | None = None


@frozen
class Truncate:
    """Handle, declare the full length, send `fraction` of the body (0 to 1), then close."""

    fraction: float = 0.5


@frozen
class Stall:
    """Handle, and pause for `seconds` after `after` bytes of the response body."""

    after: int = 0
    seconds: float = 3600.0


@frozen
class LoseResponse:
    """Handle the request completely, then close the connection without a response."""


@frozen
class DropAfter:
    """Close the connection after `bytes` bytes of the request body."""

    bytes: int = 0


@frozen
class Duplicate:
    """Deliver a webhook, and `copies` more times after it is accepted."""

    copies: int = 1


Action = (
    Drop
    | RefuseBody
    | Delay
    | RespondWith
    | Truncate
    | Stall
    | LoseResponse
    | DropAfter
    | Duplicate
)

ACTION_NAMES: Mapping[str, type[Action]] = {
    "drop": Drop,
    "refuse_body": RefuseBody,
    "delay": Delay,
    "respond_with": RespondWith,
    "truncate": Truncate,
    "stall": Stall,
    "lose_response": LoseResponse,
    "drop_after": DropAfter,
    "duplicate": Duplicate,
}
"""The names of the actions in JSON plans and in `RecordedRequest.fault`."""

#: Actions for deliveries; `Duplicate` is for deliveries only.
_WEBHOOK_ACTIONS = (Drop, Delay, RespondWith, LoseResponse, Duplicate)

_NAMES = {action_class: name for name, action_class in ACTION_NAMES.items()}


@frozen(kw_only=True)
class Fault:
    """A fault and the requests that it applies to.

    Attributes:
        action: What happens to a matching request.
        origin: "api", "edge" or "media"; None for any of them; "webhooks" for deliveries.
        method: The HTTP method; None for any.
        path: A glob over the path without query ("*" crosses slashes); for deliveries, over the
            event's type.
        skip: Number of matching requests to skip first.
        times: Number of requests it applies to; None for no limit.
        rate: Probability that it applies to a matching request.
        seed: Seed of the random draws, which are repeatable.
    """

    action: Action
    origin: str | None = None
    method: str | None = None
    path: str = "*"
    skip: int = 0
    times: int | None = 1
    rate: float = 1.0
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.action, Action):
            raise TypeError(f"action must be one of {', '.join(ACTION_NAMES)}")
        if self.origin is not None and self.origin not in ORIGINS:
            raise ValueError("origin must be 'api', 'edge', 'media' or 'webhooks'")
        if (self.origin == "webhooks") > isinstance(self.action, _WEBHOOK_ACTIONS):
            names = ", ".join(_NAMES[action_class] for action_class in _WEBHOOK_ACTIONS)
            raise ValueError(f"the actions for webhooks are {names}")
        if isinstance(self.action, Duplicate) and self.origin != "webhooks":
            raise ValueError("duplicate is for origin 'webhooks'")
        if self.skip < 0 or (self.times is not None and self.times < 0):
            raise ValueError("skip and times must not be negative")
        if not 0 <= self.rate <= 1:
            raise ValueError("rate must be between 0 and 1")

    @property
    def name(self) -> str:
        """The name of the action in a JSON plan."""
        return _NAMES[type(self.action)]

    def matches(self, origin: str, method: str, path: str) -> bool:
        """Return whether this fault is for a request like this."""
        # A fault for any origin applies to client requests, not to deliveries of the sandbox.
        return (
            (self.origin == origin or (self.origin is None and origin != "webhooks"))
            and (self.method is None or self.method.upper() == method)
            and fnmatchcase(path, self.path)
        )


@define
class _ActiveFault:
    fault: Fault
    generator: random.Random
    matched: int = 0
    hits: int = 0


class FaultPlan:
    """The active faults, in the order they were added; the first that applies wins."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._active: list[_ActiveFault] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Activate faults, each with its counters at zero.

        Raises:
            TypeError: One of them is not a `Fault`.
        """
        for fault in faults:
            given: object = fault
            if not isinstance(given, Fault):
                raise TypeError(f"faults must be Fault objects, and {given!r} is not one")
            # Repeatable by design; not used for security.
            self._active.append(_ActiveFault(fault, random.Random(fault.seed)))  # noqa: S311

    def clear(self) -> None:
        """Remove all faults."""
        self._active.clear()

    def remove(self, position: int) -> None:
        """Remove one fault by its position."""
        del self._active[position]

    def with_hits(self) -> list[tuple[Fault, int]]:
        """Return the active faults, each with the number of requests it was applied to."""
        return [(active.fault, active.hits) for active in self._active]

    def hits(self, fault: Fault) -> int:
        """Return how often a fault was applied."""
        return sum(active.hits for active in self._active if active.fault == fault)

    def __iter__(self) -> Iterator[Fault]:
        return iter([active.fault for active in self._active])

    def __len__(self) -> int:
        return len(self._active)

    def match(self, origin: str, method: str, path: str) -> tuple[float, Fault | None]:
        """Return the seconds to wait before a request is handled, and the fault to apply."""
        delay = 0.0
        delay_fault: Fault | None = None
        for active in self._active:
            fault = active.fault
            if not fault.matches(origin, method, path):
                continue
            active.matched += 1
            if active.matched <= fault.skip or (
                fault.times is not None and active.hits >= fault.times
            ):
                continue
            if fault.rate < 1 and active.generator.random() >= fault.rate:
                continue
            active.hits += 1
            if not isinstance(fault.action, Delay):
                return delay, fault
            delay += fault.action.seconds
            delay_fault = fault
        return delay, delay_fault


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


def _number(
    expected: str, lowest: float, highest: float, *types: type[int | float]
) -> Callable[[Any, str], Any]:
    """Return a parser of numbers in a range."""

    def parse(value: Any, location: str) -> Any:
        if type(value) not in types or not lowest <= value <= highest:
            raise PlanError(f"{location}: must be {expected}")
        return value

    return parse


_integer = _number("a non-negative integer", 0, inf, int)
_status = _number("a status from 200 to 599", 200, 599, int)
_seconds = _number("a non-negative number of seconds", 0, 1e9, int, float)
_share = _number("a number from 0 to 1", 0, 1, int, float)


def _optional_integer(value: Any, location: str) -> int | None:
    return None if value is None else _integer(value, location)


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
