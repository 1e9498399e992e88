"""What a listener says as events come: a line each, in colour on a terminal, or JSON."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from diffio_async.cli.console import console

if TYPE_CHECKING:
    from diffio_async.models.webhooks import WebhookEvent

_STYLES = {"generation.completed": "green", "generation.failed": "red"}


class EventPrinter:
    """Tells people or programs; `gone` is set when nobody reads stdout any more."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.gone = asyncio.Event()

    def listening(self, url: str, forward: str | None) -> None:
        """Say where; to people on stderr, where it is in nobody's way."""
        if self._as_json:
            self._say({"event": "listening", "url": url, "forward": forward})
        else:
            on = f", passed on to {forward}" if forward else ""
            console.note(f"Listening on {url}{on}, until Ctrl-C.")

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

    def held_back(self, message_id: str, reason: str) -> None:
        """An event was not accepted yet; it is tried again."""
        if self._as_json:
            self._say({"event": "not_forwarded", "message_id": message_id, "reason": reason})
        else:
            console.note(f"{message_id} was not passed on, and will be again: {reason}")

    def _say(self, fact: dict[str, object]) -> None:
        console.json(fact)
        self._look()

    def _line(self, words: str, style: str | None) -> None:
        console.result(f"{datetime.now().astimezone():%H:%M:%S} {words}", style=style)
        self._look()

    def _look(self) -> None:
        if isinstance(console.out.failure, BrokenPipeError):
            # Nobody reads any more: that loses no event, and ends the listening.
            self.gone.set()
