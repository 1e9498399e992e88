"""Which proxy a request goes through: the option's, or the environment's by curl's rules."""

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
#: The ports of a proxy whose address names none: curl's.
_PROXY_PORTS = {"http": 1080, "https": 443}
_UNUSABLE = re.compile(r"[\x00-\x20\x7f]")


class Proxies:
    """The proxies of one client; the environment is read once, here."""

    def __init__(self, proxy: str | None, *, trust_env: bool) -> None:
        """Raises `ConfigurationError` where `proxy` cannot be one."""
        self._proxy = None if proxy is None else _address(proxy)
        environment = os.environ if trust_env else {}
        self._by_scheme = {scheme: _of_environment(environment, scheme) for scheme in _PORTS}
        self._spared = NoProxy(environment.get("no_proxy") or environment.get("NO_PROXY") or "")

    def address_for(self, url: str) -> str | None:
        """Return the proxy for a URL, if any; there is none for this machine.

        Raises:
            ConfigurationError: The one that the environment names cannot be used.
        """
        parts = urlsplit(url)
        proxy = self._proxy or self._by_scheme.get(parts.scheme)
        host = parts.hostname or ""
        if proxy is None or is_local(host):
            return None
        if self._proxy is not None:
            return self._proxy
        port = parts.port or _PORTS.get(parts.scheme)
        return None if self._spared.names(host, port) else _address(proxy)


def _of_environment(environment: Mapping[str, str], scheme: str) -> str | None:
    """The proxy that the environment names for a scheme. An empty variable counts as unset."""
    # Not HTTP_PROXY: in a CGI program that is what a client sent as the header "Proxy".
    names = [f"{scheme}_proxy", *([f"{scheme}_proxy".upper()] if scheme != "http" else [])]
    return next((v for n in (*names, "all_proxy", "ALL_PROXY") if (v := environment.get(n))), None)


class NoProxy:
    """The hosts that `NO_PROXY` names: separated by commas or blanks, or a lone `*` for all.

    A domain stands for itself and all below it, with or without a dot (or `*.`) before it. An
    address may be a network (`10.0.0.0/8`), and IPv6 may stand in brackets. A port at the end,
    which curl does not know, restricts an entry to that port.
    """

    def __init__(self, text: str) -> None:
        self._all = text.strip() == "*"
        self._entries = [entry for entry in re.split(r"[,\s]+", text.lower()) if entry]

    def names(self, host: str, port: int | None) -> bool:
        """Return whether requests to the host bypass the proxy."""
        address = _ip(host)
        name = host.lower().removesuffix(".")
        return self._all or any(
            wanted in {None, port}
            and (_is_below(name, entry) if address is None else _is_in(address, entry))
            for entry, wanted in map(_without_port, self._entries)
        )


def _without_port(entry: str) -> tuple[str, int | None]:
    """An entry without its brackets, and its port where it has one."""
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
            "the proxy cannot be used: an address like http://host:port is needed "
            "(of other kinds, SOCKS among them, none is spoken)"
        )
    if parts.port is None:
        netloc = f"{parts.netloc.removesuffix(':')}:{_PROXY_PORTS[parts.scheme]}"
        address = parts._replace(netloc=netloc).geturl()
    return address
