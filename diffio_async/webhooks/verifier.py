"""Whether a delivery is genuine: the signature scheme of Svix, made with `svix` itself."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from diffio_async._protocol.pasted import copying_mistake
from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.events import parse_event
from diffio_async.webhooks.headers import parse_timestamp, read_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from svix.webhooks import Webhook

PREFIX = "whsec_"


def secret_problem(secret: object) -> str | None:
    """What is wrong with the form of a signing secret, without showing it; None if nothing is."""
    if not isinstance(secret, str):
        return (
            f"is a {type(secret).__name__}, and a str is due (several secrets: one argument each)"
        )
    text = secret.strip()
    if not text.removeprefix(PREFIX):
        return f"is empty: it begins with {PREFIX}"
    for fits, flaw in (
        (text[0] in "'\"`" or text[-1] in "'\"`", "has quotes around it: leave them out"),
        (len(text.split()) > 1, "has white space within: it is several, or was cut in two"),
        (
            text.startswith(("whpk_", "whsk_")),
            f"is a key of the public-key scheme: the one due begins with {PREFIX}",
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
        (_key(text) is None, f"is not one: {PREFIX} and then base64, as the dashboard shows it"),
    ):
        if fits:
            return flaw
    return None


def _key(text: str) -> bytes | None:
    """The bytes of a secret; None where its base64 is none. Padding may be left out."""
    body = text.removeprefix(PREFIX).rstrip("=")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def signer(secret: object) -> Webhook:
    """What signs with a secret, `svix`'s own.

    Raises:
        ConfigurationError: The secret cannot be one; it is not shown.
    """
    flaw = secret_problem(secret)
    key = _key(secret.strip()) if isinstance(secret, str) else None
    if flaw is not None or key is None:
        raise ConfigurationError(f"a signing secret {flaw}")
    # Half a second and 600 modules: only for those who verify.
    from svix.webhooks import Webhook

    # Decoded here: base64's own errors, and so svix's, have the secret in their text.
    return Webhook(key)


def candidate_secrets(secret: str) -> Iterator[str]:
    """What a secret of a wrong form may have been before it was quoted, doubled or escaped."""
    text = unquote(secret).strip().strip("'\"`").strip()
    while text.startswith(PREFIX * 2):
        text = text.removeprefix(PREFIX)
    yield text
    yield "".join(text.split())
    yield PREFIX + text.removeprefix(PREFIX).replace("-", "+").replace("_", "/")
    yield from text.split()


#: Seconds a delivery's clock may differ from ours, both ways: the sender's own figure.
TOLERANCE = 300.0


class WebhookVerifier:
    """Verifies deliveries; needs no client and no API key.

    Several secrets serve a rotation, and endpoints of several keys: one that fits is enough.
    """

    def __init__(
        self,
        *secrets: str,
        tolerance: float = TOLERANCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the signing secrets.

        Args:
            secrets: One or more, with or without `whsec_`.
            tolerance: Seconds the delivery's time may differ from now; `math.inf` for replays of
                old deliveries.
            clock: Seconds since the epoch, for tests.

        Raises:
            ConfigurationError: There is no secret, one cannot be a secret, or the tolerance is
                below 0. Secrets are never shown.
        """
        if not secrets:
            raise ConfigurationError("pass the endpoint's signing secret (whsec_…)")
        if not tolerance >= 0:
            raise ConfigurationError(f"tolerance must be 0 or more seconds, not {tolerance!r}")
        self._signers = tuple(signer(secret) for secret in secrets)
        self._tolerance = tolerance
        self._clock = clock

    def __repr__(self) -> str:
        count = f"{len(self._signers)} secret{'s' * (len(self._signers) > 1)}"
        return f"WebhookVerifier({count}, tolerance={self._tolerance:g})"

    def verify(self, payload: bytes | str, headers: Mapping[str, str]) -> WebhookEvent:
        """The event of a delivery, if it is genuine.

        Args:
            payload: The raw body, as it came.
            headers: The request's headers, in any case, named `svix-*` or `webhook-*`.

        Raises:
            WebhookRejected: It is not; `reason` is `missing_header`, `bad_signature`, `too_old`,
                `too_new`, `not_json` or `not_an_object`.
        """
        if not isinstance(payload, (bytes, bytearray, memoryview, str)):
            raise WebhookRejected(
                f"the body must be raw bytes or a str, not a {type(payload).__name__}: JSON that "
                "was parsed and written again does not verify",
                reason="not_json",
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
                "the timestamp header is not in seconds since the epoch", reason="missing_header"
            ) from None
        late = self._clock() - seconds
        if late > self._tolerance:
            raise WebhookRejected(
                f"the delivery is {late:.0f} s old, more than {self._tolerance:g} s: is this "
                "machine's clock right?",
                reason="too_old",
            )
        if -late > self._tolerance:
            raise WebhookRejected(
                f"the delivery is {-late:.0f} s in the future, more than {self._tolerance:g} s: "
                "is this machine's clock right?",
                reason="too_new",
            )
        return instant

    def _check_signature(self, message_id: str, instant: datetime, body: bytes, given: str) -> None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise WebhookRejected("the body is not UTF-8, so no JSON", reason="not_json") from None
        candidates = given.encode("utf-8", "replace").split()
        for each_signer in self._signers if message_id.isascii() else ():
            due = each_signer.sign(message_id, instant, text).encode()
            if any(hmac.compare_digest(due, each) for each in candidates):
                return
        raise WebhookRejected(
            "no signature fits: is the secret this endpoint's, and is the body the request's raw "
            "bytes (not parsed and written again)? `diffio-async webhooks verify` finds out",
            reason="bad_signature",
        )
