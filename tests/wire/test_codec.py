"""Answers to models: strict about what matters, tolerant of what is yet to come."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._wire.codec import decoded
from diffio_async.errors import ResponseInvalid
from diffio_async.models.account import AccountSettings
from diffio_async.models.generations import Generation, GenerationList, GenerationProgress
from diffio_async.models.projects import ProjectList
from diffio_async.models.uploads import AcknowledgedUpload, CreatedProject, UploadedProject

ANSWER = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "processing"}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def progress(**fields: object) -> GenerationProgress:
    body = json.dumps({**ANSWER, **fields}).encode()
    return decoded(body, GenerationProgress, call="progress", status=200)


def uploaded(size: object) -> int | None:
    body = json.dumps({"apiProjectId": "proj_1", "sizeBytes": size}).encode()
    return decoded(body, UploadedProject, call="upload", status=200).size_bytes


@pytest.mark.parametrize("stage", ["preProcessing", "inference", "restoredVideo", "transcription"])
@pytest.mark.parametrize("given_as", ["absent", "null", "{}", "null inside"])
def test_an_optional_stage_may_be_absent_null_or_empty(stage: str, given_as: str) -> None:
    forms = {"null": None, "{}": {}, "null inside": {"progress": None, "status": None}}
    found = progress(**({} if given_as == "absent" else {stage: forms[given_as]}))
    assert found.status == "processing"
    assert found.percent == 0


def test_a_number_may_come_as_a_string() -> None:
    stage = progress(inference={"progress": "12.5"}).inference
    assert stage is not None
    assert stage.progress == 12.5
    assert uploaded("9007199254740993") == 9007199254740993
    assert uploaded(5.0) == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", None),
        ("status", 5),
        ("status", {"x": 1}),
        ("hasVideo", "false"),
        ("hasVideo", 0),
        ("error", ["r", "e"]),
        ("inference", "abc"),
        ("inference", [1]),
        ("queue", {"position": 5.7}),
        ("queue", {"position": True}),
        ("queue", {"position": "many"}),
        ("inference", {"progress": float("nan")}),
        ("inference", {"progress": float("-inf")}),
        ("inference", {"progress": 10**400}),
        ("inference", {"progress": "1" * 400}),
        ("inference", {"progress": True}),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_path(field: str, value: object) -> None:
    """Nothing is coerced: a null is no 'None', a 5.7 no 5, a "false" no True."""
    with pytest.raises(ResponseInvalid, match=f"contract: {field}") as caught:
        progress(**{field: value})
    assert caught.value.status == 200
    assert caught.value.__cause__ is None


def test_the_path_of_a_misfit_in_a_row_names_the_row() -> None:
    rows = [{"generationId": "g", "status": "x"}, {"generationId": "g", "status": "x"}]
    for broken, words in (({"createdAt": 5}, r"1\.createdAt"), ({"status": None}, r"1\.status")):
        body = json.dumps({"generations": [rows[0], {**rows[1], **broken}]}).encode()
        with pytest.raises(ResponseInvalid, match=rf"generations\.{words}"):
            decoded(body, GenerationList, call="list", status=200)


@pytest.mark.parametrize("rows", ["abc", None, {}, 5])
def test_a_list_is_a_list(rows: object) -> None:
    """Neither a string's letters nor nothing at all pass for rows."""
    with pytest.raises(ResponseInvalid, match="projects"):
        decoded(json.dumps({"projects": rows}).encode(), ProjectList, call="list", status=200)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"<html>Sign in to the hotel's network</html>",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"x":' + b"1" * 5000 + b"}",
    ],
)
def test_a_success_that_is_no_json_object_is_no_success(body: bytes) -> None:
    """A captive portal's page does not become an empty list of projects."""
    with pytest.raises(ResponseInvalid, match="not a JSON object") as caught:
        decoded(body, ProjectList, call="list", status=200)
    kept = caught.value.body
    assert not isinstance(kept, str) or len(kept) <= 2000


def test_what_need_say_nothing_may_say_nothing() -> None:
    """An edge that answers `complete` with 204 has completed; a page in its place has not."""
    for body in (b"", b" \n", b"{}"):
        decoded(body, AcknowledgedUpload, call="complete", status=204)
    with pytest.raises(ResponseInvalid):
        decoded(b"<html>", AcknowledgedUpload, call="complete", status=200)


def test_unknown_fields_and_words_are_kept() -> None:
    found = progress(status="dreaming", extra=1, generation_id="x", restoration={"engine": "e"})
    assert found.status == "dreaming"
    assert not found.complete
    assert not found.failed
    assert found.extra == {"extra": 1, "generation_id": "x", "restoration": {"engine": "e"}}
    nested = progress(inference={"status": "resting", "mood": "good"}).inference
    assert nested is not None
    assert nested.extra == {"mood": "good"}


def test_objects_of_the_services_own_shape_come_as_they_are() -> None:
    policy = {"type": "spendLimit", "limitCents": 100, "new": [1, {"a": None}]}
    body = {"account": {"billingPolicy": policy}}
    found = decoded(json.dumps(body).encode(), AccountSettings, call="account", status=200)
    assert found.account.billing_policy == policy
    wrong = b'{"account": {"billingPolicy": "none"}}'
    with pytest.raises(ResponseInvalid, match="billingPolicy: an object is due"):
        decoded(wrong, AccountSettings, call="account", status=200)


def test_a_byte_order_mark_is_no_part_of_the_answer() -> None:
    body = b"\xef\xbb\xbf" + json.dumps(ANSWER).encode()
    found = decoded(body, GenerationProgress, call="progress", status=200)
    assert found.generation_id == "gen_1"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_time_stamps_are_aware(text: str, instant: datetime) -> None:
    body = json.dumps({"apiProjectId": "p", "expiresAt": text}).encode()
    found = decoded(body, CreatedProject, call="create", status=200).expires_at
    assert found == instant
    assert found is not None
    assert isinstance(found.utcoffset(), timedelta)


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01T00:00:00Z", "1767225600"])
def test_a_time_stamp_that_is_none_is_refused(text: str) -> None:
    body = json.dumps({"apiProjectId": "p", "expiresAt": text}).encode()
    with pytest.raises(ResponseInvalid, match="expiresAt"):
        decoded(body, CreatedProject, call="create", status=200)


def test_an_answer_that_does_not_fit_still_tells_what_it_made() -> None:
    """The project is there and the generation is billed, whatever else the answer says."""
    body = json.dumps({**ANSWER, "status": None}).encode()
    with pytest.raises(ResponseInvalid) as caught:
        decoded(body, Generation, call="create_generation", status=200)
    assert caught.value.api_project_id == "proj_1"
    assert caught.value.generation_id == "gen_1"


@given(fields=st.dictionaries(st.sampled_from(["status", "queue", "inference", "error"]), JSON))
def test_any_json_is_a_model_or_response_invalid(fields: dict[str, object]) -> None:
    """No answer raises anything else, and what is accepted has kept its kinds."""
    try:
        found = progress(**fields)
    except ResponseInvalid:
        return
    assert isinstance(found.status, str)
    assert found.error is None or isinstance(found.error, str)
    assert 0 <= found.percent <= 100


@given(body=st.binary(max_size=40))
def test_any_bytes_are_a_model_or_response_invalid(body: bytes) -> None:
    with pytest.raises(ResponseInvalid):
        decoded(body, GenerationProgress, call="progress", status=200)
