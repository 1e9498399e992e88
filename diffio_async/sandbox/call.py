"""One API call that passed the door: who calls, with what, and what they may look up."""

from attrs import define

from diffio_async.sandbox.checks import Fields
from diffio_async.sandbox.house import House
from diffio_async.sandbox.incoming import Incoming
from diffio_async.sandbox.records import ApiKey, Generation, Project
from diffio_async.sandbox.replies import Refusal
from diffio_async.sandbox.world import World


@define(kw_only=True)
class Call:
    """What an endpoint works with."""

    house: House
    key: ApiKey
    fields: Fields
    incoming: Incoming
    model: str

    @property
    def world(self) -> World:
        """The state."""
        return self.house.world

    def complain(self, what: str) -> None:
        """Say aloud what the client should not have done."""
        self.house.witness.complain(self.incoming.seen, what)

    def project(self) -> Project:
        """Look up the project named by `apiProjectId`.

        Raises:
            Refusal: 400 or 404.
        """
        project = self.world.projects.get(self.fields.text("apiProjectId"))
        if project is None:
            raise Refusal(404, "there is no such project")
        return project

    def generation(self) -> Generation:
        """Look up the generation named by `generationId` (and by `apiProjectId`, when given).

        Raises:
            Refusal: 400 or 404.
        """
        generation = self.world.generations.get(self.fields.text("generationId"))
        project_id = self.fields.optional_text("apiProjectId")
        if generation is None or project_id not in (None, generation.project_id):
            raise Refusal(404, "there is no such generation")
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
        key = self.world.keys.get(key_id)
        if key is None or not (self.key.role == "agent" or self.key.id in (key.id, key.parent_id)):
            raise Refusal(404, "there is no such API key")
        return key
