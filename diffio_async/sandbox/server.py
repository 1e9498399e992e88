"""The public class of the sandbox."""

import asyncio
import importlib.util
import shutil
import tempfile
from collections.abc import Collection, Iterable
from os import PathLike
from pathlib import Path
from typing import Self

from diffio_async.sandbox import api_account, api_projects
from diffio_async.sandbox.access import API, EDGE, MEDIA, Addresses, Links, url_host
from diffio_async.sandbox.api import Api, ServerContext
from diffio_async.sandbox.faults import Fault, FaultPlan
from diffio_async.sandbox.jobs import Jobs
from diffio_async.sandbox.messages import api_error_body, edge_error_body, media_error_body
from diffio_async.sandbox.origin import ErrorBody, Handler, Listener, Origin, PageHandler
from diffio_async.sandbox.page import Page
from diffio_async.sandbox.request_log import RecordedRequest, RequestLog, log
from diffio_async.sandbox.settings import (
    DEFAULT_KEY,
    DEFAULT_WEBHOOK_SECRET,
    Engine,
    FailedStatus,
    GiB,
    MiB,
    SandboxError,
    SandboxSettings,
    UploadMode,
    is_loopback,
    listen_error,
    served_models,
)
from diffio_async.sandbox.state import ROOT_KEY_ID, State
from diffio_async.sandbox.storage import Disk, Store, remove_stale
from diffio_async.sandbox.transfers import Edge, Media
from diffio_async.sandbox.webhooks import DeliveryAttempt, WebhookSender, secret_bytes


class Sandbox:
    """A local Diffio server: `async with Sandbox() as sandbox: …`.

    Args:
        data: The folder for all data; None for a temporary one, removed on close.
        host: The address to listen on; other than loopback only with `allow_remote`.
        port: The port; 0 for any free one.
        separate_ports: Serve the edge and media origins on ports of their own (the next two if
            free), as the hosted service serves them on hosts of their own. Otherwise they are
            `/edge` and `/media` on the port of the API.
        public_url: The URL at which clients reach the sandbox, e.g. behind a proxy with TLS. If
            None, URLs in responses contain the host of the client's request.
        allow_hosts: Additional names to accept in the `Host` header. Names of this machine are
            always accepted; with `allow_remote`, also IP addresses and names that the public DNS
            cannot contain.
        api_key: The secret of the key with every scope.
        uploads: The upload offers made by `create_project`: "signed", "edge" or both.
        part_size: Bytes in each part of an edge upload, except the last.
        max_bytes: Maximum bytes in one file.
        link_ttl: Lifetime of signed links and upload tokens, in seconds.
        models: The models served; None for those of the hosted service. A request for any other
            gets 410 `model_retired`, as from the hosted service.
        legacy_models: Serve retired models too, and any other well-formed name; not together
            with `models`.
        retired: Models that always get 410.
        engine: "restore", or "echo": the result is the upload, unchanged.
        duration: Duration of an echo in seconds.
        duration_spread: Maximum relative deviation of single echoes from `duration`, 0 to 1.
        workers: Maximum concurrent restorations; None for one per core, up to four.
        max_recording_seconds: Longer recordings fail their generation.
        max_decoded_bytes: Recordings that need more temporary space (192 kB per second and
            channel) fail. Beyond 512 MiB, 500 times the size of the file is a limit too.
        max_processing_seconds: Restorations that take longer fail.
        failed_status: The status of failed generations: "failed" or "error".
        webhook_secret: The `whsec_…` secret that signs the deliveries of `api_key`.
        webhook_pace: Factor for the delays between delivery attempts.
        webhook_duplicates: Share of events (0 to 1) delivered twice; the selection is repeatable.
        webhook_shuffle: Maximum random delay of a delivery in seconds, so that events arrive out
            of order; the delays are repeatable.
        keep_requests: Number of requests, violations and deliveries to keep.
        faults: Faults that are active from the start.
        allow_remote: Allow a `host` that other machines can reach.
        allow_remote_webhooks: Deliver webhooks to any host, with plain `http://` too. Otherwise
            they are sent to loopback addresses only; other deliveries fail without a retry.

    Raises:
        SandboxError: `host` is not loopback; or on entering: the folder or a port is not
            available, or the extra `sandbox` is missing.
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        data: str | PathLike[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        separate_ports: bool = False,
        public_url: str | None = None,
        allow_hosts: Collection[str] = (),
        api_key: str = DEFAULT_KEY,
        uploads: Iterable[UploadMode] = ("signed", "edge"),
        part_size: int = 32 * MiB,
        max_bytes: int = 2 * GiB,
        link_ttl: float = 7200.0,
        models: Collection[str] | None = None,
        legacy_models: bool = False,
        retired: Collection[str] = (),
        engine: Engine = "restore",
        duration: float = 0.0,
        duration_spread: float = 0.0,
        workers: int | None = None,
        max_recording_seconds: float = 6 * 3600.0,
        max_decoded_bytes: int = 6 * GiB,
        max_processing_seconds: float = 4 * 3600.0,
        failed_status: FailedStatus = "failed",
        webhook_secret: str = DEFAULT_WEBHOOK_SECRET,
        webhook_pace: float = 1.0,
        webhook_duplicates: float = 0.0,
        webhook_shuffle: float = 0.0,
        keep_requests: int = 10_000,
        faults: Iterable[Fault] = (),
        allow_remote: bool = False,
        allow_remote_webhooks: bool = False,
    ) -> None:
        secret_bytes(webhook_secret)
        self.settings = SandboxSettings(
            data=None if data is None else Path(data),
            host=host,
            port=port,
            separate_ports=separate_ports,
            public_url=public_url,
            allow_hosts=frozenset(allow_hosts),
            api_key=api_key,
            uploads=tuple(uploads),
            part_size=part_size,
            max_bytes=max_bytes,
            link_ttl=link_ttl,
            models=served_models(models, legacy_models),
            retired=frozenset(retired),
            engine=engine,
            duration=duration,
            duration_spread=duration_spread,
            **({} if workers is None else {"workers": workers}),
            max_recording_seconds=max_recording_seconds,
            max_decoded_bytes=max_decoded_bytes,
            max_processing_seconds=max_processing_seconds,
            failed_status=failed_status,
            webhook_secret=webhook_secret,
            webhook_pace=webhook_pace,
            webhook_duplicates=webhook_duplicates,
            webhook_shuffle=webhook_shuffle,
            keep_requests=keep_requests,
            allow_remote=allow_remote,
            allow_remote_webhooks=allow_remote_webhooks,
        )
        self.faults = FaultPlan(faults)
        self._request_log = RequestLog(keep_requests)
        self._context: ServerContext | None = None
        self._listeners: list[Listener] = []
        self._store: Store | None = None
        self._temporary: Path | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        """The base URL of the API."""
        return f"{self.context.addresses.base(API)}/v1"

    @property
    def page_url(self) -> str:
        """The URL of the web page that shows recordings, requests, deliveries and faults.

        It is served to browsers on this machine only.
        """
        host = self.settings.host if is_loopback(self.settings.host) else "127.0.0.1"
        return f"http://{url_host(host)}:{self.context.addresses.ports[API]}/"

    @property
    def edge_url(self) -> str:
        """The base URL of the edge (upload) origin."""
        return self.context.addresses.base(EDGE)

    @property
    def media_url(self) -> str:
        """The base URL of the media (storage) origin."""
        return self.context.addresses.base(MEDIA)

    @property
    def api_key(self) -> str:
        """The secret of the key with every scope."""
        return self.settings.api_key

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for a client of this sandbox."""
        return {"DIFFIO_API_KEY": self.api_key, "DIFFIO_API_BASE_URL": self.base_url}

    @property
    def webhook_environment(self) -> dict[str, str]:
        """The environment variables for a webhook receiver."""
        return {
            "DIFFIO_WEBHOOK_SECRET": self.settings.webhook_secret,
            "DIFFIO_API_KEY_ID": ROOT_KEY_ID,
        }

    @property
    def requests(self) -> list[RecordedRequest]:
        """The received requests, oldest first."""
        return list(self._request_log.requests)

    @property
    def violations(self) -> list[str]:
        """Violations of the contract by clients, oldest first."""
        return list(self._request_log.violations)

    @property
    def deliveries(self) -> list[DeliveryAttempt]:
        """The webhook delivery attempts, oldest first."""
        return list(self.context.deliveries.attempts)

    @property
    def state(self) -> State:
        """The state: projects, uploads in progress, generations, keys, webhook endpoints."""
        return self.context.state

    @property
    def context(self) -> ServerContext:
        """The services of the running sandbox."""
        if self._context is None:
            raise SandboxError("the sandbox is not running; enter it with `async with`")
        return self._context

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the live restoration workers."""
        return self.context.jobs.workers.pids

    def forget_link(self, url: str | None = None) -> None:
        """Expire a signed link, or all links issued so far if None."""
        self.context.links.expire(url)

    def webhook_secret(self, api_key_id: str, mode: str = "live") -> str:
        """Return the secret that signs the deliveries of a key.

        Raises:
            KeyError: No webhook is configured for that key and mode.
        """
        endpoint = self.context.deliveries.endpoint(api_key_id, mode)
        if endpoint is None:
            raise KeyError(f"no {mode} webhook is configured for {api_key_id}")
        return endpoint.secret

    async def start(self) -> None:
        """Open the folder and the ports, and resume unfinished work.

        Raises:
            SandboxError: A requirement is missing, or the folder or a port is in use.
        """
        if self._context is not None:
            raise SandboxError("the sandbox is already running")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise SandboxError(
                "asyncio is needed: the sandbox does not run under trio or another event loop. "
                "Start it as a process of its own: diffio-async sandbox"
            ) from None
        if not is_loopback(self.settings.host) and self.api_key == DEFAULT_KEY:
            log.warning(
                "other machines can reach this sandbox, and its API key is the public default"
            )
        if self.settings.engine == "restore":
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
        """Stop listening, end the workers, and remove temporary files; the data folder remains."""
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        if self._context is not None:
            await self._context.jobs.close()
            await self._context.deliveries.close()
            self._context.disk.close()
            self._context = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _folder(self) -> Path:
        data = self.settings.data
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
        settings = self.settings
        state = State(folder, self._store)
        if self._temporary is None:
            for name in ("uploads", "parts", "results"):
                # The data folder may be readable by others; the recordings must not be.
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            remove_stale(folder, keep=state.uploads)
        state.ensure_root_key(settings.api_key)
        disk = Disk()
        deliveries = WebhookSender(settings, state, self.faults)
        self._context = ServerContext(
            settings=settings,
            state=state,
            disk=disk,
            links=Links(state.link_secret, settings.link_ttl, state.now),
            request_log=self._request_log,
            jobs=Jobs(settings, state, disk, deliveries),
            deliveries=deliveries,
            addresses=Addresses(settings),
        )
        return self._context

    async def _open_origins(self, context: ServerContext) -> None:
        api = Api(context, {**api_projects.ROUTES, **api_account.ROUTES})
        media = Media(context)
        page = Page(context, self.faults, media).serve
        handlers: dict[str, tuple[Handler, ErrorBody]] = {
            API: (api.handle, api_error_body),
            EDGE: (Edge(context).handle, edge_error_body),
            MEDIA: (media.handle, media_error_body),
        }
        origins = {
            name: Origin(name, context, self.faults, handle, error_body)
            for name, (handle, error_body) in handlers.items()
        }
        if not self.settings.separate_ports:
            await self._listen(origins, context, 0, page)
            return
        for index, (name, origin) in enumerate(origins.items()):
            await self._listen({name: origin}, context, index, page if name == API else None)

    async def _listen(
        self,
        origins: dict[str, Origin],
        context: ServerContext,
        index: int,
        page: PageHandler | None,
    ) -> None:
        host, first_port = self.settings.host, self.settings.port
        listener = Listener(origins, context.addresses, page)
        # URLs from before a restart, such as those of an upload in progress, remain valid.
        port = first_port + index if first_port else context.state.last_port(index)
        try:
            await listener.open(host, port)
        except (OSError, OverflowError) as error:
            if index == 0 and first_port:
                raise listen_error(error, f"{host}:{port}") from error
            # Clients get the other two ports from responses of the API, so any free port works.
            await self._open_on_any_port(listener, host)
        self._listeners.append(listener)
        context.state.remember_port(index, context.addresses.ports[next(iter(origins))])

    async def _open_on_any_port(self, listener: Listener, host: str) -> None:
        try:
            await listener.open(host, 0)
        except OSError as error:
            raise listen_error(error, host) from error


def _require_extra() -> None:
    missing = [name for name in ("av", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise SandboxError(
            f"restoring needs {' and '.join(missing)}: install the extra 'sandbox' "
            "(pip install -e '.[sandbox]' in a clone), or use engine='echo', which returns "
            "uploads unchanged"
        )
