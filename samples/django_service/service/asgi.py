"""The ASGI application: `uvicorn --lifespan on service.asgi:application`."""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "service.settings")
django_application = get_asgi_application()

from .diffio import client, inbox  # noqa: E402 - models exist now


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve requests with Django, and the lifespan of the server, which Django does not handle."""
    if scope["type"] != "lifespan":
        await django_application(scope, receive, send)
        return
    await receive()
    async with client(), inbox().running():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
