"""What the handlers share: one of each, for one running sandbox."""

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from diffio_async.sandbox.addresses import Addresses
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
    addresses: "Addresses"
