"""Published test vectors, agreement with the installed svix, and invalid deliveries."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import math
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from svix.webhooks import Webhook

from diffio_async import ConfigurationError, WebhookRejected, WebhookVerifier

#: Secret, id, timestamp, body and signature, as published: the description of Standard Webhooks
#: and Svix's first page on manual verification; the libraries' own test; today's manual page.
VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        '{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1731705121,
        '{"event_type":"ping","data":{"success":true}}',
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
]
SECRET, ID, STAMP, BODY, SIGNATURE = VECTORS[0]


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """Skip the check: these tests open nothing, and it takes longer than they do."""


def headers(message_id: str, stamp: object, signature: str) -> dict[str, str]:
    return {"svix-id": message_id, "svix-timestamp": str(stamp), "svix-signature": signature}


def reference_signature(secret: str, message_id: str, stamp: int, body: bytes) -> str:
    """Sign with the published algorithm: HMAC-SHA256 over `id.timestamp.body`, base64, `v1,`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{stamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def verifier(*secrets: str, at: float = STAMP, **options: Any) -> WebhookVerifier:
    return WebhookVerifier(*(secrets or (SECRET,)), clock=lambda: at, **options)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector[1] for vector in VECTORS])
def test_a_published_vector_verifies(vector: tuple[str, str, int, str, str]) -> None:
    """The verifier, svix and the written-out algorithm agree."""
    secret, message_id, stamp, body, signature = vector
    received = headers(message_id, stamp, signature)
    for form in (secret, secret.removeprefix("whsec_")):
        assert verifier(form, at=stamp).verify(body.encode(), received).message_id == message_id
    instant = datetime.fromtimestamp(stamp, UTC)
    assert Webhook(secret).sign(message_id, instant, body) == signature
    assert reference_signature(secret, message_id, stamp, body.encode()) == signature


def test_the_installed_svix_is_a_supported_version() -> None:
    """Supported are 1.84 and later; CI runs this file with 1.84.1 and the newest version."""
    major, minor = map(int, version("svix").split(".")[:2])
    assert (major, minor) >= (1, 84)


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.from_regex(r"msg_[A-Za-z0-9]{1,30}", fullmatch=True),
    stamp=st.integers(0, 4_000_000_000),
    body=st.dictionaries(st.text(), st.none() | st.booleans() | st.floats() | st.text()),
    ascii_only=st.booleans(),
)
def test_svix_the_algorithm_and_the_verifier_agree(
    key: bytes, message_id: str, stamp: int, body: dict[str, Any], ascii_only: bool
) -> None:
    """They agree on any secret, id, time and object, in ASCII or not."""
    secret = "whsec_" + base64.b64encode(key).decode()
    raw = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "replace")
    made = Webhook(secret).sign(message_id, datetime.fromtimestamp(stamp, UTC), raw.decode())
    assert made == reference_signature(secret, message_id, stamp, raw)
    event = verifier(secret, at=stamp).verify(raw, headers(message_id, stamp, made))
    assert event.message_id == message_id


FIELDS = [
    *("eventType", "eventId", "createdAt", "apiKeyId", "apiProjectId", "generationId", "status"),
    *("hasVideo", "modelKey", "error", "errorDetails", "transcription", "extra", "messageId"),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), VALUES))
@example({"eventType": math.inf})
@example({"eventType": math.nan, "\ud800": ""})
def test_every_genuine_object_is_an_event(body: dict[str, Any]) -> None:
    """Its fields may have any values, as a refused event would be repeated for a day."""
    raw = json.dumps(body).encode()
    event = verifier().verify(raw, headers(ID, STAMP, reference_signature(SECRET, ID, STAMP, raw)))
    kind = body.get("eventType")
    assert event.event_type == (kind if isinstance(kind, str) else "")


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f'{{"a":{text}}}'.encode()))
def test_any_signed_bytes_are_an_event_or_rejected(raw: bytes) -> None:
    """Bytes that are not text, JSON or an object, but signed: rejected with `WebhookRejected`."""
    with contextlib.suppress(WebhookRejected):
        verifier().verify(raw, headers(ID, STAMP, reference_signature(SECRET, ID, STAMP, raw)))


def test_a_genuine_body_nested_too_deep_is_rejected() -> None:
    """This includes depths around Python's limit, where parsing may work but writing does not."""
    received = set()
    for depth in [*range(100, 1100, 7), 5000, 100_000]:
        raw = b'{"eventType":"x","z":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        try:
            verifier().verify(raw, headers(ID, STAMP, reference_signature(SECRET, ID, STAMP, raw)))
        except WebhookRejected as rejected:
            received.add(rejected.code)
    assert received == {"not_json"}


ANY_NAME = st.sampled_from(
    [f"{family}-{part}" for family in ("svix", "Webhook") for part in ("id", "timestamp")]
    + ["svix-signature", "WEBHOOK-SIGNATURE"]
)
ANY_VALUE = (
    st.text()
    | st.binary()
    | st.none()
    | st.integers()
    | st.lists(st.text())
    | st.sampled_from([ID, str(STAMP), f"{STAMP}.0", "-1", "١٦١٤٢٦٥٣٣٠", "1_614_265_330"])
    | st.sampled_from([SIGNATURE, f"{SIGNATURE} x", "v1,", "v1", ",", "v1,a,b", "v2,AAAA", "v1a,="])
)


@given(
    body=st.binary() | st.text() | st.sampled_from([BODY, BODY.encode(), bytearray(b"{}"), None]),
    received=st.dictionaries(ANY_NAME | st.text() | st.binary(), ANY_VALUE)
    | st.lists(st.tuples(ANY_NAME, ANY_VALUE))
    | st.lists(st.tuples(st.binary(), st.binary()))
    | st.none(),
    tolerance=st.sampled_from([0, 300, math.inf]),
)
@settings(max_examples=100)
def test_no_other_exception_than_webhook_rejected_is_raised(
    body: Any, received: Any, tolerance: float
) -> None:
    """Body and headers may have any value and type, such as ASGI's pairs of bytes."""
    with contextlib.suppress(WebhookRejected):
        verifier(tolerance=tolerance).verify(body, received)


@pytest.mark.parametrize(
    "stamp", [f"{STAMP}.0", "+1614265330", "1_614_265_330", "١٦١٤٢٦٥٣٣٠", "0x6037bd32", "1e9"]
)
def test_a_timestamp_in_another_format_is_rejected(stamp: str) -> None:
    """The signed text has whole seconds, in digits."""
    with pytest.raises(WebhookRejected) as caught:
        verifier().verify(BODY, headers(ID, stamp, SIGNATURE))
    assert caught.value.code == "missing_header"


def test_headers_as_a_list_are_rejected_with_a_hint() -> None:
    """Headers are pairs, like raw ASGI headers, or values in lists, as from some gateways."""
    plain: Any = headers(ID, STAMP, SIGNATURE)
    pairs: Any = [*plain.items()]
    with pytest.raises(WebhookRejected, match=r"not a list.*dict\(pairs\)"):
        verifier().verify(BODY, pairs)
    plain["svix-id"] = [ID]
    with pytest.raises(WebhookRejected, match="svix-id is a list, expected a str") as caught:
        verifier().verify(BODY, plain)
    assert caught.value.code == "missing_header"


@pytest.mark.parametrize(
    "redumped", [json.dumps(json.loads(BODY), indent=1), '{"test":2432232314}']
)
def test_a_serialized_again_body_is_rejected_with_a_hint(redumped: str) -> None:
    """The error names raw bytes, and the command for a diagnosis."""
    with pytest.raises(WebhookRejected, match=r"raw bytes.*webhooks verify"):
        verifier().verify(redumped, headers(ID, STAMP, SIGNATURE))
    parsed: Any = json.loads(BODY)
    with pytest.raises(WebhookRejected, match="raw bytes"):
        verifier().verify(parsed, headers(ID, STAMP, SIGNATURE))


def test_a_day_old_delivery_is_too_old_and_a_future_one_too_new() -> None:
    """A replay under its own id and signature is refused for its age, with the seconds."""
    received = headers(ID, STAMP, SIGNATURE)
    for seconds, reason, message in (
        (86_400, "too_old", "86400 s old"),
        (-86_400, "too_new", "86400 s in the future"),
    ):
        with pytest.raises(WebhookRejected, match=message) as caught:
            verifier(at=STAMP + seconds).verify(BODY, received)
        assert caught.value.code == reason
        # With a new timestamp, the old signature is invalid.
        with pytest.raises(WebhookRejected) as caught:
            verifier(at=STAMP + seconds).verify(BODY, headers(ID, STAMP + seconds, SIGNATURE))
        assert caught.value.code == "bad_signature"


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("", "is empty"),
        ("whsec_", "is empty"),
        (f'"{SECRET}"', "quotes"),
        (f"{SECRET} {SECRET}", "white space"),
        (f"whsec_{SECRET}", "twice"),
        ("whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "public-key"),
        (SIGNATURE, "a delivery's signature"),
        ("diffio_sandbox_key", "an API key"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2L!", "base64"),
        ("whsec_MfKQ9r8GKYqr-_jUPD8ILPZIo2LaLaSw", "base64"),
        ("whsec_MfKQ9", "base64"),
        # A lenient base64 decoder would ignore these characters.
        (f"{SECRET}!!!!", "base64"),
        (None, "NoneType"),
        ([SECRET], "list"),
        (SECRET.encode(), "bytes"),
    ],
)
def test_an_invalid_secret_is_rejected_with_its_problem(secret: Any, message: str) -> None:
    """It is rejected when the verifier is created; neither message nor context has the secret."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        WebhookVerifier(SECRET, secret)
    shown = f"{caught.value}{caught.value.__context__}{caught.value.__cause__}"
    assert "MfKQ9" not in shown
    assert "g0hM9" not in shown
