"""The retry loop, as the server sees it and as observers are told."""

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


async def test_a_read_is_repeated_until_it_is_answered(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Every way of failing that may pass: statuses, drops, lost responses."""
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
async def test_creating_a_project_is_never_repeated_when_it_may_have_been_accepted(
    client: AsyncDiffio, sandbox: Sandbox, action: LoseResponse | RespondWith | Drop
) -> None:
    """There is no call to delete an orphan: one call makes one project at the most."""
    sandbox.faults.add(Fault(path=CREATE, action=action))
    with pytest.raises((ResponseLost, ServerError)):
        await client.projects.create(b"x")
    assert len(requests_to(sandbox, CREATE)) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_creating_a_project_is_repeated_when_the_server_says_not_now(
    client: AsyncDiffio, sandbox: Sandbox, status: int
) -> None:
    """`Retry-After` on 429 and 503 says that nothing was accepted."""
    busy = RespondWith(status, headers={"Retry-After": "0.05"})
    sandbox.faults.add(Fault(path=CREATE, action=busy))
    await client.projects.create(b"x")
    assert len(requests_to(sandbox, CREATE)) == 2


async def test_a_generation_whose_response_was_lost_is_asked_for_again_under_its_key(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Accepted, response lost, sent again: one generation, billed once."""
    project = await uploaded(client)
    sandbox.faults.add(Fault(path=GENERATION, action=LoseResponse()))
    generation = await client.generations.create(api_project_id=project)
    assert generation.idempotent_replay is True
    sent = requests_to(sandbox, "*-generation")
    assert len(sent) == 2
    assert sent[0].json == sent[1].json
    assert len(await client.projects.list_generations(api_project_id=project)) == 1


async def test_two_calls_are_two_generations(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """A key that the caller did not give is new for every call."""
    project = await uploaded(client)
    for _ in range(2):
        await client.generations.create(api_project_id=project)
    keys = {seen.json["idempotencyKey"] for seen in requests_to(sandbox, "*-generation")}
    assert len(keys) == 2


async def test_a_key_that_belongs_to_another_project_is_told(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The response is somebody else's generation: raised, not returned."""
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


async def test_a_hook_that_fails_costs_neither_the_error_nor_its_ids(
    client: AsyncDiffio, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that raises, or is a coroutine function, is logged; the policy decides."""

    def broken(_: DiffioError) -> bool:
        raise ZeroDivisionError

    async def coroutine(_: DiffioError) -> bool:
        return True

    for hook in (broken, coroutine):
        sandbox.faults.add(Fault(path=LIST, action=RespondWith(500)))
        policy = RetryPolicy(initial_delay=0.01, on=hook)  # type: ignore[arg-type]
        assert await client.projects.list(options=RequestOptions(retry=policy)) == []
    assert caplog.text.count("retry hook") == 2


async def test_retry_after_beyond_the_cap_is_raised_at_once(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The error has the delay that the server requests."""
    sandbox.faults.add(Fault(path=LIST, action=RespondWith(429, headers={"Retry-After": "3600"})))
    with pytest.raises(RateLimited, match="requests to wait 3600 s") as caught:
        await client.projects.list()
    assert caught.value.retry_after == 3600
    assert len(requests_to(sandbox, LIST)) == 1


async def test_the_budget_ends_the_attempts_and_cuts_the_one_in_flight(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A budget of seconds holds, whatever the number of attempts."""
    sandbox.faults.add(Fault(path=LIST, times=None, action=Delay(30)))
    policy = RetryPolicy(attempts=1000, total_timeout=0.4, initial_delay=0.01)
    began = time.monotonic()
    with pytest.raises(ResponseTimeout):
        await client.projects.list(options=RequestOptions(retry=policy))
    assert 0.3 <= time.monotonic() - began < 1.5


async def test_a_timeout_of_one_call_is_seconds_in_all(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """`RequestOptions(timeout=0.2)` cuts an attempt after 0.2 s; the next one succeeds."""
    sandbox.faults.add(Fault(path=LIST, action=Delay(30)))
    began = time.monotonic()
    assert await client.projects.list(options=RequestOptions(timeout=0.2)) == []
    assert time.monotonic() - began < 2
    sandbox.faults.add(Fault(path=LIST, action=Delay(30)))
    slow = RequestOptions(timeout=Timeouts(read=0.2), retry=RetryPolicy(attempts=1))
    with pytest.raises(ResponseTimeout, match="may have been accepted"):
        await client.projects.list(options=slow)


async def test_a_hook_may_decide(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """It can repeat what the policy would not, and stop what it would."""
    project = "/v1/list_project_generations"
    sandbox.faults.add(
        Fault(path=project, action=RespondWith(404)), Fault(path=LIST, action=Drop())
    )
    told: list[DiffioError] = []

    def on(failure: DiffioError) -> bool:
        told.append(failure)
        return not isinstance(failure, ResponseLost)

    options = RequestOptions(retry=RetryPolicy(initial_delay=0.01, on=on))
    created = await uploaded(client)
    await client.projects.list_generations(api_project_id=created, options=options)
    with pytest.raises(ResponseLost):
        await client.projects.list(options=options)
    assert len(told) == 2


async def test_observers_are_told_every_attempt_without_secrets(sandbox: Sandbox) -> None:
    """Sent, answered, to be retried: facts with a call, a URL without query, and a time."""
    told: list[Event] = []

    def broken(_: Event) -> None:
        raise RuntimeError("an observer of the user's")

    sandbox.faults.add(Fault(path=LIST, action=RespondWith(500)))
    options = ClientOptions(retry=RetryPolicy(initial_delay=0.01), observers=(broken, told.append))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        await client.projects.list()
    kinds = [RequestSent, ResponseReceived, RetryScheduled, RequestSent, ResponseReceived]
    assert [type(event) for event in told] == kinds
    assert told[0] == RequestSent(
        call="list_projects", method="POST", url=f"{sandbox.base_url}/list_projects", attempt=1
    )
    answered = told[1]
    assert isinstance(answered, ResponseReceived)
    assert answered.status == 500
    assert answered.seconds > 0
    assert sandbox.api_key not in repr(told)


async def test_a_spend_limit_says_what_to_do(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """402 `spendLimitExceeded` is its own class, is not repeated, and gives advice."""
    project = await uploaded(client)
    body = {"error": "The limit is reached.", "code": "spendLimitExceeded"}
    sandbox.faults.add(Fault(path=GENERATION, times=None, action=RespondWith(402, json=body)))
    with pytest.raises(SpendLimitExceeded, match="Raise the spend limit"):
        await client.generations.create(api_project_id=project)
    assert len(requests_to(sandbox, "*-generation")) == 1


async def test_headers_that_the_user_changes_are_sent_as_they_are_now(sandbox: Sandbox) -> None:
    """What a client remembers of its options is not what is the user's own mapping."""
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


async def test_a_retry_hook_may_be_anything_that_can_be_called(sandbox: Sandbox) -> None:
    """Something that has no hash, too."""

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
