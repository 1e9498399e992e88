"""Dates in headers: read where they are dates, and None where they are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.retry import http_date


@given(st.text())
def test_any_text_is_a_time_in_utc_or_none(text: str) -> None:
    found = http_date(text)
    assert found is None or found.utcoffset() == timedelta()


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda date: date.year >= 1000))
def test_a_date_is_read_back_to_the_second(date: datetime) -> None:
    date = date.replace(microsecond=0)
    assert http_date(format_datetime(date, usegmt=True)) == date


def test_a_zone_that_leads_out_of_time_is_no_date() -> None:
    assert http_date("Fri, 31 Dec 9999 23:59:59 -1200") is None
    assert http_date("") is None
