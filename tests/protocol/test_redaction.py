"""Redaction: secrets in responses are in no message, body or repr."""

from __future__ import annotations

import html
import json
import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.api_errors import error_from_response
from diffio_async._protocol.codec import decode
from diffio_async._protocol.redaction import MASK, public_url, redact, redacted_excerpt
from diffio_async._protocol.requests import Host
from diffio_async.errors import InvalidResponse
from diffio_async.models.projects import CreatedProject

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Printable ASCII, like a key, and too long to be part of the mask.
SECRETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=11, max_size=40)
TOKEN = 'to/ken+with="quotes"&more'


@given(secret=SECRETS, before=st.text(), after=st.text())
def test_a_secret_is_removed_from_any_text(secret: str, before: str, after: str) -> None:
    assert secret not in redact(f"{before}{secret}{after}", [secret])


@given(secrets=st.lists(SECRETS, max_size=4), texts=st.lists(st.text(), max_size=4))
def test_secrets_that_are_prefixes_of_each_other_are_removed(
    secrets: list[str], texts: list[str]
) -> None:
    secrets += [secret[:11] for secret in secrets]
    text = redact(" ".join([*secrets, *texts]), secrets)
    assert not any(secret in text for secret in secrets)


@given(text=st.text())
def test_redaction_is_idempotent(text: str) -> None:
    once = redact(f"{text} https://h/p?a=b token=abc", ["s3cret-s3cret"])
    assert redact(once, ["s3cret-s3cret"]) == once


@pytest.mark.parametrize(
    "text",
    [
        "the key diffio_live_SECRETSECRET is unknown",
        "key_diffio_live_SECRETSECRET",
        "signed with whsec_SECRETSECRET==",
        "GET https://bucket/o?X-Amz-Signature=SECRETSECRET failed",
        "GET HTTPS://bucket/o?SECRETSECRET",
        "/bucket/o?x=1&X-Goog-Signature=SECRETSECRET&y=2",
        "https://user:SECRETSECRET@host/path",
        "token=SECRETSECRET",
        "eyJhbGciOiJIUzI1NiJ9.SECRETSECRET.SECRETSECRET",
    ],
)
def test_patterns_of_secrets_are_masked_by_default(text: str) -> None:
    assert "SECRETSECRET" not in redact(text)
    assert MASK in redact(text)


def test_ordinary_text_is_unchanged() -> None:
    for text in ("a bearer token is missing", "see https://diffio.ai/docs?", "diffio-4.6-flash"):
        assert redact(text) == text


def test_an_empty_secret_masks_nothing() -> None:
    assert redact("abc", [""]) == "abc"


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: json.dumps({"error": f"bad {s}!"}),
    "escaped": lambda s: json.dumps({"error": s}).replace("/", "\\/").replace("&", "\\u0026"),
    "every character escaped": lambda s: (
        '{"error": "' + "".join(f"\\u{ord(c):04x}" for c in s) + '"}'
    ),
    "as a key": lambda s: json.dumps({s: 1}),
    "nested": lambda s: json.dumps({"error": {"message": "x", "details": [[{"a": s}]]}}),
    "html": lambda s: f"<p>{html.escape(s)}</p>",
    "url": lambda s: f"/path?x={quote(s, safe='')}",
    "text": lambda s: f"unknown {s}",
    "straddling the cut": lambda s: "x" * 1990 + s,
    "json in text": lambda s: f"<pre>{json.dumps(s)}</pre>",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_error_contains_a_secret_in_no_encoding(encoding: str) -> None:
    error = error_from_response(
        403,
        {"x-request-id": f"req {TOKEN}"},
        ENCODINGS[encoding](TOKEN).encode(),
        call="a call",
        host=Host.API,
        now=NOW,
        secrets=[TOKEN],
    )
    for shown in (str(error), repr(error), repr(error.body), repr(error.request_id)):
        for way in (TOKEN, json.dumps(TOKEN)[1:-1], html.escape(TOKEN), quote(TOKEN, safe="")):
            assert way not in shown
        # Nor its beginning, if the text was truncated.
        assert "to/ken" not in shown


def test_masking_a_url_does_not_damage_the_json_around_it() -> None:
    """A URL before an escaped quote must not consume the escape, or the code would be lost."""
    body = json.dumps({"error": 'see "https://h/p?sig=abc"', "code": "spendLimitExceeded"})
    error = error_from_response(402, {}, body.encode(), call="c", host=Host.API, now=NOW)
    assert error.code == "spendLimitExceeded"
    assert "abc" not in str(error)


def test_an_invalid_response_keeps_neither_tokens_nor_signatures() -> None:
    response = {
        "apiProjectId": None,
        "uploadUrl": "https://store/o?X-Signature=SIGNED",
        "upload": {"uploadToken": "TOKENTOKEN", "edgeBaseUrl": "https://edge"},
        "key": "KEYKEYKEY",
        "echo": "ECHOED",
    }
    with pytest.raises(InvalidResponse) as caught:
        decode(
            json.dumps(response).encode(),
            CreatedProject,
            call="create_project",
            status=200,
            secrets=["ECHOED"],
        )
    dump = repr(caught.value.body) + str(pickle.dumps(caught.value))
    for secret in ("SIGNED", "TOKENTOKEN", "KEYKEYKEY", "ECHOED"):
        assert secret not in dump
    assert "https://edge" in dump


def test_values_without_secrets_are_unchanged() -> None:
    value = {"a": [1, 2.5, None, True, {"b": "text"}], "token": None, "apiKey": "k"}
    assert redacted_excerpt(value) == {**value, "apiKey": MASK}


def test_values_nested_too_deeply_are_not_kept() -> None:
    deep: object = "s3cret-s3cret"
    for _ in range(5000):
        deep = [deep]
    assert "s3cret" not in repr(redacted_excerpt(deep, ["s3cret-s3cret"]))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@Host:8/path?q#f", "https://host:8/path"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[::1", "(no address)"),
        ("https://h:99999/x", "(no address)"),
        ("user:password@host/v1", "(no address)"),
        ("", "(no address)"),
    ],
)
def test_a_public_url_has_neither_user_nor_query(url: str, shown: str) -> None:
    assert public_url(url) == shown


@given(url=st.text())
def test_any_text_has_a_public_url_without_a_query(url: str) -> None:
    assert "?" not in public_url(url)


@given(url=st.from_regex(r"https?://[a-z0-9.:-]{0,12}/[!-~]{0,12}", fullmatch=True))
def test_a_plain_url_is_public_as_if_it_were_parsed(url: str) -> None:
    """What follows a second `?` is a part of the query, so both are the same URL."""
    assert public_url(url) == public_url(f"{url}?")
