"""From a call to the request that makes it; the host selects the credential."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

from attrs import field, frozen

from diffio_async._protocol.endpoints import ApiRequest, Host
from diffio_async._protocol.urls import plausible_api_key, server_url, validate_headers
from diffio_async._version import __version__
from diffio_async.errors import ConfigurationError
from diffio_async.options import CREDENTIAL_HEADERS, merge_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async.options import ResolvedOptions

T = TypeVar("T")

# Headers of the user's whose values are secrets, by what they are called.
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password|signature", re.IGNORECASE)
# A value this short in a signed link is a date or a number, not its signature.
_SHORTEST_SECRET = 12
_LONGEST_QUERY = 16_384

#: The user agent that the contract requires for the API and the edge.
IDENTITY_ENCODING: Mapping[str, str] = {
    "User-Agent": f"diffio-async/{__version__}",
    "X-Diffio-SDK-Language": "python",
    "X-Diffio-SDK-Name": "diffio-async",
    "X-Diffio-SDK-Version": __version__,
}
# Nothing is inflated behind our back: what is counted is what was sent.
_USER_AGENT_HEADERS: Mapping[str, str] = {"Accept-Encoding": "identity"}
_DEFAULT_HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    **IDENTITY_ENCODING,
    **_USER_AGENT_HEADERS,
}


@frozen(kw_only=True)
class Request:
    """One HTTP request; `content` is None where a body is streamed instead or there is none.

    `secrets` are what must not show in an error that quotes the server.
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
    asking = {**_DEFAULT_HEADERS, "Content-Type": "application/json"}
    headers = merge_headers(
        merge_headers(asking, validate_headers(under.headers)), _USER_AGENT_HEADERS
    )
    # A user's own credential header takes the key's place, and the key is not sent beside it.
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
    """A request to a signed URL, which gets no credential but itself.

    `base_url` is that of the API that sent the URL.

    Raises:
        ConfigurationError: The URL is not secure, or not a URL.
    """
    return Request(
        host=Host.MEDIA,
        method=method,
        url=server_url(url, "the signed link", base_url=base_url),
        headers={"User-Agent": IDENTITY_ENCODING["User-Agent"], **headers, **_USER_AGENT_HEADERS},
        secrets=tuple(_secrets_in(url)),
    )


def _secrets_of(headers: Mapping[str, str]) -> Iterator[str]:
    """What must not be quoted of the headers: `Bearer abc` as a whole, and `abc` alone."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            yield value
            yield value.split()[-1] if value.split() else ""


def _secrets_in(url: str) -> Iterator[str]:
    """What must not be quoted of a signed link: its query, and each long value in it."""
    query = urlsplit(url).query[:_LONGEST_QUERY]
    yield query
    plain = (value for _, value in parse_qsl(query))
    as_sent = (piece.partition("=")[2] for piece in query.split("&"))
    yield from (value for value in (*plain, *as_sent) if len(value) >= _SHORTEST_SECRET)
