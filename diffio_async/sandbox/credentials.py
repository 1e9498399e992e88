"""Credentials: API keys, upload tokens, signed links, and reports of leaked ones."""

import hashlib
import hmac
import math
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlencode

from diffio_async.sandbox.records import ApiKey
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.request_log import RequestLog, masked
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.state import State

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
            )
        expired = self._now() * 1000 >= expires
        if expired or signature in self._expired or issue <= self._expired_up_to:
            raise HttpError(403, "the link has expired", code="ExpiredToken")

    def _signature(
        self, method: str, path: str, expires: int, issue: int, content_type: str
    ) -> str:
        payload = "\n".join((method, path, str(expires), str(issue), content_type))
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()
