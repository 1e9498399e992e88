"""What a listener says as events come: a line each, in colour on a terminal, or JSON."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async.models.webhooks import WebhookEvent

_STYLES = {"generation.completed": "green", "generation.failed": "red"}


class Shown:
    """Tells people or programs; `gone` is set when nobody reads stdout any more."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A letter the terminal does not have is no reason to refuse an event.
            sys.stdout.reconfigure(errors="backslashreplace")
        self._print = _plain if as_json or not sys.stdout.isatty() else _coloured()
        self.gone = asyncio.Event()

    def listening(self, url: str, forward: str | None) -> None:
        """Say where; to people on stderr, where it is in nobody's way."""
        if self._as_json:
            self._say({"event": "listening", "url": url, "forward": forward})
        else:
            on = f", passed on to {forward}" if forward else ""
            sys.stderr.write(f"Listening on {url}{on}, until Ctrl-C.\n")

    def received(self, event: WebhookEvent, *, duplicate: bool) -> None:
        """An event came, and is kept."""
        if self._as_json:
            fact: dict[str, object] = {
                "event": "received",
                "message_id": event.message_id,
                "event_type": event.event_type,
                "generation_id": event.generation_id,
                "api_project_id": event.api_project_id,
                "status": event.status,
                "error": event.error,
                "duplicate": duplicate,
            }
            self._say(fact)
            return
        words = [event.event_type or "?", event.generation_id or "-", event.message_id or "-"]
        words += [f"error: {event.error}"] if event.error else []
        words += ["(again)"] if duplicate else []
        self._line(" ".join(words), _STYLES.get(event.event_type))

    def rejected(self, status: int, reason: str) -> None:
        """A request was not taken; people read of it in the log, on stderr."""
        if self._as_json:
            self._say({"event": "rejected", "status": status, "reason": reason})

    def forwarded(self, message_id: str, status: int) -> None:
        """An event was passed on and accepted."""
        if self._as_json:
            self._say({"event": "forwarded", "message_id": message_id, "status": status})

    def kept_back(self, message_id: str, reason: str) -> None:
        """An event was not accepted yet; it is tried again."""
        if self._as_json:
            self._say({"event": "not_forwarded", "message_id": message_id, "reason": reason})
        else:
            sys.stderr.write(f"{message_id} was not passed on, and will be again: {reason}\n")

    def _say(self, fact: dict[str, object]) -> None:
        self._out(lambda: _plain(json.dumps(fact), None))

    def _line(self, words: str, style: str | None) -> None:
        # What an event holds is shown, not obeyed by the terminal.
        shown = "".join(c if c.isprintable() else "?" for c in words)
        self._out(lambda: self._print(f"{datetime.now().astimezone():%H:%M:%S} {shown}", style))

    def _out(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError:
            # Nobody reads any more: that loses no event, and ends the listening.
            self.gone.set()
            # Python would complain when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(line: str, _style: str | None) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _coloured() -> Callable[[str, str | None], None]:
    from rich.console import Console

    console = Console()

    def show(line: str, style: str | None) -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    return show
