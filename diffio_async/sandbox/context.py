"""Contexts of request handlers: the services of a running sandbox, and one API call."""

from attrs import define

from diffio_async.sandbox.addresses import Addresses
from diffio_async.sandbox.credentials import Links
from diffio_async.sandbox.disk import Disk
from diffio_async.sandbox.jobs import Jobs
from diffio_async.sandbox.records import ApiKey, Generation, Project
from diffio_async.sandbox.request import Fields, IncomingRequest
from diffio_async.sandbox.request_log import RequestLog
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.settings import SandboxSettings
from diffio_async.sandbox.state import State
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
