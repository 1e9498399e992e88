"""Encoding of resume files: a truncated file keeps the entries before the cut."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._storage.append_log import (
    DamagedLog,
    ForeignLog,
    decode_entries,
    encode_entries,
)
from diffio_async._uploads.resume_file import (
    HEADER,
    HEADER_PREFIX,
    encode_delete,
    encode_update,
    load_records,
    record_as_json,
    record_from_json,
)
from diffio_async.models.projects import EdgeUpload, UploadRecord

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


def loaded(content: bytes) -> dict[str, UploadRecord]:
    """Return the records in the content of a resume file."""
    return load_records(decode_entries(content, HEADER_PREFIX))


@given(RECORDS)
def test_a_record_round_trips_through_json(record: UploadRecord) -> None:
    assert record_from_json(json.loads(json.dumps(record_as_json(record)))) == record


@given(
    steps=st.lists(RECORDS | st.sampled_from(["a" * 64, "b" * 64]), max_size=8),
    cut=st.floats(0, 1),
)
def test_a_truncated_file_has_the_entries_before_the_cut(
    steps: list[UploadRecord | str], cut: float
) -> None:
    content, records = encode_entries(HEADER), dict[str, UploadRecord]()
    states = [(len(content), dict(records))]
    for step in steps:
        if isinstance(step, str):
            content += encode_entries(encode_delete(step))
            records.pop(step, None)
        else:
            content += encode_entries(encode_update(step, records.get(step.digest)))
            records[step.digest] = step
        states.append((len(content), dict(records)))
    assert loaded(content) == records
    length = int(cut * len(content))
    complete = [state for size, state in states if size <= length] or [{}]
    assert loaded(content[:length]) == complete[-1]


def test_a_part_adds_a_short_line() -> None:
    """A long upload has thousands of parts: writing the complete record each time is too much."""
    before = attrs.evolve(PLAIN, etags=dict.fromkeys(range(1, 1000), "e"))
    entry = encode_update(attrs.evolve(before, etags={**before.etags, 1000: "last"}), before)
    assert entry == {"digest": PLAIN.digest, "etags": {"1000": "last"}}


@pytest.mark.parametrize("content", [b"x", b"RIFF....", b"{", b'{"kind": "another"}\n', b"\n"])
def test_a_foreign_file_is_recognised(content: bytes) -> None:
    if HEADER_PREFIX.startswith(content):
        assert loaded(content) == {}
    else:
        with pytest.raises(ForeignLog):
            loaded(content)


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
def test_an_invalid_line_is_damage(line: bytes) -> None:
    with pytest.raises(DamagedLog, match="damaged in line 2"):
        loaded(encode_entries(HEADER) + line + b"\n" + encode_entries(encode_delete("x")))


@pytest.mark.parametrize("etags", [{"0": "e"}, {"x": "e"}, {"1": ""}, {"1": 5}, [], None])
def test_invalid_etags_are_damage(etags: object) -> None:
    update = {"digest": PLAIN.digest, "etags": etags}
    with pytest.raises(DamagedLog, match="damaged in line 3"):
        loaded(encode_entries(HEADER, encode_update(PLAIN, None), update))


def test_the_repr_of_a_record_shows_no_secret() -> None:
    record = attrs.evolve(PLAIN, upload_url="https://h/SECRET")
    assert "SECRET" not in repr(record)
