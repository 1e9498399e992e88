"""The API origin: which endpoint, who may call it, and with what body."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import frozen

from diffio_async.sandbox import (
    api_account,
    api_generations,
    api_keys,
    api_projects,
    api_webhooks,
)
from diffio_async.sandbox.api_call import ApiCall
from diffio_async.sandbox.checks import Fields
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.credentials import api_key_of, require_scope
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.responses import HttpError, Response, json_response
from diffio_async.sandbox.settings import MODEL_ENDPOINTS

Endpoint = Callable[[ApiCall], Awaitable[Mapping[str, Any]]]


@frozen
class Route:
    """An endpoint, the scopes of which one is enough, and the fields it knows."""

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
    "account/settings/get": Route(api_account.get, ("account:read",)),
    "account/settings/update": Route(api_account.update, ("account:write",), ("billingPolicy",)),
    "usage/summary": Route(api_account.usage, ("usage:read",), ("apiKeyId",)),
    "api_keys/create": Route(
        api_keys.create, ("keys:write",), ("label", "scopes", "resourceBounds")
    ),
    "api_keys/list": Route(api_keys.list_all, ("keys:read",)),
    "api_keys/rotate": Route(api_keys.rotate, ("keys:write",), ("keyId",)),
    "api_keys/revoke": Route(api_keys.revoke, ("keys:write",), ("keyId",)),
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
    """Handles every request to the API origin."""

    def __init__(self, house: ServerContext) -> None:
        self._context = house

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Answer one request.

        Raises:
            Refusal: Whatever the contract has for a request like this.
        """
        house = self._context
        route, model = _find(incoming.path)
        if incoming.method != "POST":
            house.request_log.violation(incoming.record, "every endpoint of the API is a POST")
            raise HttpError(405, "every endpoint is a POST", headers={"Allow": "POST"})
        key = api_key_of(incoming, house.state, house.request_log)
        require_scope(key, route.scopes)
        try:
            fields = Fields(await incoming.json_object())
        except HttpError as refusal:
            house.request_log.violation(incoming.record, refusal.message)
            raise
        if strangers := fields.unknown(route.fields):
            house.request_log.violation(incoming.record, f"unknown fields: {', '.join(strangers)}")
        call = ApiCall(context=house, key=key, fields=fields, incoming=incoming, model=model)
        return json_response(await route.handle(call))


def _find(path: str) -> tuple[Route, str]:
    """Find an endpoint, and the model a generation endpoint stands for."""
    head, _, name = path[1:].partition("/")
    if head == "v1":
        if name in ROUTES:
            return ROUTES[name], ""
        if match := _GENERATION_PATH.fullmatch(name):
            return _GENERATION, MODEL_ENDPOINTS.get(match[1], match[1])
    raise HttpError(404, f"there is no endpoint {path}")
