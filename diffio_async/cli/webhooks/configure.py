"""The work of `diffio-async webhooks configure` and `test`: one call each, and what came of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diffio_async.cli.console import console
from diffio_async.cli.environment import check_environment, connected
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.errors import ConfigurationError, DiffioError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from diffio_async.client import AsyncDiffio
    from diffio_async.models.webhooks import WebhookMode

#: What was done, as JSON has it, and in lines for people.
Message = tuple[dict[str, object], list[str]]


def _secret_place() -> str:
    """Where the user finds the signing secret; a service on this machine is the sandbox."""
    host = urlsplit(os.environ.get("DIFFIO_API_BASE_URL", "")).hostname or ""
    if host in {"localhost", "127.0.0.1", "::1"}:
        return "among the lines that the sandbox printed when it started"
    return "on the Diffio dashboard"


async def configure(
    *,
    mode: WebhookMode,
    url: str,
    event_types: Sequence[str],
    api_key_id: str | None,
    as_json: bool,
) -> int:
    """Say where events go; the exit code.

    Raises:
        ConfigurationError: Nothing was sent: the message says why.
    """

    async def work(client: AsyncDiffio) -> Message:
        endpoint = await client.webhooks.configure(
            mode=mode, url=url, event_types=event_types, api_key_id=api_key_id
        )
        fact: dict[str, object] = {
            "event": "configured",
            "url": endpoint.url,
            "mode": endpoint.mode,
            "event_types": list(endpoint.event_types),
            "endpoint_id": endpoint.endpoint_id,
            "api_key_id": endpoint.api_key_id,
        }
        kinds = ", ".join(endpoint.event_types)
        return fact, [
            f"{endpoint.url} gets {kinds} ({endpoint.mode}, key {endpoint.api_key_id})",
            f"  its signing secret is {_secret_place()}: set DIFFIO_WEBHOOK_SECRET to it",
        ]

    return await _done(work, as_json=as_json)


async def send_test_event(
    *, mode: WebhookMode, event_type: str, api_key_id: str | None, as_json: bool
) -> int:
    """Have an event delivered; the exit code.

    Raises:
        ConfigurationError: Nothing was sent: the message says why.
    """

    async def work(client: AsyncDiffio) -> Message:
        sent = await client.webhooks.send_test_event(
            mode=mode, event_type=event_type, api_key_id=api_key_id
        )
        fact: dict[str, object] = {
            "event": "sent",
            "message_id": sent.svix_message_id,
            "event_id": sent.event_id,
            "event_type": sent.event_type,
            "mode": sent.mode,
            "api_key_id": sent.api_key_id,
        }
        return fact, [f"{sent.event_type} is on its way as {sent.svix_message_id} ({sent.mode})"]

    return await _done(work, as_json=as_json)


async def _done(work: Callable[[AsyncDiffio], Awaitable[Message]], *, as_json: bool) -> int:
    check_environment()
    async with connected() as client:
        try:
            fact, lines = await work(client)
        except ConfigurationError:
            raise
        except DiffioError as error:
            if as_json:
                failed = {"event": "failed", "error": type(error).__name__, "message": str(error)}
                console.json(failed)
            else:
                console.note(f"diffio-async: {error}")
            return FAILED
    if as_json:
        console.json(fact)
    else:
        console.result(*lines)
    return OK
