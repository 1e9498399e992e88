"""Errors in the guide's words: what programs catch, read and print."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import errors as native
from diffio_async.compat import DiffioApiError, errors
from diffio_async.errors import DiffioError
from diffio_async.sandbox import Delay, Drop, Fault, RespondWith
from tests.compat.scenes import raised
from tests.scripts import requests_to

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.compat import DiffioClient
    from diffio_async.sandbox import Sandbox


def kinds(root: type[BaseException]) -> set[type[BaseException]]:
    """A class and all below it."""
    return {root}.union(*(kinds(below) for below in root.__subclasses__()))


def theirs() -> set[str]:
    """The errors of the package by name, without the roots that are one in the guide."""
    found = {kind.__name__ for kind in kinds(DiffioError) if kind.__module__ == native.__name__}
    return found - {"DiffioError", "ApiError"}


def test_each_error_of_the_package_has_its_kind() -> None:
    """And there is no other, but for the two that say why a file cannot be read."""
    ours = {kind.__name__.removeprefix("Diffio") for kind in kinds(DiffioApiError)} - {"ApiError"}
    assert len(ours) > 20
    assert ours - theirs() == {"SourceMissing", "SourceUnreadable"}
    assert theirs() <= ours


@pytest.mark.parametrize("name", sorted(theirs()))
def test_each_kind_stands_where_its_native_error_stands(name: str) -> None:
    """An error that is a ValueError or a TimeoutError natively is one in the guide's words too."""
    ours, theirs = getattr(errors, f"Diffio{name}"), getattr(native, name)
    for base in (ValueError, TimeoutError):
        assert issubclass(ours, base) or not issubclass(theirs, base)
    for other in theirs.__mro__:
        kind = getattr(errors, f"Diffio{other.__name__}", DiffioApiError)
        assert issubclass(ours, kind)
    assert ours.__doc__


@pytest.mark.parametrize("name", sorted(kind.__name__ for kind in kinds(DiffioApiError)))
def test_every_kind_is_made_shown_and_pickled_alike(name: str) -> None:
    kind: type[DiffioApiError] = getattr(errors, name)
    error = kind("no such thing", 404, {"error": "no such thing"})
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert str(each) == "no such thing (statusCode=404, responseBody set)"
        assert (each.message, each.statusCode) == ("no such thing", 404)
        assert each.responseBody == {"error": "no such thing"}
        # A task queue makes it from these again.
        assert each.args[:3] == ("no such thing", 404, {"error": "no such thing"})
        assert str(type(each)(*each.args)) == str(each)
    assert type(again) is kind
    assert str(kind("just so")) == "just so"


REFUSALS: list[tuple[int, Any, type[DiffioApiError]]] = [
    (401, {"error": "bad key"}, errors.DiffioAuthenticationFailed),
    (402, {"error": "hold", "code": "paymentFailed"}, errors.DiffioPaymentRequired),
    (402, {"error": "limit", "code": "spendLimitExceeded"}, errors.DiffioSpendLimitExceeded),
    (403, {"error": "scope"}, errors.DiffioPermissionDenied),
    (404, {"error": "none"}, errors.DiffioNotFound),
    (409, {"error": "wait", "code": "TRANSCRIPT_PENDING"}, errors.DiffioTranscriptPending),
    (410, {"error": "gone", "code": "model_retired"}, errors.DiffioModelRetired),
    (429, {"error": "slow"}, errors.DiffioRateLimited),
    (500, {"error": "sorry"}, errors.DiffioServerError),
    (418, {"error": "teapot"}, DiffioApiError),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_a_refusal_has_its_kind_its_words_and_its_cause(
    client: DiffioClient, sandbox: Sandbox, status: int, body: Any, kind: type[DiffioApiError]
) -> None:
    headers = {"x-request-id": "req_1", "retry-after": "7"}
    sandbox.faults.add(Fault(action=RespondWith(status=status, json=body, headers=headers)))
    error = raised(client.list_projects)
    assert type(error) is kind
    assert (error.message, error.statusCode, error.responseBody) == (body["error"], status, body)
    assert (error.code, error.requestId, error.retryAfter) == (body.get("code"), "req_1", 7)
    assert isinstance(error.__cause__, native.ApiError)
    assert error.__cause__.status == status


def test_what_to_do_and_which_generation_it_is_stands_below_the_message(
    client: DiffioClient,
) -> None:
    """In the guide's spelling, and as attributes."""
    error = raised(lambda: client.generations.create(apiProjectId="proj_none", idempotencyKey="k"))
    assert str(error) == "there is no such project (statusCode=404, responseBody set)"
    notes = "\n".join(error.__notes__)
    assert "Check the id" in notes
    assert "apiProjectId=proj_none" in notes
    assert (error.apiProjectId, error.idempotencyKey) == ("proj_none", "k")


def test_an_html_page_is_an_error_and_not_an_empty_list(
    client: DiffioClient, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(action=RespondWith(text="<html>please log in</html>")))
    error = raised(client.projects.list)
    assert type(error) is errors.DiffioInvalidResponse
    assert (error.statusCode, error.responseBody) == (200, "<html>please log in</html>")


def test_a_lost_response_and_a_late_one_are_distinguished(
    client: DiffioClient, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(action=Drop()))
    assert type(raised(client.projects.list)) is errors.DiffioResponseLost
    sandbox.faults.add(Fault(action=Delay(30)))
    error = raised(lambda: client.projects.list(requestOptions={"timeoutInSeconds": 0.1}))
    assert type(error) is errors.DiffioResponseTimeout
    assert isinstance(error, TimeoutError)


def test_a_failed_upload_has_its_project_and_the_message_of_the_host(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    """The published package loses the id, and the recording with it."""
    body = {"error": {"code": "teapot", "message": "short and stout"}}
    sandbox.faults.add(
        Fault(origin="edge", path="*/parts/*", action=RespondWith(status=418, json=body))
    )
    error = raised(lambda: client.create_project(filePath=sample))
    assert type(error) is errors.DiffioUploadFailed
    assert (error.message, error.statusCode) == ("short and stout", 418)
    assert error.apiProjectId in sandbox.state.projects


def test_files_that_cannot_be_sent_are_what_python_calls_them(
    client: DiffioClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    missing = raised(lambda: client.create_project(filePath=tmp_path / "no.wav"))
    folder = raised(lambda: client.create_project(filePath=tmp_path))
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(folder, OSError)
    assert sandbox.requests == []


def test_a_closed_client_raises(client: DiffioClient) -> None:
    client.close()
    error = raised(client.projects.list)
    assert type(error) is errors.DiffioClientClosed
    assert isinstance(error, RuntimeError)


def test_no_key_shows_in_an_error_about_it() -> None:
    """A trailing newline in the key puts the key into the published package's exception."""
    from diffio_async.compat import DiffioClient

    error = raised(lambda: DiffioClient(apiKey="diffio_live_secret\n"))
    assert isinstance(error, ValueError)
    assert "secret" not in str(error) + str(error.__cause__)


def test_a_missing_picture_is_the_reason(
    client: DiffioClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """`restore_audio` does not request the video of a recording without a picture."""
    source = tmp_path / "talk.rec"
    source.write_bytes(b"speech " * 100)
    content, info = client.restore_audio(filePath=source, downloadType="video")
    assert content is None
    assert "no picture" in str(info["error"])
    assert (info["stage"], info["statusCode"]) == ("download_info", 404)
    assert requests_to(sandbox, "/v1/get_generation_download") == []
