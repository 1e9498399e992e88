"""Errors made from unsuccessful responses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from diffio_async import errors
from diffio_async._protocol.api_errors import error_from_response
from diffio_async._protocol.requests import Host
from diffio_async._protocol.retry import retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failure(
    status: int, body: object = b"", host: Host = Host.API, **headers: str
) -> errors.ApiError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_from_response(status, found, content, call="a call", host=host, now=NOW)


TABLE = [
    (400, None, errors.BadRequest),
    (401, None, errors.AuthenticationFailed),
    (402, None, errors.PaymentRequired),
    (402, "paymentFailed", errors.PaymentRequired),
    (402, "spendLimitExceeded", errors.SpendLimitExceeded),
    (403, None, errors.PermissionDenied),
    (404, None, errors.NotFound),
    (404, "TRANSCRIPT_UNAVAILABLE", errors.TranscriptUnavailable),
    (404, "TRANSCRIPT_PENDING", errors.NotFound),
    (409, None, errors.NotReady),
    (409, "TRANSCRIPT_PENDING", errors.TranscriptPending),
    (410, "model_retired", errors.ModelRetired),
    (410, None, errors.ModelRetired),
    (410, "project_deleted", errors.ApiError),
    (418, None, errors.ApiError),
    (429, None, errors.RateLimited),
    (500, "spendLimitExceeded", errors.ServerError),
    (503, None, errors.ServerError),
    (599, None, errors.ServerError),
]


def test_each_status_and_code_of_the_contract_has_its_class() -> None:
    """The code may be beside the message, in an error object, or be the message itself."""
    for status, code, kind in TABLE:
        bodies: list[object] = [{"error": "message"}]
        if code is not None:
            bodies = [
                {"error": "message", "code": code},
                {"error": {"code": code, "message": "message"}},
                {"error": {"code": None, "message": "message"}, "code": code},
            ]
        for body in bodies:
            found = failure(status, body)
            assert type(found) is kind, (status, body)
            assert (found.status, found.code) == (status, code)
            assert "message" in str(found)
            assert found.hint in str(found)
    assert type(failure(404, {"error": "TRANSCRIPT_UNAVAILABLE"})) is errors.TranscriptUnavailable
    assert type(failure(410, {"error": "model_retired"})) is errors.ModelRetired


@pytest.mark.parametrize("host", list(Host))
def test_the_failure_of_a_server_advises_to_try_again_later(host: Host) -> None:
    """Also if the server states nothing."""
    assert str(failure(503, b"", host)).endswith("returned 503. Try again later.")


def test_errors_of_edge_and_media_hosts_do_not_concern_the_api_key() -> None:
    """A 403 of a storage host is an expired link: no hints about keys or models."""
    for host in (Host.EDGE, Host.MEDIA):
        for status in (401, 403, 404, 410, 429):
            assert type(failure(status, b"<Error/>", host)) is errors.ApiError
        assert type(failure(502, b"", host)) is errors.ServerError


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error": "no such project", "code": "x"}', "x", "a call returned 400 x: no such"),
        (b'{"error": {"code": "bad", "message": "no part"}}', "bad", "400 bad: no part"),
        (b'{"type": "t", "title": "T", "detail": "D", "status": 400}', None, "400: D"),
        (b'{"title": "T"}', None, "400: T"),
        (b'{"message": "M"}', None, "400: M"),
        (b'{"error": {"code": 7}}', None, "returned 400"),
        (b'{"error": null, "code": 5}', None, "returned 400"),
        (b"<?xml version='1.0'?><Error><Code>Denied</Code></Error>", None, "returned 400"),
        (b"  <!doctype html><html>502</html>", None, "returned 400"),
        (b"upstream failed.", None, "400: upstream failed"),
        (b"", None, "returned 400"),
        (b"[1, 2]", None, "returned 400"),
        (b"null", None, "returned 400"),
        (b"\xff\xfe", None, "returned 400"),
        (b"[" * 100_000, None, "returned 400"),
    ],
)
def test_code_and_message_are_extracted_from_each_kind_of_body(
    body: bytes, code: str | None, message: str
) -> None:
    error = failure(400, body)
    assert error.code == code
    assert message in str(error)
    assert "<" not in str(error)
    assert len(str(error)) < 600


def test_a_long_page_is_truncated_in_the_body() -> None:
    error = failure(502, b"<html>" + b"x" * 100_000)
    assert isinstance(error.body, str)
    assert len(error.body) == 2000
    assert "<html>" not in str(error)


def test_control_characters_in_a_message_are_escaped() -> None:
    error = failure(400, {"error": "\x1b[2Jgone\r\n\x00over\u202e", "code": "\x1b[31m"})
    assert str(error).isprintable()


def test_a_redirect_is_explained_without_its_location() -> None:
    error = failure(302, b"", location="https://elsewhere/?token=abc")
    assert "base URL" in str(error)
    assert "abc" not in str(error)


def test_the_request_id_is_kept() -> None:
    assert failure(500, b"", x_request_id="r1", cf_ray="r2").request_id == "r1"
    assert failure(500, b"", cf_ray="r2").request_id == "r2"
    assert failure(500).request_id is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-0"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 -0000"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 2026 02:01:30 +0200"}, 90.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1, 3"}, 3.0),
        ({"retry-after": "3,1"}, 3.0),
        ({"retry-after": "1, soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Thu, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after": "Thu, 99 Jan 2026 25:61:61 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_each_of_its_formats(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_a_distant_retry_after_date_is_ignored_if_the_server_clock_is_unknown() -> None:
    """The local clock may be wrong by days, so the usual backoff applies."""
    far = {"retry-after": "Fri, 02 Jan 2026 00:00:00 GMT"}
    near = {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}
    assert retry_after(far, NOW, clock_known=False) is None
    assert retry_after(near, NOW, clock_known=False) == 30.0
    dated = far | {"date": "Thu, 01 Jan 2026 23:59:50 GMT"}
    assert retry_after(dated, NOW, clock_known=False) == 10.0


@given(text=st.text(), ms=st.text())
def test_any_retry_after_is_a_finite_delay_or_none(text: str, ms: str) -> None:
    found = retry_after({"retry-after": text, "retry-after-ms": ms}, NOW)
    assert found is None or 0 <= found < float("inf")


DATES = st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda date: date.replace(microsecond=0)
)


@given(sent=DATES, local=DATES, seconds=st.integers(-(10**6), 10**6))
def test_the_local_clock_is_not_used_if_the_response_has_a_date(
    sent: datetime, local: datetime, seconds: int
) -> None:
    assume(sent.year < 9998)
    later = sent + timedelta(seconds=seconds)
    headers = {
        "date": format_datetime(sent, usegmt=True),
        "retry-after": format_datetime(later, usegmt=True),
    }
    assert retry_after(headers, local) == max(0, seconds)


@given(date=st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_retry_after_date_is_a_delay_until_that_date(date: datetime) -> None:
    """Dates have whole seconds; a date in the past is a delay of 0."""
    date = date.replace(microsecond=0)
    found = retry_after({"retry-after": format_datetime(date, usegmt=True)}, NOW)
    assert found == max(0.0, (date - NOW).total_seconds())


def test_the_requested_delay_is_an_attribute_and_in_the_message() -> None:
    error = failure(429, {"error": "slow down"}, retry_after="7")
    assert error.retry_after == 7
    assert "wait 7 s" in str(error)


@given(status=st.integers(300, 599), body=st.binary(max_size=60), host=st.sampled_from(Host))
def test_any_response_is_an_api_error(status: int, body: bytes, host: Host) -> None:
    error = error_from_response(status, {}, body, call="a call", host=host, now=NOW)
    assert error.status == status
    assert str(error).startswith(f"a call returned {status}")
