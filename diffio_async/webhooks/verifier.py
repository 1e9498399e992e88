"""Whether a delivery is genuine: the signature scheme of Svix, made with `svix` itself."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.headers import read_headers, seconds_of
from diffio_async.webhooks.reading import event_of
from diffio_async.webhooks.signing import signer

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
        instant = self._timely(stamp)
        body = payload.encode("utf-8", "replace") if isinstance(payload, str) else bytes(payload)
        self._genuine(message_id, instant, body, signatures)
        return event_of(body, message_id)

    def _timely(self, stamp: str) -> datetime:
        try:
            seconds = seconds_of(stamp)
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
        for each_signer in self._signers if message_id.isascii() else ():
            due = each_signer.sign(message_id, instant, text).encode()
            if any(hmac.compare_digest(due, each) for each in candidates):
                return
        raise WebhookRejected(
            "no signature fits: is the secret this endpoint's, and is the body the request's raw "
            "bytes (not parsed and written again)? `diffio-async webhooks verify` finds out",
            reason="bad_signature",
        )
