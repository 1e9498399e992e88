"""Which proxy a request goes through, as the options or the environment say."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

from diffio_async._wire.addresses import is_local
from diffio_async.errors import ConfigurationError

_PORTS = {"http": 80, "https": 443}


class Proxies:
    """The proxies of one client; the environment is read once, here."""

    def __init__(self, proxy: str | None, *, trust_env: bool) -> None:
        """Raises `ConfigurationError` where `proxy` cannot be one."""
        self._proxy = None if proxy is None else _address(proxy)
        self._by_scheme = urllib.request.getproxies_environment() if trust_env else {}

    def address_for(self, url: str) -> str | None:
        """The proxy for a URL, if any; this machine is never asked for through one.

        Raises:
            ConfigurationError: The one that the environment names cannot be used.
        """
        if self._proxy is None and not self._by_scheme:
            return None
        parts = urlsplit(url)
        host = parts.hostname or ""
        if is_local(host):
            return None
        if self._proxy is not None:
            return self._proxy
        proxies = self._by_scheme
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if not proxy:
            return None
        port = parts.port or _PORTS.get(parts.scheme)
        return None if _spared(host, port, proxies.get("no", "")) else _address(proxy)


def _spared(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether `NO_PROXY` names the host, a domain it is in, or either with its port."""
    for entry in no_proxy.lower().split(","):
        name = entry.strip().removeprefix("*").lstrip(".")
        if entry.strip() == "*":
            return True
        if name and f".{host}".endswith((f".{name}", f".{name.removesuffix(f':{port}')}")):
            return True
    return False


def _address(proxy: str) -> str:
    """The proxy's URL. What is wrong with it is said without it: it may hold a password."""
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "the proxy cannot be used: an address like http://host:port is needed "
            "(of other kinds, SOCKS among them, none is spoken)"
        )
    return address
