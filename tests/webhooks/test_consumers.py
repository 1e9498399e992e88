"""Consumers of an inbox: leases, retries, dead events, handlers and cancellation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import ConfigurationError, WebhookEvent, WebhookInbox
from tests.webhooks.scenes import VERIFIER, Clock, stored, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    """The clock of the inbox."""
    return Clock()


@pytest.fixture
async def inbox(tmp_path: Path, clock: Clock, _no_task_left: None) -> AsyncIterator[WebhookInbox]:
    """An open inbox with at most three attempts."""
    async with WebhookInbox(
        tmp_path / "inbox.db", verifier=VERIFIER, clock=clock, attempts=3
    ) as opened:
        yield opened


async def states(inbox: WebhookInbox) -> dict[str, str]:
    """Return the state of each event."""
    return {entry.message_id: entry.state for entry in await inbox.entries()}


async def next_event(inbox: WebhookInbox, seconds: float = 20) -> WebhookEvent:
    """Return the next event after acknowledging it."""
    async with (
        asyncio.timeout(seconds),
        aclosing(inbox.deliveries()) as deliveries,
        await anext(deliveries) as event,
    ):
        return event


async def test_the_next_iteration_acknowledges_the_event(inbox: WebhookInbox) -> None:
    """Leaving the loop releases the current event."""
    for number in range(3):
        await stored(inbox, f"msg_{number}")
    seen = []
    async with aclosing(inbox.consume()) as events:
        async for event in events:
            seen.append(event.message_id)
            if len(seen) == 2:
                break
    assert seen == ["msg_0", "msg_1"]
    assert await states(inbox) == {"msg_0": "handled", "msg_1": "waiting", "msg_2": "waiting"}


async def test_an_exception_in_the_loop_releases_the_event(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """The exception ends the loop, and the event is retried after a delay."""
    await stored(inbox, "msg_1")

    async def loop() -> None:
        async for event in inbox.consume():
            raise LookupError(event.message_id)

    with pytest.raises(LookupError, match="msg_1"):
        await loop()
    await asyncio.sleep(0.05)  # the event loop closes the iterator a moment later
    (entry,) = await inbox.entries()
    assert (entry.state, entry.attempts) == ("waiting", 1)
    assert 1 < (entry.due_at - entry.received_at).total_seconds() <= 2.2
    clock.ahead = 2
    assert (await next_event(inbox)).message_id == "msg_1"


async def test_each_delivery_can_be_acknowledged_separately(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """A failure releases only its own event, with a reason in which secrets are masked."""
    for number in range(3):
        await stored(inbox, f"msg_{number}")
    seen = []
    async with aclosing(inbox.deliveries()) as deliveries:
        async for delivery in deliveries:
            seen.append(delivery.event.message_id)
            with contextlib.suppress(ValueError):
                async with delivery as event:
                    if event.message_id == "msg_1":
                        raise ValueError("no whsec_c2VjcmV0c2VjcmV0 today")
            if len(seen) == 3:
                break
    assert await states(inbox) == {"msg_0": "handled", "msg_1": "waiting", "msg_2": "handled"}
    error = (await inbox.entries("waiting"))[0].error
    assert error == "ValueError: no [redacted] today"


async def test_a_waiting_consumer_is_notified_of_a_new_event(
    inbox: WebhookInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is notified at once, not at its next poll of the file."""
    monkeypatch.setattr("diffio_async.webhooks.inbox_file.POLL_SECONDS", 3600)
    waiting = asyncio.create_task(next_event(inbox, seconds=20))
    await asyncio.sleep(0.12)
    await stored(inbox, "msg_1")
    assert (await waiting).message_id == "msg_1"


async def test_a_consumer_of_another_inbox_object_polls_the_file(
    inbox: WebhookInbox, tmp_path: Path
) -> None:
    """Like a consumer in another process, it polls every 50 ms."""
    async with WebhookInbox(tmp_path / "inbox.db") as other:
        waiting = asyncio.create_task(next_event(other))
        await asyncio.sleep(0.12)
        await stored(inbox, "msg_1")
        assert (await waiting).message_id == "msg_1"


async def test_an_expired_lease_is_given_to_another_consumer(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """The event is leased again only after the expiry; the late consumer cannot reclaim it."""
    await stored(inbox, "msg_1")
    silent = await anext(inbox.deliveries())
    clock.ahead = 59
    with pytest.raises(TimeoutError):
        await next_event(inbox, 0.1)
    clock.ahead = 61
    assert (await next_event(inbox)).message_id == "msg_1"
    await silent.fail("too late")
    assert await states(inbox) == {"msg_1": "handled"}


@pytest.mark.slow
async def test_a_lease_is_renewed_while_the_event_is_handled(tmp_path: Path) -> None:
    """The lease lasts however long the handler takes."""
    async with WebhookInbox(tmp_path / "inbox.db", lease=0.15) as inbox:
        await stored(inbox, "msg_1")
        async with await anext(inbox.deliveries()):
            with pytest.raises(TimeoutError):
                await next_event(inbox, 0.3)
        assert await states(inbox) == {"msg_1": "handled"}


async def test_an_event_that_always_fails_is_dead_and_can_be_requeued(
    inbox: WebhookInbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dead after the last attempt; `retry` resets the count of one event or of all."""
    for number in range(2):
        await stored(inbox, f"msg_{number}")
    for attempt in range(1, 4):
        for _ in range(2):
            delivery = await anext(inbox.deliveries())
            assert delivery.attempt == attempt
            await delivery.fail("no such customer")
        clock.ahead += 2**attempt
    assert [entry.error for entry in await inbox.dead()] == ["no such customer"] * 2
    assert [r.levelno for r in caplog.records if "dead" in r.message] == [logging.ERROR] * 2
    assert await inbox.retry("msg_1") == 1
    assert (await next_event(inbox)).message_id == "msg_1"
    assert await inbox.retry() == 1
    assert (await next_event(inbox)).message_id == "msg_0"
    assert await states(inbox) == {"msg_0": "handled", "msg_1": "handled"}
    assert await inbox.retry("msg_1") == 1  # a handled event can be requeued too
    assert await inbox.retry("msg_unknown") == 0


async def test_an_event_that_crashes_its_consumers_becomes_dead(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """No consumer survives to report the failure."""
    await stored(inbox, "msg_1")
    for _ in range(3):
        await anext(inbox.deliveries())
        clock.ahead += 61
    with pytest.raises(TimeoutError):
        await next_event(inbox, 0.1)
    (dead,) = await inbox.dead()
    assert "ended" in (dead.error or "")


class _UnreadableError(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ValueError("half \ud83d of it\x00"), "ValueError: half \ufffd of it\x00"),
        (UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates"), "UnicodeEncodeError: 'utf-8'"),
        (_UnreadableError(), "_UnreadableError (its text cannot be read)"),
    ],
)
async def test_any_exception_of_a_handler_is_recorded_as_the_reason(
    inbox: WebhookInbox, clock: Clock, failure: Exception, message: str
) -> None:
    """This includes text that cannot be encoded, and exceptions without text."""
    await stored(inbox, "msg_1")
    for attempt in range(1, 4):
        with pytest.raises(type(failure)):
            async with await anext(inbox.deliveries()):
                raise failure
        (entry,) = await inbox.entries()
        assert (entry.attempts, (entry.error or "").startswith(message)) == (attempt, True)
        clock.ahead += 2**attempt
    (dead,) = await inbox.dead()
    assert (dead.error or "").startswith(message)


async def test_a_long_error_message_is_truncated_before_redaction(
    inbox: WebhookInbox,
) -> None:
    """Only the kept part is searched for secrets, so the loop is not blocked."""
    await stored(inbox, "msg_1")
    delivery = await anext(inbox.deliveries())
    started_at = time.thread_time()
    with pytest.raises(ValueError, match="eyJ"):
        async with delivery:
            raise ValueError("-eyJaaaaaaaa" * 200_000)
    assert time.thread_time() - started_at < 1
    (entry,) = await inbox.entries()
    assert len(entry.error or "") <= 500


async def test_setting_the_clock_back_does_not_delay_events(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """An event that seems to be due in a day is leased at once."""
    clock.ahead = 86400
    await stored(inbox, "msg_1")
    clock.ahead = 0
    assert (await next_event(inbox)).message_id == "msg_1"


async def test_retry_delays_double_up_to_an_hour(inbox: WebhookInbox) -> None:
    """They have a jitter; with the defaults, retries take a little over an hour."""
    policy = WebhookInbox("x.db")._lease_policy
    delays = [policy.pause(attempt, 1.0) for attempt in range(1, 13)]
    assert delays[:3] == [2, 4, 8]
    assert delays[-1] is None
    assert 3600 < sum(pause for pause in delays if pause) < 2 * 3600
    assert policy.pause(1, 0.0) == 1.6
    assert WebhookInbox("x.db", attempts=10**9)._lease_policy.pause(10**6, 1.0) == 3600


async def test_handlers_are_selected_by_type(inbox: WebhookInbox) -> None:
    """Coroutine functions run on the loop, others in a thread; several run in sequence."""
    calls: list[tuple[str, str | None, bool]] = []
    main = threading.current_thread()

    def record_call(name: str, event: WebhookEvent) -> None:
        calls.append((name, event.message_id, threading.current_thread() is main))

    @inbox.on("generation.completed")
    async def completed(event: WebhookEvent) -> None:
        record_call("completed", event)

    @inbox.on("generation.completed", "generation.failed")
    def ended(event: WebhookEvent) -> None:
        record_call("ended", event)

    @inbox.on()
    async def any_event(event: WebhookEvent) -> None:
        record_call("any", event)

    await stored(inbox, "msg_1")
    await stored(inbox, "msg_2", "generation.failed")
    await stored(inbox, "msg_3", "project.archived")
    running = asyncio.create_task(inbox.run(concurrency=1))
    await until(lambda: len(calls) == 6)
    running.cancel()
    await asyncio.wait([running])
    assert calls == [
        *(("completed", "msg_1", True), ("ended", "msg_1", False), ("any", "msg_1", True)),
        *(("ended", "msg_2", False), ("any", "msg_2", True), ("any", "msg_3", True)),
    ]
    assert completed.__name__ == "completed"


async def test_a_handler_that_raises_is_called_again_without_affecting_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its traceback is logged."""
    async with WebhookInbox(tmp_path / "inbox.db", retry_after=0.01) as inbox:
        attempts: dict[str | None, int] = {}

        @inbox.on("generation.completed")
        def failing(event: WebhookEvent) -> None:
            attempts[event.message_id] = attempts.get(event.message_id, 0) + 1
            if event.message_id == "msg_0" and attempts["msg_0"] < 3:
                raise OSError("the disk is full")

        running = asyncio.create_task(inbox.run())
        for number in range(5):
            await stored(inbox, f"msg_{number}")
        await until(lambda: attempts == {"msg_0": 3, **{f"msg_{n}": 1 for n in range(1, 5)}})
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running])
        assert set((await states(inbox)).values()) == {"handled"}
    assert "the disk is full" in caplog.text


async def test_concurrency_limits_the_handlers(inbox: WebhookInbox) -> None:
    """At most three run at a time; other events remain available to other processes."""
    now = maximum = ended = 0

    @inbox.on()
    async def slow(_: WebhookEvent) -> None:
        nonlocal now, maximum, ended
        now += 1
        maximum = max(maximum, now)
        await asyncio.sleep(0.02)
        now, ended = now - 1, ended + 1

    for number in range(10):
        await stored(inbox, f"msg_{number}")
    running = asyncio.create_task(inbox.run(concurrency=3))
    await until(lambda: ended == 10)
    running.cancel()
    await asyncio.wait([running])
    assert maximum == 3


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
async def test_a_cancelled_run_releases_its_events(kind: str, inbox: WebhookInbox) -> None:
    """They are released at once, and no attempt is counted."""
    for number in range(4):
        await stored(inbox, f"msg_{number}")
    started = 0

    @inbox.on()
    async def endless(_: WebhookEvent) -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(60)

    if kind == "asyncio":
        running = asyncio.create_task(inbox.run(concurrency=3))
        await until(lambda: started == 3)
        running.cancel()
        await asyncio.wait([running])
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(inbox.run, concurrency=3))
            await until(lambda: started == 3)
            group.cancel_scope.cancel()
    found = await inbox.entries()
    assert [(entry.state, entry.attempts) for entry in found] == [("waiting", 0)] * 4


async def test_a_handler_in_a_thread_is_waited_for_when_the_run_is_cancelled(
    inbox: WebhookInbox,
) -> None:
    """It cannot be stopped, so its event is handled."""
    await stored(inbox, "msg_1")
    started, may_end = threading.Event(), threading.Event()

    @inbox.on()
    def slow(_: WebhookEvent) -> None:
        started.set()
        assert may_end.wait(60)

    running = asyncio.create_task(inbox.run())
    await until(started.is_set)
    running.cancel()
    await asyncio.sleep(0.05)
    assert not running.done()
    may_end.set()
    await asyncio.wait([running])
    assert running.cancelled()
    assert await states(inbox) == {"msg_1": "handled"}


@pytest.mark.parametrize("moment", range(6))
async def test_a_consumer_cancelled_while_leasing_keeps_no_lease(
    moment: int, inbox: WebhookInbox
) -> None:
    """It is cancelled after any number of steps."""
    await stored(inbox, "msg_1")
    leasing = asyncio.create_task(next_event(inbox))
    for _ in range(moment):
        await asyncio.sleep(0)
    leasing.cancel()
    await asyncio.wait([leasing])
    if not leasing.cancelled():
        return
    async with asyncio.timeout(20):  # not after the end of a lease
        assert (await next_event(inbox)).message_id == "msg_1"


async def test_closing_the_inbox_ends_its_consumers(inbox: WebhookInbox) -> None:
    """They end without an error, and their events are acknowledged."""
    inbox.on()(lambda _: None)

    async def count() -> int:
        return len([event async for event in inbox.consume()])

    async def watch() -> int:
        return len([event async for event in inbox.watch()])

    tasks = [asyncio.create_task(each) for each in (inbox.run(), count(), watch())]
    await asyncio.sleep(0.1)
    await inbox.aclose()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*tasks) == [None, 0, 0]


async def test_watch_yields_new_events_without_leasing_them(inbox: WebhookInbox) -> None:
    """Events are yielded in the order of arrival."""
    await stored(inbox, "msg_early")
    seen: list[str | None] = []

    async def watch() -> None:
        async for event in inbox.watch():
            seen.append(event.message_id)  # noqa: PERF401 - the task is running

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    for number in range(3):
        await stored(inbox, f"msg_{number}")
    await until(lambda: len(seen) == 3)
    watching.cancel()
    await asyncio.wait([watching])
    assert seen == ["msg_0", "msg_1", "msg_2"]
    assert set((await states(inbox)).values()) == {"waiting"}


async def test_invalid_handlers_and_options_are_refused(inbox: WebhookInbox) -> None:
    """No handlers, `@inbox.on` without a call, and a concurrency of 0 are refused."""
    with pytest.raises(ConfigurationError, match="no handler"):
        await inbox.run()
    with pytest.raises(ConfigurationError, match=r"@inbox\.on\("):

        @inbox.on  # type: ignore[arg-type]  # the mistake under test
        async def handler(_: WebhookEvent) -> None: ...

    inbox.on()(lambda _: None)
    with pytest.raises(ConfigurationError, match="concurrency"):
        await inbox.run(concurrency=0)


@pytest.mark.parametrize("moment", range(8))
async def test_a_run_cancelled_at_any_moment_releases_its_events(
    moment: int, inbox: WebhookInbox
) -> None:
    """It is cancelled after any number of steps."""
    await stored(inbox, "msg_1")

    @inbox.on()
    async def endless(_: WebhookEvent) -> None:
        await asyncio.sleep(60)

    running = asyncio.create_task(inbox.run())
    for _ in range(moment):
        await asyncio.sleep(0.0005)
    running.cancel()
    await asyncio.wait([running])
    (entry,) = await inbox.entries()
    assert (entry.state, entry.attempts) == ("waiting", 0)


async def test_an_event_that_is_being_handled_is_not_requeued(inbox: WebhookInbox) -> None:
    """Its consumer has the lease, and acknowledges it."""
    await stored(inbox, "msg_1")
    delivery = await anext(inbox.deliveries())
    assert await inbox.retry("msg_1") == 0
    await delivery.acknowledge()
    assert await inbox.retry("msg_1") == 1


class _Stop(BaseException):
    """Neither an `Exception` nor an exit."""


@pytest.mark.parametrize("raised", ["own", "inner", "thread", "future", "base", "stop"])
async def test_a_cancelled_error_from_a_handler_is_a_failure(
    inbox: WebhookInbox, caplog: pytest.LogCaptureFixture, raised: str
) -> None:
    """Only a cancellation from outside does not count as an attempt."""
    calls: list[str | None] = []

    async def handler(event: WebhookEvent) -> None:
        calls.append(event.message_id)
        if raised == "own":
            raise asyncio.CancelledError
        if raised == "base":
            raise _Stop
        task = asyncio.create_task(asyncio.sleep(9))
        task.cancel()
        await task

    def in_thread(event: WebhookEvent) -> None:
        calls.append(event.message_id)
        if raised == "stop":
            raise StopIteration
        raise asyncio.CancelledError if raised == "thread" else concurrent.futures.CancelledError

    if raised in {"own", "inner", "base"}:
        inbox.on()(handler)
    else:
        inbox.on()(in_thread)
    await stored(inbox, "msg_1")
    running = asyncio.create_task(inbox.run())
    await until(lambda: "was not handled" in caplog.text)
    await asyncio.sleep(0.1)
    assert calls == ["msg_1"]
    running.cancel()
    await asyncio.wait([running])
    [entry] = await inbox.entries()
    assert (entry.state, entry.attempts) == ("waiting", 1)


async def test_the_logged_traceback_of_a_handler_is_escaped_and_truncated(
    inbox: WebhookInbox, caplog: pytest.LogCaptureFixture
) -> None:
    text = "\x1b[2J\nforged line\ud83d" + "x" * 1_000_000

    @inbox.on()
    def _(_event: WebhookEvent) -> None:
        raise ValueError(text) from LookupError(text)

    await stored(inbox, "msg_1")
    running = asyncio.create_task(inbox.run())
    await until(lambda: any(record.exc_info for record in caplog.records))
    running.cancel()
    await asyncio.wait([running])
    [record] = [record for record in caplog.records if record.exc_info]
    written = logging.Formatter().format(record)
    assert "ValueError: \\x1b[2J\\nforged line\\ud83dxxx" in written
    assert "in _call" in written
    assert len(written.encode()) < 20_000


@pytest.mark.usefixtures("_no_task_left")
async def test_handlers_run_during_the_block_and_release_their_events_at_its_end(
    tmp_path: Path,
) -> None:
    """The inbox is open in the block; an event whose handler was cancelled is handled later."""
    inbox = WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER)
    with pytest.raises(ConfigurationError, match="no handler"):
        async with inbox.running():
            pytest.fail("the block must not run")
    handling, blocked, handled = asyncio.Event(), True, []

    @inbox.on("generation.completed")
    async def handle(event: WebhookEvent) -> None:
        handling.set()
        if blocked:
            await asyncio.sleep(3600)
        handled.append(event.message_id)

    async with asyncio.timeout(60):
        async with inbox.running():
            await stored(inbox, "msg_1")
            await handling.wait()
        assert await states(inbox) == {"msg_1": "waiting"}
        blocked = False
        async with inbox.running():
            await until(lambda: handled == ["msg_1"])
    await inbox.aclose()


async def test_handlers_run_again_after_the_file_was_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged with its reason, and events are handled once the file is back."""
    monkeypatch.setattr("diffio_async.webhooks.inbox.RESTART_SECONDS", 0.02)
    path, handled = tmp_path / "inbox.db", []
    inbox = WebhookInbox(path, verifier=VERIFIER)

    @inbox.on()
    def handle(event: WebhookEvent) -> None:
        handled.append(event.message_id)

    async with inbox.running():
        await stored(inbox, "msg_1")
        await until(lambda: handled == ["msg_1"])
        path.rename(tmp_path / "away")
        inbox._file.notifier.notify()  # as if an event had arrived just before
        await until(lambda: "no events are handled" in caplog.text)
        (tmp_path / "away").rename(path)
        await stored(inbox, "msg_2")
        await until(lambda: handled == ["msg_1", "msg_2"])
