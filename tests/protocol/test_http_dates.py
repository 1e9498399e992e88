"""Parsing of HTTP dates; invalid ones are None."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.retry import http_date


@given(st.text())
def test_any_text_is_a_utc_time_or_none(text: str) -> None:
    found = http_date(text)
    assert found is None or found.utcoffset() == timedelta()


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda date: date.year >= 1000))
def test_a_formatted_date_round_trips(date: datetime) -> None:
    date = date.replace(microsecond=0)
    assert http_date(format_datetime(date, usegmt=True)) == date


def test_a_date_outside_the_supported_range_is_none() -> None:
    assert http_date("Fri, 31 Dec 9999 23:59:59 -1200") is None
    assert http_date("") is None
