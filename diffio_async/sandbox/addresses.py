"""Where the sandbox is reached: the URLs it hands out, and the requests that are not meant for it.

A web page can send requests to a server on this machine: directly, or under a host name of its own
that resolves to 127.0.0.1 (DNS rebinding). Both are recognised by headers that the page cannot set.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from diffio_async.sandbox.loopback import is_loopback_address
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.settings import SandboxSettings

API, EDGE, MEDIA = "api", "edge", "media"

# Names that no stranger can register in the public DNS: containers and machines of a private net.
_PRIVATE_SUFFIXES = (".local", ".internal", ".home.arpa")

_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

Headers = CIMultiDictProxy[str]


class Addresses:
    """The URLs of the three origins, and the check that a request was sent to one of them."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        #: By origin; the same for all three unless they are served on separate ports.
        self.ports: dict[str, int] = {}

    def base(self, origin: str, headers: Headers | None = None) -> str:
        """Return the base URL of an origin, reachable the way the client reached the sandbox.

        Args:
            origin: "api", "edge" or "media".
            headers: Those of the client's request; None for a client on this machine.
        """
        path = "" if origin == API or self._settings.separate_ports else f"/{origin}"
        if self._settings.public_url is not None:
            return self._settings.public_url + path
        reached = headers.get("Host") if headers is not None else None
        if reached is None:
            return f"http://{_bracketed(self._own_name())}:{self.ports[origin]}{path}"
        if self._settings.separate_ports:
            return f"http://{_bracketed(_host_of(reached))}:{self.ports[origin]}"
        # With the port: it need not be ours, where a container or a tunnel publishes another.
        return f"http://{reached}{path}"

    def split(self, origins: Collection[str], path: str) -> tuple[str, str]:
        """Return the origin on a port that a path belongs to, and the path within it."""
        if len(origins) > 1:
            for origin in (EDGE, MEDIA):
                if path == f"/{origin}" or path.startswith(f"/{origin}/"):
                    return origin, path.removeprefix(f"/{origin}") or "/"
            return API, path
        (only,) = origins
        return only, path

    def refuse_foreign(self, origin: str, method: str, headers: Headers) -> None:
        """Refuse a request that was sent to another host, or by another site's web page.

        Raises:
            Refusal: 400, 403 or 421.
        """
        hosts = headers.getall("Host", [])
        if len(hosts) > 1:
            raise _refusal(400, "the request has several Host headers", "badHost")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise _refusal(400, "the Host header is malformed", "badHost")
        if hosts and not self._is_ours(_host_of(hosts[0])):
            message = (
                f"this sandbox does not answer to the host {hosts[0]!r}: start it with "
                "--public-url or --allow-host to let clients use that name"
            )
            raise _refusal(421, message, "foreignHost")
        page = headers.get("Origin")
        if page is not None and (not hosts or _netloc_of(page) != hosts[0].lower()):
            raise _refusal(403, f"web pages of {page!r} may not use this sandbox", "foreignPage")
        site = headers.get("Sec-Fetch-Site", "none")
        # A signed link may be opened from anywhere, as that of the hosted service.
        opened = (
            origin == MEDIA
            and method == "GET"
            and page is None
            and headers.get("Sec-Fetch-Mode") == "navigate"
        )
        if site not in ("none", "same-origin") and not opened:
            raise _refusal(403, "web pages of other sites may not use this sandbox", "foreignPage")

    def _is_ours(self, host: str) -> bool:
        settings = self._settings
        # A page that rebinds DNS needs a name that it can register: one with a dot, in public.
        if "." not in host and ":" not in host:
            return bool(host)
        if host.endswith(".localhost") or is_loopback_address(host):
            return True
        if host in settings.allow_hosts or host == settings.host.strip("[]").lower():
            return True
        if settings.public_url and host == _host_of(_netloc_of(settings.public_url)):
            return True
        return settings.allow_remote and _is_private(host)

    def _own_name(self) -> str:
        host = self._settings.host.strip("[]")
        try:
            # A wildcard address is nowhere to connect to.
            return "localhost" if ipaddress.ip_address(host).is_unspecified else host
        except ValueError:
            return host or "localhost"


def _is_private(host: str) -> bool:
    """Return whether no stranger's web page can be served from this host name or address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.endswith(_PRIVATE_SUFFIXES) or host == socket.gethostname().lower()
    return True


def _refusal(status: int, message: str, code: str) -> HttpError:
    # The body is not read, so the connection cannot be used for another request.
    return HttpError(status, message, code=code, headers={"Connection": "close"})


def _netloc_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _host_of(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
