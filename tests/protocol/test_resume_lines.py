"""The lines of a resume file: wherever they are cut, the steps before the cut hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._uploads.resume_file import (
    FIRST_LINE,
    HEADER_PREFIX,
    CorruptLog,
    encode_delete,
    encode_update,
    load_records,
    record_as_json,
    record_from_json,
)
from diffio_async.models.uploads import EdgeUpload, UploadRecord

AT = datetime(2026, 1, 1, tzinfo=UTC)
OFFERS = st.builds(
    EdgeUpload,
    upload_session_id=st.text(),
    edge_base_url=st.text(),
    upload_token=st.text(),
    part_size_bytes=st.integers(1, 2**40),
    max_bytes=st.none() | st.integers(0, 2**40),
    object_key=st.none() | st.text(),
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    extra=st.just({}),
)
RECORDS = st.builds(
    UploadRecord,
    digest=st.sampled_from(["a" * 64, "b" * 64]),
    size=st.integers(0, 2**50),
    file_name=st.text(),
    content_type=st.text(),
    api_project_id=st.text(),
    object_path=st.none() | st.text(),
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    offer=st.none() | OFFERS,
    upload_url=st.none() | st.text(),
    upload_method=st.none() | st.text(),
    upload_id=st.none() | st.text(),
    part_size_bytes=st.none() | st.integers(1, 2**40),
    etags=st.dictionaries(st.integers(1, 10_000), st.text(min_size=1), max_size=4),
)
PLAIN = UploadRecord(
    digest="a" * 64, size=5, file_name="f", content_type="c", api_project_id="p", expires_at=AT
)


@given(RECORDS)
def test_a_record_is_the_same_after_json(record: UploadRecord) -> None:
    assert record_from_json(json.loads(json.dumps(record_as_json(record)))) == record


@given(
    steps=st.lists(RECORDS | st.sampled_from(["a" * 64, "b" * 64]), max_size=8),
    cut=st.floats(0, 1),
)
def test_a_file_that_is_cut_anywhere_has_the_steps_before_the_cut(
    steps: list[UploadRecord | str], cut: float
) -> None:
    content, records = FIRST_LINE, dict[str, UploadRecord]()
    states = [(len(content), dict(records))]
    for step in steps:
        if isinstance(step, str):
            content += encode_delete(step)
            records.pop(step, None)
        else:
            content += encode_update(step, records.get(step.digest))
            records[step.digest] = step
        states.append((len(content), dict(records)))
    assert load_records(content) == (records, len(content))
    length = int(cut * len(content))
    found, whole = load_records(content[:length])
    held = [state for size, state in states if size <= length] or [{}]
    assert found == held[-1]
    assert whole <= length


def test_a_part_adds_a_short_line() -> None:
    """A long upload has thousands of parts; the whole record each time would be gigabytes."""
    before = attrs.evolve(PLAIN, etags=dict.fromkeys(range(1, 1000), "e"))
    line = encode_update(attrs.evolve(before, etags={**before.etags, 1000: "last"}), before)
    assert json.loads(line) == {"digest": PLAIN.digest, "etags": {"1000": "last"}}


@pytest.mark.parametrize("content", [b"x", b"RIFF....", b"{", b'{"kind": "another"}\n', b"\n"])
def test_what_is_none_of_ours_is_told_apart(content: bytes) -> None:
    if HEADER_PREFIX.startswith(content):
        assert load_records(content) == ({}, 0)
    else:
        with pytest.raises(CorruptLog, match="not a resume file"):
            load_records(content)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"record": 5}',
        b'{"record": {}}',
        b'{"digest": "unknown", "etags": {}}',
        b"\x00\x00\x00",
    ],
)
def test_a_line_that_is_none_is_damage(line: bytes) -> None:
    with pytest.raises(CorruptLog, match="damaged in line 2"):
        load_records(FIRST_LINE + line + b"\n" + encode_delete("x"))


@pytest.mark.parametrize("etags", [{"0": "e"}, {"x": "e"}, {"1": ""}, {"1": 5}, [], None])
def test_etags_that_are_none_are_damage(etags: object) -> None:
    whole = encode_update(PLAIN, None)
    line = json.dumps({"digest": PLAIN.digest, "etags": etags}).encode()
    with pytest.raises(CorruptLog, match="damaged in line 3"):
        load_records(FIRST_LINE + whole + line + b"\n")


def test_a_record_shows_no_secret() -> None:
    record = attrs.evolve(PLAIN, upload_url="https://h/SECRET")
    assert "SECRET" not in repr(record)
