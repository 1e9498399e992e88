"""The way to the network: `--proxy` and `--cacert`, or the environment by curl's rules."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    import ssl

    from diffio_async.options import ClientOptions, Observer

#: Variables that name a file of certificates, the first that is set: curl's, OpenSSL's, requests'.
_CA_VARIABLES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@frozen
class Network:
    """What the user said of the network; a proxy may hold a password."""

    proxy: str | None = field(default=None, repr=False)
    cacert: str | None = None


_network: ContextVar[Network] = ContextVar("network", default=Network())  # noqa: B039 - it is frozen


def use_network(*, proxy: str | None, cacert: str | None) -> None:
    """Set what the options of the running command say."""
    _network.set(Network(proxy, cacert))


def client_options(*observers: Observer) -> ClientOptions:
    """Return the options of a client of this command.

    An empty `--proxy` means none, whatever the environment says.

    Raises:
        ConfigurationError: The proxy's address or the file of certificates cannot be used.
    """
    from diffio_async.options import ClientOptions

    network = _network.get()
    found = ClientOptions(
        observers=observers,
        proxy=network.proxy or None,
        trust_env=network.proxy is None,
        ssl=_trusted(network.cacert),
    )
    # An address of the environment is otherwise looked at when the first request is sent.
    _check(found, network)
    return found


def _check(options: ClientOptions, network: Network) -> None:
    from diffio_async._http.proxies import Proxies
    from diffio_async.errors import ConfigurationError
    from diffio_async.options import DEFAULT_BASE_URL

    url = os.environ.get("DIFFIO_API_BASE_URL") or DEFAULT_BASE_URL
    try:
        Proxies(options.proxy, trust_env=options.trust_env).address_for(url)
    except ConfigurationError as error:
        source = "--proxy" if network.proxy else "HTTPS_PROXY or ALL_PROXY in the environment"
        raise ConfigurationError(f"{source}: {error}") from None
    except ValueError:
        pass  # of the base URL, which is checked elsewhere


def _trusted(cacert: str | None) -> ssl.SSLContext | None:
    """The context that trusts one file of certificates, None for the system's own."""
    import ssl

    from diffio_async._storage.local_paths import local_path
    from diffio_async.errors import ConfigurationError

    if cacert == "":
        raise ConfigurationError("the path given with --cacert is empty: name a PEM file")
    named = [("--cacert", cacert), *((name, os.environ.get(name)) for name in _CA_VARIABLES)]
    option, path = next(((option, path) for option, path in named if path), ("", None))
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=local_path(path, option))
    except ssl.SSLError:
        raise ConfigurationError(
            f"{option}: {path} holds no certificate: a PEM file is needed"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} cannot be read: {error.strerror}") from None
