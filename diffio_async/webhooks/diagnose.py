"""Diagnosis of deliveries that fail verification: headers, secrets, clock and body."""

from __future__ import annotations

import ast
import base64
import hmac
import json
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, unquote_to_bytes

from attrs import frozen

from diffio_async.errors import ConfigurationError, WebhookRejected
from diffio_async.models.webhooks import WebhookEvent
from diffio_async.webhooks.verifier import (
    NAMES,
    TOLERANCE,
    NonstandardHeader,
    WebhookVerifier,
    candidate_secrets,
    parse_timestamp,
    recover_headers,
    secret_problem,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Characters of `v1,` and the base64 of 32 bytes.
_SIGNATURE_LENGTH = 47
#: Larger time stamps are in milliseconds: in seconds this is the year 5138.
_MAX_SECONDS = 100_000_000_000


@frozen(kw_only=True)
class Finding:
    """One problem; `seconds` is the skew of a clock, `secret` the position of a secret from 1."""

    code: str
    message: str
    seconds: int | None = None
    secret: int | None = None


@frozen(kw_only=True)
class Explanation:
    """Result: `event` if the delivery is genuine, otherwise `reason` (`WebhookRejected.code`)."""

    event: WebhookEvent | None
    reason: str | None
    findings: tuple[Finding, ...]


@frozen
class _Key:
    """Signing key: the position of the secret from 1, and the problem that was corrected."""

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
    """Verify a delivery, and find the reasons if that fails.

    Args:
        payload: The body as the verifier received it.
        headers: The headers as the verifier received them, under any names.
        secrets: The signing secrets to try; they are never shown.
        now: Seconds since the epoch by the clock of the verifier.
        tolerance: Seconds by which the time of the delivery may differ from `now`.
    """
    valid = [secret for secret in secrets if secret_problem(secret) is None]
    event, reason = None, "bad_signature"
    try:
        if valid:
            verifier = WebhookVerifier(*valid, tolerance=tolerance, clock=lambda: now)
            # The verifier rejects values that are not text with a message of its own.
            event = verifier.verify(payload, cast("Mapping[str, str]", headers))
    except WebhookRejected as rejected:
        reason = rejected.code
    keys, problems = _keys(secrets)
    if event is not None:
        return Explanation(event=event, reason=None, findings=tuple(problems))
    values, odd = recover_headers(headers)
    findings = [*_headers(odd, values), *problems, *_clock(values, now, tolerance)]
    if not payload.strip():
        words = "the body is empty: was it already read, or is it of another request?"
        findings.append(Finding(code="empty_body", message=words))
    if len(values) == len(NAMES):
        findings += _signature(payload, values, keys)
    if reason in {"not_json", "not_an_object"}:
        kind = "not JSON in UTF-8" if reason == "not_json" else "JSON, but not an object"
        findings.append(Finding(code=reason, message=f"the body is {kind}"))
    return Explanation(event=None, reason=reason, findings=tuple(findings))


def _keys(secrets: Sequence[str]) -> tuple[list[_Key], list[Finding]]:
    keys: list[_Key] = []
    problems: list[Finding] = []
    for position, secret in enumerate(secrets, 1):
        problem = secret_problem(secret)
        if problem is None:
            keys.append(_Key(position, signer(secret).sign))
            continue
        words = f"secret {position} {problem}"
        problems.append(Finding(code="secret_form", message=words, secret=position))
        for candidate in candidate_secrets(secret):
            with suppress(ConfigurationError):
                keys.append(_Key(position, signer(candidate).sign, problem))
    return keys, problems


def _headers(odd: Sequence[NonstandardHeader], values: Mapping[str, str]) -> list[Finding]:
    findings = [
        Finding(
            code="misnamed_header",
            message=f"svix-{each.name} was received {each.received_as}: "
            "pass it on as one string, under its name",
        )
        for each in odd
    ]
    missing = [f"svix-{name}" for name in NAMES if name not in values]
    if missing:
        words = f"{', '.join(missing)} missing: did a proxy or a framework remove headers?"
        if len(missing) == len(NAMES):
            words = "no svix header at all: not a delivery of Diffio, or a proxy removed them"
        findings.append(Finding(code="missing_header", message=words))
    return findings


def _clock(values: Mapping[str, str], now: float, tolerance: float) -> list[Finding]:
    stamp = values.get("timestamp")
    if stamp is None:
        return []
    try:
        age = now - parse_timestamp(stamp)
    except ValueError:
        words = "svix-timestamp is not in whole seconds since the epoch"
        return [Finding(code="bad_timestamp", message=words)]
    if now - age > _MAX_SECONDS:
        words = "svix-timestamp is probably in milliseconds: the signed one is in seconds"
        return [Finding(code="bad_timestamp", message=words)]
    if abs(age) <= tolerance:
        return []
    side, code = ("behind", "too_old") if age > 0 else ("ahead of", "too_new")
    words = (
        f"clock: the delivery's time is {abs(age):.0f} s {side} this machine's, and "
        f"{tolerance:g} s are allowed: set the clock (or, for a saved delivery, use "
        "--tolerance inf)"
    )
    return [Finding(code=code, message=words, seconds=round(age))]


def _signature(body: bytes, values: Mapping[str, str], keys: Sequence[_Key]) -> list[Finding]:
    """Find the secret and the original body that the signature is valid for."""
    signatures = values["signature"].replace(",v1,", " v1,").split()
    tokens = [token.encode("utf-8", "replace") for token in signatures if token.startswith("v1,")]
    if key := _matching(body, values, tokens, keys):
        return _matches(key, "the signature fits the body as it is")
    for mutation in BODY_MUTATIONS:
        for origin in mutation.candidates(body):
            if key := _matching(origin, values, tokens, keys):
                words = f"changed body: it {mutation.description}"
                changed = Finding(code=f"changed_body_{mutation.code}", message=words)
                return [changed, *_matches(key, "the signature fits the body before that")]
    return [_unknown_signature(signatures, tokens, keys)]


def _matches(key: _Key, words: str) -> list[Finding]:
    corrected = "" if key.problem is None else " once its form is corrected"
    return [
        Finding(
            code="fits",
            message=f"{words}, by secret {key.position}{corrected}",
            secret=key.position,
        )
    ]


def _matching(
    body: bytes, values: Mapping[str, str], tokens: Sequence[bytes], keys: Sequence[_Key]
) -> _Key | None:
    # A body that is not UTF-8, or an invalid time, cannot have been signed.
    with suppress(ValueError, OverflowError, OSError):
        seconds = parse_timestamp(values["timestamp"])
        seconds = seconds // 1000 if seconds > _MAX_SECONDS else seconds
        instant = datetime.fromtimestamp(seconds, UTC)
        text = body.decode()
        for key in keys:
            expected = key.sign(values["id"], instant, text).encode()
            if any(hmac.compare_digest(expected, token) for token in tokens):
                return key
    return None


def _unknown_signature(
    signatures: Sequence[str], tokens: Sequence[bytes], keys: Sequence[_Key]
) -> Finding:
    if not tokens:
        versions = sorted({token.partition(",")[0][:8] for token in signatures})
        words = f"no signature of version v1 (there is {', '.join(map(repr, versions))})"
        return Finding(
            code="other_version", message=f"{words}: was svix-signature passed on completely?"
        )
    if all(len(token) != _SIGNATURE_LENGTH for token in tokens):
        words = "no signature has the right length: svix-signature was truncated or re-encoded"
        return Finding(code="damaged_signature", message=words)
    tried = f"{len({key.position for key in keys})} secret(s)"
    words = (
        f"most likely a wrong secret: {tried} tried, on the body as it is and with the usual "
        "changes reverted, and none fits. Each API key has its own endpoint and secret, and so "
        "have test and live: take the one of this endpoint (or its body was changed in another way)"
    )
    return Finding(code="wrong_secret", message=words)


_BOM = b"\xef\xbb\xbf"
#: Formats of JSON: Python's default, compact (JavaScript, Rust), Go's; with or without escapes.
_JSON_FORMATS: list[dict[str, Any]] = [
    {"separators": separators, "ensure_ascii": ascii_only, "indent": indent, "sort_keys": ordered}
    for separators, indent in (((",", ":"), None), ((", ", ": "), None), ((",", ": "), 2))
    for ascii_only in (False, True)
    for ordered in (False, True)
]
#: Errors of a reversal for bodies that were not changed in that way.
_MISMATCH = (
    ValueError,
    RecursionError,
    SyntaxError,
    OSError,
    EOFError,
    MemoryError,
    zlib.error,
)
#: Maximum size in bytes: an event has about one thousand, and each candidate costs a hash.
_MAX_MUTATED_BODY = 1024 * 1024


@frozen
class BodyMutation:
    """One change: its code, a description (after "the body "), and the possible original bodies."""

    code: str
    description: str
    origins: Callable[[bytes], Iterable[bytes]]

    def candidates(self, body: bytes) -> Iterator[bytes]:
        """Yield the possible original bodies; none if the change is not applicable."""
        if len(body) > _MAX_MUTATED_BODY:
            return
        try:
            for origin in self.origins(body):
                if origin != body:
                    yield origin
        except _MISMATCH:
            return


def _reencoded(body: bytes) -> Iterator[bytes]:
    yield body.decode("latin-1").encode("utf-8")
    for narrow in ("latin-1", "cp1252"):
        with suppress(UnicodeError):
            yield body.decode("utf-8").encode(narrow)


def _parse_json(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig"))


def _dumps(value: Any) -> Iterator[bytes]:
    for json_format in _JSON_FORMATS:
        text = json.dumps(value, **json_format)
        yield text.encode("utf-8", "surrogatepass")
        # Go escapes these three characters, PHP the slash.
        yield _escape(text, "<>&").encode("utf-8", "surrogatepass")
        yield text.replace("/", "\\/").encode("utf-8", "surrogatepass")


def _escape(text: str, letters: str) -> str:
    for letter in letters:
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _reserialized(body: bytes) -> Iterator[bytes]:
    for text in _dumps(_parse_json(body)):
        yield text
        yield text + b"\n"


def _python_literal(body: bytes) -> Iterator[bytes]:
    value = ast.literal_eval(body.decode().strip())
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from _dumps(value)


def _unwrapped(body: bytes) -> Iterator[bytes]:
    value = _parse_json(body)
    if isinstance(value, str):
        yield value.encode()
    for name in ("body", "payload", "data", "rawBody"):
        inner = value.get(name) if isinstance(value, dict) else None
        if isinstance(inner, str):
            yield inner.encode()
            yield base64.b64decode(inner, validate=True)
        elif inner is not None:
            yield from _dumps(inner)


def _form_decoded(body: bytes) -> Iterator[bytes]:
    yield unquote_to_bytes(body.replace(b"+", b" "))
    yield unquote_to_bytes(body)
    for values in parse_qs(body.decode()).values():
        yield values[0].encode()


def _decompressed(body: bytes) -> Iterator[bytes]:
    # Limited, because a small body may decompress to gigabytes.
    yield zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MAX_MUTATED_BODY)


BODY_MUTATIONS = (
    BodyMutation(
        "newline_added",
        "has gained a newline or blanks at its end (an editor, or `echo` instead of `printf`)",
        lambda body: (body.rstrip(b"\r\n"), body.rstrip()),
    ),
    BodyMutation(
        "newline_stripped",
        "has lost the newline at its end (strip() or $(…) took it)",
        lambda body: (body + b"\n", body + b"\r\n"),
    ),
    BodyMutation(
        "line_ends",
        "has had its line ends changed between LF and CRLF (a file written or read as text)",
        lambda body: (
            body.replace(b"\r\n", b"\n"),
            body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            body.replace(b"\r\n", b"\n").rstrip(b"\n"),
        ),
    ),
    BodyMutation(
        "bom",
        "has gained or lost a byte order mark (utf-8-sig)",
        lambda body: (
            body.removeprefix(_BOM),
            body.removeprefix(_BOM).rstrip(),
            _BOM + body.removeprefix(_BOM),
        ),
    ),
    BodyMutation(
        "encoding",
        "was decoded with one character set and encoded with another (Latin-1 and UTF-8)",
        _reencoded,
    ),
    BodyMutation(
        "redumped",
        "was parsed as JSON and written again (json.dumps(request.json())): its spacing, escapes "
        "or order are not those that were signed; verify the raw bytes",
        _reserialized,
    ),
    BodyMutation(
        "python_repr",
        "is Python's way to show it (str() or repr() of bytes or of a dict), not the bytes",
        _python_literal,
    ),
    BodyMutation(
        "enveloped",
        "is wrapped in other JSON, as gateways and queues do: verify the text inside",
        _unwrapped,
    ),
    BodyMutation(
        "base64",
        "is in base64, as gateways pass binary bodies on: decode it first",
        lambda body: (base64.b64decode(b"".join(body.split()), validate=True),),
    ),
    BodyMutation(
        "percent_encoded", "is percent-encoded, as a form is: decode it first", _form_decoded
    ),
    BodyMutation("compressed", "is compressed (gzip or deflate): unpack it first", _decompressed),
)
