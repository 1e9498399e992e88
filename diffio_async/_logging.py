"""The package's logger: a handler of the user's that raises ends no work, and text is escaped."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Log(logging.LoggerAdapter[logging.Logger]):
    """Log like a logger; what handlers and filters raise is suppressed."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message; strings and errors among its arguments are escaped (see `printable`)."""
        # One frame more: records name the line that logged.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with contextlib.suppress(Exception):
            super().log(level, msg, *map(_shown, args), **kwargs)

    def process(self, msg: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Add nothing."""
        return msg, kwargs


def _shown(argument: object) -> object:
    if isinstance(argument, (str, BaseException)):
        return printable(str(argument))
    return argument


log = _Log(logging.getLogger("diffio_async"), {})
