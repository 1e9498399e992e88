"""Settings of a sandbox."""

import errno
import ipaddress
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.converters import optional

MiB = 1024 * 1024
GiB = 1024 * MiB

UploadMode = Literal["signed", "edge"]
Engine = Literal["restore", "echo"]
FailedStatus = Literal["failed", "error"]

DEFAULT_KEY = "diffio_sandbox_key"
# Public, like the key above: the server listens on loopback.
DEFAULT_WEBHOOK_SECRET = "whsec_ZGlmZmlvLXNhbmRib3gtd2ViaG9vay1zZWNyZXQ="  # noqa: S105

MODEL_ENDPOINTS: Mapping[str, str] = {
    "diffio-2.0": "diffio-2",
    "diffio-2.0-flash": "diffio-2-flash",
}
"""Models whose endpoint name differs from the model name."""

CURRENT_MODELS = frozenset({"diffio-4.6-flash", "diffio-4.6-pro"})
"""The models that the hosted service serves; others get 410."""


class SandboxError(Exception):
    """The sandbox cannot start or is not running; the message contains the remedy."""


def _normalize_public_url(url: str) -> str:
    """Return a public URL without `/v1` and trailing slashes."""
    parts = None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if parts is None or not usable or "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError(f"public_url must be like http://sandbox:8490, not {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _normalize_hosts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower().strip("[]").removesuffix(".") for name in names)


@frozen(kw_only=True)
class SandboxSettings:
    """The options of one sandbox; `Sandbox` documents them."""

    data: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    separate_ports: bool = False
    public_url: str | None = field(default=None, converter=optional(_normalize_public_url))
    allow_hosts: frozenset[str] = field(default=frozenset(), converter=_normalize_hosts)
    api_key: str = DEFAULT_KEY
    uploads: tuple[UploadMode, ...] = ("signed", "edge")
    part_size: int = 32 * MiB
    max_bytes: int = 2 * GiB
    link_ttl: float = 7200.0
    models: frozenset[str] | None = CURRENT_MODELS
    retired: frozenset[str] = frozenset()
    engine: Engine = "restore"
    duration: float = 0.0
    duration_spread: float = 0.0
    workers: int = field(factory=lambda: min(4, os.cpu_count() or 1))
    max_recording_seconds: float = 6 * 3600.0
    max_decoded_bytes: int = 6 * GiB
    max_processing_seconds: float = 4 * 3600.0
    failed_status: FailedStatus = "failed"
    webhook_secret: str = DEFAULT_WEBHOOK_SECRET
    webhook_pace: float = 1.0
    webhook_duplicates: float = 0.0
    webhook_shuffle: float = 0.0
    keep_requests: int = 10_000
    allow_remote: bool = False
    allow_remote_webhooks: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key:
            raise ValueError("api_key must be printable ASCII without spaces")
        if not self.api_key:
            raise ValueError("api_key must not be empty")
        if not self.uploads or set(self.uploads) - {"signed", "edge"}:
            raise ValueError("uploads must name one or both of 'signed' and 'edge'")
        if self.engine not in ("restore", "echo"):
            raise ValueError("engine must be 'restore' or 'echo'")
        if self.failed_status not in ("failed", "error"):
            raise ValueError("failed_status must be 'failed' or 'error'")
        for name in ("part_size", "max_bytes", "max_decoded_bytes", "workers", "keep_requests"):
            self._require_number(name, lambda value: value >= 1, "of at least 1")
        for name in ("link_ttl", "duration", "webhook_pace", "webhook_shuffle"):
            self._require_number(name, lambda value: 0 <= value < math.inf, "of at least 0")
        for name in ("max_recording_seconds", "max_processing_seconds"):
            self._require_number(name, lambda value: value > 0, "greater than 0")
        for name in ("duration_spread", "webhook_duplicates"):
            self._require_number(name, lambda value: 0 <= value <= 1, "between 0 and 1")
        if self.separate_ports and self.public_url is not None:
            raise ValueError("public_url names one port: separate_ports cannot be used with it")
        if not self.allow_remote and not is_loopback(self.host):
            raise SandboxError(
                f"the sandbox listens on loopback only, and {self.host!r} is not loopback; "
                "pass allow_remote=True (--allow-remote) to let other machines reach it"
            )

    def _require_number(
        self, name: str, accepts: Callable[[float], bool], requirement: str
    ) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not accepts(value):
            raise ValueError(f"{name} must be a number {requirement}, not {value!r}")

    def serves(self, model: str) -> bool:
        """Return whether a well-formed model name is served; others get 410."""
        if model in self.retired:
            return False
        return self.models is None or model in self.models


def listen_error(error: OSError | OverflowError, address: str) -> SandboxError:
    """Return the error for an address that the sandbox cannot listen on."""
    number = error.errno if isinstance(error, OSError) else None
    # By the number: asyncio's text repeats the address.
    reason = os.strerror(number) if number and number > 0 else str(error)
    advice = "choose another address or port"
    if number == errno.EADDRINUSE:
        advice = f"stop the program that uses it, or {advice}: port=0 (--port 0) selects a free one"
    return SandboxError(f"cannot listen on {address}: {reason}; {advice}")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address always refers to this machine."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def served_models(models: Collection[str] | None, legacy_models: bool) -> frozenset[str] | None:
    """Return the models to serve; None for any well-formed name."""
    if legacy_models:
        if models is not None:
            raise ValueError("legacy_models serves every model: omit models")
        return None
    return CURRENT_MODELS if models is None else frozenset(models)
