"""A local Diffio that really restores sound, and a witness of what clients send.

`async with Sandbox() as sandbox:` serves the whole HTTP API on loopback; point a client at
`sandbox.environment`. Needs the extra `sandbox` (`pip install 'diffio-async[sandbox]'`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.sandbox.fault_plans import PlanError, read_plan
    from diffio_async.sandbox.faults import (
        Delay,
        Drop,
        DropAfter,
        Duplicate,
        Fault,
        FaultPlan,
        LoseResponse,
        RefuseBody,
        RespondWith,
        Stall,
        Truncate,
    )
    from diffio_async.sandbox.request_log import RecordedRequest
    from diffio_async.sandbox.server import Sandbox
    from diffio_async.sandbox.settings import SandboxError

# The workers import this package too: they must not pay for the server's imports.
_HOMES = {
    "RespondWith": "faults",
    "Delay": "faults",
    "Drop": "faults",
    "DropAfter": "faults",
    "Duplicate": "faults",
    "Fault": "faults",
    "FaultPlan": "faults",
    "LoseResponse": "faults",
    "PlanError": "fault_plans",
    "RefuseBody": "faults",
    "Sandbox": "server",
    "SandboxError": "settings",
    "RecordedRequest": "request_log",
    "Stall": "faults",
    "Truncate": "faults",
    "read_plan": "fault_plans",
}

__all__ = [
    "Delay",
    "Drop",
    "DropAfter",
    "Duplicate",
    "Fault",
    "FaultPlan",
    "LoseResponse",
    "PlanError",
    "RecordedRequest",
    "RefuseBody",
    "RespondWith",
    "Sandbox",
    "SandboxError",
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
