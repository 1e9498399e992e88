"""`Diffio`: the client for scripts and notebooks. Each call blocks until it is done.

The work is done by `AsyncDiffio` on a loop in a thread of its own; several threads may share one
client. Inside a running loop (a notebook) calls work, and block that loop meanwhile.
"""

from diffio_async.sync._generated import (
    Accounts,
    ApiKeys,
    AudioIsolation,
    Diffio,
    Generations,
    Projects,
    UsageReports,
    Webhooks,
)

__all__ = [
    "Accounts",
    "ApiKeys",
    "AudioIsolation",
    "Diffio",
    "Generations",
    "Projects",
    "UsageReports",
    "Webhooks",
]
