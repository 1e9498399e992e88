"""The sandbox: three origins over one world, from start to stop."""

import importlib.util
import shutil
import tempfile
from collections.abc import Collection, Iterable
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from diffio_async.sandbox.api import Api
from diffio_async.sandbox.disk import Disk, sweep
from diffio_async.sandbox.edge import Edge
from diffio_async.sandbox.faults import Fault, FaultBook
from diffio_async.sandbox.house import House
from diffio_async.sandbox.jobs import Jobs
from diffio_async.sandbox.links import Links
from diffio_async.sandbox.media import Media
from diffio_async.sandbox.origin import Origin
from diffio_async.sandbox.replies import api_spelling, edge_spelling, media_spelling
from diffio_async.sandbox.settings import (
    DEFAULT_KEY,
    DEFAULT_WEBHOOK_SECRET,
    Engine,
    Era,
    FailureWord,
    GiB,
    MiB,
    SandboxError,
    Settings,
    is_loopback,
)
from diffio_async.sandbox.store import Store
from diffio_async.sandbox.webhooks import Deliveries, Delivery, secret_bytes
from diffio_async.sandbox.witness import Seen, Witness, log
from diffio_async.sandbox.world import World


class Sandbox:
    """A local Diffio: `async with Sandbox() as sandbox: …`.

    Args:
        data: The folder to keep everything in; None for a temporary one, removed at the end.
        host: The address to listen on; beyond loopback only with `allow_remote`.
        port: The API's port, 0 for any free one. Edge and media take the next two ports where
            those are free, and any other where not.
        api_key: The secret of the key with every scope.
        uploads: The upload offers made by `create_project`: "signed", "edge" or both.
        part_size: Bytes in every part of an edge upload but the last.
        max_bytes: Most bytes in one file.
        link_ttl: Seconds for which signed links and upload tokens are good.
        models: The models served; None for any name of the right shape.
        retired: Models answered with 410 even so.
        engine: "restore", or "echo": the result is the upload, unchanged.
        duration: Seconds an echo pretends to take.
        workers: Most restorations at once; None for one per core, up to four.
        failure_word: How a failed generation's status is spelled: "failed" or "error".
        webhook_secret: The `whsec_…` secret that signs the deliveries of `api_key`.
        webhook_pace: Stretches (or, below 1, shortens) the waits between delivery attempts.
        keep_requests: How many requests, complaints and deliveries are remembered.
        faults: Faults in force from the start.
        allow_remote: Listen where other machines can reach it.

    Raises:
        SandboxError: The options cannot be, or on entering: the folder, a port or the extra
            `sandbox` is missing.
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        data: str | PathLike[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = DEFAULT_KEY,
        uploads: Iterable[Era] = ("signed", "edge"),
        part_size: int = 32 * MiB,
        max_bytes: int = 2 * GiB,
        link_ttl: float = 7200.0,
        models: Collection[str] | None = None,
        retired: Collection[str] = (),
        engine: Engine = "restore",
        duration: float = 0.0,
        workers: int | None = None,
        failure_word: FailureWord = "failed",
        webhook_secret: str = DEFAULT_WEBHOOK_SECRET,
        webhook_pace: float = 1.0,
        keep_requests: int = 10_000,
        faults: Iterable[Fault] = (),
        allow_remote: bool = False,
    ) -> None:
        secret_bytes(webhook_secret)
        self.settings = Settings(
            data=None if data is None else Path(data),
            host=host,
            port=port,
            api_key=api_key,
            uploads=tuple(uploads),
            part_size=part_size,
            max_bytes=max_bytes,
            link_ttl=link_ttl,
            models=None if models is None else frozenset(models),
            retired=frozenset(retired),
            engine=engine,
            duration=duration,
            **({} if workers is None else {"workers": workers}),
            failure_word=failure_word,
            webhook_secret=webhook_secret,
            webhook_pace=webhook_pace,
            keep_requests=keep_requests,
            allow_remote=allow_remote,
        )
        self.faults = FaultBook(faults)
        self._witness = Witness(keep_requests)
        self._house: House | None = None
        self._origins: list[Origin] = []
        self._store: Store | None = None
        self._folder: Path | None = None  # only while it is a temporary one

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        """The API's base URL."""
        return f"{self.house.origin('api', 'localhost')}/v1"

    @property
    def edge_url(self) -> str:
        """The upload host's base URL."""
        return self.house.origin("edge", "localhost")

    @property
    def media_url(self) -> str:
        """The storage host's base URL."""
        return self.house.origin("media", "localhost")

    @property
    def api_key(self) -> str:
        """The secret of the key with every scope."""
        return self.settings.api_key

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a client here."""
        return {"DIFFIO_API_KEY": self.api_key, "DIFFIO_API_BASE_URL": self.base_url}

    @property
    def requests(self) -> list[Seen]:
        """The requests so far, oldest first."""
        return list(self._witness.requests)

    @property
    def complaints(self) -> list[str]:
        """What clients did that they should not have done."""
        return list(self._witness.complaints)

    @property
    def deliveries(self) -> list[Delivery]:
        """The webhook delivery attempts so far."""
        return list(self.house.deliveries.made)

    @property
    def world(self) -> World:
        """The state: projects, uploads in progress, generations, keys, webhook endpoints."""
        return self.house.world

    @property
    def house(self) -> House:
        """The workings of the running sandbox."""
        if self._house is None:
            raise SandboxError("the sandbox is not running; enter it with `async with`")
        return self._house

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the restoration workers that are alive."""
        return self.house.jobs.workers.pids

    def forget_link(self, url: str | None = None) -> None:
        """Let a signed link expire now; without one, all that were handed out so far."""
        self.house.links.forget(url)

    def webhook_secret(self, api_key_id: str, mode: str = "live") -> str:
        """Look up the secret that signs a key's deliveries.

        Raises:
            KeyError: When no webhook is configured for that key and mode.
        """
        endpoint = self.house.deliveries.endpoint(api_key_id, mode)
        if endpoint is None:
            raise KeyError(f"no {mode} webhook is configured for {api_key_id}")
        return endpoint.secret

    async def start(self) -> None:
        """Open the folder and the ports, and take up unfinished work.

        Raises:
            SandboxError: When something it needs is missing or taken.
        """
        if self._house is not None:
            raise SandboxError("the sandbox is already running")
        settings = self.settings
        if settings.engine == "restore":
            _require_extra()
        if not is_loopback(settings.host) and settings.api_key == DEFAULT_KEY:
            log.warning("other machines can reach this sandbox, and its API key is the known one")
        try:
            await self._open_house(self._open_folder())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, end the workers, and leave nothing behind but the data folder."""
        for origin in self._origins:
            await origin.close()
        self._origins.clear()
        if self._house is not None:
            await self._house.jobs.close()
            await self._house.deliveries.close()
            self._house.disk.close()
            self._house = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _open_folder(self) -> Path:
        data = self.settings.data
        if data is None:
            self._folder = Path(tempfile.mkdtemp(prefix="diffio-sandbox-"))
            return self._folder
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = Store(data)
        except OSError as error:
            raise SandboxError(f"the data folder {data} cannot be used: {error}") from error
        sweep(data)
        return data

    async def _open_house(self, folder: Path) -> None:
        settings = self.settings
        world = World(folder, self._store)
        world.ensure_root_key(settings.api_key)
        disk = Disk()
        deliveries = Deliveries(settings, world)
        self._house = house = House(
            settings=settings,
            world=world,
            disk=disk,
            links=Links(world.link_secret, settings.link_ttl, world.now),
            witness=self._witness,
            jobs=Jobs(settings, world, disk, deliveries),
            deliveries=deliveries,
            ports={},
        )
        handlers = (
            ("api", Api(house).handle, api_spelling),
            ("edge", Edge(house).handle, edge_spelling),
            ("media", Media(house).handle, media_spelling),
        )
        for place, (name, handle, spell) in enumerate(handlers):
            origin = Origin(
                name, handle, spell, witness=self._witness, faults=self.faults, disk=disk
            )
            await self._listen(origin, place)
            self._origins.append(origin)
            house.ports[name] = origin.port
        deliveries.resume()
        house.jobs.resume()

    async def _listen(self, origin: Origin, place: int) -> None:
        host, first = self.settings.host, self.settings.port
        wanted = first + place if first else 0
        try:
            await origin.open(host, wanted)
        except (OSError, OverflowError) as error:
            if place == 0:
                raise SandboxError(f"cannot listen on {host}:{wanted}: {error}") from error
            # Clients learn the other two from the API's answers: any port will do.
            await origin.open(host, 0)


def _require_extra() -> None:
    missing = [name for name in ("av", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise SandboxError(
            f"restoring needs {' and '.join(missing)}: pip install 'diffio-async[sandbox]' "
            "(or engine='echo' to have uploads handed back unchanged)"
        )
