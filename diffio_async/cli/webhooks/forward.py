"""Forwards deliveries to another URL, with the raw body and a valid signature."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from diffio_async._http.proxies import Proxies
from diffio_async._protocol.retry import backoff
from diffio_async._version import __version__
from diffio_async.cli.client import client_options
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.verifier import FAMILIES, NAMES, parse_timestamp, read_headers, signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

#: Maximum seconds to a response, equal to the sender's.
_FORWARD_TIMEOUT = 15.0
#: Seconds between the first two attempts.
_MIN_DELAY = 0.25
#: Age in seconds after which a signature is replaced: verifiers allow 300.
_MAX_SIGNATURE_AGE = 240.0
#: Number of received signatures to keep; without one, the delivery is signed again.
_MAX_SIGNATURES = 10_000
_SIGNATURE_HEADERS = tuple(family + name for family in FAMILIES for name in NAMES)


class NotForwarded(Exception):
    """The target did not accept a delivery."""


class Forwarder:
    """Async context manager that forwards deliveries to one URL.

    Raises:
        ConfigurationError: The URL is not `http://` or `https://` with a host.
    """

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigurationError(
                "--forward needs a URL like http://localhost:8000/webhooks/diffio"
            )
        self.url = url
        self._signers = tuple(signer(secret) for secret in secrets)
        self._received: OrderedDict[str, dict[str, str]] = OrderedDict()
        network = client_options()
        self._proxy = Proxies(network.proxy, trust_env=network.trust_env).address_for(self.url)
        self._ssl = True if network.ssl is None else network.ssl
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FORWARD_TIMEOUT))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def remember(self, message_id: str, headers: Mapping[str, str]) -> None:
        """Store the signature that a delivery was received with, replacing an earlier one."""
        self._received[message_id] = {
            name: value for name, value in headers.items() if name.lower() in _SIGNATURE_HEADERS
        }
        self._received.move_to_end(message_id)
        while len(self._received) > _MAX_SIGNATURES:
            self._received.popitem(last=False)

    async def send(self, message_id: str, body: bytes) -> int:
        """Forward a delivery once. Return the 2xx status of the response.

        Raises:
            NotForwarded: The target cannot be reached, or its status is not 2xx.
        """
        assert self._session is not None  # noqa: S101 - set by `__aenter__`
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
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            message = f"the target cannot be reached ({type(error).__name__})"
            raise NotForwarded(message) from error
        if status not in range(200, 300):
            raise NotForwarded(f"the target responded {status}")
        self._received.pop(message_id, None)
        return status

    async def send_with_retries(self, message_id: str, body: bytes, timeout: float) -> int:
        """Forward a delivery, retrying for `timeout` seconds. Return the status.

        Raises:
            NotForwarded: The last attempt failed.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        attempt = 0
        while True:
            attempt += 1
            delay = backoff(attempt, _MIN_DELAY, timeout)
            try:
                async with asyncio.timeout_at(deadline):
                    return await self.send(message_id, body)
            except TimeoutError:
                raise NotForwarded("the target does not respond") from None
            except NotForwarded:
                if clock() + delay > deadline:
                    raise
            await asyncio.sleep(delay)

    def _signature(self, message_id: str, body: bytes) -> dict[str, str]:
        """Return the received signature headers, or new ones if they are missing or too old.

        The sender likewise signs each attempt.
        """
        received = self._received.get(message_id)
        if received is not None:
            _id, timestamp, _signatures = read_headers(received)
            if abs(time.time() - parse_timestamp(timestamp)) < _MAX_SIGNATURE_AGE:
                return received
        now = datetime.now(UTC).replace(microsecond=0)
        # One signature per secret: the target may know any of them.
        signatures = [each.sign(message_id, now, body.decode()) for each in self._signers]
        return {
            "svix-id": message_id,
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": " ".join(signatures),
        }
