"""Who is asking, and whether a secret was shown to a host that should not see it."""

from collections.abc import Iterable

from diffio_async.sandbox.records import ApiKey
from diffio_async.sandbox.request import IncomingRequest
from diffio_async.sandbox.request_log import RequestLog, masked
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.state import State

_KEY_HEADERS = ("Authorization", "X-Api-Key", "Xi-Api-Key")
_NEVER_TO_MEDIA = (*_KEY_HEADERS, "Proxy-Authorization", "Cookie")

UPLOAD_TOKEN_PREFIX = "upload_token_"  # noqa: S105 - a prefix, not a secret


def bearer(value: str) -> str | None:
    """Take the token out of `Bearer token`."""
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def api_key_of(incoming: IncomingRequest, world: State, witness: RequestLog) -> ApiKey:
    """Find the API key a request came with.

    Raises:
        Refusal: 401 without a known key, or with two that differ; 403 when it is not active.
    """
    seen = incoming.record
    shown = list(_shown(incoming, _KEY_HEADERS))
    for name, secret in shown:
        if " " in secret or not secret:
            witness.violation(seen, f"{name} carries no well-formed credential")
    if len(shown) > 1:
        names = ", ".join(name for name, _ in shown)
        witness.violation(seen, f"{len(shown)} credentials at once: {names}")
    secrets = {secret for _, secret in shown}
    if not secrets:
        raise HttpError(401, "an API key is required: Authorization: Bearer <apiKey>")
    if len(secrets) > 1:
        raise HttpError(401, "the request carries different credentials at once")
    secret = secrets.pop()
    if secret.startswith(UPLOAD_TOKEN_PREFIX):
        witness.violation(seen, "an upload token was sent to the API")
    key = world.key_for(secret)
    if key is None:
        raise HttpError(401, "the API key is not known")
    if key.status != "active":
        raise HttpError(403, f"the API key is {key.status}", code="keyNotActive")
    return key


def require_scope(key: ApiKey, scopes: tuple[str, ...]) -> None:
    """Let a key pass that has one of the scopes.

    Raises:
        Refusal: 403.
    """
    if scopes and not set(scopes) & set(key.scopes):
        wanted = " or ".join(scopes)
        raise HttpError(403, f"the API key lacks the scope {wanted}", code="missingScope")


def upload_token_of(incoming: IncomingRequest, world: State, witness: RequestLog) -> str:
    """Take the upload token of an edge request; API keys are complained about.

    Raises:
        Refusal: 401 without one, or when it is not the only `Authorization`.
    """
    _report_leaked_keys(incoming, world, witness, allowed="authorization")
    values = incoming.headers.getall("Authorization", [])
    if len(values) > 1:
        witness.violation(incoming.record, f"{len(values)} Authorization headers at once")
    token = bearer(values[0]) if len(values) == 1 else None
    if token is None:
        raise HttpError(401, "an upload token is required", code="unauthorized")
    return token


def expect_no_credential(incoming: IncomingRequest, world: State, witness: RequestLog) -> None:
    """Complain when a request to the media host shows any secret; the URL is the credential."""
    for name, secret in _shown(incoming, _NEVER_TO_MEDIA):
        witness.violation(
            incoming.record, f"a credential came to the media host in {name}: {masked(secret)}"
        )
    _report_leaked_keys(incoming, world, witness, allowed="")


def _shown(incoming: IncomingRequest, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        for value in incoming.headers.getall(name, []):
            yield name, bearer(value) or value.strip()


def _report_leaked_keys(
    incoming: IncomingRequest, world: State, witness: RequestLog, *, allowed: str
) -> None:
    """Look for API keys in places where none belongs, whatever the header is called."""
    for name, value in [*incoming.headers.items(), *incoming.query.items()]:
        if any(world.key_for(word) for word in value.split()):
            witness.violation(
                incoming.record, f"an API key came to the {incoming.record.origin} host in {name}"
            )
        elif name.lower() in ("x-api-key", "xi-api-key") and allowed:
            witness.violation(incoming.record, f"{name} came to the {incoming.record.origin} host")
