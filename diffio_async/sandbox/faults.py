"""Faults that strike requests on purpose: which ones, how often, and what then happens."""

import random
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, field, frozen

#: The three that clients send requests to; and the deliveries that the sandbox sends itself.
ORIGINS = ("api", "edge", "media", "webhooks")


@frozen
class Drop:
    """Close the socket before anything is handled or read."""


@frozen
class RefuseBody:
    """Answer and close without reading the request's body."""

    status: int = 503
    headers: Mapping[str, str] = field(factory=dict)
    json: Any = None


@frozen
class Delay:
    """Wait so many seconds, then handle; faults that follow still strike."""

    seconds: float


@frozen
class RespondWith:
    """Read the body, handle nothing, and answer this instead (`json`, or else `text`)."""

    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    json: Any = None
    text: str | None = None


@frozen
class Truncate:
    """Handle, declare the whole length, send this fraction of the body (0 to 1), then close."""

    fraction: float = 0.5


@frozen
class Stall:
    """Handle, and send nothing for so many seconds once `after` bytes of the body are out."""

    after: int = 0
    seconds: float = 3600.0


@frozen
class LoseResponse:
    """Handle the request fully, then close the socket without a byte of the answer."""


@frozen
class DropAfter:
    """Close the socket once so many bytes of the request's body have come."""

    bytes: int = 0


@frozen
class Duplicate:
    """Deliver a webhook, and once it was taken, so many more times."""

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
    "answer": RespondWith,
    "truncate": Truncate,
    "stall": Stall,
    "lose_answer": LoseResponse,
    "drop_after": DropAfter,
    "duplicate": Duplicate,
}
"""How a JSON plan and `Seen.fault` call the actions."""

#: What can befall a delivery; `Duplicate` nothing else.
_OF_WEBHOOKS = (Drop, Delay, RespondWith, LoseResponse, Duplicate)

_NAMES = {kind: name for name, kind in ACTION_NAMES.items()}


@frozen(kw_only=True)
class Fault:
    """One scripted misfortune.

    Attributes:
        action: What happens to a request it strikes.
        origin: "api", "edge" or "media"; None for any of them; "webhooks" for deliveries.
        method: The HTTP method; None for any.
        path: A glob over the path without query ("*" crosses slashes); for deliveries, over the
            event's type.
        skip: Matching requests to let pass first.
        times: Strikes before it is spent; None for no end.
        rate: The chance that it strikes a matching request, drawn from `seed`.
        seed: Makes the draws repeatable.
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
        if (self.origin == "webhooks") > isinstance(self.action, _OF_WEBHOOKS):
            names = ", ".join(_NAMES[kind] for kind in _OF_WEBHOOKS)
            raise ValueError(f"what can befall webhooks is {names}")
        if isinstance(self.action, Duplicate) and self.origin != "webhooks":
            raise ValueError("duplicate is for origin 'webhooks'")
        if self.skip < 0 or (self.times is not None and self.times < 0):
            raise ValueError("skip and times must not be negative")
        if not 0 <= self.rate <= 1:
            raise ValueError("rate must lie between 0 and 1")

    @property
    def name(self) -> str:
        """The action's name, as in a JSON plan."""
        return _NAMES[type(self.action)]

    def matches(self, origin: str, method: str, path: str) -> bool:
        """Tell whether a request is of the kind this fault is meant for."""
        # What strikes any request strikes what clients send, not the sandbox's own deliveries.
        return (
            (self.origin == origin or (self.origin is None and origin != "webhooks"))
            and (self.method is None or self.method.upper() == method)
            and fnmatchcase(path, self.path)
        )


@define
class _ActiveFault:
    fault: Fault
    chance: random.Random
    seen: int = 0
    hits: int = 0


class FaultPlan:
    """The faults in force, in the order they were added; the first that strikes wins."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._active: list[_ActiveFault] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Put faults in force, each with its counters at zero."""
        for fault in faults:
            # Repeatable on purpose: this is a script, not a secret.
            self._active.append(_ActiveFault(fault, random.Random(fault.seed)))  # noqa: S311

    def clear(self) -> None:
        """Lift all faults."""
        self._active.clear()

    def hits(self, fault: Fault) -> int:
        """Count how often a fault has struck."""
        return sum(armed.hits for armed in self._active if armed.fault == fault)

    def __iter__(self) -> Iterator[Fault]:
        return iter([armed.fault for armed in self._active])

    def __len__(self) -> int:
        return len(self._active)

    def match(self, origin: str, method: str, path: str) -> tuple[float, Fault | None]:
        """Draw what befalls a request: seconds to wait first, and the fault after that."""
        wait = 0.0
        delaying: Fault | None = None
        for armed in self._active:
            fault = armed.fault
            if not fault.matches(origin, method, path):
                continue
            armed.seen += 1
            if armed.seen <= fault.skip or (fault.times is not None and armed.hits >= fault.times):
                continue
            if fault.rate < 1 and armed.chance.random() >= fault.rate:
                continue
            armed.hits += 1
            if not isinstance(fault.action, Delay):
                return wait, fault
            wait += fault.action.seconds
            delaying = fault
        return wait, delaying
