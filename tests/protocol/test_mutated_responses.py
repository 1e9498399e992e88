"""Mutated responses: every call ends with a result or an error of the package."""

from __future__ import annotations

import contextlib
import json
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffio_async import AsyncDiffio, ClientOptions, DiffioError, RetryPolicy
from diffio_async._polling.job_timeline import parse_rows, progress_from_row
from diffio_async._protocol.codec import decode, parse_body
from diffio_async.compat import types as compat
from diffio_async.compat.errors import DiffioInvalidResponse
from diffio_async.errors import InvalidResponse
from diffio_async.models import account, generations, projects, webhooks
from diffio_async.webhooks.verifier import parse_event
from tests.http.peers import Incoming, peer, responds

if TYPE_CHECKING:
    import asyncio

STAMP = "2026-01-02T03:04:05Z"
STAGE = {"jobId": "j", "jobState": "s", "status": "running", "progress": 50, "error": None}
#: A valid response for each model.
VALID: dict[type[Any], dict[str, Any]] = {
    generations.GenerationProgress: {
        "generationId": "gen_1", "apiProjectId": "proj_1", "status": "processing",
        "hasVideo": False, "preProcessing": STAGE, "inference": STAGE, "error": None,
        "errorDetails": {"a": 1}, "transcription": {"status": "pending"}, "stage": "inference",
        "stageProgress": 5, "queue": {"position": 1, "message": "soon"},
    },
    generations.GenerationList: {
        "apiProjectId": "proj_1",
        "generations": [
            {"generationId": f"gen_{n}", "status": "queued", "progress": n, "createdAt": STAMP}
            for n in range(3)
        ],
    },
    generations.Generation: {
        "generationId": "gen_1", "apiProjectId": "proj_1", "modelKey": "m", "status": "queued",
        "idempotentReplay": False,
    },
    generations.Download: {
        "generationId": "gen_1", "apiProjectId": "proj_1", "downloadType": "audio",
        "downloadUrl": "https://h/p?q", "fileName": "a.mp3", "mimeType": "audio/mpeg",
    },
    projects.ProjectList: {
        "projects": [
            {"apiProjectId": f"p{n}", "status": "uploaded", "originalFileName": "a.wav",
             "hasVideo": False, "generationCount": n, "createdAt": STAMP, "updatedAt": STAMP}
            for n in range(3)
        ],
        "nextPageToken": "t",
    },
    projects.CreatedProject: {
        "apiProjectId": "p", "objectPath": "o", "expiresAt": STAMP, "uploadUrl": "https://h/p",
        "uploadMethod": "PUT",
        "upload": {"uploadSessionId": "s", "edgeBaseUrl": "https://e", "uploadToken": "t",
                   "partSizeBytes": 5, "maxBytes": 10, "expiresAt": STAMP},
    },
    projects.UploadConfirmation: {"apiProjectId": "p", "status": "uploaded", "sizeBytes": 5},
    account.AccountSettings: {
        "apiKeyId": "k", "account": {"userId": "u", "billingPolicy": {"type": "x"},
                                     "updatedAt": STAMP},
    },
    account.ApiKeyList: {
        "keys": [{"keyId": "k", "label": "l", "scopes": ["a", "b"], "createdAt": STAMP}]
    },
    account.UsageSummary: {
        "usage": {"apiKeyId": "k", "periods": [{"periodId": "p", "totalCents": 5,
                                                "modelSeconds": {"m": 1}}]},
        "billing": {"lifetimeListPriceCents": 5},
    },
    webhooks.ConfiguredWebhook: {"webhook": {"url": "https://h", "eventTypes": ["a"]}},
    webhooks.SentTestEvent: {"svixMessageId": "m", "eventId": "e"},
}  # fmt: skip
COMPAT: list[Any] = [
    compat.GenerationProgressResponse, compat.ListProjectsResponse, compat.UsageSummaryResponse,
    compat.CreateProjectResponse, compat.ApiKeysListResponse, compat.GenerationWebhookEvent,
    compat.ListProjectGenerationsResponse,
]  # fmt: skip
ODD: list[Any] = [
    *(None, True, False, 0, -1, 5.7, 10**400, -(10**30), 1e308, float("nan"), float("-inf")),
    *("", " ", "12.5", "\ud83d", "\x00", "a\nb", "x" * 100_000, "0001-01-01T00:00:00+23:59"),
    *([], {}, [None], [[]], {"code": "X"}, {"": None}, [{}], "9" * 5000),
]


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value within a JSON value."""
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [below for k, v in value.items() for below in paths_in(v, (*path, k))]
    elif isinstance(value, list):
        inner = [below for n, v in enumerate(value) for below in paths_in(v, (*path, n))]
    return [path, *inner]


def mutated(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """Return the JSON value with the value at `path` replaced by `odd`."""
    if not path:
        return odd
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: mutated(value[key], tuple(rest), odd)}
    return [mutated(v, tuple(rest), odd) if n == key else v for n, v in enumerate(value)]


def check_model(model: Any) -> None:
    """Check that a model can be pickled, printed and hashed."""
    repr(model).encode("utf-8")
    assert pickle.loads(pickle.dumps(model)) == model
    if not isinstance(model, list):
        hash(model)


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_one_invalid_value_gives_a_model_or_an_invalid_response(kind: type[Any]) -> None:
    """An invalid value in an optional field does not fail the response."""
    valid = VALID[kind]
    for path in paths_in(valid):
        for odd in ODD:
            body = json.dumps(mutated(valid, path, odd)).encode()
            found = refused = None
            try:
                found = decode(body, kind, call="c", status=200)
            except InvalidResponse as error:
                refused = str(error).encode()
            assert found is not None or is_required(path), f"{path} = {odd!r:.60}: {refused!r}"
            check_model(found)


#: Required fields: ids, the status of a single object, and the requested lists and objects.
_REQUIRED = {"generationId", "apiProjectId", "status", "downloadUrl", "keyId", "svixMessageId"}
_REQUESTED = {"generations", "projects", "keys", "account", "usage", "webhook"}


def is_required(path: tuple[Any, ...]) -> bool:
    match path:
        case ():
            return True
        case (name,) | (("generations" | "projects" | "keys"), int(), name):
            return name in _REQUIRED | _REQUESTED
        case (("generations" | "projects" | "keys"), int()):
            return True
    return False


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_several_invalid_values_give_a_model_or_an_invalid_response(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(VALID)))
    response: Any = VALID[kind]
    for _ in range(data.draw(st.integers(1, 5))):
        path = data.draw(st.sampled_from(paths_in(response)))
        response = mutated(response, path, data.draw(st.sampled_from(ODD)))
    body = json.dumps(response).encode()
    for read in (
        lambda: decode(body, kind, call="c", status=200),
        lambda: [progress_from_row(row, "p").percent for row in parse_rows(body)],
    ):
        try:
            check_model(read())
        except InvalidResponse as error:
            str(error).encode()
    if isinstance(response, dict):
        event = parse_event(body, "msg_1")
        check_model(event)
        for result in COMPAT:
            with contextlib.suppress(DiffioInvalidResponse):
                check_model(result.from_dict(parse_body(body)))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.sampled_from([json.dumps(each) for each in VALID.values()]),
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 8)), max_size=4
    ),
    status=st.sampled_from([200, 200, 200, 204, 301, 400, 409, 429, 503]),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "content_encoding": st.sampled_from(["gzip", "br", "", "x\xe9", "aws-chunked"]),
            "x_request_id": st.sampled_from(["r\xff", "a" * 3000, "\x1b[2J"]),
            "retry_after": st.sampled_from(["1e999", "-1", "nan", "\xff", "Mon, 99 Jan"]),
        },
    ),
)
async def test_mutated_bytes_from_a_server_give_a_result_or_an_error_of_the_package(
    text: str, edits: list[tuple[int, bytes, int]], status: int, headers: dict[str, str]
) -> None:
    body = text.encode()
    for at, new, old in edits:
        body = body[:at] + new + body[at + old :]

    async def script(request: Incoming, writer: asyncio.StreamWriter) -> None:
        await responds(status, body, **headers)(request, writer)

    options = ClientOptions(retry=RetryPolicy(attempts=1))
    async with (
        peer(script) as host,
        AsyncDiffio("key", base_url=host.url(), options=options) as client,
    ):
        for call in (
            client.projects.list,
            partial(client.generations.get_progress, generation_id="g"),
            client.usage.summary,
        ):
            try:
                repr(await call()).encode()
            except DiffioError as error:
                f"{error}{error!r}{vars(error)}".encode()
