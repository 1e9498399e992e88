"""The work of `diffio-async webhooks inbox`: what is in an inbox, and having it handled anew."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diffio_async._storage.local_paths import local_path
from diffio_async.cli.console import after_output, console
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.inbox import WebhookInbox

if TYPE_CHECKING:
    from diffio_async.models.webhooks import InboxEntry, InboxState


async def list_entries(path: str, *, state: InboxState | None, limit: int, as_json: bool) -> int:
    """List deliveries, the newest first; `limit` 0 is all. A list that is cut says so.

    Raises:
        ConfigurationError: There is no such file.
        DatabaseError: It is no inbox.
    """
    async with _inbox(path) as inbox:
        # One more tells whether there are more.
        entries = await inbox.entries(state, limit=limit + 1 if limit else None)
    shown = entries[:limit] if limit else entries
    for entry in shown:
        if as_json:
            console.json(_fact(entry))
        else:
            console.result(_line(entry))
        console.out.wait()
    if len(shown) < len(entries):
        console.note(f"only the newest {limit} are listed; --limit 0 lists all")
    if not entries and not as_json:
        console.note("Nothing there.")
    return after_output(OK)


async def retry(path: str, message_id: str | None, *, as_json: bool) -> int:
    """Have a delivery handled anew, or every dead one; 1 where the one named is not to be had.

    Raises:
        ConfigurationError: There is no such file.
        DatabaseError: It is no inbox.
    """
    async with _inbox(path) as inbox:
        count = await inbox.retry(message_id)
    if as_json:
        console.json({"event": "retried", "count": count})
    elif count:
        console.result(f"{count} to be handled anew")
    else:
        what = "no dead event" if message_id is None else f"{message_id} is not there, or in hand"
        console.result(f"nothing to be handled anew: {what}")
    return FAILED if message_id is not None and not count else OK


def _inbox(path: str) -> WebhookInbox:
    # Looking at an inbox makes none.
    if not os.path.isfile(local_path(path, "--inbox")):  # noqa: PTH113 - any text
        raise ConfigurationError(f"there is no inbox at {path}")
    return WebhookInbox(path)


def _fact(entry: InboxEntry) -> dict[str, object]:
    return {
        "message_id": entry.message_id,
        "event_type": entry.event_type,
        "generation_id": entry.generation_id,
        "state": entry.state,
        "attempts": entry.attempts,
        "received_at": entry.received_at.isoformat(),
        "due_at": entry.due_at.isoformat(),
        "error": entry.error,
    }


def _line(entry: InboxEntry) -> str:
    words = [
        f"{entry.received_at:%Y-%m-%d %H:%M:%S}",
        f"{entry.state:<8}",
        entry.event_type,
        entry.generation_id or "-",
        entry.message_id,
    ]
    if entry.attempts:
        words.append(f"({entry.attempts} attempt{'s' * (entry.attempts > 1)})")
    if entry.error:
        words.append(f"error: {entry.error}")
    return " ".join(words)
