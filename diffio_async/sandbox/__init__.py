"""A local Diffio that really restores sound, and a witness of what clients send.

`async with Sandbox() as sandbox:` serves the whole HTTP API on loopback; point a client at
`sandbox.environment`. Needs the extra `sandbox` (`pip install 'diffio-async[sandbox]'`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.sandbox.faults import (
        Answer,
        Delay,
        Drop,
        DropAfter,
        Duplicate,
        Fault,
        FaultBook,
        LoseAnswer,
        RefuseBody,
        Stall,
        Truncate,
    )
    from diffio_async.sandbox.plans import PlanError, read_plan
    from diffio_async.sandbox.server import Sandbox
    from diffio_async.sandbox.settings import SandboxError
    from diffio_async.sandbox.witness import Seen

# The workers import this package too: they must not pay for the server's imports.
_HOMES = {
    "Answer": "faults",
    "Delay": "faults",
    "Drop": "faults",
    "DropAfter": "faults",
    "Duplicate": "faults",
    "Fault": "faults",
    "FaultBook": "faults",
    "LoseAnswer": "faults",
    "PlanError": "plans",
    "RefuseBody": "faults",
    "Sandbox": "server",
    "SandboxError": "settings",
    "Seen": "witness",
    "Stall": "faults",
    "Truncate": "faults",
    "read_plan": "plans",
}

__all__ = [
    "Answer",
    "Delay",
    "Drop",
    "DropAfter",
    "Duplicate",
    "Fault",
    "FaultBook",
    "LoseAnswer",
    "PlanError",
    "RefuseBody",
    "Sandbox",
    "SandboxError",
    "Seen",
    "Stall",
    "Truncate",
    "read_plan",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
