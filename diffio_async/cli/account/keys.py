"""The `keys` commands. A secret is printed once, on standard output; notes on standard error."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import typer

from diffio_async._text import printable
from diffio_async.cli import FAILED, OK
from diffio_async.cli.account.listings import advice_for, format_time, or_dash, print_listing
from diffio_async.cli.client import call_service, check_environment
from diffio_async.cli.command import (
    can_prompt,
    command_line,
    confirm,
    console,
    exit_code_after_output,
    mark_interruption_reported,
    print_event,
)
from diffio_async.errors import ConfigurationError, NotFound, ResponseLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import DiffioError
    from diffio_async.models.account import ApiKey


async def print_keys(limit: int, *, as_json: bool) -> int:
    """Print the keys of the account. Return the exit code."""
    found = await call_service(
        lambda client: client.api_keys.list(), as_json=as_json, advice=advice_for("keys:read")
    )
    if found is None:
        return FAILED
    return print_listing(
        "key",
        found,
        ("KEY ID", "STATE", "BEGINS WITH", "CREATED", "ROTATED", "LABEL", "SCOPES"),
        lambda row: (
            row.key_id,
            or_dash(row.status),
            or_dash(row.key_prefix),
            format_time(row.created_at)[:10],
            format_time(row.rotated_at)[:10],
            or_dash(row.label),
            or_dash(" ".join(row.scopes)),
        ),
        limit=limit,
        empty="There are no keys that this key may manage; create one by: "
        + command_line("keys", "create", "LABEL", "--scope", "SCOPE"),
        as_json=as_json,
    )


def parse_bounds(text: str | None) -> dict[str, Any] | None:
    """Return the resource bounds of a key, from JSON.

    Raises:
        ConfigurationError: It is not a JSON object.
    """
    if text is None:
        return None
    try:
        bounds = json.loads(text)
    except (ValueError, RecursionError):
        bounds = None
    if not isinstance(bounds, dict):
        raise ConfigurationError("--resource-bounds is not a JSON object, such as '{}'")
    return bounds


async def create(
    label: str, scopes: Sequence[str], bounds: dict[str, Any] | None, *, as_json: bool
) -> int:
    """Create a key, and print its secret. Return the exit code."""
    listing = command_line("keys", "list")
    return await _issue(
        "created",
        lambda client: client.api_keys.create(label=label, scopes=scopes, resource_bounds=bounds),
        lost=f"The key {label!r} may exist: revoke it if it is listed by: {listing}",
        as_json=as_json,
    )


async def rotate(key_id: str, *, as_json: bool) -> int:
    """Replace the secret of a key, and print the new one. Return the exit code."""
    return await _issue(
        "rotated",
        lambda client: client.api_keys.rotate(key_id=key_id),
        lost=f"The old secret may be invalid: run again: {command_line('keys', 'rotate', key_id)}",
        as_json=as_json,
    )


async def _issue(
    event: str, call: Callable[[AsyncDiffio], Awaitable[ApiKey]], *, lost: str, as_json: bool
) -> int:
    """Make a call that returns a secret, and print it. Return the exit code.

    Args:
        event: `created` or `rotated`.
        call: The call.
        lost: What to do if the call may have had an effect, and its response was not received.
        as_json: Whether to print JSON.
    """
    try:
        key = await call_service(
            call,
            as_json=as_json,
            advice=_advice({ResponseLost: lost}),
        )
    except asyncio.CancelledError:
        event_fields = {"event": "interrupted", "message": lost}
        print_event(event_fields, f"interrupted. {lost}", as_json=as_json, to_stderr=True)
        mark_interruption_reported()
        raise
    if key is None:
        return FAILED
    renew = command_line("keys", "rotate", key.key_id)
    if not key.key:
        console.note(f"the response has no secret; run: {renew}")
        return FAILED
    print_event({"event": event, **key.to_dict(), "key": key.key}, key.key, as_json=as_json)
    console.out.wait(max_bytes=0)
    if console.out.failure is not None:
        console.note(f"{key.key_id} was {event}, but its secret was not printed; run: {renew}")
        return FAILED
    console.note(
        f"{key.key_id} ({or_dash(key.label)}) was {event}; scopes: {' '.join(key.scopes)}",
        "  its secret is shown only once: store it now",
    )
    return OK


def _advice(more: dict[type[DiffioError], str] | None = None) -> dict[type[DiffioError], str]:
    listing = command_line("keys", "list")
    return advice_for("keys:write", {NotFound: f"The ids are listed by: {listing}", **(more or {})})


def confirm_revocation(key_id: str) -> None:
    """Prompt before a key is revoked. Exit if the user declines.

    Raises:
        ConfigurationError: There is no terminal, or no client can be configured.
    """
    check_environment()
    if not can_prompt():
        raise ConfigurationError(
            f"a revoked key cannot be restored: add --yes to revoke {key_id} without a prompt"
        )
    prompt = f"Revoke {printable(key_id)} permanently? Programs that use it are locked out."
    if not confirm(prompt):
        console.note("not revoked; nothing was sent")
        raise typer.Exit(FAILED)


async def revoke(key_id: str, *, as_json: bool) -> int:
    """Revoke a key. Return the exit code."""
    key = await call_service(
        lambda client: client.api_keys.revoke(key_id=key_id),
        as_json=as_json,
        advice=_advice(),
    )
    if key is None:
        return FAILED
    line = f"{key.key_id} ({or_dash(key.label)}) was revoked"
    print_event({"event": "revoked", **key.to_dict()}, line, as_json=as_json)
    return exit_code_after_output(OK)
