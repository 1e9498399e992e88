"""Passing deliveries on to another URL: the raw body under its own signature."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from diffio_async._http.proxies import Proxies
from diffio_async._version import __version__
from diffio_async.cli.network import client_options
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.verifier import FAMILIES, NAMES, parse_timestamp, read_headers, signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

#: Seconds an answer may take: the sender's own figure.
_FORWARD_TIMEOUT = 15.0
#: Seconds after which a signature is too old to be passed on: verifiers allow 300.
_MAX_AGE = 240.0
#: Signatures remembered; after that, or in another process, they are made anew.
_MAX_REMEMBERED = 10_000
_SIGNED = tuple(family + name for family in FAMILIES for name in NAMES)


class NotForwarded(Exception):
    """The other side did not accept it."""


def forward_url(url: str) -> str:
    """The URL, if it is one.

    Raises:
        ConfigurationError: It is not `http://` or `https://` with a host.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError("--forward takes a URL like http://localhost:8000/webhooks/diffio")
    return url


class Forwarder:
    """Passes deliveries on; entered before the first, left after the last."""

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        self.url = forward_url(url)
        self._signers = tuple(signer(secret) for secret in secrets)
        self._received: OrderedDict[str, dict[str, str]] = OrderedDict()
        network = client_options()
        self._proxy = Proxies(network.proxy, trust_env=network.trust_env).address_for(self.url)
        self._ssl = True if network.ssl is None else network.ssl
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FORWARD_TIMEOUT))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def remember(self, message_id: str, headers: Mapping[str, str]) -> None:
        """Keep the signature a delivery came with; the last one, where it came again."""
        self._received[message_id] = {
            name: value for name, value in headers.items() if name.lower() in _SIGNED
        }
        self._received.move_to_end(message_id)
        while len(self._received) > _MAX_REMEMBERED:
            self._received.popitem(last=False)

    async def send(self, message_id: str, body: bytes) -> int:
        """Pass it on once; the status it was accepted with.

        Raises:
            NotForwarded: The other side cannot be reached, or answers other than 2xx.
        """
        assert self._session is not None  # noqa: S101 - entered before
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"diffio-async/{__version__} (webhooks listen)",
            **self._signature(message_id, body),
        }
        try:
            async with self._session.post(
                self.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=self._ssl,
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotForwarded(f"it cannot be reached ({type(error).__name__})") from error
        if status not in range(200, 300):
            raise NotForwarded(f"it was answered {status}")
        self._received.pop(message_id, None)
        return status

    async def send_soon(self, message_id: str, body: bytes, within: float) -> int:
        """Pass it on, trying again for so many seconds.

        Raises:
            NotForwarded: As `send` did the last time.
        """
        clock, pause = asyncio.get_running_loop().time, 0.25
        end = clock() + within
        while True:
            try:
                async with asyncio.timeout_at(end):
                    return await self.send(message_id, body)
            except TimeoutError:
                raise NotForwarded("it does not answer") from None
            except NotForwarded:
                if clock() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause *= 2

    def _signature(self, message_id: str, body: bytes) -> dict[str, str]:
        """As it came, while it is fresh; then anew, as the sender itself does for each attempt."""
        came = self._received.get(message_id)
        if came is not None:
            _id, stamp, _signatures = read_headers(came)
            if abs(time.time() - parse_timestamp(stamp)) < _MAX_AGE:
                return came
        now = datetime.now(UTC).replace(microsecond=0)
        # With each secret: whichever the other side has, one of them fits.
        signatures = [each.sign(message_id, now, body.decode()) for each in self._signers]
        return {
            "svix-id": message_id,
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": " ".join(signatures),
        }
