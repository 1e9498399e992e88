"""Leases, retries and retention of an inbox do not depend on the time of day."""

from __future__ import annotations

import sqlite3
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import WebhookInbox
from tests.webhooks.scenes import VERIFIER, body_of, headers_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_task_left")
HOURS, DAYS = 3600.0, 86400.0
#: The clock of the sender, which is never set.
SENDER = time.time


async def stored(inbox: WebhookInbox, message_id: str) -> bool:
    """Store an event like a receiver whose clock is right; return whether it was new."""
    body = body_of("generation.completed")
    return await inbox.store(VERIFIER.verify(body, headers_of(body, message_id, at=SENDER())), body)


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Function that sets the time of day some seconds ahead of the right time."""
    real_time = time.time

    def set_ahead(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real_time() + seconds)

    return set_ahead


async def handled(inbox: WebhookInbox, within: float = 20) -> str | None:
    """Return the id of the next event after acknowledging it, None if no event is due."""
    with anyio.move_on_after(within):
        async with aclosing(inbox.deliveries()) as deliveries, await anext(deliveries) as event:
            return event.message_id
    return None


@pytest.mark.parametrize("ahead", [-0.5 * HOURS, -26 * HOURS, 26 * HOURS])
async def test_an_event_is_leased_at_once_although_the_clock_was_set(
    tmp_path: Path, set_clock: Callable[[float], None], ahead: float
) -> None:
    """A process that starts after the clock was set leases an event received before."""
    async with WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER) as receiver:
        await stored(receiver, "msg_1")
        set_clock(ahead)
        async with WebhookInbox(tmp_path / "inbox.db") as consumer:
            assert await handled(consumer) == "msg_1"


@pytest.mark.slow
async def test_a_lease_is_kept_when_the_clock_is_set_forward(
    tmp_path: Path, set_clock: Callable[[float], None]
) -> None:
    """An event that is being handled is not leased to a second consumer."""
    async with WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER) as inbox:
        await stored(inbox, "msg_1")
        async with aclosing(inbox.deliveries()) as deliveries, await anext(deliveries):
            set_clock(2 * HOURS)
            async with WebhookInbox(tmp_path / "inbox.db") as other:
                assert await handled(other, within=0.3) is None


async def test_ids_are_kept_when_the_clock_is_set_forward(
    tmp_path: Path, set_clock: Callable[[float], None]
) -> None:
    """A second delivery of a handled event is known, also after a restart of the machine."""
    path = tmp_path / "inbox.db"
    async with WebhookInbox(path, verifier=VERIFIER) as inbox:
        await stored(inbox, "msg_1")
        assert await handled(inbox) == "msg_1"
        set_clock(30 * DAYS)
        await stored(inbox, "msg_2")
        assert not await stored(inbox, "msg_1")
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE clock SET boot = 'an earlier one'")
        other.commit()
    async with WebhookInbox(path, verifier=VERIFIER) as inbox:
        await stored(inbox, "msg_3")
        assert not await stored(inbox, "msg_1")


async def test_entries_show_the_corrected_time(
    tmp_path: Path, set_clock: Callable[[float], None]
) -> None:
    """After the clock is corrected, an entry shows the right time of receipt."""
    real_time = time.time()
    set_clock(-5 * HOURS)
    async with WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER) as inbox:
        await stored(inbox, "msg_1")
        set_clock(0)
        (entry,) = await inbox.entries()
    assert abs(entry.received_at.timestamp() - real_time) < 10
