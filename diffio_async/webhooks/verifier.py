"""Verification of deliveries by the signature scheme of Svix, computed by `svix` itself."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import evolve, frozen

from diffio_async._protocol.codec import NotJson, json_of
from diffio_async._protocol.structuring import from_json
from diffio_async._protocol.urls import copying_mistake
from diffio_async._validators import unlimited
from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from svix.webhooks import Webhook

#: Prefixes of the names of the three headers.
FAMILIES = ("svix-", "webhook-")
NAMES = ("id", "timestamp", "signature")
#: A time stamp is whole seconds; fifteen digits are more than any date has.
_SECONDS = re.compile(r"-?[0-9]{1,15}")


def parse_event(body: bytes, message_id: str) -> WebhookEvent:
    """Return the event in a body; values of an unexpected type are kept in `extra`.

    The delivery is genuine. An error because of an unknown format would have it delivered again for
    days.

    Raises:
        WebhookRejected: The body is not JSON, or not an object.
    """
    try:
        content = json_of(body)
    except NotJson as failure:
        raise WebhookRejected(f"the body is not JSON: {failure}", code="not_json") from None
    if not isinstance(content, dict):
        raise WebhookRejected("the body is JSON, but not an object", code="not_an_object")
    return evolve(from_json(content, WebhookEvent), message_id=message_id)


def read_headers(headers: Mapping[str, object]) -> tuple[str, str, str]:
    """Return id, time stamp and signatures of a delivery, each with either prefix.

    Raises:
        WebhookRejected: One is missing, or the headers are not a mapping of names to strings.
    """
    try:
        lower: dict[str, object] = {str(name).lower(): each for name, each in headers.items()}
    except (AttributeError, TypeError, ValueError):
        raise WebhookRejected(
            "headers must be a mapping of names to values, not a "
            f"{type(headers).__name__}: pass the request's headers, or dict(pairs)",
            code="missing_header",
        ) from None
    missing: list[str] = []
    found: list[str] = []
    for name in NAMES:
        given = [lower[prefix + name] for prefix in FAMILIES if prefix + name in lower]
        value = next((v for v in given if isinstance(v, str) and v.strip()), None)
        if value is not None:
            found.append(value.strip())
        elif odd := next((v for v in given if v is not None and not isinstance(v, str)), None):
            missing.append(f"svix-{name} is a {type(odd).__name__}, expected a str")
        else:
            missing.append(f"svix-{name} is missing")
    if missing:
        raise WebhookRejected(
            f"{', '.join(missing)}: was the request sent by Diffio, and are its headers passed on?",
            code="missing_header",
        )
    return found[0], found[1], found[2]


def parse_timestamp(stamp: str) -> int:
    """Return a time stamp header in seconds since the epoch.

    Raises:
        ValueError: It is not a time stamp.
    """
    if not _SECONDS.fullmatch(stamp):
        raise ValueError("expected whole seconds since the epoch")
    return int(stamp)


@frozen
class NonstandardHeader:
    """Header in a form that verifiers reject: its name, and how it was received."""

    name: str
    received_as: str


def recover_headers(
    headers: Mapping[str, object],
) -> tuple[dict[str, str], list[NonstandardHeader]]:
    """Return the three values also from names that servers change, and from lists of one value."""
    values: dict[str, str] = {}
    odd: list[NonstandardHeader] = []
    for name in NAMES:
        known = {family + name for family in FAMILIES}
        for spelled, value in headers.items():
            lower = str(spelled).lower()
            short = lower.replace("_", "-").removeprefix("http-").removeprefix("x-")
            text = value[0] if isinstance(value, list) and len(value) == 1 else value
            if short not in known or name in values or not isinstance(text, str):
                continue
            if not text.strip():
                continue
            if short != lower:
                odd.append(NonstandardHeader(name, f"as {spelled!r}"))
            if text is not value:
                odd.append(NonstandardHeader(name, "as a list"))
            values[name] = text.strip()
    return values, odd


PREFIX = "whsec_"


def secret_problem(secret: object) -> str | None:
    """Return the problem with the form of a signing secret, without showing it; None if valid."""
    if not isinstance(secret, str):
        return f"is a {type(secret).__name__}, expected a str (several secrets: one argument each)"
    text = secret.strip()
    if not text.removeprefix(PREFIX):
        return f"is empty: it begins with {PREFIX}"
    for applies, problem in (
        (text[0] in "'\"`" or text[-1] in "'\"`", "has quotes around it: remove them"),
        (len(text.split()) > 1, "contains white space: it is several secrets, or was split"),
        (
            text.startswith(("whpk_", "whsk_")),
            f"is a key of the public-key scheme: the secret begins with {PREFIX}",
        ),
        (
            text.startswith(("v1,", "v1a,")),
            f"is a delivery's signature: the secret begins with {PREFIX}",
        ),
        (
            text.startswith(("diffio_", "sk_", "key_")),
            f"is an API key, it seems: the endpoint's signing secret begins with {PREFIX}",
        ),
        (text.startswith(PREFIX * 2), f"has {PREFIX} twice"),
        ((mistake := copying_mistake(text)) is not None, mistake),
        (
            _key(text) is None,
            f"is not a secret: {PREFIX} and then base64, as the dashboard shows it",
        ),
    ):
        if applies:
            return problem
    return None


def _key(text: str) -> bytes | None:
    """Return the bytes of a secret, None if it is not base64. Padding is optional."""
    body = text.removeprefix(PREFIX).rstrip("=")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def signer(secret: object) -> Webhook:
    """Return the signer of `svix` for a secret.

    Raises:
        ConfigurationError: The secret is invalid; it is not shown.
    """
    problem = secret_problem(secret)
    key = _key(secret.strip()) if isinstance(secret, str) else None
    if problem is not None or key is None:
        raise ConfigurationError(f"a signing secret {problem}")
    # Imported late: it takes half a second and 600 modules.
    from svix.webhooks import Webhook

    # Decoded here, because the errors of base64, and so of svix, contain the secret.
    return Webhook(key)


def candidate_secrets(secret: str) -> Iterator[str]:
    """Yield what an invalid secret may have been before it was quoted, doubled or escaped."""
    text = unquote(secret).strip().strip("'\"`").strip()
    while text.startswith(PREFIX * 2):
        text = text.removeprefix(PREFIX)
    yield text
    yield "".join(text.split())
    yield PREFIX + text.removeprefix(PREFIX).replace("-", "+").replace("_", "/")
    yield from text.split()


#: Seconds by which the time of a delivery may differ from now, as Svix recommends.
TOLERANCE = 300.0


class WebhookVerifier:
    """Verifies deliveries, without a client and without an API key.

    Several secrets are for rotations and for endpoints of several keys: one valid signature is
    enough.
    """

    def __init__(
        self,
        *secrets: str,
        tolerance: float = TOLERANCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create a verifier.

        Args:
            secrets: One or more, with or without `whsec_`.
            tolerance: Seconds by which the time of the delivery may differ from now; `math.inf`
                for replays of old deliveries.
            clock: Seconds since the epoch, for tests.

        Raises:
            ConfigurationError: There is no secret, a secret is invalid, or the tolerance is below
                0. Secrets are never shown.
        """
        if not secrets:
            raise ConfigurationError("pass the endpoint's signing secret (whsec_…)")
        unlimited.check("tolerance", tolerance)
        self._signers = tuple(signer(secret) for secret in secrets)
        self._tolerance = tolerance
        self._clock = clock

    def __repr__(self) -> str:
        count = f"{len(self._signers)} secret{'s' * (len(self._signers) > 1)}"
        return f"WebhookVerifier({count}, tolerance={self._tolerance:g})"

    def verify(self, payload: bytes | str, headers: Mapping[str, str]) -> WebhookEvent:
        """Verify a delivery and return its event.

        Args:
            payload: The raw body, as it was received.
            headers: The request's headers, in any case, named `svix-*` or `webhook-*`.

        Raises:
            WebhookRejected: It is not genuine; `code` is `missing_header`, `bad_signature`,
                `too_old`, `too_new`, `not_json` or `not_an_object`.
        """
        if not isinstance(payload, (bytes, bytearray, memoryview, str)):
            raise WebhookRejected(
                f"the body must be raw bytes or a str, not a {type(payload).__name__}: JSON that "
                "was parsed and written again does not verify",
                code="not_json",
            )
        message_id, stamp, signatures = read_headers(headers)
        instant = self._check_timestamp(stamp)
        body = payload.encode("utf-8", "replace") if isinstance(payload, str) else bytes(payload)
        self._check_signature(message_id, instant, body, signatures)
        return parse_event(body, message_id)

    def _check_timestamp(self, stamp: str) -> datetime:
        try:
            seconds = parse_timestamp(stamp)
            instant = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise WebhookRejected(
                "the timestamp header is not in seconds since the epoch", code="missing_header"
            ) from None
        age = self._clock() - seconds
        if age > self._tolerance:
            raise WebhookRejected(
                f"the delivery is {age:.0f} s old, more than {self._tolerance:g} s: is this "
                "machine's clock right?",
                code="too_old",
            )
        if -age > self._tolerance:
            raise WebhookRejected(
                f"the delivery is {-age:.0f} s in the future, more than {self._tolerance:g} s: "
                "is this machine's clock right?",
                code="too_new",
            )
        return instant

    def _check_signature(
        self, message_id: str, instant: datetime, body: bytes, signatures: str
    ) -> None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise WebhookRejected(
                "the body is not UTF-8, so it is not JSON", code="not_json"
            ) from None
        candidates = signatures.encode("utf-8", "replace").split()
        for each_signer in self._signers if message_id.isascii() else ():
            expected = each_signer.sign(message_id, instant, text).encode()
            if any(hmac.compare_digest(expected, each) for each in candidates):
                return
        raise WebhookRejected(
            "no signature is valid: is the secret that of this endpoint, and is the body the raw "
            "bytes of the request (not parsed and written again)? `diffio-async webhooks verify` "
            "finds out",
            code="bad_signature",
        )
