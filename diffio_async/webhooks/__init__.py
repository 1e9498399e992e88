"""Webhooks: verification, receivers, and an inbox with consumers.

Names are loaded on first use: only the receivers for aiohttp and ASGI need their frameworks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.webhooks.aiohttp_server import aiohttp_app
    from diffio_async.webhooks.consumer import Delivery
    from diffio_async.webhooks.inbox import WebhookInbox
    from diffio_async.webhooks.receiver import WebhookSink, asgi_app
    from diffio_async.webhooks.verifier import WebhookVerifier

_MODULES = {
    "Delivery": "consumer",
    "WebhookInbox": "inbox",
    "WebhookSink": "receiver",
    "WebhookVerifier": "verifier",
    "aiohttp_app": "aiohttp_server",
    "asgi_app": "receiver",
}

__all__ = ["Delivery", "WebhookInbox", "WebhookSink", "WebhookVerifier", "aiohttp_app", "asgi_app"]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        globals()[name] = value
        return value
