"""Calls of the operating system that differ between POSIX and Windows, for the loop thread."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":
    #: Seconds between two checks of a wait; None waits until notified. On Windows, waiting for a
    #: lock without a time-out is not interrupted by Ctrl-C.
    POLL_SECONDS: float | None = 0.2

    def new_loop() -> tuple[asyncio.AbstractEventLoop, selectors.BaseSelector | None]:
        """Return an event loop, and its selector if it has one."""
        return asyncio.new_event_loop(), None

    def register_after_fork(function: Callable[[], object]) -> None:
        """Call a function in the child of a fork, if the system has forks."""

else:
    POLL_SECONDS: float | None = None

    def new_loop() -> tuple[asyncio.AbstractEventLoop, selectors.BaseSelector | None]:
        """Return an event loop, and its selector if it has one."""
        selector = selectors.DefaultSelector()
        return asyncio.SelectorEventLoop(selector), selector

    def register_after_fork(function: Callable[[], object]) -> None:
        """Call a function in the child of a fork, if the system has forks."""
        os.register_at_fork(after_in_child=function)


def separate_selector(selector: selectors.BaseSelector | None) -> None:
    """Replace a selector that the child of a fork shares with its parent.

    Finalisers in the child would unregister the parent's descriptors from a shared epoll. Another
    epoll takes its number.
    """
    if sys.platform == "linux" and isinstance(selector, selectors.EpollSelector):
        with select.epoll() as own:
            os.dup2(own.fileno(), selector.fileno(), inheritable=False)
