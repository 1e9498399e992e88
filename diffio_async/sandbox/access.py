"""Access to the sandbox: accepted hosts, API keys, upload tokens and signed links.

A web page can send requests to a server on this machine: directly, or by a host name of its own
that resolves to 127.0.0.1 (DNS rebinding). Both are detected by headers that a page cannot set.
"""

import hashlib
import hmac
import ipaddress
import math
import re
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from urllib.parse import urlencode, urlsplit

from multidict import CIMultiDictProxy

from diffio_async.sandbox.messages import HttpError, IncomingRequest
from diffio_async.sandbox.request_log import RequestLog, masked
from diffio_async.sandbox.settings import SandboxSettings, is_loopback
from diffio_async.sandbox.state import ApiKey, State

API, EDGE, MEDIA = "api", "edge", "media"
#: The web page, on the port of the API; it is not an origin of the service.
PAGE = "page"

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
            return f"http://{url_host(self._advertised_host())}:{self.ports[origin]}{path}"
        if self._settings.separate_ports:
            return f"http://{url_host(hostname_of(request_host))}:{self.ports[origin]}"
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
        if hosts and not self._is_accepted_host(hostname_of(hosts[0])):
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
        if host.endswith(".localhost") or is_loopback(host):
            return True
        if host in settings.allow_hosts or host == settings.host.strip("[]").lower():
            return True
        if settings.public_url and host == hostname_of(_netloc_of(settings.public_url)):
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
    return HttpError(status, message, code=code, headers={"Connection": "close"}, is_violation=True)


def _netloc_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def hostname_of(netloc: str) -> str:
    """Return the host of `host:port` in lower case; "" if it is malformed."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def url_host(host: str) -> str:
    """Return a host as URLs contain it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


_KEY_HEADERS = ("Authorization", "X-Api-Key", "Xi-Api-Key")
_CREDENTIAL_HEADERS = (*_KEY_HEADERS, "Proxy-Authorization", "Cookie")

UPLOAD_TOKEN_PREFIX = "upload_token_"  # noqa: S105 - a prefix, not a secret


def bearer(value: str) -> str | None:
    """Return the token of a `Bearer token` header, or None."""
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def require_api_key(incoming: IncomingRequest, state: State, request_log: RequestLog) -> ApiKey:
    """Return the API key of a request.

    Raises:
        HttpError: 401 without a known key, or with two that differ; 403 if it is not active.
    """
    record = incoming.record
    credentials = list(_credentials_in(incoming, _KEY_HEADERS))
    for name, secret in credentials:
        if " " in secret or not secret:
            request_log.violation(record, f"{name} contains a malformed credential")
    if len(credentials) > 1:
        names = ", ".join(name for name, _ in credentials)
        request_log.violation(record, f"{len(credentials)} credentials at once: {names}")
    secrets = {secret for _, secret in credentials}
    if not secrets:
        raise HttpError(401, "an API key is required: Authorization: Bearer <apiKey>")
    if len(secrets) > 1:
        raise HttpError(401, "the request contains several different credentials")
    secret = secrets.pop()
    if secret.startswith(UPLOAD_TOKEN_PREFIX):
        request_log.violation(record, "an upload token was sent to the API")
    key = state.key_with_secret(secret)
    if key is None:
        raise HttpError(401, "the API key is unknown")
    if key.status != "active":
        raise HttpError(403, f"the API key is {key.status}", code="keyNotActive")
    return key


def require_scope(key: ApiKey, scopes: tuple[str, ...]) -> None:
    """Check that a key has one of the scopes.

    Raises:
        HttpError: 403.
    """
    if scopes and not set(scopes) & set(key.scopes):
        required = " or ".join(scopes)
        raise HttpError(403, f"the API key lacks the scope {required}", code="missingScope")


def require_upload_token(incoming: IncomingRequest, state: State, request_log: RequestLog) -> str:
    """Return the upload token of an edge request; API keys in it are violations.

    Raises:
        HttpError: 401 without a token, or with several `Authorization` headers.
    """
    _report_leaked_keys(incoming, state, request_log, allowed="authorization")
    values = incoming.headers.getall("Authorization", [])
    if len(values) > 1:
        request_log.violation(incoming.record, f"{len(values)} Authorization headers at once")
    token = bearer(values[0]) if len(values) == 1 else None
    if token is None:
        raise HttpError(401, "an upload token is required", code="unauthorized")
    return token


def report_credentials(incoming: IncomingRequest, state: State, request_log: RequestLog) -> None:
    """Record a violation for each credential sent to the media host; the URL is the credential."""
    for name, secret in _credentials_in(incoming, _CREDENTIAL_HEADERS):
        request_log.violation(
            incoming.record, f"a credential was sent to the media host in {name}: {masked(secret)}"
        )
    _report_leaked_keys(incoming, state, request_log, allowed="")


def _credentials_in(incoming: IncomingRequest, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        for value in incoming.headers.getall(name, []):
            yield name, bearer(value) or value.strip()


def _report_leaked_keys(
    incoming: IncomingRequest, state: State, request_log: RequestLog, *, allowed: str
) -> None:
    """Record a violation for each API key in a header or query field, whatever its name."""
    for name, value in [*incoming.headers.items(), *incoming.query.items()]:
        if any(state.key_with_secret(token) for token in value.split()):
            request_log.violation(
                incoming.record,
                f"an API key was sent to the {incoming.record.origin} host in {name}",
            )
        elif name.lower() in ("x-api-key", "xi-api-key") and allowed:
            request_log.violation(
                incoming.record, f"{name} was sent to the {incoming.record.origin} host"
            )


class Links:
    """Signed links, with a secret that is kept across restarts.

    The URL is the credential, for one method, one path and a limited time.
    """

    def __init__(self, secret: bytes, ttl: float, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._ttl = ttl
        self._now = clock
        self._issued = 0
        self._expired_up_to = 0
        self._expired: set[str] = set()

    def sign(self, method: str, path: str, *, content_type: str = "") -> str:
        """Return the query that signs a method and path; a PUT is bound to its content type."""
        self._issued += 1
        expires = math.floor((self._now() + self._ttl) * 1000)
        signature = self._signature(method, path, expires, self._issued, content_type)
        return urlencode({"expires": expires, "issue": self._issued, "signature": signature})

    def expire(self, url: str | None) -> None:
        """Expire one link, or all links issued so far if None."""
        if url is None:
            self._expired_up_to = self._issued
        else:
            self._expired.add(url.rpartition("signature=")[2])

    def check(
        self, method: str, path: str, query: Mapping[str, str], *, content_type: str = ""
    ) -> None:
        """Check the signed link of a request.

        Raises:
            HttpError: 403 if the signature does not match, or the link has expired.
        """
        signature = query.get("signature", "")
        try:
            expires, issue = int(query.get("expires", "")), int(query.get("issue", ""))
        except ValueError:
            raise HttpError(403, "the link is not signed", code="AccessDenied") from None
        expected = self._signature(method, path, expires, issue, content_type)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise HttpError(
                403,
                "the signature does not match the method, path and content type of this request",
                code="SignatureDoesNotMatch",
                is_violation=True,
            )
        expired = self._now() * 1000 >= expires
        if expired or signature in self._expired or issue <= self._expired_up_to:
            raise HttpError(403, "the link has expired", code="ExpiredToken")

    def _signature(
        self, method: str, path: str, expires: int, issue: int, content_type: str
    ) -> str:
        payload = "\n".join((method, path, str(expires), str(issue), content_type))
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()
