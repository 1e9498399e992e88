"""Options that several commands share, and the client options of the running command."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated

import typer
from attrs import field, frozen

if TYPE_CHECKING:
    import ssl

    from diffio_async.models.generations import DownloadType
    from diffio_async.options import ClientOptions, Observer

EXIT_CODES = (
    "Exit codes: 0 all succeeded; 1 at least one failed; 2 wrong usage or configuration, "
    "nothing was sent; 130 interrupted (Ctrl-C); 143 terminated."
)

DOWNLOAD_TYPES: dict[str, DownloadType] = {
    "audio": "audio",
    "video": "video",
    "transcript": "transcript",
}
#: Variables that name a file of certificates, in order: curl's, OpenSSL's, requests'.
_CA_VARIABLES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def _download_type(value: str) -> str:
    if value not in DOWNLOAD_TYPES:
        raise typer.BadParameter(f"choose audio, video or transcript, not {value!r}.")
    return value


TypeOption = Annotated[
    str,
    typer.Option(
        "--type",
        metavar="|".join(DOWNLOAD_TYPES),
        help="What to download.",
        callback=_download_type,
        autocompletion=lambda: [*DOWNLOAD_TYPES],
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per event and line on stdout.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Longest wait for one generation."),
]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Proxy; default: HTTPS_PROXY or ALL_PROXY, except for NO_PROXY. '' disables it.",
    ),
]
CacertOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Trust the certificates of this PEM file instead."),
]


@frozen
class _Network:
    """Network options of the running command. A proxy URL may contain a password."""

    proxy: str | None = field(default=None, repr=False)
    cacert: str | None = None


_network: ContextVar[_Network] = ContextVar("network", default=_Network())  # noqa: B039 - frozen


def use_network(*, proxy: str | None, cacert: str | None) -> None:
    """Set the network options of the running command."""
    _network.set(_Network(proxy, cacert))


def client_options(*observers: Observer) -> ClientOptions:
    """Return the options for a client of the running command.

    An empty `--proxy` means no proxy, regardless of the environment.

    Raises:
        ConfigurationError: The proxy's URL or the file of certificates is invalid.
    """
    from diffio_async.options import ClientOptions

    network = _network.get()
    options = ClientOptions(
        observers=observers,
        proxy=network.proxy or None,
        trust_env=network.proxy is None,
        ssl=_ssl_context(network.cacert),
    )
    # The client checks a proxy of the environment only when the first request is sent.
    _check_proxy(options, network)
    return options


def _check_proxy(options: ClientOptions, network: _Network) -> None:
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
        pass  # The base URL is invalid; check_environment reports that.


def _ssl_context(cacert: str | None) -> ssl.SSLContext | None:
    """Return a context that trusts only the named file; None for the system's certificates."""
    import ssl

    from diffio_async._storage.local_paths import local_path
    from diffio_async.errors import ConfigurationError

    if cacert == "":
        raise ConfigurationError("the path given with --cacert is empty: name a PEM file")
    candidates = [("--cacert", cacert), *((name, os.environ.get(name)) for name in _CA_VARIABLES)]
    option, path = next(((option, path) for option, path in candidates if path), ("", None))
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=local_path(path, option))
    except ssl.SSLError:
        raise ConfigurationError(
            f"{option}: {path} contains no certificate: name a PEM file"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} cannot be read: {error.strerror}") from None
