"""The `webhooks` commands that end by themselves: configure, test, verify and inbox."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from diffio_async._storage.system_errors import reason_of
from diffio_async._validators import local_path
from diffio_async.cli import FAILED, OK
from diffio_async.cli.client import advice_for_key_id, call_service
from diffio_async.cli.command import console, exit_code_after_output, print_event
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.diagnose import diagnose
from diffio_async.webhooks.inbox import WebhookInbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffio_async.models.webhooks import InboxEntry, InboxState, WebhookMode
    from diffio_async.webhooks.diagnose import Explanation


async def configure(
    *,
    mode: WebhookMode,
    url: str,
    event_types: Sequence[str],
    api_key_id: str | None,
    as_json: bool,
) -> int:
    """Set the URL and the types of events. Return the exit code."""
    endpoint = await call_service(
        lambda client: client.webhooks.configure(
            mode=mode, url=url, event_types=event_types, api_key_id=api_key_id
        ),
        as_json=as_json,
        advice=advice_for_key_id(api_key_id),
    )
    if endpoint is None:
        return FAILED
    fields = {
        "event": "configured",
        "url": endpoint.url,
        "mode": endpoint.mode,
        "event_types": list(endpoint.event_types),
        "endpoint_id": endpoint.endpoint_id,
        "api_key_id": endpoint.api_key_id,
    }
    types = ", ".join(endpoint.event_types)
    print_event(
        fields,
        f"{endpoint.url} receives {types} ({endpoint.mode}, key {endpoint.api_key_id})",
        f"  its signing secret is {_secret_location()}: set DIFFIO_WEBHOOK_SECRET to it",
        as_json=as_json,
    )
    return OK


def _secret_location() -> str:
    """Return where to find the signing secret; a local service is the sandbox."""
    host = urlsplit(os.environ.get("DIFFIO_API_BASE_URL", "")).hostname or ""
    if host in {"localhost", "127.0.0.1", "::1"}:
        return "among the lines that the sandbox printed when it started"
    return "on the Diffio dashboard"


async def send_test_event(
    *, mode: WebhookMode, event_type: str, api_key_id: str | None, as_json: bool
) -> int:
    """Request the delivery of a test event. Return the exit code."""
    sent = await call_service(
        lambda client: client.webhooks.send_test_event(
            mode=mode, event_type=event_type, api_key_id=api_key_id
        ),
        as_json=as_json,
        advice=advice_for_key_id(api_key_id),
    )
    if sent is None:
        return FAILED
    fields = {
        "event": "sent",
        "message_id": sent.svix_message_id,
        "event_id": sent.event_id,
        "event_type": sent.event_type,
        "mode": sent.mode,
        "api_key_id": sent.api_key_id,
    }
    line = f"{sent.event_type} was sent as {sent.svix_message_id} ({sent.mode})"
    print_event(fields, line, as_json=as_json)
    return OK


async def list_entries(path: str, *, state: InboxState | None, limit: int, as_json: bool) -> int:
    """Print the newest `limit` events of an inbox, or all if it is 0. Return the exit code."""
    async with _open_inbox(path) as inbox:
        # One more than printed shows whether the list is cut.
        found = await inbox.entries(state, limit=limit + 1 if limit else None)
    entries = found[:limit] if limit else found
    for entry in entries:
        fields = {
            "message_id": entry.message_id,
            "event_type": entry.event_type,
            "generation_id": entry.generation_id,
            "state": entry.state,
            "attempts": entry.attempts,
            "received_at": entry.received_at.isoformat(),
            "due_at": entry.due_at.isoformat(),
            "error": entry.error,
        }
        print_event(fields, _entry_line(entry), as_json=as_json)
        console.out.wait()
    if len(entries) < len(found):
        console.note(f"only the newest {limit} are listed; --limit 0 lists all")
    if not found and not as_json:
        console.note("The inbox has no such events.")
    return exit_code_after_output(OK)


def _entry_line(entry: InboxEntry) -> str:
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


async def retry(path: str, message_id: str | None, *, as_json: bool) -> int:
    """Requeue an event, or every dead one if `message_id` is None. Return the exit code.

    The code is 1 if the named event does not exist or is being handled.
    """
    async with _open_inbox(path) as inbox:
        count = await inbox.retry(message_id)
    if count:
        line = f"{count} requeued"
    elif message_id is None:
        line = "nothing requeued: there is no dead event"
    else:
        line = f"nothing requeued: {message_id} does not exist, or is being handled"
    print_event({"event": "retried", "count": count}, line, as_json=as_json)
    return FAILED if message_id is not None and not count else OK


def _open_inbox(path: str) -> WebhookInbox:
    # WebhookInbox would create a missing file.
    if not os.path.isfile(local_path(path, "--inbox")):  # noqa: PTH113 - any text
        raise ConfigurationError(f"there is no inbox at {path}")
    return WebhookInbox(path)


def load_delivery(payload: str, headers: list[str]) -> tuple[bytes, dict[str, object]]:
    """Read the body and the headers of a saved delivery.

    Args:
        payload: A file, or `-` for stdin.
        headers: Files, `-`, or literal `Name: value` headers.

    Raises:
        ConfigurationError: A file cannot be read, or contains no headers.
    """
    if [payload, *headers].count("-") > 1:
        raise ConfigurationError("only one of --payload and --headers can be - (stdin)")
    found: dict[str, object] = {}
    for each in headers:
        # An existing file is read even if its name looks like a header: `C:\\headers.txt`.
        is_file = os.path.exists(each)  # noqa: PTH110 - any text, also longer than a name can be
        if not is_file:
            local_path(each, "--headers")
        name, colon, value = each.partition(":")
        is_name = name.strip().replace("-", "").replace("_", "").isalnum()
        if colon and is_name and not is_file:
            found[name.strip()] = value.strip()
        else:
            found |= _parse_headers(_read(each), each)
    return _read(payload), found


def _parse_headers(content: bytes, name: str) -> dict[str, object]:
    """Parse headers: `Name: value` lines (also with curl's `<` or `>` in front), or JSON."""
    text = content.decode("utf-8-sig", "replace")
    try:
        found = _headers_from_json(json.loads(text))
    except (ValueError, RecursionError):
        found = _headers_from_lines(text)
    if not found:
        raise ConfigurationError(
            f"{name} has no headers: expected lines of 'Name: value', or a JSON object of them"
        )
    return found


def _headers_from_json(value: Any) -> dict[str, object]:
    if isinstance(value, dict):
        # Gateways log a complete request as one object.
        inner = value.get("headers") or value.get("multiValueHeaders")
        return _headers_from_json(inner) if isinstance(inner, (dict, list)) else value
    pairs: dict[str, object] = {}
    for each in value if isinstance(value, list) else []:
        match each:
            case [str() as name, text] | {"name": str() as name, "value": text}:
                pairs[name] = text
            case _:
                pass
    return pairs


def _headers_from_lines(text: str) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for line in text.splitlines():
        name, colon, value = line.lstrip("<> \t").partition(":")
        if colon and name.strip() and " " not in name.strip():
            pairs[name.strip()] = value.strip()
    return pairs


def _read(name: str) -> bytes:
    local_path(name, "--payload or --headers")
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be read: {reason_of(error)}") from None


def verify(
    payload: bytes,
    headers: dict[str, object],
    secrets: Sequence[str],
    *,
    tolerance: float,
    as_json: bool,
) -> int:
    """Print whether a delivery is genuine, and if not, why. Return the exit code.

    Args:
        payload: Its raw body.
        headers: Its headers.
        secrets: Signing secrets, any of which may match.
        tolerance: Maximum age of the delivery, in seconds.
        as_json: Whether to print JSON.
    """
    explanation = diagnose(payload, headers, secrets, now=time.time(), tolerance=tolerance)
    code = FAILED if explanation.event is None else OK
    fields, line = _verdict(explanation)
    findings = [
        attrs.asdict(finding, filter=lambda _, value: value is not None)
        for finding in explanation.findings
    ]
    print_event(
        {**fields, "findings": findings, "exit_code": code},
        *(line, *(f"  {finding.message}" for finding in explanation.findings)),
        as_json=as_json,
    )
    return exit_code_after_output(code)


def _verdict(explanation: Explanation) -> tuple[dict[str, object], str]:
    event = explanation.event
    if event is None:
        reason = explanation.reason
        return {"event": "rejected", "reason": reason}, f"rejected ({reason})"
    of = f" of {event.generation_id}" if event.generation_id else ""
    verified: dict[str, object] = {
        "event": "verified",
        "message_id": event.message_id,
        "event_type": event.event_type,
        "generation_id": event.generation_id,
    }
    kind = event.event_type or "an event without a type"
    return verified, f"genuine: {kind}{of} ({event.message_id})"
