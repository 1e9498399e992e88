"""Decoding of responses: strict about required fields, tolerant of everything else."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol.codec import decode
from diffio_async.errors import InvalidResponse
from diffio_async.models.account import (
    AccountSettings,
    ApiKey,
    ApiKeyList,
    Billing,
    UsageSummary,
)
from diffio_async.models.generations import Generation, GenerationList, GenerationProgress
from diffio_async.models.projects import (
    CreatedProject,
    EmptyResponse,
    ProjectList,
    UploadConfirmation,
)

RESPONSE = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "processing"}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def progress(**fields: object) -> GenerationProgress:
    body = json.dumps({**RESPONSE, **fields}).encode()
    return decode(body, GenerationProgress, call="progress", status=200)


def uploaded(size: object) -> int | None:
    body = json.dumps({"apiProjectId": "proj_1", "sizeBytes": size}).encode()
    return decode(body, UploadConfirmation, call="upload", status=200).size_bytes


@pytest.mark.parametrize("stage", ["preProcessing", "inference", "restoredVideo", "transcription"])
@pytest.mark.parametrize("text", ["absent", "null", "{}", "null inside"])
def test_an_optional_stage_may_be_absent_null_or_empty(stage: str, text: str) -> None:
    forms = {"null": None, "{}": {}, "null inside": {"progress": None, "status": None}}
    found = progress(**({} if text == "absent" else {stage: forms[text]}))
    assert found.status == "processing"
    assert found.percent == 0


def test_a_number_may_be_a_string() -> None:
    stage = progress(inference={"progress": "12.5"}).inference
    assert stage is not None
    assert stage.progress == 12.5
    assert uploaded("9007199254740993") == 9007199254740993
    assert uploaded(5.0) == 5


ODD_IDS: list[object] = [None, 5, "", " ", {}, "gen_\ud83d", "gen_\x00", "gen\n", "gen_\u202e"]
ODD_STATUSES: list[object] = [None, 5, True, {"x": 1}, []]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("generationId", odd) for odd in ODD_IDS),
        *(("apiProjectId", odd) for odd in ODD_IDS),
        *(("status", odd) for odd in ODD_STATUSES),
    ],
)
def test_an_invalid_required_field_is_reported_by_its_path(field: str, value: object) -> None:
    """An id is non-empty printable text; a status is any text."""
    with pytest.raises(InvalidResponse, match=f"contract: {field}") as caught:
        progress(**{field: value})
    assert caught.value.status == 200
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hasVideo", "false"),
        ("hasVideo", 0),
        ("error", ["r", "e"]),
        ("error", {"code": "X"}),
        ("inference", "abc"),
        ("inference", [1]),
        ("queue", 0),
        ("stage", 5),
        ("transcription", "pending"),
    ],
)
def test_an_invalid_value_in_an_optional_field_is_none_and_kept_in_extra(
    field: str, value: object
) -> None:
    """Values are not coerced ("false" is not a boolean), and the original value is kept."""
    for status in ("processing", "complete"):
        found = progress(status=status, **{field: value})
        assert found.status == status
        assert found.extra == {field: value}
        own = {"hasVideo": "has_video"}.get(field, field)
        assert getattr(found, own) is None


@pytest.mark.parametrize(
    "number",
    [5.7, True, "many", "", [], {}, 10**400, -(2**63) - 1, "1" * 400, float("nan"), float("inf")],
)
def test_an_invalid_number_is_none_and_kept_in_extra(number: object) -> None:
    """Of the place in the queue; all but 5.7 also of a percentage."""
    body = {"queue": {"position": number}, "inference": {"progress": number, "status": "running"}}
    found = progress(**body)
    assert found.queue is not None
    assert found.queue.position is None
    assert list(found.queue.extra) == ["position"]
    assert found.inference is not None
    assert found.inference.status == "running"
    assert 0 <= found.percent <= 100
    # The kept value is valid JSON: neither NaN nor Infinity.
    json.dumps(found.queue.extra, allow_nan=False)


def test_an_error_object_in_a_failed_generation_becomes_its_reason() -> None:
    for error, reason in (
        ({"code": "X"}, "X"),
        ({"code": "X", "message": "no speech found"}, "no speech found"),
        ({"error": {"message": "deep"}}, "deep"),
        ("words", "words"),
        ({}, None),
        ([1], None),
    ):
        found = progress(status="failed", error=error)
        assert found.failed
        assert found.reason == reason
    assert progress(status="failed", errorDetails={"code": "Y"}).reason == "Y"
    assert progress(status="failed", inference={"error": {"code": "Z"}}).reason == "Z"


def test_the_path_of_an_invalid_field_in_a_row_contains_the_index() -> None:
    rows = [{"generationId": "g", "status": "x"}, {"status": "x"}]
    body = json.dumps({"generations": rows}).encode()
    with pytest.raises(InvalidResponse, match=r"generations\.1\.generationId is missing"):
        decode(body, GenerationList, call="list", status=200)


@pytest.mark.parametrize("row", [None, 5, "proj_1", {}, {"apiProjectId": ""}, {"status": "x"}])
def test_a_row_without_its_id_is_an_invalid_response(row: object) -> None:
    body = json.dumps({"projects": [{"apiProjectId": "p"}, row]}).encode()
    with pytest.raises(InvalidResponse, match=r"projects\.1"):
        decode(body, ProjectList, call="list", status=200)


def test_an_invalid_field_does_not_affect_the_rest_of_its_row() -> None:
    rows = [
        {"apiProjectId": "p1", "status": "uploaded", "createdAt": "", "generationCount": "2"},
        {"apiProjectId": "p2", "status": None, "hasVideo": "yes", "createdAt": 1767225600},
        {"apiProjectId": "p3", "generationCount": 1e300, "originalFileName": {"en": "talk"}},
    ]
    body = json.dumps({"projects": rows, "nextPageToken": "t2"}).encode()
    found = decode(body, ProjectList, call="list", status=200)
    assert [each.api_project_id for each in found.projects] == ["p1", "p2", "p3"]
    assert [each.status for each in found.projects] == ["uploaded", None, None]
    assert [each.generation_count for each in found.projects] == [2, None, None]
    assert [each.created_at for each in found.projects] == [None, None, None]
    assert [each.extra for each in found.projects] == [
        {"createdAt": ""},
        {"hasVideo": "yes", "createdAt": 1767225600},
        {"generationCount": 1e300, "originalFileName": {"en": "talk"}},
    ]
    assert found.extra == {"nextPageToken": "t2"}


def test_null_is_an_empty_list_and_invalid_items_of_a_nested_list_are_dropped() -> None:
    empty = decode(b'{"projects": null}', ProjectList, call="list", status=200)
    assert empty.projects == ()
    scopes = ["keys:read", 5, None, "keys:write"]
    for text, read, kept in (
        (scopes, ("keys:read", "keys:write"), {"scopes": scopes}),
        (None, (), {}),
        ("keys:read", (), {"scopes": "keys:read"}),
    ):
        body = json.dumps({"keys": [{"keyId": "k", "scopes": text}]}).encode()
        (key,) = decode(body, ApiKeyList, call="list", status=200).keys
        assert key.scopes == read
        assert key.extra == kept


@pytest.mark.parametrize("rows", ["abc", {}, 5, False])
def test_rows_that_are_not_a_list_are_refused(rows: object) -> None:
    """Neither a string nor an object is accepted."""
    with pytest.raises(InvalidResponse, match="projects"):
        decode(json.dumps({"projects": rows}).encode(), ProjectList, call="list", status=200)
    with pytest.raises(InvalidResponse, match="projects is missing"):
        decode(b"{}", ProjectList, call="list", status=200)


def test_usage_without_billing_is_accepted() -> None:
    body = {"usage": {"periods": [{"periodId": 5, "totalCents": "12.5"}]}, "billing": None}
    found = decode(json.dumps(body).encode(), UsageSummary, call="usage", status=200)
    (period,) = found.usage.periods
    assert (period.period_id, period.total_cents, period.extra) == (None, 12.5, {"periodId": 5})
    assert found.billing == Billing()


def test_a_missing_required_field_is_refused() -> None:
    """A response to the creation of a key must contain its secret, which is shown only once."""
    for body in (b'{"keyId": "k"}', b'{"keyId": "k", "key": ""}', b'{"keyId": "k", "key": null}'):
        with pytest.raises(InvalidResponse, match="key is missing"):
            decode(body, ApiKey, call="api_keys/create", status=200, needs=["key"])
        decode(body, ApiKey, call="api_keys/revoke", status=200)


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
        b'{"projects": [], "x":' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    """The page of a captive portal does not become an empty list of projects."""
    with pytest.raises(InvalidResponse, match="not a JSON object") as caught:
        decode(body, ProjectList, call="list", status=200)
    kept = caught.value.body
    assert not isinstance(kept, str) or len(kept) <= 2000


def test_an_empty_body_is_accepted_if_no_field_is_required() -> None:
    """The edge may respond to `complete` with 204; an HTML page is refused."""
    for body in (b"", b" \n", b"{}"):
        decode(body, EmptyResponse, call="complete", status=204)
    with pytest.raises(InvalidResponse):
        decode(b"<html>", EmptyResponse, call="complete", status=200)


def test_unknown_fields_and_values_are_kept() -> None:
    found = progress(status="dreaming", extra=1, generation_id="x", restoration={"engine": "e"})
    assert found.status == "dreaming"
    assert not found.complete
    assert not found.failed
    assert found.extra == {"extra": 1, "generation_id": "x", "restoration": {"engine": "e"}}
    nested = progress(inference={"status": "resting", "mood": "good"}).inference
    assert nested is not None
    assert nested.extra == {"mood": "good"}


def test_free_form_objects_are_unchanged() -> None:
    policy = {"type": "spendLimit", "limitCents": 100, "new": [1, {"a": None}]}
    body = {"account": {"billingPolicy": policy}}
    found = decode(json.dumps(body).encode(), AccountSettings, call="account", status=200)
    assert found.account.billing_policy == policy
    odd = b'{"account": {"billingPolicy": "none", "currency": "EUR"}}'
    account = decode(odd, AccountSettings, call="account", status=200).account
    assert (account.billing_policy, account.currency) == (None, "EUR")
    assert account.extra == {"billingPolicy": "none"}


def test_a_byte_order_mark_is_ignored() -> None:
    body = b"\xef\xbb\xbf" + json.dumps(RESPONSE).encode()
    found = decode(body, GenerationProgress, call="progress", status=200)
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
def test_timestamps_are_aware(text: str, instant: datetime) -> None:
    body = json.dumps({"apiProjectId": "p", "expiresAt": text}).encode()
    found = decode(body, CreatedProject, call="create", status=200).expires_at
    assert found == instant
    assert found is not None
    assert isinstance(found.utcoffset(), timedelta)


@pytest.mark.parametrize(
    "stamp",
    ["soon", "", "2026-13-01T00:00:00Z", "1767225600", 1767225600, "0001-01-01T00:00:00+14:00"],
)
def test_an_invalid_timestamp_is_none_and_kept_in_extra(stamp: object) -> None:
    body = json.dumps({"apiProjectId": "p", "expiresAt": stamp}).encode()
    found = decode(body, CreatedProject, call="create", status=200)
    assert found.expires_at is None
    assert found.extra == {"expiresAt": stamp}


def test_a_decoded_model_is_like_a_constructed_one() -> None:
    found, built = (
        progress(hasVideo=True),
        GenerationProgress(
            generation_id="gen_1", api_project_id="proj_1", status="processing", has_video=True
        ),
    )
    assert (type(found), found, hash(found)) == (GenerationProgress, built, hash(built))
    assert pickle.loads(pickle.dumps(found)) == built
    with pytest.raises(FrozenInstanceError):
        found.status = "complete"  # type: ignore[misc]


@pytest.mark.parametrize(
    "project", ["proj\u200d1", "proj\x001", " ", "", "proj\ufffd", "p" * 20_000]
)
def test_an_id_that_cannot_be_sent_back_is_invalid(project: str) -> None:
    with pytest.raises(InvalidResponse, match="apiProjectId: expected a printable string"):
        progress(apiProjectId=project)


@pytest.mark.parametrize("project", ["proj_1", "proj-1", "Projekt Ä", "p" * 2_000])
def test_an_id_is_any_printable_string(project: str) -> None:
    assert progress(apiProjectId=project).api_project_id == project


def test_an_invalid_response_keeps_the_ids_that_it_contains() -> None:
    """The project exists and the generation is billed, whatever the other fields contain."""
    body = json.dumps({**RESPONSE, "status": None}).encode()
    with pytest.raises(InvalidResponse) as caught:
        decode(body, Generation, call="create_generation", status=200)
    assert caught.value.api_project_id == "proj_1"
    assert caught.value.generation_id == "gen_1"


@given(fields=st.dictionaries(st.sampled_from(["status", "queue", "inference", "error"]), JSON))
def test_any_json_is_a_model_or_an_invalid_response(fields: dict[str, object]) -> None:
    """No other exception is raised, and accepted fields have their declared types."""
    try:
        found = progress(**fields)
    except InvalidResponse:
        return
    assert isinstance(found.status, str)
    assert found.error is None or isinstance(found.error, str)
    assert found.reason is None or isinstance(found.reason, str)
    assert 0 <= found.percent <= 100
    json.dumps(found.extra, allow_nan=False).encode()


@given(body=st.binary(max_size=40))
def test_any_bytes_are_a_model_or_an_invalid_response(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        decode(body, GenerationProgress, call="progress", status=200)
