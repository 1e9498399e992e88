"""The event loop of the caller."""

from __future__ import annotations

import asyncio
from typing import Any

from diffio_async.errors import ConfigurationError


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: The caller runs under trio or another library that is not asyncio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "asyncio is needed: this client does not run under trio or another event loop. Run it "
            "with asyncio.run (anyio.run with backend='asyncio'), or call diffio_async.sync.Diffio "
            "in a worker thread (trio.to_thread.run_sync)"
        ) from None


def remove_closed_loops(by_loop: dict[asyncio.AbstractEventLoop, Any]) -> None:
    """Remove the entries of closed loops, while other threads may add the entries of theirs."""
    for loop in list(by_loop):
        if loop.is_closed():
            by_loop.pop(loop, None)
