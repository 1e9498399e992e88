"""Diagnosis of rejected deliveries: each problem is named, and no secret is shown."""

from __future__ import annotations

import base64
import gzip
import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from svix.webhooks import Webhook

from diffio_async.webhooks.diagnose import Explanation, diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another endpoint's secret").decode()
ID = "msg_1"
NOW = 1_764_000_000
EVENT = {
    "eventType": "generation.completed",
    "generationId": "gen_1",
    "note": "Café <b>&</b> a/b 1.50",
    "cents": 12.0,
    "transcription": {"status": "available"},
}
#: The JSON of the sender is compact and not escaped.
BODY = json.dumps(EVENT, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """Skip the check: these tests open nothing, and it takes longer than they do."""


def signed_headers(body: bytes = BODY, secret: str = SECRET, at: float = NOW) -> dict[str, str]:
    """Return the headers of a delivery that is signed by svix."""
    signature = Webhook(secret).sign(ID, datetime.fromtimestamp(at, UTC), body.decode())
    return {"svix-id": ID, "svix-timestamp": str(at), "svix-signature": signature}


def explain(
    body: bytes = BODY, headers: Any = None, *secrets: str, now: float = NOW, **options: Any
) -> Explanation:
    headers = signed_headers() if headers is None else headers
    return diagnose(body, headers, secrets or (SECRET,), now=now, **options)


def codes(explanation: Explanation) -> list[str]:
    return [finding.code for finding in explanation.findings]


def test_a_genuine_delivery_has_an_event_and_no_findings() -> None:
    """The event is parsed, and there is no reason for a rejection."""
    explanation = explain()
    assert explanation.event is not None
    assert explanation.event.generation_id == "gen_1"
    assert (explanation.reason, explanation.findings) == (None, ())


REDUMPED: dict[str, Callable[[bytes], bytes]] = {
    "python": lambda body: json.dumps(json.loads(body)).encode(),
    "python, not ascii": lambda body: json.dumps(json.loads(body), ensure_ascii=False).encode(),
    "compact, ascii": lambda body: json.dumps(json.loads(body), separators=(",", ":")).encode(),
    "indented": lambda body: json.dumps(json.loads(body), indent=4).encode(),
    "indented, with a newline": lambda body: (
        json.dumps(json.loads(body), indent=2).encode() + b"\n"
    ),
}
CHANGED: dict[str, list[Callable[[bytes], bytes]]] = {
    "redumped": [*REDUMPED.values()],
    "newline_added": [lambda b: b + b"\n", lambda b: b + b"\r\n", lambda b: b + b"  "],
    "bom": [lambda b: b"\xef\xbb\xbf" + b],
    "encoding": [
        lambda b: b.decode().encode("latin-1"),
        lambda b: b.decode("latin-1").encode(),
        lambda b: b.decode("cp1252").encode(),
    ],
    "python_repr": [lambda b: str(b).encode(), lambda b: str(json.loads(b)).encode()],
    "enveloped": [
        lambda b: json.dumps({"body": b.decode(), "path": "/hook"}).encode(),
        lambda b: json.dumps({"body": base64.b64encode(b).decode(), "v": 1}).encode(),
        lambda b: json.dumps({"payload": json.loads(b)}).encode(),
        lambda b: json.dumps(b.decode()).encode(),
    ],
    "base64": [base64.b64encode, base64.encodebytes],
    "percent_encoded": [
        lambda b: b.replace(b"{", b"%7B").replace(b'"', b"%22"),
        lambda b: b"x=1&event=" + b"".join(b"%%%02X" % byte for byte in b),
    ],
    "compressed": [gzip.compress],
}


@pytest.mark.parametrize(
    ("code", "change"), [(code, change) for code, many in CHANGED.items() for change in many]
)
def test_a_changed_body_is_diagnosed_by_reverting_the_change(
    code: str, change: Callable[[bytes], bytes]
) -> None:
    """The findings name the change, and that the secret is correct."""
    explanation = explain(change(BODY))
    assert explanation.event is None
    assert explanation.reason in {"bad_signature", "not_json"}
    assert codes(explanation)[:2] == [f"changed_body_{code}", "fits"]


@pytest.mark.parametrize(
    ("signed", "received", "code"),
    [
        (BODY + b"\n", BODY, "newline_stripped"),
        (b'{\n "a": 1\n}\n', b'{\r\n "a": 1\r\n}\r\n', "line_ends"),
        (b'{\r\n "a": 1\r\n}', b'{\n "a": 1\n}', "line_ends"),
        (b'{\n "a": 1\n}', b'{\r\n "a": 1\r\n}\r\n', "line_ends"),
        (b'{"a":"\\u003cb\\u003e"}', b'{"a": "<b>"}', "redumped"),
        (b'{"a":"x\\/y"}', b'{"a": "x/y"}', "redumped"),
        (b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', "redumped"),
    ],
)
def test_changes_of_bodies_in_other_formats_are_diagnosed(
    signed: bytes, received: bytes, code: str
) -> None:
    """Line ends of both kinds, a signed newline, escapes of Go and PHP, sorted keys."""
    assert f"changed_body_{code}" in codes(explain(received, signed_headers(signed)))


def test_the_skew_of_the_clock_is_reported_in_seconds() -> None:
    """A delivery is too old or too new, by some seconds, and its signature is valid."""
    for now, code, text in (
        (NOW + 7200, "too_old", "7200 s behind this machine's"),
        (NOW - 301, "too_new", "301 s ahead of this machine's"),
    ):
        explanation = explain(now=now)
        assert explanation.reason == code
        assert codes(explanation) == [code, "fits"]
        assert explanation.findings[0].seconds == now - NOW
        assert text in explanation.findings[0].message
    assert explain(now=NOW + 1e9, tolerance=math.inf).event is not None


def test_several_problems_are_all_reported() -> None:
    """The delivery is too old, its body was serialized again, and the secret is in quotes."""
    explanation = explain(json.dumps(EVENT).encode(), None, f'"{SECRET}"', now=NOW + 1000)
    assert codes(explanation) == ["secret_form", "too_old", "changed_body_redumped", "fits"]


@pytest.mark.parametrize(
    "form",
    [
        f'"{SECRET}"',
        f"'{SECRET}'",
        f"whsec_{SECRET}",
        SECRET.replace("_", "%5F"),
        f"{SECRET[:20]} {SECRET[20:]}",
        f"{OTHER} {SECRET}",
    ],
)
def test_a_malformed_secret_is_corrected_and_checked(form: str) -> None:
    """The findings name the problem, and that the corrected secret fits."""
    explanation = explain(BODY, None, OTHER, form)
    assert explanation.event is None
    assert codes(explanation) == ["secret_form", "fits"]
    assert explanation.findings[0].message.startswith("secret 2 ")
    assert explanation.findings[1].message.endswith("by secret 2 once its form is corrected")


def test_a_wrong_secret_is_distinguished_from_a_wrong_form() -> None:
    """One secret is well-formed but of another endpoint, another one malformed."""
    assert codes(explain(BODY, None, OTHER)) == ["wrong_secret"]
    assert codes(explain(BODY, None, "diffio_live_key", OTHER)) == ["secret_form", "wrong_secret"]
    assert explain(BODY, None, OTHER, SECRET).event is not None


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_a_missing_header_is_named(name: str) -> None:
    """The message contains the expected name."""
    headers = signed_headers()
    del headers[f"svix-{name}"]
    explanation = explain(BODY, headers)
    assert (explanation.reason, codes(explanation)) == ("missing_header", ["missing_header"])
    assert f"svix-{name} missing" in explanation.findings[0].message


def test_headers_renamed_by_servers_are_recognised() -> None:
    """WSGI names and values in lists are reported, and the signature is still verified."""
    plain = signed_headers()
    wsgi = {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in plain.items()}
    explanation = explain(BODY, wsgi)
    assert codes(explanation) == ["misnamed_header"] * 3 + ["fits"]
    assert "HTTP_SVIX_ID" in explanation.findings[0].message
    lists = {name: [text] for name, text in plain.items()}
    assert codes(explain(BODY, lists)) == ["misnamed_header"] * 3 + ["fits"]
    explanation = explain(BODY, {"content-type": "application/json"})
    assert "no svix header at all" in explanation.findings[0].message


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("v1a,bm90IG9mIG91cnM=", "other_version"),
        ("v2,bm90IG9mIG91cnM=", "other_version"),
        ("nonsense", "other_version"),
        ("v1,c2hvcnQ=", "damaged_signature"),
        ("v1," + base64.b64encode(bytes(32)).decode(), "wrong_secret"),
    ],
)
def test_other_signatures_are_distinguished(signature: str, code: str) -> None:
    """The signature has another version, is truncated, or is of another secret."""
    explanation = explain(BODY, {**signed_headers(), "svix-signature": signature})
    assert (explanation.reason, codes(explanation)) == ("bad_signature", [code])


def test_signatures_joined_by_a_comma_are_recognised() -> None:
    """A proxy may join repeated headers."""
    right = signed_headers()["svix-signature"]
    headers = {**signed_headers(), "svix-signature": f"v1,{'A' * 44},{right}"}
    assert codes(explain(BODY, headers)) == ["fits"]


def test_an_invalid_timestamp_is_reported() -> None:
    """The timestamp is in milliseconds, or not a number."""
    for stamp, text in ((f"{NOW}000", "milliseconds"), ("soon", "whole seconds")):
        explanation = explain(BODY, {**signed_headers(), "svix-timestamp": stamp})
        assert explanation.findings[0].code == "bad_timestamp"
        assert text in explanation.findings[0].message
    assert codes(explain(BODY, {**signed_headers(), "svix-timestamp": f"{NOW}000"}))[1:] == ["fits"]


def test_a_body_without_an_event_is_reported() -> None:
    """The body is empty, signed but not JSON, or JSON but not an object."""
    assert codes(explain(b"")) == ["empty_body", "wrong_secret"]
    assert codes(explain(b"hello", signed_headers(b"hello"))) == ["fits", "not_json"]
    assert codes(explain(b"[1]", signed_headers(b"[1]"))) == ["fits", "not_an_object"]


@given(
    body=st.binary(max_size=60)
    | st.text(max_size=30).map(str.encode)
    | st.sampled_from([b"b'", b'{"body":', b"\x1f\x8b\x08", b"[" * 5000, b"(" * 300, b"%", b"'\\"]),
    headers=st.dictionaries(
        st.sampled_from([*signed_headers(), "HTTP_SVIX_ID", "webhook-id"]) | st.text(max_size=5),
        st.sampled_from([*signed_headers().values(), "v1,", "9" * 15, "-1"])
        | st.text()
        | st.lists(st.text()),
    ),
    secrets=st.lists(st.sampled_from([SECRET, OTHER, f'"{SECRET}"', "whsec_"]) | st.text()),
)
def test_any_delivery_is_explained(body: bytes, headers: Any, secrets: list[str]) -> None:
    """No exception is raised, a rejection has findings, and no secret is shown."""
    explanation = diagnose(body, headers, secrets, now=NOW)
    assert (explanation.event is None) == (explanation.reason is not None)
    assert SECRET.removeprefix("whsec_") not in str(explanation.findings)
    if explanation.event is None:
        assert explanation.findings
