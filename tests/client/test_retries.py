"""Retries of API requests: which are repeated, for how long, and the emitted events."""

from __future__ import annotations

import time

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    DiffioError,
    Event,
    IdempotencyConflict,
    RateLimited,
    RequestOptions,
    RequestSent,
    ResponseLost,
    ResponseReceived,
    ResponseTimeout,
    RetryPolicy,
    RetryScheduled,
    ServerError,
    SpendLimitExceeded,
    Timeouts,
)
from diffio_async.sandbox import Delay, Drop, Fault, LoseResponse, RespondWith, Sandbox
from tests.scripts import GENERATION, requests_to, uploaded

LIST = "/v1/list_projects"
CREATE = "/v1/create_project"


async def test_a_read_is_retried_until_it_succeeds(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Transient failures are error statuses, dropped connections and lost responses."""
    sandbox.faults.add(
        Fault(path=LIST, action=RespondWith(503)),
        Fault(path=LIST, action=Drop()),
        Fault(path=LIST, action=LoseResponse()),
    )
    assert await client.projects.list() == []
    assert len(requests_to(sandbox, LIST)) == 4


async def test_the_last_failure_is_raised_with_the_earlier_ones_as_notes(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Five attempts, four notes."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=RespondWith(502, text="<html>")))
    with pytest.raises(ServerError) as caught:
        await client.projects.list()
    assert len(requests_to(sandbox, LIST)) == 5
    assert len(caught.value.__notes__) == 4
    assert caught.value.status == 502
    assert caught.value.request_id


@pytest.mark.parametrize("action", [LoseResponse(), RespondWith(500), RespondWith(503), Drop()])
async def test_creating_a_project_is_not_retried_if_it_may_have_been_accepted(
    client: AsyncDiffio, sandbox: Sandbox, action: LoseResponse | RespondWith | Drop
) -> None:
    """Orphaned projects cannot be deleted, so one call creates at most one project."""
    sandbox.faults.add(Fault(path=CREATE, action=action))
    with pytest.raises((ResponseLost, ServerError)):
        await client.projects.create(b"x")
    assert len(requests_to(sandbox, CREATE)) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_creating_a_project_is_retried_after_429_and_503_with_retry_after(
    client: AsyncDiffio, sandbox: Sandbox, status: int
) -> None:
    """These responses mean that the request was not accepted."""
    busy = RespondWith(status, headers={"Retry-After": "0.05"})
    sandbox.faults.add(Fault(path=CREATE, action=busy))
    await client.projects.create(b"x")
    assert len(requests_to(sandbox, CREATE)) == 2


async def test_a_generation_with_a_lost_response_is_retried_with_its_key(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The retry returns the accepted generation, which is billed once."""
    project = await uploaded(client)
    sandbox.faults.add(Fault(path=GENERATION, action=LoseResponse()))
    generation = await client.generations.create(api_project_id=project)
    assert generation.idempotent_replay is True
    sent = requests_to(sandbox, "*-generation")
    assert len(sent) == 2
    assert sent[0].json == sent[1].json
    assert len(await client.projects.list_generations(api_project_id=project)) == 1


async def test_two_calls_are_two_generations(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Without a key of the caller, each call uses a new one."""
    project = await uploaded(client)
    for _ in range(2):
        await client.generations.create(api_project_id=project)
    keys = {seen.json["idempotencyKey"] for seen in requests_to(sandbox, "*-generation")}
    assert len(keys) == 2


async def test_a_key_of_another_project_is_an_idempotency_conflict(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The generation of the other project is not returned."""
    first, second = await uploaded(client), await uploaded(client)
    theirs = await client.generations.create(api_project_id=first, idempotency_key="k")
    body = {
        "generationId": theirs.generation_id,
        "apiProjectId": first,
        "modelKey": "diffio-4.6-flash",
        "status": "queued",
    }
    sandbox.faults.add(Fault(path=GENERATION, action=RespondWith(json=body)))
    with pytest.raises(IdempotencyConflict, match="used before, for project") as caught:
        await client.generations.create(api_project_id=second, idempotency_key="k")
    assert caught.value.idempotency_key == "k"
    assert caught.value.generation_id == theirs.generation_id
    assert caught.value.api_project_id == first


async def test_a_failing_retry_hook_is_logged_and_ignored(
    client: AsyncDiffio, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The hook raises, or is a coroutine function; the policy decides."""

    def broken(_: DiffioError) -> bool:
        raise ZeroDivisionError

    async def coroutine(_: DiffioError) -> bool:
        return True

    for hook in (broken, coroutine):
        sandbox.faults.add(Fault(path=LIST, action=RespondWith(500)))
        policy = RetryPolicy(initial_delay=0.01, on=hook)  # type: ignore[arg-type]
        assert await client.projects.list(options=RequestOptions(retry=policy)) == []
    assert caplog.text.count("retry hook") == 2


async def test_a_retry_after_over_the_maximum_is_raised_at_once(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The error has the delay that the server requests."""
    sandbox.faults.add(Fault(path=LIST, action=RespondWith(429, headers={"Retry-After": "3600"})))
    with pytest.raises(RateLimited, match="requests to wait 3600 s") as caught:
        await client.projects.list()
    assert caught.value.retry_after == 3600
    assert len(requests_to(sandbox, LIST)) == 1


@pytest.mark.slow
async def test_the_total_timeout_ends_retries_and_the_current_attempt(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """It applies whatever the number of attempts."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=Delay(30)))
    policy = RetryPolicy(attempts=1000, total_timeout=0.4, initial_delay=0.01)
    started_at = time.monotonic()
    with pytest.raises(ResponseTimeout):
        await client.projects.list(options=RequestOptions(retry=policy))
    assert 0.3 <= time.monotonic() - started_at < 20


@pytest.mark.slow
async def test_a_timeout_of_a_call_limits_each_attempt(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """`RequestOptions(timeout=1.0)` ends an attempt after a second; the next one succeeds."""
    sandbox.faults.add(Fault(path=LIST, action=Delay(30)))
    started_at = time.monotonic()
    assert await client.projects.list(options=RequestOptions(timeout=1.0)) == []
    assert time.monotonic() - started_at < 20
    sandbox.faults.add(Fault(path=LIST, action=Delay(30)))
    slow = RequestOptions(timeout=Timeouts(read=0.2), retry=RetryPolicy(attempts=1))
    with pytest.raises(ResponseTimeout, match="may have been accepted"):
        await client.projects.list(options=slow)


async def test_a_retry_hook_overrides_the_policy(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """It can retry final failures, and stop retries of transient ones."""
    project = "/v1/list_project_generations"
    sandbox.faults.add(
        Fault(path=project, action=RespondWith(404)), Fault(path=LIST, action=Drop())
    )
    failures: list[DiffioError] = []

    def on(failure: DiffioError) -> bool:
        failures.append(failure)
        return not isinstance(failure, ResponseLost)

    options = RequestOptions(retry=RetryPolicy(initial_delay=0.01, on=on))
    created = await uploaded(client)
    await client.projects.list_generations(api_project_id=created, options=options)
    with pytest.raises(ResponseLost):
        await client.projects.list(options=options)
    assert len(failures) == 2


async def test_observers_receive_every_attempt_without_secrets(sandbox: Sandbox) -> None:
    """Events have the name of the call, a URL without its query, and times."""
    events: list[Event] = []

    def broken(_: Event) -> None:
        raise RuntimeError("a bug in the observer")

    sandbox.faults.add(Fault(path=LIST, action=RespondWith(500)))
    options = ClientOptions(
        retry=RetryPolicy(initial_delay=0.01), observers=(broken, events.append)
    )
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        await client.projects.list()
    expected = [RequestSent, ResponseReceived, RetryScheduled, RequestSent, ResponseReceived]
    assert [type(event) for event in events] == expected
    assert events[0] == RequestSent(
        call="list_projects", method="POST", url=f"{sandbox.base_url}/list_projects", attempt=1
    )
    received = events[1]
    assert isinstance(received, ResponseReceived)
    assert received.status == 500
    assert received.seconds > 0
    assert sandbox.api_key not in repr(events)


async def test_a_spend_limit_is_not_retried_and_has_a_hint(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """402 `spendLimitExceeded` has its own class."""
    project = await uploaded(client)
    body = {"error": "The limit is reached.", "code": "spendLimitExceeded"}
    sandbox.faults.add(Fault(path=GENERATION, times=None, action=RespondWith(402, json=body)))
    with pytest.raises(SpendLimitExceeded, match="Raise the spend limit"):
        await client.generations.create(api_project_id=project)
    assert len(requests_to(sandbox, "*-generation")) == 1


async def test_changes_to_the_users_header_mappings_are_sent(sandbox: Sandbox) -> None:
    """The client caches resolved options, but not the mappings of the user."""
    mine, one = dict[str, str](), dict[str, str]()
    options, call = ClientOptions(headers=mine), RequestOptions(headers=one)
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        for turn in ("1", "2"):
            await client.projects.list(options=call)
            one["X-Turn"] = turn
        await client.projects.list(options=call)
        await client.projects.list()
        mine["X-Team"] = "b"
        await client.projects.list()
    seen = [each.headers for each in requests_to(sandbox, LIST)]
    assert [each.get("x-turn") for each in seen] == [None, "1", "2", None, None]
    assert [each.get("x-team") for each in seen] == [None, None, None, None, "b"]


async def test_a_retry_hook_may_be_any_callable(sandbox: Sandbox) -> None:
    """It may be unhashable."""

    class Hook(list[DiffioError]):
        def __call__(self, failure: DiffioError, /) -> bool:
            self.append(failure)
            return True

    hook = Hook()
    sandbox.faults.add(Fault(path=LIST, action=RespondWith(503)))
    options = RequestOptions(retry=RetryPolicy(initial_delay=0.01, on=hook))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
        await client.projects.list(options=options)
    assert [type(failure) for failure in hook] == [ServerError]
