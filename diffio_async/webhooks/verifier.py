"""Whether a delivery is genuine: the signature scheme of Svix, made with `svix` itself."""

from __future__ import annotations

import hmac
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._wire.codec import decoded
from diffio_async.errors import ConfigurationError, ResponseInvalid, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from svix.webhooks import Webhook

#: Seconds a delivery's clock may differ from ours, both ways: the sender's own figure.
TOLERANCE = 300.0
_PREFIXES = ("svix-", "webhook-")


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
        self._signers = tuple(_signer(secret) for secret in secrets)
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
        message_id, stamp, signatures = _read(headers)
        instant = self._timely(stamp)
        body = payload.encode("utf-8", "replace") if isinstance(payload, str) else bytes(payload)
        self._genuine(message_id, instant, body, signatures)
        return _event(body, message_id)

    def _timely(self, stamp: str) -> datetime:
        try:
            seconds = int(stamp)
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

    def _genuine(self, message_id: str, instant: datetime, body: bytes, given: str) -> None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise WebhookRejected("the body is not UTF-8, so no JSON", reason="not_json") from None
        candidates = given.encode("utf-8", "replace").split()
        for signer in self._signers if message_id.isascii() else ():
            due = signer.sign(message_id, instant, text).encode()
            if any(hmac.compare_digest(due, each) for each in candidates):
                return
        raise WebhookRejected(
            "no signature fits: is the secret this endpoint's, and is the body raw (not parsed "
            "and written again)?",
            reason="bad_signature",
        )


def _signer(secret: str) -> Webhook:
    # Half a second and 600 modules: only for those who verify.
    from svix.webhooks import Webhook

    if not secret.strip().removeprefix("whsec_"):
        raise ConfigurationError("a signing secret is empty: it begins with whsec_")
    try:
        signer = Webhook(secret.strip())
        signer.sign("id", datetime.now(UTC), "")
    except Exception:  # noqa: BLE001 - svix raises whatever base64 does, the secret in its text
        signer = None
    # Outside the handler, whose exception would be kept as the context.
    if signer is None:
        raise ConfigurationError(
            "a signing secret is not one: whsec_ and then base64, as the dashboard shows it"
        )
    return signer


def _read(headers: Mapping[str, str]) -> tuple[str, str, str]:
    """Id, time stamp and signatures, each from one family of names."""
    try:
        lower = {str(name).lower(): value for name, value in headers.items()}
    except (AttributeError, TypeError, ValueError):
        raise WebhookRejected(
            "headers must be a mapping of names to values", reason="missing_header"
        ) from None
    missing: list[str] = []
    found: list[str] = []
    for name in ("id", "timestamp", "signature"):
        values = (lower.get(prefix + name) for prefix in _PREFIXES)
        value = next((v for v in values if isinstance(v, str) and v.strip()), None)
        if value is None:
            missing.append(f"svix-{name}")
        else:
            found.append(value.strip())
    if missing:
        raise WebhookRejected(
            f"{' and '.join(missing)} missing: was the request sent by Diffio, and are its headers "
            "passed on?",
            reason="missing_header",
        )
    return found[0], found[1], found[2]


def _event(body: bytes, message_id: str) -> WebhookEvent:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise WebhookRejected("the body is not JSON", reason="not_json") from None
    if not isinstance(content, dict):
        raise WebhookRejected("the body is JSON, but not an object", reason="not_an_object")
    try:
        return evolve(_decoded(content), message_id=message_id)
    except ResponseInvalid:
        # Genuine, and of a shape yet to come: an error would have it delivered again for days.
        fitting = {name: value for name, value in content.items() if _fits(name, value)}
    odd = {name: value for name, value in content.items() if name not in fitting}
    event = _decoded(fitting)
    return evolve(event, message_id=message_id, extra={**event.extra, **odd})


def _fits(name: str, value: object) -> bool:
    try:
        _decoded({name: value})
    except ResponseInvalid:
        return False
    return True


def _decoded(content: dict[str, object]) -> WebhookEvent:
    body = json.dumps({"eventType": "", **content}).encode()
    return decoded(body, WebhookEvent, call="webhook", status=200)
