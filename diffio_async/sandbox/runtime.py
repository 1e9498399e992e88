"""What stands while a sandbox runs: a folder, its state, three origins; opened and closed."""

import importlib.util
import shutil
import tempfile
from pathlib import Path

from diffio_async.sandbox.addresses import API, EDGE, MEDIA, Addresses
from diffio_async.sandbox.api import Api
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.disk import Disk, remove_stale
from diffio_async.sandbox.edge import Edge
from diffio_async.sandbox.faults import FaultPlan
from diffio_async.sandbox.jobs import Jobs
from diffio_async.sandbox.links import Links
from diffio_async.sandbox.listener import Listener
from diffio_async.sandbox.media import Media
from diffio_async.sandbox.origin import ErrorBody, Handler, Origin
from diffio_async.sandbox.request_log import RequestLog
from diffio_async.sandbox.responses import api_error_body, edge_error_body, media_error_body
from diffio_async.sandbox.settings import SandboxError, SandboxSettings
from diffio_async.sandbox.state import State
from diffio_async.sandbox.store import Store
from diffio_async.sandbox.webhooks import WebhookSender


class SandboxRuntime:
    """Everything of a running sandbox that must be closed again."""

    def __init__(self, settings: SandboxSettings, witness: RequestLog, faults: FaultPlan) -> None:
        self._settings = settings
        self._request_log = witness
        self._faults = faults
        self.context: ServerContext | None = None
        self._listeners: list[Listener] = []
        self._store: Store | None = None
        self._passing: Path | None = None

    async def open(self) -> None:
        """Open the folder and the ports, and take up unfinished work.

        Raises:
            SandboxError: When something it needs is missing or taken.
        """
        if self._settings.engine == "restore":
            _require_extra()
        try:
            house = self._build(self._folder())
            await self._open_origins(house)
            house.deliveries.resume()
            house.jobs.resume()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close whatever is open, in the order in which nothing is missed."""
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        if self.context is not None:
            await self.context.jobs.close()
            await self.context.deliveries.close()
            self.context.disk.close()
            self.context = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)
            self._passing = None

    def _folder(self) -> Path:
        data = self._settings.data
        if data is None:
            self._passing = Path(tempfile.mkdtemp(prefix="diffio-sandbox-"))
            return self._passing
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = Store(data)
        except OSError as error:
            raise SandboxError(f"the data folder {data} cannot be used: {error}") from error
        return data

    def _build(self, folder: Path) -> ServerContext:
        settings = self._settings
        for name in ("uploads", "parts", "results"):
            # The folder given may be open to all; the recordings are their owner's alone.
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        world = State(folder, self._store)
        remove_stale(folder, keep=world.uploads)
        world.ensure_root_key(settings.api_key)
        disk = Disk()
        deliveries = WebhookSender(settings, world, self._faults)
        self.context = ServerContext(
            settings=settings,
            state=world,
            disk=disk,
            links=Links(world.link_secret, settings.link_ttl, world.now),
            request_log=self._request_log,
            jobs=Jobs(settings, world, disk, deliveries),
            deliveries=deliveries,
            addresses=Addresses(settings),
        )
        return self.context

    async def _open_origins(self, house: ServerContext) -> None:
        handlers: dict[str, tuple[Handler, ErrorBody]] = {
            API: (Api(house).handle, api_error_body),
            EDGE: (Edge(house).handle, edge_error_body),
            MEDIA: (Media(house).handle, media_error_body),
        }
        origins = {
            name: Origin(
                name,
                handle,
                spell,
                witness=self._request_log,
                faults=self._faults,
                disk=house.disk,
                addresses=house.addresses,
            )
            for name, (handle, spell) in handlers.items()
        }
        if not self._settings.separate_ports:
            await self._listen(origins, house, 0)
            return
        for place, (name, origin) in enumerate(origins.items()):
            await self._listen({name: origin}, house, place)

    async def _listen(self, origins: dict[str, Origin], house: ServerContext, place: int) -> None:
        host, first = self._settings.host, self._settings.port
        listener = Listener(origins, house.addresses)
        # URLs from before a restart, such as those of an upload in progress, stay good.
        wanted = first + place if first else house.state.last_port(place)
        try:
            await listener.open(host, wanted)
        except (OSError, OverflowError) as error:
            if place == 0 and first:
                raise SandboxError(f"cannot listen on {host}:{wanted}: {error}") from error
            # Clients learn the other two from the API's responses: any port will do.
            await self._open_anywhere(listener, host)
        self._listeners.append(listener)
        house.state.remember_port(place, house.addresses.ports[next(iter(origins))])

    async def _open_anywhere(self, listener: Listener, host: str) -> None:
        try:
            await listener.open(host, 0)
        except OSError as error:
            raise SandboxError(f"cannot listen on {host}: {error}") from error


def _require_extra() -> None:
    missing = [name for name in ("av", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise SandboxError(
            f"restoring needs {' and '.join(missing)}: pip install 'diffio-async[sandbox]' "
            "(or engine='echo' to have uploads handed back unchanged)"
        )
