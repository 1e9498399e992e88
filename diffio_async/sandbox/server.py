"""The sandbox: three origins over one world, from start to stop."""

from collections.abc import Collection, Iterable
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from diffio_async.sandbox.addresses import API, EDGE, MEDIA
from diffio_async.sandbox.context import ServerContext
from diffio_async.sandbox.faults import Fault, FaultPlan
from diffio_async.sandbox.request_log import RecordedRequest, RequestLog, log
from diffio_async.sandbox.runtime import SandboxRuntime
from diffio_async.sandbox.settings import (
    CURRENT_MODELS,
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
)
from diffio_async.sandbox.state import ROOT_KEY_ID, State
from diffio_async.sandbox.webhooks import DeliveryAttempt, secret_bytes


class Sandbox:
    """A local Diffio: `async with Sandbox() as sandbox: …`.

    Args:
        data: The folder to keep everything in; None for a temporary one, removed at the end.
        host: The address to listen on; beyond loopback only with `allow_remote`.
        port: The port, 0 for any free one.
        separate_ports: Serve the edge and media origins on ports of their own, as the hosted
            service has them on hosts of their own: the next two ports if those are free. Otherwise
            they are `/edge` and `/media` on the API's port.
        public_url: The URL at which clients reach the sandbox, e.g. behind a proxy with TLS. If
            None, URLs in responses have the host that the client's request named.
        allow_hosts: Names in the `Host` header to accept. Those of this machine always are; with
            `allow_remote`, also IP addresses and names that no public DNS record has.
        api_key: The secret of the key with every scope.
        uploads: The upload offers made by `create_project`: "signed", "edge" or both.
        part_size: Bytes in every part of an edge upload but the last.
        max_bytes: Most bytes in one file.
        link_ttl: Seconds for which signed links and upload tokens are good.
        models: The models served; None for those of the hosted service. A request for any other
            is answered with 410 `model_retired`, as the hosted service answers it.
        legacy_models: Serve retired models too, and any other name of the right shape; not
            together with `models`.
        retired: Models answered with 410 in any case.
        engine: "restore", or "echo": the result is the upload, unchanged.
        duration: Seconds an echo pretends to take.
        duration_spread: The share by which single echoes are shorter or longer, 0 to 1.
        workers: Most restorations at once; None for one per core, up to four.
        max_recording_seconds: Longer recordings fail their generation.
        max_decoded_bytes: So do those that decode to more: 192 kB per second and channel of
            temporary space. Over 512 MiB, 500 times the size of the file is a limit, too.
        max_processing_seconds: So do those whose restoration takes longer.
        failed_status: How a failed generation's status is spelled: "failed" or "error".
        webhook_secret: The `whsec_…` secret that signs the deliveries of `api_key`.
        webhook_pace: Stretches (or, below 1, shortens) the waits between delivery attempts.
        webhook_duplicates: The share of events (0 to 1) delivered twice, drawn repeatably.
        webhook_shuffle: Seconds; each delivery waits for a time up to this, drawn repeatably, so
            that events overtake each other.
        keep_requests: How many requests, complaints and deliveries are remembered.
        faults: Faults in force from the start.
        allow_remote: Listen where other machines can reach it.
        allow_remote_webhooks: Deliver webhooks to any host, with plain `http://` too. Otherwise
            they are sent to loopback addresses only; other deliveries are refused, not retried.

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
        failure_word: FailedStatus = "failed",
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
            models=_served(models, legacy_models),
            retired=frozenset(retired),
            engine=engine,
            duration=duration,
            duration_spread=duration_spread,
            **({} if workers is None else {"workers": workers}),
            max_recording_seconds=max_recording_seconds,
            max_decoded_bytes=max_decoded_bytes,
            max_processing_seconds=max_processing_seconds,
            failed_status=failure_word,
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
        self._runtime = SandboxRuntime(self.settings, self._request_log, self.faults)

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
        return f"{self.context.addresses.base(API)}/v1"

    @property
    def edge_url(self) -> str:
        """The upload host's base URL."""
        return self.context.addresses.base(EDGE)

    @property
    def media_url(self) -> str:
        """The storage host's base URL."""
        return self.context.addresses.base(MEDIA)

    @property
    def api_key(self) -> str:
        """The secret of the key with every scope."""
        return self.settings.api_key

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a client here."""
        return {"DIFFIO_API_KEY": self.api_key, "DIFFIO_API_BASE_URL": self.base_url}

    @property
    def webhook_environment(self) -> dict[str, str]:
        """The variables that a receiver of this sandbox's webhooks reads."""
        return {
            "DIFFIO_WEBHOOK_SECRET": self.settings.webhook_secret,
            "DIFFIO_API_KEY_ID": ROOT_KEY_ID,
        }

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, oldest first."""
        return list(self._request_log.requests)

    @property
    def violations(self) -> list[str]:
        """What clients did that they should not have done."""
        return list(self._request_log.violations)

    @property
    def deliveries(self) -> list[DeliveryAttempt]:
        """The webhook delivery attempts so far."""
        return list(self.context.deliveries.made)

    @property
    def state(self) -> State:
        """The state: projects, uploads in progress, generations, keys, webhook endpoints."""
        return self.context.state

    @property
    def context(self) -> ServerContext:
        """The workings of the running sandbox."""
        if self._runtime.context is None:
            raise SandboxError("the sandbox is not running; enter it with `async with`")
        return self._runtime.context

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the restoration workers that are alive."""
        return self.context.jobs.workers.pids

    def forget_link(self, url: str | None = None) -> None:
        """Let a signed link expire now; without one, all that were handed out so far."""
        self.context.links.forget(url)

    def webhook_secret(self, api_key_id: str, mode: str = "live") -> str:
        """Look up the secret that signs a key's deliveries.

        Raises:
            KeyError: When no webhook is configured for that key and mode.
        """
        endpoint = self.context.deliveries.endpoint(api_key_id, mode)
        if endpoint is None:
            raise KeyError(f"no {mode} webhook is configured for {api_key_id}")
        return endpoint.secret

    async def start(self) -> None:
        """Open the folder and the ports, and take up unfinished work.

        Raises:
            SandboxError: When something it needs is missing or taken.
        """
        if self._runtime.context is not None:
            raise SandboxError("the sandbox is already running")
        if not is_loopback(self.settings.host) and self.api_key == DEFAULT_KEY:
            log.warning("other machines can reach this sandbox, and its API key is the known one")
        await self._runtime.open()

    async def close(self) -> None:
        """Stop listening, end the workers, and leave nothing behind but the data folder."""
        await self._runtime.close()


def _served(models: Collection[str] | None, legacy_models: bool) -> frozenset[str] | None:
    """Return the models to serve; None for any name of the right shape."""
    if legacy_models:
        if models is not None:
            raise ValueError("legacy_models serves every model: leave models out")
        return None
    return CURRENT_MODELS if models is None else frozenset(models)
