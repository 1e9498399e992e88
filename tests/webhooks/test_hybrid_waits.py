"""Waits with an inbox: ended by an event, or by polls without events."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    Diffio,
    GenerationFailed,
    GenerationProgress,
    WaitPolicy,
    WaitTimeout,
    WebhookInbox,
    WebhookVerifier,
)
from diffio_async._polling import job
from diffio_async._polling.push import PushHealth
from diffio_async._polling.scheduler import Scheduler
from diffio_async.sandbox import Sandbox
from diffio_async.sandbox.settings import DEFAULT_WEBHOOK_SECRET
from diffio_async.webhooks import aiohttp_app
from tests.conftest import QUICK
from tests.scripts import requests_to, uploaded
from tests.webhooks.scenes import served, stored, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VERIFIER = WebhookVerifier(DEFAULT_WEBHOOK_SECRET)
POLL_PATHS = ("/v1/get_generation_progress", "/v1/list_project_generations")
#: Polls are so rare that only an event can end a wait in time.
LATE = WaitPolicy(min_interval=20, max_interval=20, push_check_interval=20)


#: Number of concurrent waits.
COUNT = 8


@frozen
class Scene:
    """Sandbox that delivers events to an inbox, and a client that uses it."""

    sandbox: Sandbox
    client: AsyncDiffio
    path: Path

    def polls(self) -> int:
        """Return the number of polls, of generations and of listings."""
        return sum(len(requests_to(self.sandbox, path)) for path in POLL_PATHS)

    async def started(self, count: int = 1, *, projects: int | None = None) -> list[str]:
        """Start generations in one project each, or in `projects` projects; return their ids."""
        project_ids = [await uploaded(self.client) for _ in range(projects or count)]
        created = await asyncio.gather(
            *(
                self.client.generations.create(
                    api_project_id=project_ids[number % len(project_ids)]
                )
                for number in range(count)
            )
        )
        return [generation.generation_id for generation in created]


@asynccontextmanager
async def scene(
    path: Path, policy: WaitPolicy = LATE, *, types: str = "all", **settings: Any
) -> AsyncIterator[Scene]:
    """Provide a scene whose receiver has a separate inbox object, like another process."""
    types_ = ["completed", "failed"] + (["queued", "processing"] if types == "all" else [])
    async with (
        Sandbox(engine="echo", webhook_pace=0.01, **settings) as sandbox,
        WebhookInbox(path / "inbox.db", verifier=VERIFIER) as receiving,
        served(aiohttp_app(receiving)) as url,
        AsyncDiffio(
            sandbox.api_key,
            base_url=sandbox.base_url,
            options=ClientOptions(retry=QUICK, wait=policy),
            inbox=WebhookInbox(path / "inbox.db"),
        ) as client,
    ):
        await client.webhooks.configure(
            mode="live", url=url, event_types=[f"generation.{kind}" for kind in types_]
        )
        yield Scene(sandbox, client, path)


@pytest.mark.usefixtures("_no_task_left")
async def test_a_wait_ends_when_its_event_arrives(tmp_path: Path) -> None:
    """It ends long before the next poll, with the progress of the event."""
    async with scene(tmp_path, duration=0.1) as here:
        (generation,) = await here.started()
        async with asyncio.timeout(15):
            progress = await here.client.generations.wait_for_complete(generation_id=generation)
        delay = time.time() - (here.sandbox.state.generations[generation].finished_at or 0)
        assert progress.complete
        assert (progress.generation_id, progress.has_video) == (generation, False)
        assert delay < 15
        assert here.polls() <= 1


@pytest.mark.usefixtures("_no_task_left")
async def test_a_failure_is_raised_with_the_reason_in_its_event(tmp_path: Path) -> None:
    """No poll is needed for it."""
    async with scene(tmp_path, types="ends", duration=20) as here:
        (generation,) = await here.started()
        async with WebhookInbox(tmp_path / "inbox.db") as receiving:
            await stored(
                receiving,
                "msg_1",
                "generation.failed",
                generationId=generation,
                status="error",
                error="no speech was found",
            )
        with pytest.raises(GenerationFailed, match="no speech was found") as caught:
            async with asyncio.timeout(15):
                await here.client.generations.wait_for_complete(generation_id=generation)
        assert caught.value.generation_id == generation
        assert here.polls() == 0


@pytest.mark.usefixtures("_no_task_left")
async def test_events_received_before_a_wait_end_it(tmp_path: Path) -> None:
    """The order does not matter, and this client did not exist then."""
    async with scene(tmp_path) as here:
        (generation,) = await here.started()
        async with WebhookInbox(tmp_path / "inbox.db") as receiving, asyncio.timeout(60):
            while len(await receiving.entries()) < 3:
                await asyncio.sleep(0.02)
        started_at = time.monotonic()
        async with AsyncDiffio(
            here.sandbox.api_key,
            base_url=here.sandbox.base_url,
            inbox=WebhookInbox(tmp_path / "inbox.db"),
        ) as other:
            progress = await other.generations.wait_for_complete(generation_id=generation)
        assert progress.complete
        assert time.monotonic() - started_at < 15
        assert here.polls() == 0


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_an_old_generation_without_events_is_polled(tmp_path: Path) -> None:
    """It is polled at once, and its end does not show that events stopped arriving."""
    async with (
        scene(tmp_path, types="ends", duration=0.25) as here,
        WebhookInbox(tmp_path / "other.db") as other,
        other_client(here, other) as client,
        asyncio.timeout(5),
    ):
        (old,) = await here.started()
        await until(lambda: here.sandbox.state.generations[old].ended)
        (young,) = await here.started()
        waits, trust = client.generations, client._pacer.push_health
        busy = asyncio.create_task(waits.wait_for_complete(generation_id=young))
        await until(lambda: here.polls() == 1)
        await stored(other, "msg_1", "generation.processing", generationId=young)
        await until(lambda: trust.confirmed)
        await waits.wait_for_complete(generation_id=old)
        assert here.polls() == 2
        assert trust.confirmed
        await stored(other, "msg_2", generationId=young)
        assert (await busy).complete


@pytest.mark.usefixtures("_no_task_left")
async def test_the_project_of_a_wait_is_kept_if_its_event_has_none(tmp_path: Path) -> None:
    """The progress has the project id that was passed to the wait."""
    async with (
        scene(tmp_path) as here,
        WebhookInbox(tmp_path / "other.db") as other,
        other_client(here, other) as client,
    ):
        await stored(other, "msg_1", generationId="gen_1")
        progress = await client.generations.wait_for_complete(
            generation_id="gen_1", api_project_id="proj_1"
        )
        assert (progress.complete, progress.api_project_id) == (True, "proj_1")


def other_client(here: Scene, inbox: WebhookInbox) -> AsyncDiffio:
    """A client of the same sandbox that listens to another inbox."""
    options = ClientOptions(retry=QUICK, wait=LATE)
    return AsyncDiffio(
        here.sandbox.api_key, base_url=here.sandbox.base_url, options=options, inbox=inbox
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_a_policy_with_short_intervals_does_not_poll_while_events_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of generations that were just created are expected to arrive."""
    monkeypatch.setattr(job, "PUSH_GRACE", 30.0)  # on a busy machine, they are created slowly
    policy = WaitPolicy(
        min_interval=0.5, max_interval=0.5, push_check_interval=20, max_polls_per_second=100
    )
    async with scene(tmp_path, policy, duration=3) as here, asyncio.timeout(15):
        await here.client.generations.wait_many(await here.started(10))
        assert here.polls() <= 2


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
@pytest.mark.parametrize("projects", [1, COUNT])
async def test_many_waits_end_by_their_events(projects: int, tmp_path: Path) -> None:
    """Generations of one project or of many need hardly any polls."""
    async with scene(tmp_path, duration=0.2, duration_spread=0.5) as here:
        ids = await here.started(COUNT, projects=projects)
        async with asyncio.timeout(15):
            outcomes = await here.client.generations.wait_many(ids)
        assert [outcome.status for outcome in outcomes] == ["complete"] * COUNT
        assert here.polls() <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_polling_resumes_if_events_stop_arriving(tmp_path: Path) -> None:
    """It resumes at the first safety check that finds an end; every wait ends."""
    policy = WaitPolicy(
        min_interval=0.1, max_interval=0.2, push_check_interval=2, max_polls_per_second=100
    )
    async with scene(tmp_path, policy, duration=1.5, duration_spread=0.5) as here:
        ids = await here.started(40)
        waiting = asyncio.create_task(here.client.generations.wait_many(ids))
        await asyncio.sleep(1.0)
        assert here.polls() <= 3
        here.sandbox.state.endpoints.clear()  # no further deliveries
        async with asyncio.timeout(8):  # safety checks alone would take ten seconds
            outcomes = await waiting
        assert [outcome.status for outcome in outcomes] == ["complete"] * 40


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_a_wait_with_a_lost_event_ends_by_a_safety_check(tmp_path: Path) -> None:
    """The other waits end by their events."""
    async with scene(
        tmp_path,
        WaitPolicy(min_interval=60, max_interval=60, push_check_interval=0.8),
        duration=0.3,
    ) as here:
        ids = await here.started(5)
        async with WebhookInbox(tmp_path / "inbox.db") as inbox:
            lost = ids[2]

            def forget(db: object) -> None:
                db.execute(  # type: ignore[attr-defined]  # a connection of SQLite's
                    "CREATE TRIGGER lose BEFORE INSERT ON deliveries WHEN new.generation_id ="
                    f" '{lost}' AND new.rank = 2 BEGIN SELECT RAISE(IGNORE); END"
                )

            await inbox._file.run(forget)
            async with asyncio.timeout(50):
                outcomes = await here.client.generations.wait_many(ids)
        assert [outcome.status for outcome in outcomes] == ["complete"] * 5
        assert 1 <= here.polls() <= 8


@pytest.mark.usefixtures("_no_task_left")
async def test_an_unusable_inbox_is_replaced_by_polling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait polls at once, as without an inbox, and the reason is logged."""
    monkeypatch.setattr(job, "PUSH_GRACE", 30.0)
    (tmp_path / "inbox.db").write_bytes(b"no database at all" * 100)
    async with (
        Sandbox(engine="echo", duration=0.05) as sandbox,
        AsyncDiffio(
            sandbox.api_key,
            base_url=sandbox.base_url,
            options=ClientOptions(wait=WaitPolicy(min_interval=0.05)),
            inbox=WebhookInbox(tmp_path / "inbox.db"),
        ) as client,
    ):
        created = await client.generations.create(api_project_id=await uploaded(client))
        async with asyncio.timeout(25):
            assert (
                await client.generations.wait_for_complete(generation_id=created.generation_id)
            ).complete
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "webhook inbox" in warnings[0]


@pytest.mark.usefixtures("_no_task_left")
async def test_timeouts_and_cancellation_end_listening(tmp_path: Path) -> None:
    """No task outlives the wait, and the file is closed with the client."""
    async with scene(tmp_path, duration=30) as here:
        (generation,) = await here.started()
        with pytest.raises(WaitTimeout):
            await here.client.generations.wait_for_complete(generation_id=generation, timeout=0.1)
        waiting = asyncio.create_task(
            here.client.generations.wait_for_complete(generation_id=generation)
        )

        def listening() -> bool:
            return any("_stream()" in repr(task) for task in asyncio.all_tasks())

        await until(listening)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not listening()
        source = here.client._pacer.source
        assert source is not None
    assert not source._retained  # type: ignore[attr-defined]  # an inbox's


def test_blocking_waits_use_events(tmp_path: Path) -> None:
    """The loop of `Diffio(inbox=…)` runs in a separate thread."""

    async def serve() -> None:
        async with scene(tmp_path, duration=0.1) as here:
            (generation,) = await here.started()
            await asyncio.to_thread(work, here.sandbox, generation)

    def work(sandbox: Sandbox, generation: str) -> None:
        with Diffio(
            sandbox.api_key,
            base_url=sandbox.base_url,
            options=ClientOptions(wait=LATE),
            inbox=WebhookInbox(tmp_path / "inbox.db"),
        ) as client:
            assert client.generations.wait_for_complete(
                generation_id=generation, timeout=15
            ).complete

    asyncio.run(serve())


async def test_a_client_with_an_inbox_can_be_pickled(tmp_path: Path) -> None:
    """The copy listens to the same file."""
    async with scene(tmp_path, duration=0.1) as here:
        (generation,) = await here.started()
        async with pickle.loads(pickle.dumps(here.client)) as other, asyncio.timeout(15):
            assert (await other.generations.wait_for_complete(generation_id=generation)).complete
        assert here.polls() <= 1


async def test_restore_uses_events(tmp_path: Path, sample: Path) -> None:
    """The wait of the call ends by the event."""
    async with scene(tmp_path, duration=0.1) as here, asyncio.timeout(15):
        restored = await here.client.restore(sample)
        assert restored.content
        assert here.polls() <= 1


@pytest.mark.usefixtures("_no_task_left")
async def test_old_events_do_not_confirm_push(tmp_path: Path) -> None:
    """The first safety checks are early, since no event was delivered recently."""
    policy = WaitPolicy(min_interval=0.1, max_interval=0.2, push_check_interval=30)
    async with scene(tmp_path, policy, duration=0.1) as here:
        async with WebhookInbox(tmp_path / "inbox.db") as receiving:
            await stored(receiving, "msg_1", generationId="gen_other")
        here.sandbox.state.endpoints.clear()
        (generation,) = await here.started()
        async with asyncio.timeout(20):
            assert (
                await here.client.generations.wait_for_complete(generation_id=generation)
            ).complete
        assert here.polls() <= 3


@pytest.mark.slow
@pytest.mark.usefixtures("_no_task_left")
async def test_safety_checks_are_few_however_many_wait(tmp_path: Path) -> None:
    """Ten waits with short intervals make two polls in the first second."""
    policy = WaitPolicy(
        min_interval=0.1, max_interval=0.2, push_check_interval=60, max_polls_per_second=100
    )
    async with scene(tmp_path, policy, duration=30) as here:
        async with WebhookInbox(tmp_path / "inbox.db") as receiving:
            await stored(receiving, "msg_1", generationId="gen_other")
        here.sandbox.state.endpoints.clear()
        ids = await here.started(10)
        began = time.monotonic()
        waiting = asyncio.create_task(here.client.generations.wait_many(ids))
        await asyncio.sleep(0.8)
        await until(lambda: here.polls() > 0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        polls = [seen for path in POLL_PATHS for seen in requests_to(here.sandbox, path)]
        assert sum(seen.at - began < 0.8 for seen in polls) <= 2


async def test_with_several_event_loops_each_handles_an_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end is credited to push once, although it ends a wait on each of three loops."""
    handled = list[tuple[str, str]]()
    credited = list[None]()
    on_push, record_credit = Scheduler.on_push, PushHealth.credit

    def count_handled(scheduler: Scheduler, progress: GenerationProgress) -> None:
        handled.append((progress.generation_id, progress.status))
        on_push(scheduler, progress)

    def credit(trust: PushHealth) -> None:
        credited.append(None)
        record_credit(trust)

    monkeypatch.setattr(Scheduler, "on_push", count_handled)
    monkeypatch.setattr(PushHealth, "credit", credit)
    async with (
        scene(tmp_path, types="ends", duration=20) as here,
        WebhookInbox(tmp_path / "inbox.db") as receiving,
    ):
        (generation,) = await here.started()

        async def wait() -> GenerationProgress:
            return await here.client.generations.wait_for_complete(
                generation_id=generation, timeout=60
            )

        waits = [asyncio.to_thread(asyncio.run, wait()) for _ in range(2)]
        waiting = asyncio.gather(wait(), *waits)
        schedulers = here.client._pacer._schedulers
        await until(
            lambda: (
                len(schedulers) == 3 and all(each.has_push_source for each in schedulers.values())
            )
        )
        await stored(receiving, "msg_1", "generation.queued", generationId="gen_other")
        await until(lambda: len(handled) >= 3)
        await asyncio.sleep(0.1)  # time for unexpected repeats
        assert handled == [("gen_other", "queued")] * 3
        await stored(receiving, "msg_2", generationId=generation)
        assert [progress.complete for progress in await waiting] == [True] * 3
    assert handled.count((generation, "complete")) == 3
    assert len(credited) == 1
