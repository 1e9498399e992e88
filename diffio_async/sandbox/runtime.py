"""Resources of a running sandbox: data folder, state, services and listening ports."""

import importlib.util
import shutil
import tempfile
from pathlib import Path

from diffio_async.sandbox.addresses import API, EDGE, MEDIA, Addresses
from diffio_async.sandbox.api import Api
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.credentials import Links
from diffio_async.sandbox.disk import Disk, remove_stale
from diffio_async.sandbox.edge import Edge
from diffio_async.sandbox.faults import FaultPlan
from diffio_async.sandbox.jobs import Jobs
from diffio_async.sandbox.media import Media
from diffio_async.sandbox.origin import ErrorBody, Handler, Listener, Origin
from diffio_async.sandbox.request_log import RequestLog
from diffio_async.sandbox.responses import api_error_body, edge_error_body, media_error_body
from diffio_async.sandbox.settings import SandboxError, SandboxSettings
from diffio_async.sandbox.state import State
from diffio_async.sandbox.store import Store
from diffio_async.sandbox.webhooks import WebhookSender


class SandboxRuntime:
    """The resources of a running sandbox, from `open` to `close`."""

    def __init__(
        self, settings: SandboxSettings, request_log: RequestLog, faults: FaultPlan
    ) -> None:
        self._settings = settings
        self._request_log = request_log
        self._faults = faults
        self.context: ServerContext | None = None
        self._listeners: list[Listener] = []
        self._store: Store | None = None
        self._temporary: Path | None = None

    async def open(self) -> None:
        """Open the folder and the ports, and resume unfinished work.

        Raises:
            SandboxError: A requirement is missing, or the folder or a port is in use.
        """
        if self._settings.engine == "restore":
            _require_extra()
        try:
            context = self._build(self._folder())
            await self._open_origins(context)
            context.deliveries.resume()
            context.jobs.resume()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close everything that is open; idempotent."""
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
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _folder(self) -> Path:
        data = self._settings.data
        if data is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="diffio-sandbox-"))
            return self._temporary
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = Store(data)
        except OSError as error:
            raise SandboxError(f"the data folder {data} cannot be used: {error}") from error
        return data

    def _build(self, folder: Path) -> ServerContext:
        settings = self._settings
        state = State(folder, self._store)
        if self._temporary is None:
            for name in ("uploads", "parts", "results"):
                # The data folder may be readable by others; the recordings must not be.
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            remove_stale(folder, keep=state.uploads)
        state.ensure_root_key(settings.api_key)
        disk = Disk()
        deliveries = WebhookSender(settings, state, self._faults)
        self.context = ServerContext(
            settings=settings,
            state=state,
            disk=disk,
            links=Links(state.link_secret, settings.link_ttl, state.now),
            request_log=self._request_log,
            jobs=Jobs(settings, state, disk, deliveries),
            deliveries=deliveries,
            addresses=Addresses(settings),
        )
        return self.context

    async def _open_origins(self, context: ServerContext) -> None:
        handlers: dict[str, tuple[Handler, ErrorBody]] = {
            API: (Api(context).handle, api_error_body),
            EDGE: (Edge(context).handle, edge_error_body),
            MEDIA: (Media(context).handle, media_error_body),
        }
        origins = {
            name: Origin(
                name,
                handle,
                error_body,
                request_log=self._request_log,
                faults=self._faults,
                disk=context.disk,
                addresses=context.addresses,
            )
            for name, (handle, error_body) in handlers.items()
        }
        if not self._settings.separate_ports:
            await self._listen(origins, context, 0)
            return
        for index, (name, origin) in enumerate(origins.items()):
            await self._listen({name: origin}, context, index)

    async def _listen(self, origins: dict[str, Origin], context: ServerContext, index: int) -> None:
        host, first_port = self._settings.host, self._settings.port
        listener = Listener(origins, context.addresses)
        # URLs from before a restart, such as those of an upload in progress, remain valid.
        port = first_port + index if first_port else context.state.last_port(index)
        try:
            await listener.open(host, port)
        except (OSError, OverflowError) as error:
            if index == 0 and first_port:
                raise SandboxError(f"cannot listen on {host}:{port}: {error}") from error
            # Clients get the other two ports from responses of the API, so any free port works.
            await self._open_on_any_port(listener, host)
        self._listeners.append(listener)
        context.state.remember_port(index, context.addresses.ports[next(iter(origins))])

    async def _open_on_any_port(self, listener: Listener, host: str) -> None:
        try:
            await listener.open(host, 0)
        except OSError as error:
            raise SandboxError(f"cannot listen on {host}: {error}") from error


def _require_extra() -> None:
    missing = [name for name in ("av", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise SandboxError(
            f"restoring needs {' and '.join(missing)}: install the extra 'sandbox' "
            "(pip install -e '.[sandbox]' in a clone), or use engine='echo', which returns "
            "uploads unchanged"
        )
