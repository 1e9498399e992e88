"""What the handlers share: one of each, for one running sandbox."""

from typing import TYPE_CHECKING

from attrs import define

from diffio_async.sandbox.settings import is_loopback

if TYPE_CHECKING:
    from diffio_async.sandbox.disk import Disk
    from diffio_async.sandbox.jobs import Jobs
    from diffio_async.sandbox.links import Links
    from diffio_async.sandbox.settings import Settings
    from diffio_async.sandbox.webhooks import Deliveries
    from diffio_async.sandbox.witness import Witness
    from diffio_async.sandbox.world import World


@define(kw_only=True)
class House:
    """The settings, the state and the workings a handler may need."""

    settings: "Settings"
    world: "World"
    disk: "Disk"
    links: "Links"
    witness: "Witness"
    jobs: "Jobs"
    deliveries: "Deliveries"
    ports: dict[str, int]

    def origin(self, name: str, reached_by: str) -> str:
        """Spell the URL of an origin for a client that reached us by the host name given."""
        host = self.settings.host
        if not is_loopback(host):
            # A wildcard address is nowhere to connect to; the name the client used works.
            host = reached_by
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.ports[name]}"
