"""One API call that passed the door: who calls, with what, and what they may look up."""

from attrs import define

from diffio_async.sandbox.checks import Fields
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.records import ApiKey, Generation, Project
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.state import State


@define(kw_only=True)
class ApiCall:
    """What an endpoint works with."""

    context: ServerContext
    key: ApiKey
    fields: Fields
    incoming: IncomingRequest
    model: str

    @property
    def state(self) -> State:
        """The state."""
        return self.context.state

    def violation(self, what: str) -> None:
        """Say aloud what the client should not have done."""
        self.context.request_log.violation(self.incoming.record, what)

    def project(self) -> Project:
        """Look up the project named by `apiProjectId`.

        Raises:
            Refusal: 400 or 404.
        """
        project = self.state.projects.get(self.fields.text("apiProjectId"))
        if project is None:
            raise HttpError(404, "there is no such project")
        return project

    def generation(self) -> Generation:
        """Look up the generation named by `generationId` (and by `apiProjectId`, when given).

        Raises:
            Refusal: 400 or 404.
        """
        generation = self.state.generations.get(self.fields.text("generationId"))
        project_id = self.fields.optional_text("apiProjectId")
        if generation is None or project_id not in (None, generation.project_id):
            raise HttpError(404, "there is no such generation")
        return generation

    def other_key(self) -> ApiKey:
        """Look up the key named by `apiKeyId`, or the caller's own.

        Raises:
            Refusal: 404 for a key that does not exist or is not the caller's to manage.
        """
        key_id = self.fields.optional_text("apiKeyId")
        return self.key if key_id is None else self.managed_key(key_id)

    def managed_key(self, key_id: str) -> ApiKey:
        """Look up a key the caller may manage: its own, one it made, or any for an agent key.

        Raises:
            Refusal: 404.
        """
        key = self.state.keys.get(key_id)
        if key is None or not (self.key.role == "agent" or self.key.id in (key.id, key.parent_id)):
            raise HttpError(404, "there is no such API key")
        return key
