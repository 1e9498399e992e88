"""What an inbox keeps: each event once, for long enough, through forks, loops and full disks."""

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
    """The inbox's clock."""
    return Clock()


@pytest.fixture
async def inbox(tmp_path: Path, clock: Clock, _no_task_left: None) -> AsyncIterator[WebhookInbox]:
    """An open inbox."""
    async with WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER, clock=clock) as opened:
        yield opened


async def test_an_event_is_stored_once(inbox: WebhookInbox) -> None:
    """By the id of its delivery, with the body as it came."""
    assert await stored(inbox, "msg_1", hasVideo=False)
    assert not await stored(inbox, "msg_1", hasVideo=False)
    assert await stored(inbox, "msg_2")
    first = (await inbox.entries())[-1]
    assert (first.message_id, first.state, first.attempts) == ("msg_1", "waiting", 0)
    async for delivery in inbox.deliveries():
        assert delivery.body == body_of(hasVideo=False)
        assert delivery.event == VERIFIER.verify(delivery.body, headers_of(delivery.body))
        break


async def test_an_old_id_with_a_new_signature_is_known(inbox: WebhookInbox, clock: Clock) -> None:
    """A delivery made again by hand is acknowledged and dropped; its old headers are refused."""
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
    """Of handled events; unhandled ones are kept for ever."""
    for number in range(6):
        await stored(inbox, f"msg_{number}")
    taken = 0
    async for delivery in inbox.deliveries():
        async with delivery:
            taken += 1
        if taken == 4:
            break
    clock.ahead = 6.9 * DAY
    assert not await stored(inbox, "msg_0")
    await stored(inbox, "msg_late")
    assert len(await inbox.entries()) == 7
    clock.ahead = 7.1 * DAY
    # Each insertion sweeps up a little.
    for number in range(2):
        await stored(inbox, f"msg_new_{number}")
    assert [entry.message_id for entry in await inbox.entries()] == [
        *("msg_new_1", "msg_new_0", "msg_late", "msg_5", "msg_4"),
    ]


async def test_unhandled_retention_deletes_unhandled_events(tmp_path: Path, clock: Clock) -> None:
    """For an inbox that only ends waits."""
    async with WebhookInbox(
        tmp_path / "inbox.db", unhandled_retention=2 * DAY, clock=clock
    ) as inbox:
        await stored(inbox, "msg_1")
        clock.ahead = 2.1 * DAY
        await stored(inbox, "msg_2")
        assert [entry.message_id for entry in await inbox.entries()] == ["msg_2"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
async def test_events_out_of_order_move_no_generation_backwards(
    order: tuple[int, ...], inbox: WebhookInbox
) -> None:
    """Whatever comes last, the end is the end."""
    events = [
        ("generation.queued", {"status": "queued", "createdAt": "2026-11-22T10:00:00Z"}),
        ("generation.processing", {"status": "processing", "createdAt": "2026-11-22T10:00:01Z"}),
        ("generation.completed", {"status": "complete", "createdAt": "2026-11-22T10:00:02Z"}),
    ]
    assert await inbox.state("gen_1") is None
    for number in order:
        event_type, more = events[number]
        await stored(inbox, f"msg_{number}", event_type, **more)
    furthest = await inbox.state("gen_1")
    assert furthest is not None
    assert furthest.status == "complete"


async def test_of_equal_statuses_the_later_event_is_more_advanced(inbox: WebhookInbox) -> None:
    """By the sender's clock, not by arrival; a word yet to come is above `queued`."""
    for message_id, status, made in (
        ("msg_1", "polishing", "2026-11-22T10:00:05Z"),
        ("msg_2", "processing", "2026-11-22T10:00:01Z"),
        ("msg_3", "queued", "2026-11-22T10:00:09Z"),
    ):
        await stored(inbox, message_id, "generation.updated", status=status, createdAt=made)
    furthest = await inbox.state("gen_1")
    assert furthest is not None
    assert furthest.status == "polishing"


async def test_a_full_disk_results_in_503_until_there_is_space(inbox: WebhookInbox) -> None:
    """Nothing is stored partially."""
    send = AsgiSender(asgi_app(inbox))

    def limit(pages: int) -> Any:
        return lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    await inbox._file.read(limit(1))  # SQLite's own way to be full: no page more
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
def test_terms_that_cannot_be_right_are_refused(wrong: dict[str, float], tmp_path: Path) -> None:
    """When the inbox is made; the file is not touched."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).removeprefix("unhandled_")):
        WebhookInbox(tmp_path / "inbox.db", **wrong)  # type: ignore[arg-type]  # one at a time
    assert not (tmp_path / "inbox.db").exists()


async def test_a_file_that_is_no_inbox_is_refused(tmp_path: Path) -> None:
    """Before the server starts, where the app opens it."""
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(DatabaseError, match="webhook inbox"):
        async with WebhookInbox(other):
            pass
    with pytest.raises(DatabaseError, match="folder"):
        await WebhookInbox(tmp_path / "none" / "inbox.db").entries()


async def test_many_deliveries_at_once_share_their_commits(inbox: WebhookInbox) -> None:
    """Four hundred at once; each id is stored once."""

    async def some(first: int) -> int:
        return sum([await stored(inbox, f"msg_{number}") for number in range(first, first + 20)])

    assert sum(await asyncio.gather(*(some(10 * each) for each in range(39)))) == 400
    assert len(await inbox.entries(limit=2000)) == 400


async def test_the_file_is_open_while_anybody_is_inside(tmp_path: Path) -> None:
    """Entering twice is leaving twice; what uses it after opens it again."""
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
    """Whether its file is."""
    return inbox._file._database is not None


async def test_opening_at_once_from_several_tasks_opens_once(tmp_path: Path) -> None:
    """Also where the first of them is cancelled while it opens."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    tasks = [asyncio.create_task(inbox.entries()) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done[1:] == [()] * 4
    await inbox.aclose()


def test_several_loops_use_one_inbox(tmp_path: Path) -> None:
    """One receives, the other is notified at once."""
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
    # And another loop after that.
    assert len(asyncio.run(_entries(inbox))) == 1


async def _entries(inbox: WebhookInbox) -> tuple[object, ...]:
    async with inbox:
        return await inbox.entries()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_opens_its_own(tmp_path: Path) -> None:
    """A server that forks its workers after the inbox was used."""
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
    """Its path, that is all."""
    assert "whsec" not in repr(inbox)
    assert repr(inbox).endswith("inbox.db')")


async def test_a_cancelled_waiter_does_not_cancel_the_opening(tmp_path: Path) -> None:
    """A task that is cancelled while it waits for the opening leaves it to the others."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    tasks = [asyncio.create_task(inbox.entries()) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [done[0], *done[2:]] == [()] * 3
    await inbox.aclose()


async def test_closing_by_force_leaves_others_what_they_open_later(tmp_path: Path) -> None:
    """An inbox that was entered before is released once, and does not close the file for others."""
    inbox = WebhookInbox(tmp_path / "inbox.db")
    async with inbox:
        await inbox.aclose()
        async with inbox:
            await stored(inbox, "msg_1")
        assert is_open(inbox)
    assert not is_open(inbox)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_is_no_longer_there_takes_no_event(
    how: str, inbox: WebhookInbox, tmp_path: Path
) -> None:
    """What is written to a deleted file is lost: 503, so that it is delivered again."""
    await stored(inbox, "msg_1")
    (tmp_path / "inbox.db").rename(tmp_path / "moved.db")
    if how == "replaced":
        (tmp_path / "inbox.db").touch()
    send, body = AsgiSender(asgi_app(inbox)), body_of()
    assert (await send(body, headers_of(body, "msg_2"))).status == 503
    with pytest.raises(DatabaseError, match="deleted"):
        await stored(inbox, "msg_2")


async def test_an_unreadable_row_is_dead_and_does_not_block_others(inbox: WebhookInbox) -> None:
    """Stored by another program."""
    event = VERIFIER.verify(body_of(), headers_of(body_of(), "msg_0"))
    await inbox.store(event, b"no JSON")
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


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("eventType", "createdAt", "generationId", "status", "error", "hasVideo", "transcription")


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), ODD, max_size=6))
@example({"eventType": "\ud800", "generationId": "gen_\udfff"})
@example({"createdAt": "0001-01-01T00:00:00+14:00"})
@example({"createdAt": "9999-12-31T23:59:59-14:00"})
@example({"eventType": "a\x00b", "status": "\x00"})
def test_every_genuine_event_is_stored_and_delivered(fields: dict[str, Any]) -> None:
    """An error would have it delivered for days, and then never."""

    async def kept(path: Path) -> None:
        async with WebhookInbox(path / "inbox.db", verifier=VERIFIER) as inbox:
            body = json.dumps(fields).encode()
            response = await AsgiSender(asgi_app(inbox))(body, headers_of(body))
            assert (response.status, response.content) == (200, {"status": "stored"})
            taken = await anext(inbox.deliveries())
            assert taken.body == body
            if taken.event.generation_id is not None:
                assert await inbox.state(taken.event.generation_id) is not None

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(kept(Path(folder)))


async def test_a_file_of_an_earlier_format_is_refused(tmp_path: Path) -> None:
    """The message states the formats, and what to do."""
    path = tmp_path / "inbox.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE deliveries (number INTEGER PRIMARY KEY, claim TEXT)")
        db.execute(f"PRAGMA application_id = {inbox_queries.SCHEMA.application_id}")
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(DatabaseError, match=r"its format \(1\) is older .* move it away"):
        await WebhookInbox(path).entries()
