"""Requests of each endpoint: method, path, body and retry safety, as in the contract."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol import endpoints
from diffio_async._protocol.requests import ApiRequest, Host
from diffio_async._protocol.retry import RetrySafety
from diffio_async.errors import ConfigurationError
from diffio_async.models import generations, projects

if TYPE_CHECKING:
    from collections.abc import Callable

OFFER = projects.EdgeUpload(
    upload_session_id="s",
    edge_base_url="https://edge/base/",
    upload_token="t",
    part_size_bytes=1,
)
PROJECT: dict[str, Any] = {"file_name": "a.wav", "content_type": "audio/wav", "content_length": 3}
GENERATION: dict[str, Any] = {"api_project_id": "p", "model": "diffio-4.6-flash", "key": "k"}

CASES: list[tuple[ApiRequest[Any], str, object, type, RetrySafety]] = [
    (
        endpoints.create_project(**PROJECT, file_format="wav", params={"a": 1}),
        "/create_project",
        {
            "fileName": "a.wav",
            "contentType": "audio/wav",
            "contentLength": 3,
            "fileFormat": "wav",
            "params": {"a": 1},
        },
        projects.CreatedProject,
        RetrySafety.NEVER,
    ),
    (
        endpoints.create_project(file_name="a", content_type="b", content_length=0),
        "/create_project",
        {"fileName": "a", "contentType": "b", "contentLength": 0},
        projects.CreatedProject,
        RetrySafety.NEVER,
    ),
    (
        endpoints.complete_project_upload("p"),
        "/complete_project_upload",
        {"apiProjectId": "p"},
        projects.UploadConfirmation,
        RetrySafety.IDEMPOTENT,
    ),
    (endpoints.list_projects(), "/list_projects", {}, projects.ProjectList, RetrySafety.READ),
    (
        endpoints.list_project_generations("p"),
        "/list_project_generations",
        {"apiProjectId": "p"},
        generations.GenerationList,
        RetrySafety.READ,
    ),
    (
        endpoints.create_generation(
            api_project_id="p", model="diffio-3.5", key=" k\n", sampling={"seed": 1}, params={}
        ),
        "/diffio-3.5-generation",
        {"apiProjectId": "p", "sampling": {"seed": 1}, "params": {}, "idempotencyKey": "k"},
        generations.Generation,
        RetrySafety.KEYED,
    ),
    (
        endpoints.get_generation_progress("g", "p"),
        "/get_generation_progress",
        {"generationId": "g", "apiProjectId": "p"},
        generations.GenerationProgress,
        RetrySafety.READ,
    ),
    (
        endpoints.get_generation_progress("g", None),
        "/get_generation_progress",
        {"generationId": "g"},
        generations.GenerationProgress,
        RetrySafety.READ,
    ),
    (
        endpoints.get_generation_download("g", "p", "mp3"),
        "/get_generation_download",
        {"generationId": "g", "apiProjectId": "p", "downloadType": "audio"},
        generations.Download,
        RetrySafety.READ,
    ),
    (
        endpoints.get_generation_download("g", "p", None),
        "/get_generation_download",
        {"generationId": "g", "apiProjectId": "p"},
        generations.Download,
        RetrySafety.READ,
    ),
]


def test_api_requests_match_the_contract() -> None:
    for call, path, body, returns, replay in CASES:
        assert (call.path, call.json, call.returns, call.retry_safety) == (
            path,
            body,
            returns,
            replay,
        )
        assert (call.method, call.host, call.bearer) == ("POST", Host.API, None)


def test_edge_requests_match_the_contract() -> None:
    """All are idempotent: a part replaces itself, and `complete` and `abort` may be repeated."""
    base = "https://edge/base/v1/uploads/"
    cases: list[tuple[ApiRequest[Any], str, str, object]] = [
        (endpoints.start_upload(OFFER), "POST", "start", {}),
        (endpoints.put_part(OFFER, "u/1 &", 7), "PUT", "parts/7?uploadId=u%2F1%20%26", None),
        (
            endpoints.complete_upload(OFFER, "u", ['"a"', "b"]),
            "POST",
            "complete",
            {
                "uploadId": "u",
                "parts": [{"partNumber": 1, "etag": '"a"'}, {"partNumber": 2, "etag": "b"}],
            },
        ),
        (endpoints.abort_upload(OFFER, "u"), "POST", "abort", {"uploadId": "u"}),
    ]
    for call, method, path, body in cases:
        assert (call.method, call.path, call.json) == (method, base + path, body)
        assert (call.host, call.bearer, call.retry_safety) == (
            Host.EDGE,
            "t",
            RetrySafety.IDEMPOTENT,
        )
        assert "?" not in call.name


@given(key=st.text())
def test_an_idempotency_key_has_1_to_255_characters_after_trimming(key: str) -> None:
    if 1 <= len(key.strip()) <= 255:
        assert endpoints.idempotency_key(key) == key.strip()
    else:
        with pytest.raises(ConfigurationError):
            endpoints.idempotency_key(key)


@pytest.mark.parametrize("key", ["", " \n", "k" * 256, None, 5, b"k"])
def test_an_invalid_idempotency_key_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="idempotency key"):
        endpoints.idempotency_key(key)
    assert endpoints.idempotency_key(" " + "k" * 255 + " ") == "k" * 255


def circular_object() -> dict[str, object]:
    found: dict[str, object] = {}
    found["self"] = found
    return found


def deeply_nested_object() -> dict[str, object]:
    found: dict[str, object] = {}
    for _ in range(100_000):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    "params",
    [
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": math.nan},
        {"a": math.inf},
        {"a": object()},
        {("a", "b"): 1},
        "text",
        5,
        circular_object(),
        {"a": 10**5000},
    ],
    ids=lambda value: type(value).__name__,
)
def test_params_that_are_not_a_json_object_are_refused(params: Any) -> None:
    for build in (
        lambda: endpoints.create_project(**PROJECT, params=params),
        lambda: endpoints.create_generation(**GENERATION, params=params),
        lambda: endpoints.create_generation(**GENERATION, sampling=params),
    ):
        with pytest.raises(ConfigurationError, match="JSON object"):
            build()


def test_params_nested_too_deeply_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="JSON object"):
        endpoints.create_generation(**GENERATION, params=deeply_nested_object())


def test_params_are_copied() -> None:
    """Changes after validation are not sent."""
    params: dict[str, object] = {"a": 1}
    call = endpoints.create_generation(**GENERATION, params=params)
    params["a"] = b"not JSON"
    assert call.json is not None
    assert call.json["params"] == {"a": 1}


NEED_AN_ID: list[Callable[[Any], object]] = [
    endpoints.complete_project_upload,
    endpoints.list_project_generations,
    lambda value: endpoints.get_generation_progress(value, None),
    lambda value: endpoints.get_generation_download(value, "p", None),
    lambda value: endpoints.get_generation_download("g", value, None),
    lambda value: endpoints.create_generation(api_project_id=value, model="diffio-3.5", key="k"),
]


@pytest.mark.parametrize("value", ["", " \n", None, 5, b"p"])
def test_an_invalid_id_is_refused(value: Any) -> None:
    for call in NEED_AN_ID:
        with pytest.raises(ConfigurationError, match="non-empty string"):
            call(value)


@pytest.mark.parametrize("kind", ["Audio", "wav", "", None, [], 5])
def test_an_unknown_download_type_is_refused(kind: Any) -> None:
    """It is refused before the generation is billed."""
    with pytest.raises(ConfigurationError, match="not a download type"):
        endpoints.normalize_download_type(kind)
