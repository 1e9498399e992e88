"""`diffio-async webhooks inbox`: lists the events of an inbox, and requeues them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diffio_async._storage.local_paths import local_path
from diffio_async.cli.console import FAILED, OK, console, exit_code_after_output
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.inbox import WebhookInbox

if TYPE_CHECKING:
    from diffio_async.models.webhooks import InboxEntry, InboxState


async def list_entries(path: str, *, state: InboxState | None, limit: int, as_json: bool) -> int:
    """Print the newest `limit` events, or all if it is 0. Return the exit code.

    Raises:
        ConfigurationError: The file does not exist.
        DatabaseError: The file is not an inbox.
    """
    async with _open_inbox(path) as inbox:
        # One more than printed shows whether the list is cut.
        found = await inbox.entries(state, limit=limit + 1 if limit else None)
    entries = found[:limit] if limit else found
    for entry in entries:
        if as_json:
            console.json(_to_json(entry))
        else:
            console.result(_line(entry))
        console.out.wait()
    if len(entries) < len(found):
        console.note(f"only the newest {limit} are listed; --limit 0 lists all")
    if not found and not as_json:
        console.note("The inbox has no such events.")
    return exit_code_after_output(OK)


async def retry(path: str, message_id: str | None, *, as_json: bool) -> int:
    """Requeue an event, or every dead one if `message_id` is None. Return the exit code.

    The code is 1 if the named event does not exist or is being handled.

    Raises:
        ConfigurationError: The file does not exist.
        DatabaseError: The file is not an inbox.
    """
    async with _open_inbox(path) as inbox:
        count = await inbox.retry(message_id)
    if as_json:
        console.json({"event": "retried", "count": count})
    elif count:
        console.result(f"{count} requeued")
    elif message_id is None:
        console.result("nothing requeued: there is no dead event")
    else:
        console.result(f"nothing requeued: {message_id} does not exist, or is being handled")
    return FAILED if message_id is not None and not count else OK


def _open_inbox(path: str) -> WebhookInbox:
    # WebhookInbox would create a missing file.
    if not os.path.isfile(local_path(path, "--inbox")):  # noqa: PTH113 - any text
        raise ConfigurationError(f"there is no inbox at {path}")
    return WebhookInbox(path)


def _to_json(entry: InboxEntry) -> dict[str, object]:
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
