"""Check and normalise what the user or the server gives as an address or a key."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diffio_async._wire.redaction import public_url
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODEL = re.compile(r"diffio-[a-z0-9.-]+")
# The models whose endpoint is not their own name (from the contract's table).
_ENDPOINTS = {"diffio-2": "diffio-2.0", "diffio-2-flash": "diffio-2.0-flash"}


def is_local(host: str) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def secure_url(url: str, what: str) -> str:
    """The URL, if nothing can be overheard on the way to it.

    Raises:
        ConfigurationError: It is not `https://`, nor `http://` to this machine, or has no host.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(
            f"{what} is not an address: a URL like https://host/path"
        ) from None
    if not host or parts.scheme not in {"http", "https"} or any(c <= " " for c in url):
        raise ConfigurationError(
            f"{what} is not an address: a URL like https://host/path is needed, got "
            f"{public_url(url)!r}"
        )
    if parts.scheme == "http" and not is_local(host):
        raise ConfigurationError(
            f"{what} would send credentials or recordings unencrypted to {host}: use https:// "
            "(http:// is accepted for this machine only)"
        )
    return url


def api_base_url(url: str) -> str:
    """The API's base URL, ending in `/v1` whether it was given with or without.

    Raises:
        ConfigurationError: As `secure_url`, or the URL has a user, a query or a fragment.
    """
    url = secure_url(url.strip(), "the base URL").rstrip("/")
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the base URL must have no user, query or fragment: {public_url(url)} is enough"
        )
    return url if url.endswith("/v1") else f"{url}/v1"


def api_key(key: str | None) -> str:
    """The key, if it can be sent in a header. Never shows it.

    Raises:
        ConfigurationError: The key is missing, or holds white space, control or non-ASCII
            characters.
    """
    if not key:
        raise ConfigurationError(
            "there is no API key: pass api_key=… or set DIFFIO_API_KEY (get a key in the Diffio "
            "dashboard; to try things without one, run the sandbox: diffio-async sandbox)"
        )
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(
            "the API key holds white space, a control character or a character that is not ASCII "
            "(a trailing newline from a file, perhaps): pass it stripped"
        )
    return key


def header_items(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that can be sent as they are. Never shows a value.

    Raises:
        ConfigurationError: A name is not a token, or a value has control characters.
    """
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ConfigurationError(f"{name!r} cannot be the name of a header")
        if any((c < " " and c != "\t") or c == "\x7f" for c in value):
            raise ConfigurationError(f"the header {name!r} holds a control character")
    return headers


def generation_path(model: str) -> str:
    """The endpoint of a model. Which models are served is the server's word, not checked here.

    Raises:
        ConfigurationError: The name is not `diffio-` and then letters a-z, digits, `.` and `-`.
    """
    if not _MODEL.fullmatch(model):
        raise ConfigurationError(
            f"{model!r} cannot be a model's name: it is diffio- and then a-z, 0-9, '.' or '-', "
            "as in diffio-4.6-flash"
        )
    return f"/{_ENDPOINTS.get(model, model)}-generation"
