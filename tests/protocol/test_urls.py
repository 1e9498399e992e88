"""Validation of API keys, URLs, model names and headers, before a request is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.endpoints import generation_path
from diffio_async._protocol.urls import (
    api_base_url,
    api_key,
    is_local,
    require_secure_url,
    validate_headers,
)
from diffio_async.errors import ConfigurationError


@pytest.mark.parametrize(
    "key",
    [
        "SECRET\n",
        "SECRET ",
        " SECRET",
        "SEC RET",
        "SEC\tRET",
        "SEC\x00RET",
        "SEC\x7fRET",
        "SECRETé",
        "SECRET\u200b",
        "SECRET\ud800",
        "SECRET\r\nX-Evil: 1",
    ],
)
def test_a_key_that_is_not_a_valid_header_value_is_refused_and_not_shown(key: str) -> None:
    """The key is in neither the message nor the context of the error."""
    with pytest.raises(ConfigurationError) as caught:
        api_key(key)
    assert "SEC" not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("key", [None, "", b"bytes", 5])
def test_a_missing_or_mistyped_key_is_refused_with_a_hint(key: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"DIFFIO_API_KEY|is a string"):
        api_key(key)


@given(key=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_any_printable_key_is_accepted_unchanged(key: str) -> None:
    assert api_key(key) == key


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.diffio.ai", "https://api.diffio.ai/v1"),
        ("https://api.diffio.ai/", "https://api.diffio.ai/v1"),
        ("https://api.diffio.ai/v1", "https://api.diffio.ai/v1"),
        (" https://api.diffio.ai/v1//\n", "https://api.diffio.ai/v1"),
        ("https://host/diffio", "https://host/diffio/v1"),
        ("https://host/v1beta", "https://host/v1beta/v1"),
        ("https://v1", "https://v1/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.8.9.1", "http://127.8.9.1/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://LOCALHOST:1", "http://LOCALHOST:1/v1"),
        ("http://diffio.localhost", "http://diffio.localhost/v1"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example/v1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/v1"),
    ],
)
def test_v1_is_appended_to_a_base_url_if_it_is_missing(url: str, expected: str) -> None:
    assert api_base_url(url) == expected
    assert api_base_url(expected) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://api.diffio.ai/v1",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://notlocalhost",
        "http://0.0.0.0",
        "http://192.168.1.2",
        "http://[::2]",
        "http://[fe80::1]",
        "http://2130706433",
        "http://127.1",
        "HTTP://api.diffio.ai",
        "http://localhost@evil.com",
        "http://localhost\\@evil.com",
        "http://127.0.0.1#@evil.com",
    ],
)
def test_plain_http_is_refused_except_for_loopback(url: str) -> None:
    with pytest.raises(ConfigurationError):
        api_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.diffio.ai",
        "localhost:8000",
        "//api.diffio.ai",
        "ftp://api.diffio.ai",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://[::1",
        "https://host:port",
        "https://host:99999",
        "https://host:0",
        "https://ho st",
        "https://host/\x00",
        "https://host/a\nb",
        "https://host/\x7f",
        "https://host?",
        "https://host/v1?x=1",
        "https://host/v1#",
        "https://host/v1#x",
        "https://user@host",
        "https://evil.com\\@host",
        "https://bücher.example",
        "https://\uff48ost",
    ],
)
def test_an_invalid_base_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        api_base_url(url)


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("127.0.0.1:8490/v1", "does not begin with https://"),
        ("htps://api.diffio.test", "does not begin with https://"),
        ("http://127.0.0.1:84900/v1", "has no valid host or port"),
        ("https:///v1", "has no valid host or port"),
    ],
)
def test_the_error_for_an_invalid_url_states_what_is_wrong(url: str, flaw: str) -> None:
    with pytest.raises(ConfigurationError, match=flaw):
        api_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:PASSWORD@host/v1",
        "http://me:PASSWORD@host/v1",
        "me:PASSWORD@host/v1",
        "PASSWORD@host",
        "https://host/v1?key=PASSWORD",
        "https://host:PASSWORD/v1",
        "https://[PASSWORD/v1",
        "ftp://me:PASSWORD@host?PASSWORD",
    ],
)
def test_the_error_for_an_invalid_url_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        api_base_url(url)
    assert "PASSWORD" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(url=st.text() | st.text().map("https://".__add__) | st.text().map("http://".__add__))
def test_any_text_is_a_base_url_or_a_configuration_error(url: str) -> None:
    try:
        found = api_base_url(url)
    except ConfigurationError:
        return
    assert found.endswith("/v1")
    assert not {"?", "#", " ", "\n"} & set(found)


@given(host=st.text(st.characters(categories=("Ll", "Nd"), max_codepoint=0x7E), min_size=1))
def test_a_loopback_name_as_a_prefix_of_another_domain_is_not_local(host: str) -> None:
    assert not is_local(f"localhost.{host}.com")
    assert not is_local(f"127.0.0.1.{host}a")


def test_a_signed_url_is_not_normalized() -> None:
    link = "https://store/o%2Fa+b?X-Sig=%2f&x=é"
    assert require_secure_url(link, "the link") == link


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("diffio-2", "/diffio-2.0-generation"),
        ("diffio-2-flash", "/diffio-2.0-flash-generation"),
        ("diffio-3.4", "/diffio-3.4-generation"),
        ("diffio-3.5", "/diffio-3.5-generation"),
        ("diffio-4.6-flash", "/diffio-4.6-flash-generation"),
        ("diffio-4.6-pro", "/diffio-4.6-pro-generation"),
        ("diffio-99-next", "/diffio-99-next-generation"),
    ],
)
def test_any_well_formed_model_name_is_accepted(model: str, path: str) -> None:
    """The API decides which models are available."""
    assert generation_path(model) == path


@pytest.mark.parametrize(
    "model",
    [
        *("", "diffio", "diffio-", "Diffio-3.5", "diffio-3.5\n", " diffio-3.5", "gpt-4"),
        *(
            "diffio-3/../x",
            "diffio-3?x",
            "diffio-3#",
            "diffio-3%2f",
            "diffio-é",
            None,
            3,
            b"diffio-3",
        ),
    ],
)
def test_a_malformed_model_name_is_refused(model: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a model"):
        generation_path(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "SECRET\r\nX-Evil: 1"),
        ("X-A", "SECRET\x00"),
        ("X-A", "SECRET\x7f"),
        ("X-A", None),
        ("X-A", b"SECRET"),
        ("X A", "SECRET"),
        ("X-A:", "SECRET"),
        ("X\n", "SECRET"),
        ("", "SECRET"),
        ("é", "SECRET"),
        (5, "SECRET"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_an_invalid_header_is_refused_and_its_value_not_shown(name: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate_headers({name: value})
    assert "SECRET" not in str(caught.value)


def test_valid_headers_are_unchanged() -> None:
    headers = {"X-Trace": "a\tb c", "authorization": "Bearer x", "X-Empty": ""}
    assert validate_headers(headers) == headers
