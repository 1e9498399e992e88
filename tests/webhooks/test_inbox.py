"""Storage of an inbox: duplicates, retention, order, sharing, and files that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffio_async import ConfigurationError, WebhookInbox, WebhookVerifier
from diffio_async.errors import DatabaseError
from diffio_async.webhooks import asgi_app, inbox_queries
from tests.webhooks.scenes import SECRET, VERIFIER, Clock, body_of, headers_of, stored
from tests.webhooks.test_receivers import AsgiSender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86400


@pytest.fixture
def clock() -> Clock:
    """The clock of the inbox."""
    return Clock()


@pytest.fixture
async def inbox(tmp_path: Path, clock: Clock, _no_task_left: None) -> AsyncIterator[WebhookInbox]:
    """An open inbox."""
    async with WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER, clock=clock) as opened:
        yield opened


async def test_an_event_is_stored_once(inbox: WebhookInbox) -> None:
    """It is identified by the id of its delivery, and has the raw body."""
    assert await stored(inbox, "msg_1", hasVideo=False)
    assert not await stored(inbox, "msg_1", hasVideo=False)
    assert await stored(inbox, "msg_2")
    first = (await inbox.entries())[-1]
    assert (first.message_id, first.state, first.attempts) == ("msg_1", "waiting", 0)
    async for delivery in inbox.deliveries():
        assert delivery.body == body_of(hasVideo=False)
        assert delivery.event == VERIFIER.verify(delivery.body, headers_of(delivery.body))
        break


async def test_a_known_id_with_a_new_signature_is_a_duplicate(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """A delivery that is repeated manually is acknowledged; its old headers are refused."""
    send = AsgiSender(asgi_app(inbox))
    body = body_of()
    yesterday = headers_of(body, at=clock() - DAY)
    clock.ahead = -DAY
    assert await stored(inbox, "msg_1")
    clock.ahead = 0
    assert (await send(body, yesterday)).content == {"error": "too_old"}
    assert (await send(body, headers_of(body))).content == {"status": "duplicate"}


async def test_ids_are_forgotten_after_the_retention_and_not_before(
    inbox: WebhookInbox, clock: Clock
) -> None:
    """This applies to handled events; unhandled ones are kept forever."""
    for number in range(6):
        await stored(inbox, f"msg_{number}")
    handled = 0
    async for delivery in inbox.deliveries():
        async with delivery:
            handled += 1
        if handled == 4:
            break
    clock.ahead = 6.9 * DAY
    assert not await stored(inbox, "msg_0")
    await stored(inbox, "msg_late")
    assert len(await inbox.entries()) == 7
    clock.ahead = 7.1 * DAY
    # Each insertion deletes a few expired rows.
    for number in range(2):
        await stored(inbox, f"msg_new_{number}")
    assert [entry.message_id for entry in await inbox.entries()] == [
        *("msg_new_1", "msg_new_0", "msg_late", "msg_5", "msg_4"),
    ]


async def test_unhandled_retention_deletes_unhandled_events(tmp_path: Path, clock: Clock) -> None:
    """The option is for an inbox that is only used to end waits."""
    async with WebhookInbox(
        tmp_path / "inbox.db", unhandled_retention=2 * DAY, clock=clock
    ) as inbox:
        await stored(inbox, "msg_1")
        clock.ahead = 2.1 * DAY
        await stored(inbox, "msg_2")
        assert [entry.message_id for entry in await inbox.entries()] == ["msg_2"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
async def test_events_out_of_order_do_not_move_a_generation_backwards(
    order: tuple[int, ...], inbox: WebhookInbox
) -> None:
    """The terminal status remains, whichever event is last."""
    events = [
        ("generation.queued", {"status": "queued", "createdAt": "2026-11-22T10:00:00Z"}),
        ("generation.processing", {"status": "processing", "createdAt": "2026-11-22T10:00:01Z"}),
        ("generation.completed", {"status": "complete", "createdAt": "2026-11-22T10:00:02Z"}),
    ]
    assert await inbox.state("gen_1") is None
    for number in order:
        event_type, more = events[number]
        await stored(inbox, f"msg_{number}", event_type, **more)
    state = await inbox.state("gen_1")
    assert state is not None
    assert state.status == "complete"


async def test_of_equal_statuses_the_later_event_is_more_advanced(inbox: WebhookInbox) -> None:
    """The sender's clock decides, not the arrival; an unknown status ranks above `queued`."""
    for message_id, status, made in (
        ("msg_1", "polishing", "2026-11-22T10:00:05Z"),
        ("msg_2", "processing", "2026-11-22T10:00:01Z"),
        ("msg_3", "queued", "2026-11-22T10:00:09Z"),
    ):
        await stored(inbox, message_id, "generation.updated", status=status, createdAt=made)
    state = await inbox.state("gen_1")
    assert state is not None
    assert state.status == "polishing"


async def test_a_full_disk_results_in_503_until_there_is_space(inbox: WebhookInbox) -> None:
    """Nothing is stored partially."""
    send = AsgiSender(asgi_app(inbox))

    def limit(pages: int) -> Any:
        return lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    await inbox._file.read(limit(1))  # SQLite reports a full disk if no page can be added
    body = body_of(note="x" * 50_000)
    response = await send(body, headers_of(body))
    assert (response.status, response.content) == (503, {"error": "not_stored"})
    await inbox._file.read(limit(1_000_000))
    assert (await send(body, headers_of(body))).content == {"status": "stored"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"lease": 0},
        {"lease": 3601},
        {"attempts": 0},
        {"retry_after": -1},
        {"retention": DAY},
        {"unhandled_retention": 60},
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, float], tmp_path: Path) -> None:
    """They are refused when the inbox is created, before the file is."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).removeprefix("unhandled_")):
        WebhookInbox(tmp_path / "inbox.db", **wrong)  # type: ignore[arg-type]  # one at a time
    assert not (tmp_path / "inbox.db").exists()


async def test_a_file_that_is_not_an_inbox_is_refused(tmp_path: Path) -> None:
    """The app opens it before the server starts."""
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(DatabaseError, match="webhook inbox"):
        async with WebhookInbox(other):
            pass
    with pytest.raises(DatabaseError, match="folder"):
        await WebhookInbox(tmp_path / "none" / "inbox.db").entries()


async def test_concurrent_deliveries_are_stored_once(inbox: WebhookInbox) -> None:
    """Each of four hundred ids is stored once."""

    async def store_range(first: int) -> int:
        return sum([await stored(inbox, f"msg_{number}") for number in range(first, first + 20)])

    assert sum(await asyncio.gather(*(store_range(10 * each) for each in range(39)))) == 400
    assert len(await inbox.entries(limit=2000)) == 400


async def test_the_file_is_open_while_the_inbox_is_entered(tmp_path: Path) -> None:
    """An inbox that was entered twice must be left twice; later use opens it again."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    async with inbox:
        async with inbox:
            await stored(inbox, "msg_1")
        assert is_open(inbox)
        assert await stored(inbox, "msg_2")
    assert not is_open(inbox)
    assert not await stored(inbox, "msg_1")
    await inbox.aclose()


def is_open(inbox: WebhookInbox) -> bool:
    """Return whether the file of the inbox is open."""
    return inbox._file._database is not None


async def test_concurrent_tasks_open_the_file_once(tmp_path: Path) -> None:
    """The first task is cancelled while it opens the file."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    tasks = [asyncio.create_task(inbox.entries()) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done[1:] == [()] * 4
    await inbox.aclose()


def test_several_loops_use_one_inbox(tmp_path: Path) -> None:
    """One receives an event, and the other is notified at once."""
    inbox = WebhookInbox(tmp_path / "inbox.db")

    async def first_event() -> str | None:
        async for event in inbox.watch():
            return event.message_id
        return None

    async def here() -> str | None:
        async with inbox:
            following = asyncio.create_task(asyncio.to_thread(asyncio.run, first_event()))
            await asyncio.sleep(0.1)
            await stored(inbox, "msg_1")
            return await following

    assert asyncio.run(here()) == "msg_1"
    # A third loop can use it afterwards.
    assert len(asyncio.run(_entries(inbox))) == 1


async def _entries(inbox: WebhookInbox) -> tuple[object, ...]:
    async with inbox:
        return await inbox.entries()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_opens_the_file_itself(tmp_path: Path) -> None:
    """A server may fork its workers after it used the inbox."""
    inbox = WebhookInbox(tmp_path / "inbox.db")

    async def use(message_id: str) -> None:
        async with inbox:
            await stored(inbox, message_id)

    async def outer() -> int:
        async with inbox:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    asyncio.events._set_running_loop(None)
                    asyncio.run(use("msg_child"))
                    code = 0
                finally:
                    os._exit(code)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            await use("msg_parent")
            assert len(await inbox.entries()) == 2
            return os.waitstatus_to_exitcode(status)

    assert asyncio.run(outer()) == 0


async def test_an_inbox_shows_no_secret(inbox: WebhookInbox) -> None:
    """The repr contains only its path."""
    assert "whsec" not in repr(inbox)
    assert repr(inbox).endswith("inbox.db')")


async def test_a_cancelled_waiter_does_not_cancel_the_opening(tmp_path: Path) -> None:
    """The other tasks that wait for the opening succeed."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    tasks = [asyncio.create_task(inbox.entries()) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [done[0], *done[2:]] == [()] * 3
    await inbox.aclose()


async def test_aclose_does_not_close_the_file_of_later_users(tmp_path: Path) -> None:
    """Leaving an inbox that was closed meanwhile does not close the file for others."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    async with inbox:
        await inbox.aclose()
        async with inbox:
            await stored(inbox, "msg_1")
        assert is_open(inbox)
    assert not is_open(inbox)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_deleted_or_replaced_file_accepts_no_events(
    how: str, inbox: WebhookInbox, tmp_path: Path
) -> None:
    """The status is 503, so that the event is delivered again; a write would be lost."""
    await stored(inbox, "msg_1")
    (tmp_path / "inbox.db").rename(tmp_path / "moved.db")
    if how == "replaced":
        (tmp_path / "inbox.db").touch()
    send, body = AsgiSender(asgi_app(inbox)), body_of()
    assert (await send(body, headers_of(body, "msg_2"))).status == 503
    with pytest.raises(DatabaseError, match="deleted"):
        await stored(inbox, "msg_2")


async def test_an_unreadable_row_is_dead_and_does_not_block_others(inbox: WebhookInbox) -> None:
    """Another program stored it."""
    event = VERIFIER.verify(body_of(), headers_of(body_of(), "msg_0"))
    await inbox.store(event, b"not JSON")
    await stored(inbox, "msg_1")
    delivery = await anext(inbox.deliveries())
    assert delivery.event.message_id == "msg_1"
    assert [entry.message_id for entry in await inbox.dead()] == ["msg_0"]


async def test_secrets_are_rotated_without_a_restart(inbox: WebhookInbox) -> None:
    """The receiver reads the verifier of the inbox each time."""
    send, body, new = AsgiSender(asgi_app(inbox)), body_of(), "whsec_b3RoZXI="
    assert (await send(body, headers_of(body, secret=new))).status == 400
    inbox.verifier = WebhookVerifier(SECRET, new)
    assert (await send(body, headers_of(body, secret=new))).status == 200


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("eventType", "createdAt", "generationId", "status", "error", "hasVideo", "transcription")


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), ANY_JSON, max_size=6))
@example({"eventType": "\ud800", "generationId": "gen_\udfff"})
@example({"createdAt": "0001-01-01T00:00:00+14:00"})
@example({"createdAt": "9999-12-31T23:59:59-14:00"})
@example({"eventType": "a\x00b", "status": "\x00"})
def test_every_genuine_event_is_stored_and_delivered(fields: dict[str, Any]) -> None:
    """After errors, the sender would repeat it for days, and then stop."""

    async def check_stored(path: Path) -> None:
        async with WebhookInbox(path / "inbox.db", verifier=VERIFIER) as inbox:
            body = json.dumps(fields).encode()
            response = await AsgiSender(asgi_app(inbox))(body, headers_of(body))
            assert (response.status, response.content) == (200, {"status": "stored"})
            handled = await anext(inbox.deliveries())
            assert handled.body == body
            if handled.event.generation_id is not None:
                assert await inbox.state(handled.event.generation_id) is not None

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check_stored(Path(folder)))


async def test_a_file_of_an_earlier_format_is_refused(tmp_path: Path) -> None:
    """The message states the formats, and what to do."""
    path = tmp_path / "inbox.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE deliveries (number INTEGER PRIMARY KEY, claim TEXT)")
        db.execute(f"PRAGMA application_id = {inbox_queries.SCHEMA.application_id}")
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(DatabaseError, match=r"its format \(1\) is older .* move it away"):
        await WebhookInbox(path).entries()
