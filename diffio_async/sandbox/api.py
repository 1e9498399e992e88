"""The API origin: routes, required scopes and known fields."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import frozen

from diffio_async.sandbox import (
    api_account,
    api_generations,
    api_projects,
    api_webhooks,
)
from diffio_async.sandbox.context import ApiCall, ServerContext
from diffio_async.sandbox.credentials import require_api_key, require_scope
from diffio_async.sandbox.request import Fields, IncomingRequest
from diffio_async.sandbox.responses import HttpError, Response, json_response
from diffio_async.sandbox.settings import MODEL_ENDPOINTS

Endpoint = Callable[[ApiCall], Awaitable[Mapping[str, Any]]]


@frozen
class Route:
    """An endpoint, the scopes of which one is required, and its fields."""

    handle: Endpoint
    scopes: tuple[str, ...]
    fields: tuple[str, ...] = ()


_GENERATION = Route(
    api_generations.create,
    ("generations:write",),
    ("apiProjectId", "sampling", "params", "idempotencyKey"),
)
_GENERATION_PATH = re.compile(r"(diffio-[a-z0-9.-]+)-generation")

ROUTES: Mapping[str, Route] = {
    "create_project": Route(
        api_projects.create,
        ("projects:write",),
        ("fileName", "contentType", "contentLength", "fileFormat", "params"),
    ),
    "complete_project_upload": Route(
        api_projects.complete_upload, ("projects:write",), ("apiProjectId",)
    ),
    "list_projects": Route(api_projects.list_all, ("projects:read",)),
    "list_project_generations": Route(
        api_projects.list_generations, ("generations:read",), ("apiProjectId",)
    ),
    "get_generation_progress": Route(
        api_generations.progress, ("generations:read",), ("generationId", "apiProjectId")
    ),
    "get_generation_download": Route(
        api_generations.download,
        ("artifacts:read", "generations:read"),
        ("generationId", "apiProjectId", "downloadType"),
    ),
    "account/settings/get": Route(api_account.get_account, ("account:read",)),
    "account/settings/update": Route(
        api_account.update_account, ("account:write",), ("billingPolicy",)
    ),
    "usage/summary": Route(api_account.summarize_usage, ("usage:read",), ("apiKeyId",)),
    "api_keys/create": Route(
        api_account.create_key, ("keys:write",), ("label", "scopes", "resourceBounds")
    ),
    "api_keys/list": Route(api_account.list_keys, ("keys:read",)),
    "api_keys/rotate": Route(api_account.rotate_key, ("keys:write",), ("keyId",)),
    "api_keys/revoke": Route(api_account.revoke_key, ("keys:write",), ("keyId",)),
    "webhooks/configure": Route(
        api_webhooks.configure, ("webhooks:write",), ("mode", "url", "eventTypes", "apiKeyId")
    ),
    "webhooks/send_test_event": Route(
        api_webhooks.send_test_event,
        ("webhooks:write",),
        ("eventType", "mode", "apiKeyId", "samplePayload"),
    ),
}


class Api:
    """Handler of all requests to the API origin."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Handle one request.

        Raises:
            HttpError: The request is invalid, unauthorized or refused.
        """
        context = self._context
        route, model = _find(incoming.path)
        if incoming.method != "POST":
            context.request_log.violation(incoming.record, "every API endpoint is a POST")
            raise HttpError(405, "every endpoint is a POST", headers={"Allow": "POST"})
        key = require_api_key(incoming, context.state, context.request_log)
        require_scope(key, route.scopes)
        try:
            fields = Fields(await incoming.json_object())
        except HttpError as error:
            context.request_log.violation(incoming.record, error.message)
            raise
        if unknown_fields := fields.unknown(route.fields):
            context.request_log.violation(
                incoming.record, f"unknown fields: {', '.join(unknown_fields)}"
            )
        call = ApiCall(context=context, key=key, fields=fields, incoming=incoming, model=model)
        return json_response(await route.handle(call))


def _find(path: str) -> tuple[Route, str]:
    """Return the route of a path, and the model if it is a generation endpoint."""
    head, _, name = path[1:].partition("/")
    if head == "v1":
        if name in ROUTES:
            return ROUTES[name], ""
        if match := _GENERATION_PATH.fullmatch(name):
            return _GENERATION, MODEL_ENDPOINTS.get(match[1], match[1])
    raise HttpError(404, f"there is no endpoint {path}")
