"""Selection of a request's proxy: the option's, or the environment's by curl's rules."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diffio_async._protocol.urls import is_local
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS = {"http": 80, "https": 443}
#: Default ports of a proxy, as for curl.
_PROXY_PORTS = {"http": 1080, "https": 443}
_UNUSABLE = re.compile(r"[\x00-\x20\x7f]")


class Proxies:
    """The proxies of one client; the environment is read once.

    Attributes:
        configured: Whether any request may have a proxy.
    """

    def __init__(self, proxy: str | None, *, trust_env: bool) -> None:
        """Read the settings.

        Raises:
            ConfigurationError: `proxy` is not the address of a proxy.
        """
        self._proxy = None if proxy is None else _address(proxy)
        environment = os.environ if trust_env else {}
        self._by_scheme = {scheme: _of_environment(environment, scheme) for scheme in _PORTS}
        self.configured = proxy is not None or any(self._by_scheme.values())
        self._bypassed = NoProxy(environment.get("no_proxy") or environment.get("NO_PROXY") or "")

    def address_for(self, url: str) -> str | None:
        """Return the proxy for a URL; None for this machine, or without a configured proxy.

        Raises:
            ConfigurationError: The environment names an invalid proxy.
        """
        parts = urlsplit(url)
        proxy = self._proxy or self._by_scheme.get(parts.scheme)
        host = parts.hostname or ""
        if proxy is None or is_local(host):
            return None
        if self._proxy is not None:
            return self._proxy
        port = parts.port or _PORTS.get(parts.scheme)
        return None if self._bypassed.contains(host, port) else _address(proxy)


def _of_environment(environment: Mapping[str, str], scheme: str) -> str | None:
    """Return the environment's proxy for a scheme. An empty variable counts as unset."""
    # Not HTTP_PROXY: in a CGI program that is what a client sent as the header "Proxy".
    names = [f"{scheme}_proxy", *([f"{scheme}_proxy".upper()] if scheme != "http" else [])]
    return next((v for n in (*names, "all_proxy", "ALL_PROXY") if (v := environment.get(n))), None)


class NoProxy:
    """The hosts in `NO_PROXY`: separated by commas or blanks, or a single `*` for all.

    A domain matches itself and its subdomains, with or without a leading dot or `*.`. An address
    may be a network (`10.0.0.0/8`), and IPv6 may be in brackets. Unlike in curl, a port at the end
    restricts an entry to that port.
    """

    def __init__(self, text: str) -> None:
        self._all = text.strip() == "*"
        self._entries = [entry for entry in re.split(r"[,\s]+", text.lower()) if entry]

    def contains(self, host: str, port: int | None) -> bool:
        """Return whether requests to the host bypass the proxy."""
        address = _ip(host)
        name = host.lower().removesuffix(".")
        return self._all or any(
            wanted in {None, port}
            and (_is_below(name, entry) if address is None else _is_in(address, entry))
            for entry, wanted in map(_without_port, self._entries)
        )


def _without_port(entry: str) -> tuple[str, int | None]:
    """Return an entry without its brackets, and its port if it has one."""
    found = re.fullmatch(r"(?:\[([^\]]*)\](/\d+)?|([^:]*))(?::(\d+))?", entry)
    if found is None:  # a bare IPv6 address
        return entry, None
    text = found[3] if found[1] is None else found[1] + (found[2] or "")
    return text, None if found[4] is None else int(found[4])


def _is_below(name: str, entry: str) -> bool:
    domain = entry.removeprefix("*").removesuffix(".").removeprefix(".")
    return bool(domain) and f".{name}".endswith(f".{domain}")


def _is_in(address: IPv4Address | IPv6Address, entry: str) -> bool:
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _address(proxy: str) -> str:
    """Return the proxy's URL. Errors do not quote it: it may hold a password."""
    proxy = proxy.strip()
    address = proxy if "://" in proxy else f"http://{proxy}"
    parts = None
    try:
        parts = urlsplit(address)
        usable = (
            parts.scheme in _PORTS
            and bool(parts.hostname)
            and not _UNUSABLE.search(address)
            and parts.port != 0
        )
    except ValueError:
        usable = False
    if parts is None or not usable:
        raise ConfigurationError(
            "the proxy cannot be used: an address like http://host:port is needed (SOCKS and other "
            "protocols are not supported)"
        )
    if parts.port is None:
        netloc = f"{parts.netloc.removesuffix(':')}:{_PROXY_PORTS[parts.scheme]}"
        address = parts._replace(netloc=netloc).geturl()
    return address
