"""The API origin: the services that endpoints use, calls, and their authorization."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, frozen

from diffio_async.sandbox.access import Addresses, Links, require_api_key, require_scope
from diffio_async.sandbox.jobs import Jobs
from diffio_async.sandbox.messages import (
    Fields,
    HttpError,
    IncomingRequest,
    Response,
    json_response,
)
from diffio_async.sandbox.request_log import RequestLog
from diffio_async.sandbox.settings import MODEL_ENDPOINTS, SandboxSettings
from diffio_async.sandbox.state import ApiKey, Generation, Project, State
from diffio_async.sandbox.storage import Disk
from diffio_async.sandbox.webhooks import WebhookSender


@define(kw_only=True)
class ServerContext:
    """The settings, the state and the services of one running sandbox."""

    settings: SandboxSettings
    state: State
    disk: Disk
    links: Links
    request_log: RequestLog
    jobs: Jobs
    deliveries: WebhookSender
    addresses: Addresses


@define(kw_only=True)
class ApiCall:
    """One authorized API call: its key, its fields, and lookups by them."""

    context: ServerContext
    key: ApiKey
    fields: Fields
    incoming: IncomingRequest
    model: str

    @property
    def state(self) -> State:
        """The state of the sandbox."""
        return self.context.state

    def violation(self, message: str) -> None:
        """Record and log a violation of the contract by the client."""
        self.context.request_log.violation(self.incoming.record, message)

    def project(self) -> Project:
        """Return the project with the id in `apiProjectId`.

        Raises:
            HttpError: 400 or 404.
        """
        project = self.state.projects.get(self.fields.text("apiProjectId"))
        if project is None:
            raise HttpError(404, "there is no such project")
        return project

    def generation(self) -> Generation:
        """Return the generation with the id in `generationId`, in `apiProjectId` if that is sent.

        Raises:
            HttpError: 400 or 404.
        """
        generation = self.state.generations.get(self.fields.text("generationId"))
        project_id = self.fields.optional_text("apiProjectId")
        if generation is None or project_id not in (None, generation.project_id):
            raise HttpError(404, "there is no such generation")
        return generation

    def other_key(self) -> ApiKey:
        """Return the key with the id in `apiKeyId`, or the caller's own key.

        Raises:
            HttpError: 404 if the key does not exist or the caller may not manage it.
        """
        key_id = self.fields.optional_text("apiKeyId")
        return self.key if key_id is None else self.managed_key(key_id)

    def managed_key(self, key_id: str) -> ApiKey:
        """Return a key that the caller may manage: its own, one it created, or any by an agent key.

        Raises:
            HttpError: 404.
        """
        key = self.state.keys.get(key_id)
        if key is None or not (self.key.role == "agent" or self.key.id in (key.id, key.parent_id)):
            raise HttpError(404, "there is no such API key")
        return key


Endpoint = Callable[[ApiCall], Awaitable[Mapping[str, Any]]]


@frozen
class Route:
    """An endpoint, the scopes of which one is required, and its fields."""

    handle: Endpoint
    scopes: tuple[str, ...]
    fields: tuple[str, ...] = ()


GENERATION = "*-generation"
"""The name of the route for all models: `<model>-generation`."""
_GENERATION_PATH = re.compile(r"(diffio-[a-z0-9.-]+)-generation")


class Api:
    """Handler of all requests to the API origin."""

    def __init__(self, context: ServerContext, routes: Mapping[str, Route]) -> None:
        self._context = context
        self._routes = routes

    async def handle(self, incoming: IncomingRequest) -> Response:
        """Handle one request.

        Raises:
            HttpError: The request is invalid, unauthorized or refused.
        """
        context = self._context
        route, model = self._find(incoming.path)
        if incoming.method != "POST":
            raise HttpError(
                405, "every API endpoint is a POST", headers={"Allow": "POST"}, is_violation=True
            )
        key = require_api_key(incoming, context.state, context.request_log)
        require_scope(key, route.scopes)
        fields = Fields(await incoming.json_object())
        if unknown_fields := fields.unknown(route.fields):
            context.request_log.violation(
                incoming.record, f"unknown fields: {', '.join(unknown_fields)}"
            )
        call = ApiCall(context=context, key=key, fields=fields, incoming=incoming, model=model)
        return json_response(await route.handle(call))

    def _find(self, path: str) -> tuple[Route, str]:
        """Return the route of a path, and the model if it is a generation endpoint."""
        head, _, name = path[1:].partition("/")
        if head == "v1":
            if name in self._routes:
                return self._routes[name], ""
            if match := _GENERATION_PATH.fullmatch(name):
                return self._routes[GENERATION], MODEL_ENDPOINTS.get(match[1], match[1])
        raise HttpError(404, f"there is no endpoint {path}")
