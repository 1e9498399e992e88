"""`diffio-async webhooks configure` and `webhooks test`: one API call each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diffio_async.cli.client import check_environment, open_client
from diffio_async.cli.console import FAILED, OK, console
from diffio_async.errors import ConfigurationError, DiffioError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from diffio_async.client import AsyncDiffio
    from diffio_async.models.webhooks import WebhookMode

#: The result as JSON, and as lines for people.
_Result = tuple[dict[str, object], list[str]]


def _secret_location() -> str:
    """Return where to find the signing secret; a local service is the sandbox."""
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
    """Set the URL and the types of events. Return the exit code.

    Raises:
        ConfigurationError: The arguments or the environment are invalid; nothing was sent.
    """

    async def work(client: AsyncDiffio) -> _Result:
        endpoint = await client.webhooks.configure(
            mode=mode, url=url, event_types=event_types, api_key_id=api_key_id
        )
        fields: dict[str, object] = {
            "event": "configured",
            "url": endpoint.url,
            "mode": endpoint.mode,
            "event_types": list(endpoint.event_types),
            "endpoint_id": endpoint.endpoint_id,
            "api_key_id": endpoint.api_key_id,
        }
        types = ", ".join(endpoint.event_types)
        return fields, [
            f"{endpoint.url} receives {types} ({endpoint.mode}, key {endpoint.api_key_id})",
            f"  its signing secret is {_secret_location()}: set DIFFIO_WEBHOOK_SECRET to it",
        ]

    return await _call(work, as_json=as_json)


async def send_test_event(
    *, mode: WebhookMode, event_type: str, api_key_id: str | None, as_json: bool
) -> int:
    """Request the delivery of a test event. Return the exit code.

    Raises:
        ConfigurationError: The arguments or the environment are invalid; nothing was sent.
    """

    async def work(client: AsyncDiffio) -> _Result:
        sent = await client.webhooks.send_test_event(
            mode=mode, event_type=event_type, api_key_id=api_key_id
        )
        fields: dict[str, object] = {
            "event": "sent",
            "message_id": sent.svix_message_id,
            "event_id": sent.event_id,
            "event_type": sent.event_type,
            "mode": sent.mode,
            "api_key_id": sent.api_key_id,
        }
        return fields, [f"{sent.event_type} was sent as {sent.svix_message_id} ({sent.mode})"]

    return await _call(work, as_json=as_json)


async def _call(work: Callable[[AsyncDiffio], Awaitable[_Result]], *, as_json: bool) -> int:
    check_environment()
    async with open_client() as client:
        try:
            fields, lines = await work(client)
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
        console.json(fields)
    else:
        console.result(*lines)
    return OK
