"""Consumers: each event handled at least once, tried again when it fails, dead in the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from contextlib import aclosing
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
    """The inbox's clock."""
    return Clock()


@pytest.fixture
async def inbox(tmp_path: Path, clock: Clock, _no_task_left: None) -> AsyncIterator[WebhookInbox]:
    """An open inbox, in which three attempts are all there are."""
    async with WebhookInbox(
        tmp_path / "inbox.db", verifier=VERIFIER, clock=clock, attempts=3
    ) as opened:
        yield opened


async def states(inbox: WebhookInbox) -> dict[str, str]:
    """The state of each event."""
    return {entry.message_id: entry.state for entry in await inbox.entries()}


async def first(inbox: WebhookInbox, seconds: float = 2) -> WebhookEvent:
    """The next event, acknowledged."""
    async with (
        asyncio.timeout(seconds),
        aclosing(inbox.deliveries()) as deliveries,
        await anext(deliveries) as event,
    ):
        return event


async def test_the_next_iteration_acknowledges_the_event(inbox: WebhookInbox) -> None:
    """And what was being handled when the loop was left is given back."""
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


async def test_an_exception_in_the_loop_gives_the_event_back(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """To be tried again after a pause; the loop ends by it, as loops do."""
    await stored(inbox, "msg_1")

    async def loop() -> None:
        async for event in inbox.consume():
            raise LookupError(event.message_id)

    with pytest.raises(LookupError, match="msg_1"):
        await loop()
    await asyncio.sleep(0.05)  # the iterator is closed by the loop, a moment later
    (entry,) = await inbox.entries()
    assert (entry.state, entry.attempts) == ("waiting", 1)
    assert 1 < (entry.due_at - entry.received_at).total_seconds() <= 2.2
    clock.ahead = 2
    assert (await first(inbox)).message_id == "msg_1"


async def test_each_delivery_may_be_settled_by_itself(inbox: WebhookInbox, clock: Clock) -> None:
    """A failure gives back its own event alone, with the reason, and no secret in it."""
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


async def test_a_consumer_that_waits_is_woken_by_an_arrival(inbox: WebhookInbox) -> None:
    """At once, not at its next look."""
    waiting = asyncio.create_task(first(inbox))
    await asyncio.sleep(0.12)
    began = asyncio.get_running_loop().time()
    await stored(inbox, "msg_1")
    assert (await waiting).message_id == "msg_1"
    assert asyncio.get_running_loop().time() - began < 0.04


async def test_a_consumer_on_another_inbox_object_sees_it_soon(
    inbox: WebhookInbox, tmp_path: Path
) -> None:
    """As one in another process would: it looks every 50 ms."""
    async with WebhookInbox(tmp_path / "inbox.db") as other:
        waiting = asyncio.create_task(first(other))
        await asyncio.sleep(0.12)
        await stored(inbox, "msg_1")
        assert (await waiting).message_id == "msg_1"


async def test_what_a_silent_consumer_took_is_given_to_another(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """When its lease expires, and not before; the late consumer cannot reclaim it."""
    await stored(inbox, "msg_1")
    silent = await anext(inbox.deliveries())
    clock.ahead = 59
    with pytest.raises(TimeoutError):
        await first(inbox, 0.1)
    clock.ahead = 61
    assert (await first(inbox)).message_id == "msg_1"
    await silent.fail("too late to say so")
    assert await states(inbox) == {"msg_1": "handled"}


async def test_a_lease_is_renewed_while_the_event_is_handled(tmp_path: Path) -> None:
    """However long it takes."""
    async with WebhookInbox(tmp_path / "inbox.db", lease=0.15) as inbox:
        await stored(inbox, "msg_1")
        async with await anext(inbox.deliveries()):
            with pytest.raises(TimeoutError):
                await first(inbox, 0.3)
        assert await states(inbox) == {"msg_1": "handled"}


async def test_an_event_that_always_fails_is_dead_and_may_be_raised(
    inbox: WebhookInbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """After the last attempt; `retry` resets the count, for one event or for all."""
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
    assert (await first(inbox)).message_id == "msg_1"
    assert await inbox.retry() == 1
    assert (await first(inbox)).message_id == "msg_0"
    assert await states(inbox) == {"msg_0": "handled", "msg_1": "handled"}
    assert await inbox.retry("msg_1") == 1  # a handled one, too: replayed
    assert await inbox.retry("msg_unknown") == 0


async def test_an_event_that_ends_its_consumers_is_dead_in_the_end(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """No consumer survives to report the failure."""
    await stored(inbox, "msg_1")
    for _ in range(3):
        await anext(inbox.deliveries())
        clock.ahead += 61
    with pytest.raises(TimeoutError):
        await first(inbox, 0.1)
    (dead,) = await inbox.dead()
    assert "ended" in (dead.error or "")


class _Speechless(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ValueError("half \ud83d of it\x00"), "ValueError: half \ufffd of it\x00"),
        (UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates"), "UnicodeEncodeError: 'utf-8'"),
        (_Speechless(), "_Speechless (its text cannot be read)"),
    ],
)
async def test_whatever_a_handler_raises_is_the_reason_of_the_failure(
    inbox: WebhookInbox, clock: Clock, failure: Exception, message: str
) -> None:
    """Also what cannot be encoded, or has no text: each attempt is recorded as such."""
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


async def test_a_long_text_of_a_handlers_error_is_cut_before_it_is_searched(
    inbox: WebhookInbox,
) -> None:
    """Secrets are looked for in what is kept of it, and the loop is not held up."""
    await stored(inbox, "msg_1")
    delivery = await anext(inbox.deliveries())
    began = time.thread_time()
    with pytest.raises(ValueError, match="eyJ"):
        async with delivery:
            raise ValueError("-eyJaaaaaaaa" * 200_000)
    assert time.thread_time() - began < 1
    (entry,) = await inbox.entries()
    assert len(entry.error or "") <= 500


async def test_a_clock_set_back_keeps_no_event_waiting(inbox: WebhookInbox, clock: Clock) -> None:
    """What is due in a day was never meant to be."""
    clock.ahead = 86400
    await stored(inbox, "msg_1")
    clock.ahead = 0
    assert (await first(inbox)).message_id == "msg_1"


async def test_pauses_double_up_to_an_hour(inbox: WebhookInbox) -> None:
    """With a jitter; the defaults try for a little over an hour."""
    terms = WebhookInbox("x.db")._lease_policy
    longest = [terms.pause(attempt, 1.0) for attempt in range(1, 13)]
    assert longest[:3] == [2, 4, 8]
    assert longest[-1] is None
    assert 3600 < sum(pause for pause in longest if pause) < 2 * 3600
    assert terms.pause(1, 0.0) == 1.6
    assert WebhookInbox("x.db", attempts=10**9)._lease_policy.pause(10**6, 1.0) == 3600


async def test_handlers_are_found_by_type(inbox: WebhookInbox) -> None:
    """Coroutine functions on the loop, others in a thread; several of one event in turn."""
    calls: list[tuple[str, str | None, bool]] = []
    main = threading.current_thread()

    def note(word: str, event: WebhookEvent) -> None:
        calls.append((word, event.message_id, threading.current_thread() is main))

    @inbox.on("generation.completed")
    async def completed(event: WebhookEvent) -> None:
        note("completed", event)

    @inbox.on("generation.completed", "generation.failed")
    def ended(event: WebhookEvent) -> None:
        note("ended", event)

    @inbox.on()
    async def whatever(event: WebhookEvent) -> None:
        note("any", event)

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


async def test_a_handler_that_raises_is_called_again_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sync or not; its traceback is logged."""
    async with WebhookInbox(tmp_path / "inbox.db", retry_after=0.01) as inbox:
        attempts: dict[str | None, int] = {}

        @inbox.on("generation.completed")
        def stubborn(event: WebhookEvent) -> None:
            attempts[event.message_id] = attempts.get(event.message_id, 0) + 1
            if event.message_id == "msg_0" and attempts["msg_0"] < 3:
                raise OSError("the shelf is full")

        running = asyncio.create_task(inbox.run())
        for number in range(5):
            await stored(inbox, f"msg_{number}")
        await until(lambda: attempts == {"msg_0": 3, **{f"msg_{n}": 1 for n in range(1, 5)}})
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running])
        assert set((await states(inbox)).values()) == {"handled"}
    assert "the shelf is full" in caplog.text


async def test_concurrency_limits_the_handlers(inbox: WebhookInbox) -> None:
    """Here three at a time; the rest stay free for other processes."""
    now = most = ended = 0

    @inbox.on()
    async def slow(_: WebhookEvent) -> None:
        nonlocal now, most, ended
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now, ended = now - 1, ended + 1

    for number in range(10):
        await stored(inbox, f"msg_{number}")
    running = asyncio.create_task(inbox.run(concurrency=3))
    await until(lambda: ended == 10)
    running.cancel()
    await asyncio.wait([running])
    assert most == 3


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
async def test_a_cancelled_run_gives_back_what_it_holds(kind: str, inbox: WebhookInbox) -> None:
    """At once, and without an attempt being counted."""
    for number in range(4):
        await stored(inbox, f"msg_{number}")
    begun = 0

    @inbox.on()
    async def endless(_: WebhookEvent) -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(60)

    if kind == "asyncio":
        running = asyncio.create_task(inbox.run(concurrency=3))
        await until(lambda: begun == 3)
        running.cancel()
        await asyncio.wait([running])
    else:
        with anyio.move_on_after(0.2):
            await inbox.run(concurrency=3)
        assert begun == 3
    found = await inbox.entries()
    assert [(entry.state, entry.attempts) for entry in found] == [("waiting", 0)] * 4


async def test_a_handler_in_a_thread_is_waited_for_when_the_run_is_cancelled(
    inbox: WebhookInbox,
) -> None:
    """It cannot be stopped, so its event is handled."""
    await stored(inbox, "msg_1")
    begun, may_end = threading.Event(), threading.Event()

    @inbox.on()
    def slow(_: WebhookEvent) -> None:
        begun.set()
        assert may_end.wait(5)

    running = asyncio.create_task(inbox.run())
    await until(begun.is_set)
    running.cancel()
    await asyncio.sleep(0.05)
    assert not running.done()
    may_end.set()
    await asyncio.wait([running])
    assert running.cancelled()
    assert await states(inbox) == {"msg_1": "handled"}


@pytest.mark.parametrize("moment", range(6))
async def test_a_consumer_cancelled_while_it_takes_keeps_nothing(
    moment: int, inbox: WebhookInbox
) -> None:
    """Whatever step it was in."""
    await stored(inbox, "msg_1")
    taking = asyncio.create_task(first(inbox))
    for _ in range(moment):
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    if not taking.cancelled():
        return
    async with asyncio.timeout(1):
        assert (await first(inbox)).message_id == "msg_1"


async def test_closing_the_inbox_ends_its_consumers(inbox: WebhookInbox) -> None:
    """Without an error, and what they handle is handled."""
    inbox.on()(lambda _: None)

    async def count() -> int:
        return len([event async for event in inbox.consume()])

    async def watched() -> int:
        return len([event async for event in inbox.watch()])

    tasks = [asyncio.create_task(each) for each in (inbox.run(), count(), watched())]
    await asyncio.sleep(0.1)
    await inbox.aclose()
    async with asyncio.timeout(1):
        assert await asyncio.gather(*tasks) == [None, 0, 0]


async def test_who_watches_sees_each_event_and_takes_none(inbox: WebhookInbox) -> None:
    """From now on, in the order they came."""
    await stored(inbox, "msg_early")
    seen: list[str | None] = []

    async def look() -> None:
        async for event in inbox.watch():
            seen.append(event.message_id)  # noqa: PERF401 - the task is running

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.05)
    for number in range(3):
        await stored(inbox, f"msg_{number}")
    await until(lambda: len(seen) == 3)
    looking.cancel()
    await asyncio.wait([looking])
    assert seen == ["msg_0", "msg_1", "msg_2"]
    assert set((await states(inbox)).values()) == {"waiting"}


async def test_handlers_that_cannot_be_are_refused(inbox: WebhookInbox) -> None:
    """None at all, `@inbox.on` without its types, no concurrency."""
    with pytest.raises(ConfigurationError, match="no handler"):
        await inbox.run()
    with pytest.raises(ConfigurationError, match=r"@inbox\.on\("):

        @inbox.on  # type: ignore[arg-type]  # the mistake itself
        async def handler(_: WebhookEvent) -> None: ...

    inbox.on()(lambda _: None)
    with pytest.raises(ConfigurationError, match="concurrency"):
        await inbox.run(concurrency=0)


@pytest.mark.parametrize("moment", range(8))
async def test_a_run_cancelled_at_any_moment_gives_all_back(
    moment: int, inbox: WebhookInbox
) -> None:
    """Whatever step it was in."""
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


async def test_what_is_being_handled_is_not_retried(inbox: WebhookInbox) -> None:
    """Its consumer has it, and settles it."""
    await stored(inbox, "msg_1")
    delivery = await anext(inbox.deliveries())
    assert await inbox.retry("msg_1") == 0
    await delivery.acknowledge()
    assert await inbox.retry("msg_1") == 1


class _Stop(BaseException):
    """Neither an `Exception` nor an exit."""


@pytest.mark.parametrize("raised", ["own", "inner", "thread", "future", "base", "stop"])
async def test_a_handler_that_cancels_itself_has_failed(
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


async def test_the_traceback_of_a_handler_is_escaped_and_cut_in_the_log(
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
