"""A local Diffio server that restores sound and records the requests of clients.

`async with Sandbox() as sandbox:` serves the complete HTTP API on loopback; `sandbox.environment`
contains the settings for a client. It needs the extra `sandbox` (`pip install -e '.[sandbox]'` in a
clone).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.sandbox.faults import (
        Delay,
        Drop,
        DropAfter,
        Duplicate,
        Fault,
        FaultPlan,
        LoseResponse,
        PlanError,
        RefuseBody,
        RespondWith,
        Stall,
        Truncate,
        read_plan,
    )
    from diffio_async.sandbox.request_log import RecordedRequest
    from diffio_async.sandbox.server import Sandbox
    from diffio_async.sandbox.settings import SandboxError

# Imported lazily, because the worker processes import this package and need none of the server.
_MODULES = {
    "RespondWith": "faults",
    "Delay": "faults",
    "Drop": "faults",
    "DropAfter": "faults",
    "Duplicate": "faults",
    "Fault": "faults",
    "FaultPlan": "faults",
    "LoseResponse": "faults",
    "PlanError": "faults",
    "RefuseBody": "faults",
    "Sandbox": "server",
    "SandboxError": "settings",
    "RecordedRequest": "request_log",
    "Stall": "faults",
    "Truncate": "faults",
    "read_plan": "faults",
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
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
