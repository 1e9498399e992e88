"""Options of compat have the effects of the published package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.compat import DiffioClient, RequestOptions
from diffio_async.sandbox import Fault, RespondWith
from tests.compat.scenes import raised
from tests.scripts import requests_to

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox

LISTS = "/v1/list_projects"


def failing(sandbox: Sandbox, status: int = 503, times: int | None = None) -> None:
    """Make the next lists of projects, or all of them, fail."""
    sandbox.faults.add(Fault(path=LISTS, times=times, action=RespondWith(status=status)))


def test_there_are_no_retries_by_default(client: DiffioClient, sandbox: Sandbox) -> None:
    failing(sandbox)
    assert raised(client.projects.list).statusCode == 503
    assert len(requests_to(sandbox, LISTS)) == 1


@pytest.mark.parametrize("kind", [dict, RequestOptions])
def test_max_retries_counts_attempts_after_the_first(
    client: DiffioClient, sandbox: Sandbox, kind: Any
) -> None:
    """Options may be an object or a dict."""
    failing(sandbox)
    raised(lambda: client.projects.list(requestOptions=kind(maxRetries=2, retryBackoff=0.01)))
    assert len(requests_to(sandbox, LISTS)) == 3


def test_options_of_the_client_hold_for_its_calls_and_a_call_may_change_one(
    sandbox: Sandbox,
) -> None:
    given = RequestOptions(maxRetries=1, retryBackoff=0.0, retryStatusCodes=[500])
    with DiffioClient(
        apiKey=sandbox.api_key, baseUrl=sandbox.base_url, requestOptions=given
    ) as client:
        failing(sandbox, 500, times=1)
        assert client.projects.list().projects == []
        failing(sandbox, 503, times=1)
        assert raised(client.projects.list).statusCode == 503
        failing(sandbox, 500, times=2)
        assert client.projects.list(requestOptions={"maxRetries": 2}).projects == []
    assert len(requests_to(sandbox, LISTS)) == 6


def test_headers_and_key_of_a_call_are_its_own(client: DiffioClient, sandbox: Sandbox) -> None:
    key = client.api_keys.create(label="worker", scopes=["projects:read"]).key
    assert key is not None
    client.projects.list(requestOptions={"headers": {"X-Debug": "1"}, "apiKey": key})
    client.projects.list()
    first, second = (seen.headers for seen in requests_to(sandbox, LISTS))
    assert (first["x-debug"], first["authorization"]) == ("1", f"Bearer {key}")
    assert "x-debug" not in second
    assert second["authorization"] == f"Bearer {sandbox.api_key}"


def test_headers_do_not_leave_the_api(client: DiffioClient, sandbox: Sandbox, sample: Path) -> None:
    """Upload and media hosts get none of them, whatever they are called."""
    content, _ = client.restore_audio(
        filePath=sample, requestOptions={"headers": {"Authorization": f"Bearer {client.apiKey}"}}
    )
    assert content == sample.read_bytes()
    for seen in sandbox.requests:
        if seen.origin != "api":
            assert client.apiKey not in str(seen.headers)


def test_key_and_address_come_from_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    with DiffioClient() as client:
        assert client.projects.list().projects == []
        assert client.apiKey == sandbox.api_key
        assert client.baseUrl == sandbox.base_url


def test_options_show_no_secret() -> None:
    options = RequestOptions(headers={"X-Api-Key": "secret"}, apiKey="secret", timeoutInSeconds=5)
    assert "secret" not in repr(options)
    assert options.timeout == 5


@pytest.mark.parametrize(
    "options", [{"timeout": -1}, {"headers": {"X": "a\nb"}}, {"retryBackoff": -1}, "fast", 5]
)
def test_options_that_cannot_be_right_are_value_errors(client: DiffioClient, options: Any) -> None:
    error = raised(lambda: client.projects.list(requestOptions=options))
    assert isinstance(error, ValueError)


def test_an_http_client_of_another_library_is_refused() -> None:
    error = raised(lambda: DiffioClient(apiKey="diffio_key", httpClient=object()))
    assert isinstance(error, ValueError)
    assert "aiohttp" in str(error)
