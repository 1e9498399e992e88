"""What the handlers share: one of each, for one running sandbox."""

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from diffio_async.sandbox.addresses import Addresses
    from diffio_async.sandbox.disk import Disk
    from diffio_async.sandbox.jobs import Jobs
    from diffio_async.sandbox.links import Links
    from diffio_async.sandbox.request_log import RequestLog
    from diffio_async.sandbox.settings import SandboxSettings
    from diffio_async.sandbox.state import State
    from diffio_async.sandbox.webhooks import WebhookSender


@define(kw_only=True)
class ServerContext:
    """The settings, the state and the workings a handler may need."""

    settings: "SandboxSettings"
    state: "State"
    disk: "Disk"
    links: "Links"
    request_log: "RequestLog"
    jobs: "Jobs"
    deliveries: "WebhookSender"
    addresses: "Addresses"
