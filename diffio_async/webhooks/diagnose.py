"""Why a signature fails: what is wrong with headers, secrets, clock or body, each by its name."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from attrs import frozen

from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.body_mutations import BODY_MUTATIONS
from diffio_async.webhooks.headers import NAMES, NonstandardHeader, parse_timestamp, recover_headers
from diffio_async.webhooks.verifier import (
    TOLERANCE,
    WebhookVerifier,
    candidate_secrets,
    secret_problem,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: `v1,` and the base64 of 32 bytes.
_SIGNATURE_LENGTH = 47
#: Seconds since the epoch do not reach this before the year 5138: they are milliseconds.
_MILLISECONDS = 100_000_000_000


@frozen(kw_only=True)
class Finding:
    """One thing that is wrong, or odd; `seconds` is a clock's skew, `secret` counts from 1."""

    code: str
    message: str
    seconds: int | None = None
    secret: int | None = None


@frozen(kw_only=True)
class Explanation:
    """What became of a delivery: `event` if it is genuine, else `reason` (`WebhookRejected`'s)."""

    event: WebhookEvent | None
    reason: str | None
    findings: tuple[Finding, ...]


@frozen
class _Key:
    """Something that signs: the secret's place from 1, and what had to be mended to use it."""

    position: int
    sign: Callable[[str, datetime, str], str]
    problem: str | None = None


def diagnose(
    payload: bytes,
    headers: Mapping[str, object],
    secrets: Sequence[str],
    *,
    now: float,
    tolerance: float = TOLERANCE,
) -> Explanation:
    """Verify a delivery, and where that fails say why.

    Args:
        payload: The body as it reached the verifier.
        headers: The headers, under whatever names they reached it.
        secrets: The signing secrets tried; none is ever shown.
        now: Seconds since the epoch, by the clock that verifies.
        tolerance: Seconds the delivery's time may differ from it.
    """
    sound = [secret for secret in secrets if secret_problem(secret) is None]
    event, reason = None, "bad_signature"
    try:
        if sound:
            verifier = WebhookVerifier(*sound, tolerance=tolerance, clock=lambda: now)
            # What is no text is refused by the verifier in its own words.
            event = verifier.verify(payload, cast("Mapping[str, str]", headers))
    except WebhookRejected as rejected:
        reason = rejected.code
    keys, flaws = _keys(secrets)
    if event is not None:
        return Explanation(event=event, reason=None, findings=tuple(flaws))
    values, odd = recover_headers(headers)
    findings = [*_headers(odd, values), *flaws, *_clock(values, now, tolerance)]
    if not payload.strip():
        words = "the body is empty: was it read before, or is it of another request?"
        findings.append(Finding(code="empty_body", message=words))
    if len(values) == len(NAMES):
        findings += _signature(payload, values, keys)
    if reason in {"not_json", "not_an_object"}:
        kind = "not JSON in UTF-8" if reason == "not_json" else "JSON, but not an object"
        findings.append(Finding(code=reason, message=f"the body is {kind}"))
    return Explanation(event=None, reason=reason, findings=tuple(findings))


def _keys(secrets: Sequence[str]) -> tuple[list[_Key], list[Finding]]:
    keys: list[_Key] = []
    flaws: list[Finding] = []
    for place, secret in enumerate(secrets, 1):
        flaw = secret_problem(secret)
        if flaw is None:
            keys.append(_Key(place, signer(secret).sign))
            continue
        words = f"secret {place} {flaw}"
        flaws.append(Finding(code="secret_form", message=words, secret=place))
        for guess in candidate_secrets(secret):
            with suppress(ConfigurationError):
                keys.append(_Key(place, signer(guess).sign, flaw))
    return keys, flaws


def _headers(odd: Sequence[NonstandardHeader], values: Mapping[str, str]) -> list[Finding]:
    findings = [
        Finding(
            code="misnamed_header",
            message=f"svix-{each.name} came {each.received_as}: "
            "pass it on as one text, under its name",
        )
        for each in odd
    ]
    missing = [f"svix-{name}" for name in NAMES if name not in values]
    if missing:
        words = f"{', '.join(missing)} missing: did a proxy or a framework leave headers out?"
        if len(missing) == len(NAMES):
            words = "no svix header at all: not a delivery of Diffio's, or a proxy dropped them"
        findings.append(Finding(code="missing_header", message=words))
    return findings


def _clock(values: Mapping[str, str], now: float, tolerance: float) -> list[Finding]:
    stamp = values.get("timestamp")
    if stamp is None:
        return []
    try:
        late = now - parse_timestamp(stamp)
    except ValueError:
        words = "svix-timestamp is not in whole seconds since the epoch"
        return [Finding(code="bad_timestamp", message=words)]
    if now - late > _MILLISECONDS:
        words = "svix-timestamp is in milliseconds, it seems: it is signed in seconds"
        return [Finding(code="bad_timestamp", message=words)]
    if abs(late) <= tolerance:
        return []
    side, code = ("behind", "too_old") if late > 0 else ("ahead of", "too_new")
    words = (
        f"clock: the delivery's time is {abs(late):.0f} s {side} this machine's, and "
        f"{tolerance:g} s are allowed: set the clock (or, for a delivery kept on purpose, "
        "--tolerance inf)"
    )
    return [Finding(code=code, message=words, seconds=round(late))]


def _signature(body: bytes, values: Mapping[str, str], keys: Sequence[_Key]) -> list[Finding]:
    """Which secret fits which form of the body, and if none does, what the signatures are."""
    given = values["signature"].replace(",v1,", " v1,").split()
    tokens = [token.encode("utf-8", "replace") for token in given if token.startswith("v1,")]
    if key := _matching(body, values, tokens, keys):
        return _matches(key, "the signature fits the body as it is")
    for rewriting in BODY_MUTATIONS:
        for origin in rewriting.candidates(body):
            if key := _matching(origin, values, tokens, keys):
                words = f"changed body: it {rewriting.description}"
                changed = Finding(code=f"changed_body_{rewriting.code}", message=words)
                return [changed, *_matches(key, "the signature fits the body before that")]
    return [_unknown_signature(given, tokens, keys)]


def _matches(key: _Key, words: str) -> list[Finding]:
    mended = "" if key.problem is None else " once its form is put right"
    return [
        Finding(
            code="fits", message=f"{words}, by secret {key.position}{mended}", secret=key.position
        )
    ]


def _matching(
    body: bytes, values: Mapping[str, str], tokens: Sequence[bytes], keys: Sequence[_Key]
) -> _Key | None:
    # What cannot have been signed (no UTF-8, no such time) fits nothing.
    with suppress(ValueError, OverflowError, OSError):
        seconds = parse_timestamp(values["timestamp"])
        seconds = seconds // 1000 if seconds > _MILLISECONDS else seconds
        instant = datetime.fromtimestamp(seconds, UTC)
        text = body.decode()
        for key in keys:
            due = key.sign(values["id"], instant, text).encode()
            if any(hmac.compare_digest(due, token) for token in tokens):
                return key
    return None


def _unknown_signature(
    given: Sequence[str], tokens: Sequence[bytes], keys: Sequence[_Key]
) -> Finding:
    if not tokens:
        versions = sorted({token.partition(",")[0][:8] for token in given})
        words = f"no signature of version v1 (there is {', '.join(map(repr, versions))})"
        return Finding(
            code="other_version", message=f"{words}: was svix-signature passed on whole?"
        )
    if all(len(token) != _SIGNATURE_LENGTH for token in tokens):
        words = "no signature has the length of one: svix-signature was cut or re-encoded"
        return Finding(code="damaged_signature", message=words)
    tried = f"{len({key.position for key in keys})} secret(s)"
    words = (
        f"wrong secret, most likely: {tried} tried, on the body as it is and undoing the usual "
        "changes, and none fits. Each API key has its own endpoint and secret, and so have test "
        "and live: take the one of this endpoint (or its body was changed in another way)"
    )
    return Finding(code="wrong_secret", message=words)
