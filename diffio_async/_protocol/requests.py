"""HTTP requests of calls; the host selects the credential."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field, frozen

from diffio_async._protocol.urls import plausible_api_key, server_url, validate_headers
from diffio_async._version import __version__
from diffio_async.errors import ConfigurationError
from diffio_async.options import CREDENTIAL_HEADERS, merge_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async._protocol.retry import RetrySafety
    from diffio_async.options import ResolvedOptions

T = TypeVar("T")

# Names of the user's headers whose values are secrets.
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password|signature", re.IGNORECASE)
# A shorter value in a signed link is a date or a number, not its signature.
_MIN_SECRET = 12
_MAX_QUERY = 16_384

#: The headers by which the API and the edge identify the SDK, as the contract requires.
_USER_AGENT_HEADERS: Mapping[str, str] = {
    "User-Agent": f"diffio-async/{__version__}",
    "X-Diffio-SDK-Language": "python",
    "X-Diffio-SDK-Name": "diffio-async",
    "X-Diffio-SDK-Version": __version__,
}
# Sizes are counted in bytes as sent, so responses should not be compressed.
_IDENTITY_ENCODING: Mapping[str, str] = {"Accept-Encoding": "identity"}
_DEFAULT_HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    **_USER_AGENT_HEADERS,
    **_IDENTITY_ENCODING,
}


class Host(Enum):
    """Destination of a request, which selects the credential; signed media URLs need none."""

    API = "api"
    EDGE = "edge"
    MEDIA = "media"


# The constructor of a frozen class takes three times as long, and there are three such objects in
# each call: the two below, and its attempt.
@define(kw_only=True)
class ApiRequest(Generic[T]):
    """One API request, and the model of its response.

    Attributes:
        name: The name of the call in logs and errors.
        path: Path below the API's base URL, or a complete URL at the edge.
        json: The body; None if bytes are sent instead.
        returns: The model that the response is decoded to.
        retry_safety: The effect of sending it twice.
        needs: Optional fields of the model that this call requires.
        bearer: The edge's credential; the API's key is the client's.
        extra_retry_statuses: Statuses that this call retries in addition to the usual ones.
        about: What is requested, such as a download type, for errors.
    """

    name: str
    path: str
    returns: type[T]
    retry_safety: RetrySafety
    host: Host = Host.API
    method: str = "POST"
    json: Mapping[str, object] | None = None
    needs: tuple[str, ...] = ()
    bearer: str | None = field(default=None, repr=False)
    extra_retry_statuses: frozenset[int] = frozenset()
    about: str = ""


@define(kw_only=True)
class Request:
    """One HTTP request; `content` is None if a body is streamed instead, or absent.

    `secrets` are masked in errors that quote the server.
    """

    host: Host
    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@frozen
class ApiHeaders:
    """The headers of every API request under the same options, and the secrets in them."""

    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def build_api_headers(key: str, under: ResolvedOptions) -> ApiHeaders:
    """Return the headers of API requests.

    Raises:
        ConfigurationError: The key or a header cannot be sent as it is.
    """
    # An empty key is a mistake, not a request for the client's key.
    secret = plausible_api_key(key if under.api_key is None else under.api_key)
    defaults = {**_DEFAULT_HEADERS, "Content-Type": "application/json"}
    headers = merge_headers(
        merge_headers(defaults, validate_headers(under.headers)), _IDENTITY_ENCODING
    )
    # A credential header of the user replaces the key, which is then not sent.
    if not CREDENTIAL_HEADERS & {name.lower() for name in headers}:
        headers["Authorization"] = f"Bearer {secret}"
    return ApiHeaders(headers, (secret, *_secrets_of(headers)))


def build_request(call: ApiRequest[T], *, base_url: str, api_headers: ApiHeaders) -> Request:
    """Return the request of a call; `api_headers` is sent to the API only.

    Raises:
        ConfigurationError: The address is not secure.
    """
    if call.host is Host.EDGE:
        url = server_url(call.path, "the upload address", base_url=base_url)
        bearer = f"Bearer {call.bearer or ''}"
        headers: Mapping[str, str] = {**_DEFAULT_HEADERS, "Authorization": bearer}
        if call.json is not None:
            headers = {**headers, "Content-Type": "application/json"}
        secrets: tuple[str, ...] = (call.bearer or "", bearer)
    else:
        url, headers, secrets = base_url + call.path, api_headers.headers, api_headers.secrets
    return Request(
        host=call.host,
        method=call.method,
        url=url,
        headers=headers,
        content=None if call.json is None else _json(call),
        secrets=secrets,
    )


def _json(call: ApiRequest[T]) -> bytes:
    text = json.dumps(call.json)
    if "\\ud" in text:  # a surrogate pair, or half of one
        try:
            json.dumps(call.json, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"{call.name} cannot be sent: a text in it has half of a surrogate pair, which is "
                "not Unicode (a file name that is not UTF-8, perhaps)"
            ) from None
    return text.encode()


def signed_url_request(
    method: str, url: str, headers: Mapping[str, str], *, base_url: str = "http://localhost"
) -> Request:
    """Return a request to a signed URL, without credentials.

    `base_url` is that of the API that sent the URL.

    Raises:
        ConfigurationError: The URL is not secure, or not a URL.
    """
    return Request(
        host=Host.MEDIA,
        method=method,
        url=server_url(url, "the signed link", base_url=base_url),
        headers={
            "User-Agent": _USER_AGENT_HEADERS["User-Agent"],
            **headers,
            **_IDENTITY_ENCODING,
        },
        secrets=tuple(_secrets_in(url)),
    )


def _secrets_of(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in headers: `Bearer abc` as a whole, and `abc` alone."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            yield value
            yield value.split()[-1] if value.split() else ""


def _secrets_in(url: str) -> Iterator[str]:
    """Yield the secrets in a signed link: its query, and each long value in it."""
    query = urlsplit(url).query[:_MAX_QUERY]
    yield query
    plain = (value for _, value in parse_qsl(query))
    as_sent = (piece.partition("=")[2] for piece in query.split("&"))
    yield from (value for value in (*plain, *as_sent) if len(value) >= _MIN_SECRET)
