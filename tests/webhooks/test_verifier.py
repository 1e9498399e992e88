"""Verification: known signatures, those of svix, and invalid deliveries."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from svix.webhooks import Webhook

from diffio_async import (
    ConfigurationError,
    WebhookEvent,
    WebhookRejected,
    WebhookVerifier,
)

#: The test vector in Svix's description of manual verification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "whsec_" + base64.b64encode(b"another endpoint's secret").decode()


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """Skip the check: these tests open nothing, and it takes longer than they do."""


def headers(prefix: str = "svix-", **changed: str) -> dict[str, str]:
    """Return the headers of the vector."""
    plain = {"id": ID, "timestamp": str(STAMP), "signature": SIGNATURE, **changed}
    return {f"{prefix}{name}": value for name, value in plain.items()}


def verifier(*secrets: str, **options: Any) -> WebhookVerifier:
    """Return a verifier whose clock shows the time of the vector."""
    return WebhookVerifier(*(secrets or (SECRET,)), **{"clock": lambda: STAMP, **options})


def signed(body: bytes, secret: str = SECRET, message_id: str = ID) -> dict[str, str]:
    """Return the headers of a body that is signed by svix."""
    instant = datetime.fromtimestamp(STAMP, UTC)
    signature = Webhook(secret).sign(message_id, instant, body.decode())
    return headers(id=message_id, signature=signature)


def reason(body: Any, given_headers: Any, **options: Any) -> str:
    """Return the code with which a delivery is rejected."""
    with pytest.raises(WebhookRejected) as caught:
        verifier(**options).verify(body, given_headers)
    return caught.value.code


@pytest.mark.parametrize("prefix", ["svix-", "webhook-", "Svix-", "SVIX-", "Webhook-"])
def test_the_published_vector_verifies(prefix: str) -> None:
    """Both families of header names are accepted, in any case."""
    event = verifier().verify(BODY, headers(prefix))
    assert event == WebhookEvent(event_type="", message_id=ID, extra={"test": 2432232314})


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_"), f" {SECRET}\n"])
def test_each_form_of_a_secret_is_accepted(secret: str) -> None:
    """It may lack `whsec_`, or have the newline of a file."""
    assert verifier(secret).verify(BODY.decode(), headers()).message_id == ID


def test_one_of_several_secrets_is_enough() -> None:
    """Several secrets are for a rotation, or for the endpoints of two keys."""
    assert verifier(OTHER, SECRET).verify(BODY, headers()).message_id == ID


def test_one_of_several_signatures_is_enough() -> None:
    """Invalid signatures before the right one are ignored."""
    many = f"v1 , v1,!!!! v2,{SIGNATURE[3:]} é,x {SIGNATURE}"
    assert verifier().verify(BODY, headers(signature=many)).message_id == ID


def test_an_event_has_typed_fields() -> None:
    """The contract's payload becomes an event."""
    body = json.dumps(
        {
            "eventType": "generation.completed",
            "eventId": "evt_1",
            "createdAt": "2026-11-22T10:00:00Z",
            "apiKeyId": "key_1",
            "apiProjectId": "proj_1",
            "generationId": "gen_1",
            "status": "complete",
            "hasVideo": False,
            "modelKey": "diffio-4.6-flash",
            "error": None,
            "errorDetails": None,
            "transcription": {"status": "available"},
            "region": "eu",
        }
    ).encode()
    event = verifier().verify(body, signed(body))
    assert event.event_type == "generation.completed"
    assert event.created_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert event.generation_id == "gen_1"
    assert event.transcription is not None
    assert event.transcription.status == "available"
    assert event.message_id == ID
    assert event.extra == {"region": "eu"}
    assert pickle.loads(pickle.dumps(event)) == event


@pytest.mark.parametrize("kind", ["generation.archived", "project.created"])
def test_an_event_of_an_unknown_type_is_accepted(kind: str) -> None:
    """After errors, the sender would repeat it for days and disable the endpoint."""
    body = json.dumps({"eventType": kind, "generationId": 5, "shape": ["new"]}).encode()
    event = verifier().verify(body, signed(body))
    assert event.event_type == kind
    assert event.extra["shape"] == ["new"]


@pytest.mark.parametrize(
    ("name", "value"), [("createdAt", 1767225600), ("hasVideo", "no"), ("apiKeyId", 7)]
)
def test_an_invalid_field_does_not_affect_the_others(name: str, value: object) -> None:
    """The invalid value is kept in `extra`."""
    link = "https://host/a.mp3?signature=abcdefghijklmnop"
    body = json.dumps(
        {"eventType": "x", "generationId": "gen_1", name: value, "link": link}
    ).encode()
    event = verifier().verify(body, signed(body))
    assert event.generation_id == "gen_1"
    assert event.extra == {name: value, "link": link}


def test_a_body_that_was_serialized_again_is_rejected_with_a_hint() -> None:
    """The message names the raw body, as this is the most common mistake."""
    with pytest.raises(WebhookRejected, match="raw") as caught:
        verifier().verify(json.dumps(json.loads(BODY), indent=1), headers())
    assert caught.value.code == "bad_signature"
    parsed: Any = json.loads(BODY)
    with pytest.raises(WebhookRejected, match="raw bytes"):
        verifier().verify(parsed, headers())


def test_the_tolerance_of_timestamps() -> None:
    """It is five minutes in both directions by default, and unlimited with `inf`."""
    for offset, word in ((301, "too_old"), (-301, "too_new")):
        assert reason(BODY, headers(), clock=lambda o=offset: STAMP + o) == word
    for offset in (300, -300):
        assert verifier(clock=lambda o=offset: STAMP + o).verify(BODY, headers()).message_id == ID
    assert reason(BODY, headers(), tolerance=10, clock=lambda: STAMP + 11) == "too_old"
    assert (
        verifier(tolerance=math.inf, clock=lambda: STAMP + 1e9).verify(BODY, headers()).message_id
        == ID
    )


@pytest.mark.parametrize("name", ["svix-id", "svix-timestamp", "svix-signature"])
@pytest.mark.parametrize("value", [None, "", " ", ["a"], 5])
def test_a_missing_header_is_named(name: str, value: Any) -> None:
    """The header is absent, empty, or of an invalid type."""
    given_headers: dict[str, Any] = {**headers(), name: value}
    if value is None:
        del given_headers[name]
    with pytest.raises(WebhookRejected, match=name) as caught:
        verifier().verify(BODY, given_headers)
    assert caught.value.code == "missing_header"


@pytest.mark.parametrize("stamp", ["soon", "1e9", "9" * 40, "-1e400", "1614265330.5"])
def test_an_invalid_timestamp_is_rejected(stamp: str) -> None:
    """The header has any other text."""
    assert reason(BODY, headers(timestamp=stamp)) in {"missing_header", "too_new", "too_old"}


@pytest.mark.parametrize("odd", [None, 5, [("svix-id", ID)], "svix-id: x"])
def test_headers_that_are_not_a_mapping_are_rejected(odd: Any) -> None:
    """An object of a framework does not raise `AttributeError`."""
    assert reason(BODY, odd) == "missing_header"


def test_genuine_bodies_without_an_event_are_distinguished() -> None:
    """They are not JSON, JSON but not an object, or bytes that are not text."""
    assert reason(b"hello", signed(b"hello")) == "not_json"
    assert reason(b"[1]", signed(b"[1]")) == "not_an_object"
    assert reason(b'"text"', signed(b'"text"')) == "not_an_object"
    assert reason(b"\xff\xfe", headers()) == "not_json"


@pytest.mark.parametrize("bad", ["", "  ", "whsec_", "whsec_not base64 é", "whsec_*", "a"])
def test_an_invalid_secret_is_refused_and_not_shown(bad: str) -> None:
    """It is refused when the verifier is created, not at the first delivery."""
    with pytest.raises(ConfigurationError) as caught:
        WebhookVerifier(SECRET, bad)
    if len(bad.strip()) > 6:
        assert bad not in str(caught.value)


def test_a_verifier_requires_a_secret_and_its_repr_shows_none() -> None:
    """The repr contains the number of secrets."""
    with pytest.raises(ConfigurationError):
        WebhookVerifier()
    with pytest.raises(ConfigurationError):
        WebhookVerifier(SECRET, tolerance=-1)
    assert repr(verifier()) == "WebhookVerifier(1 secret, tolerance=300)"


@given(body=st.dictionaries(st.text(), st.text() | st.integers()), message_id=st.uuids())
def test_everything_that_svix_signs_verifies(body: dict[str, Any], message_id: Any) -> None:
    """The body is any JSON object."""
    raw = json.dumps(body).encode()
    event = verifier().verify(raw, signed(raw, message_id=f"msg_{message_id}"))
    assert event.message_id == f"msg_{message_id}"


@given(
    body=st.binary() | st.text(),
    given_headers=st.dictionaries(
        st.sampled_from(["svix-id", "svix-timestamp", "svix-signature", "webhook-id"]) | st.text(),
        st.text() | st.sampled_from([ID, str(STAMP), SIGNATURE]),
    ),
)
def test_no_other_exception_than_webhook_rejected_is_raised(body: Any, given_headers: Any) -> None:
    """Body and headers are arbitrary."""
    with contextlib.suppress(WebhookRejected):
        verifier().verify(body, given_headers)


@given(st.binary(min_size=1))
def test_a_signature_is_not_valid_for_another_body(body: bytes) -> None:
    """Only the signed body is accepted."""
    if body == BODY:
        return
    with pytest.raises(WebhookRejected):
        verifier().verify(body, headers())
