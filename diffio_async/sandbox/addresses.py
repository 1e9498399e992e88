"""Addresses of the sandbox: URLs in responses, accepted hosts, and loopback-only connections.

A web page can send requests to a server on this machine: directly, or by a host name of its own
that resolves to 127.0.0.1 (DNS rebinding). Both are detected by headers that a page cannot set.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDictProxy

from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.settings import SandboxSettings


class NotLoopback(OSError):
    """The address to connect to is not a loopback address."""


def is_loopback_address(text: str) -> bool:
    """Return whether an IP address in canonical form is a loopback address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def loopback_socket(info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """Create the socket for one resolved address: aiohttp's `socket_factory`.

    This is the last step before connecting. It also covers names whose DNS records change, numbers
    that only the system parses as an address, and addresses behind a redirect.

    Raises:
        NotLoopback: The address is not a loopback address.
    """
    family, socket_type, protocol, _name, address = info
    if not is_loopback_address(str(address[0])):
        # The text is the same for each address of a host, so that the connector reports one error.
        raise NotLoopback("its address is not on this machine")
    return socket.socket(family, socket_type, protocol)


def refusal_reason(error: BaseException) -> str | None:
    """Return why a loopback-only request can never succeed, or None if a retry may."""
    if isinstance(error, aiohttp.InvalidURL):
        return "its URL is not in a standard form"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve to this machine"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, NotLoopback):
        return str(error.os_error)
    return None


def failure_reason(error: BaseException) -> str:
    """Return in a few words why there was no response."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name not found"
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return "refused" if refused else str(error.os_error.strerror or "not reached")
    return "the connection was closed without a response"


API, EDGE, MEDIA = "api", "edge", "media"

# Names that cannot be registered in the public DNS, e.g. of containers and private networks.
_PRIVATE_SUFFIXES = (".local", ".internal", ".home.arpa")

_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

Headers = CIMultiDictProxy[str]


class Addresses:
    """Base URLs of the three origins, and the check that a request was sent to one of them."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        #: The port of each origin; one for all three unless they are served on separate ports.
        self.ports: dict[str, int] = {}

    def base(self, origin: str, headers: Headers | None = None) -> str:
        """Return the base URL of an origin, under the host that the client used.

        Args:
            origin: "api", "edge" or "media".
            headers: Headers of the client's request; None for a client on this machine.
        """
        path = "" if origin == API or self._settings.separate_ports else f"/{origin}"
        if self._settings.public_url is not None:
            return self._settings.public_url + path
        request_host = headers.get("Host") if headers is not None else None
        if request_host is None:
            return f"http://{_url_host(self._advertised_host())}:{self.ports[origin]}{path}"
        if self._settings.separate_ports:
            return f"http://{_url_host(_hostname_of(request_host))}:{self.ports[origin]}"
        # The port may differ from ours if a container or a tunnel publishes another one.
        return f"http://{request_host}{path}"

    def split(self, origins: Collection[str], path: str) -> tuple[str, str]:
        """Return the origin, of those on one port, that a path is in, and the path within it."""
        if len(origins) > 1:
            for origin in (EDGE, MEDIA):
                if path == f"/{origin}" or path.startswith(f"/{origin}/"):
                    return origin, path.removeprefix(f"/{origin}") or "/"
            return API, path
        (origin,) = origins
        return origin, path

    def require_own_host(self, origin: str, method: str, headers: Headers) -> None:
        """Check that a request was sent to this sandbox, and not by a web page of another site.

        Raises:
            HttpError: 400, 403 or 421.
        """
        hosts = headers.getall("Host", [])
        if len(hosts) > 1:
            raise _closing_error(400, "the request has several Host headers", "badHost")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise _closing_error(400, "the Host header is malformed", "badHost")
        if hosts and not self._is_accepted_host(_hostname_of(hosts[0])):
            message = (
                f"this sandbox does not serve the host {hosts[0]!r}: start it with "
                "--public-url or --allow-host to let clients use that name"
            )
            raise _closing_error(421, message, "foreignHost")
        page_origin = headers.get("Origin")
        if page_origin is not None and (not hosts or _netloc_of(page_origin) != hosts[0].lower()):
            raise _closing_error(
                403, f"web pages of {page_origin!r} may not use this sandbox", "foreignPage"
            )
        site = headers.get("Sec-Fetch-Site", "none")
        # A signed link may be opened from any page, like those of the hosted service.
        is_navigation = (
            origin == MEDIA
            and method == "GET"
            and page_origin is None
            and headers.get("Sec-Fetch-Mode") == "navigate"
        )
        if site not in ("none", "same-origin") and not is_navigation:
            raise _closing_error(
                403, "web pages of other sites may not use this sandbox", "foreignPage"
            )

    def _is_accepted_host(self, host: str) -> bool:
        settings = self._settings
        # DNS rebinding needs a name that can be registered: one with a dot, in the public DNS.
        if "." not in host and ":" not in host:
            return bool(host)
        if host.endswith(".localhost") or is_loopback_address(host):
            return True
        if host in settings.allow_hosts or host == settings.host.strip("[]").lower():
            return True
        if settings.public_url and host == _hostname_of(_netloc_of(settings.public_url)):
            return True
        return settings.allow_remote and _is_private(host)

    def _advertised_host(self) -> str:
        host = self._settings.host.strip("[]")
        try:
            # Clients cannot connect to a wildcard address.
            return "localhost" if ipaddress.ip_address(host).is_unspecified else host
        except ValueError:
            return host or "localhost"


def _is_private(host: str) -> bool:
    """Return whether a host is an IP address or a name that the public DNS cannot contain."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.endswith(_PRIVATE_SUFFIXES) or host == socket.gethostname().lower()
    return True


def _closing_error(status: int, message: str, code: str) -> HttpError:
    # The body is not read, so the connection cannot be reused.
    return HttpError(status, message, code=code, headers={"Connection": "close"})


def _netloc_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _hostname_of(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
