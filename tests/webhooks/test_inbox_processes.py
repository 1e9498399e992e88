"""One inbox in several processes: notifications, killed processes, and no lost events."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async import WebhookInbox
from tests.webhooks.scenes import VERIFIER, stored, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "inbox.py"

#: Consumes events and prints their ids; handles an event called `msg_heavy` until it is killed.
CONSUMER = """
import asyncio, sys
from diffio_async import WebhookInbox

async def main():
    inbox = WebhookInbox(sys.argv[1], lease=2)

    @inbox.on()
    async def handle(event):
        print(event.message_id, flush=True)
        if event.message_id == "msg_heavy":
            await asyncio.sleep(60)

    print("ready", flush=True)
    await inbox.run()

asyncio.run(main())
"""


@pytest.fixture
async def inbox(tmp_path: Path, _no_task_left: None) -> AsyncIterator[WebhookInbox]:
    """An open inbox with short leases."""
    async with WebhookInbox(tmp_path / "inbox.db", verifier=VERIFIER, lease=2) as opened:
        yield opened


async def consumer(path: Path) -> Process:
    """Start a process that handles the events of an inbox."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONSUMER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.slow
async def test_a_killed_consumers_event_is_handled_by_another(
    inbox: WebhookInbox, tmp_path: Path
) -> None:
    """It is leased again after the lease has expired; a running consumer renews its lease."""
    process = await consumer(tmp_path / "inbox.db")
    try:
        assert process.stdout is not None
        await stored(inbox, "msg_light")
        async with asyncio.timeout(20):
            # An event that another process stores is noticed.
            assert await process.stdout.readline() == b"msg_light\n"
        await stored(inbox, "msg_heavy")
        assert await process.stdout.readline() == b"msg_heavy\n"
        taken: list[str | None] = []

        @inbox.on()
        def handle(event: object) -> None:
            taken.append(getattr(event, "message_id", None))

        running = asyncio.create_task(inbox.run())
        await asyncio.sleep(3)  # longer than a lease
        assert taken == []
        process.kill()
        await until(lambda: taken == ["msg_heavy"])
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.wait([running])
        found = {entry.message_id: (entry.state, entry.attempts) for entry in await inbox.entries()}
        assert found == {"msg_light": ("handled", 1), "msg_heavy": ("handled", 2)}
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.slow
async def test_no_event_is_lost_under_load_with_a_killed_receiver(tmp_path: Path) -> None:
    """Despite duplicates, disorder and a SIGKILL, events are stored once; forged ones are not."""
    written = tmp_path / "report.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(BENCHMARK), "--deliveries", "2000", "--rate", "250", "--kills", "1"),
        *("--folder", str(tmp_path), "--json", str(written)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(400):
        assert await process.wait() == 0
    (report,) = json.loads(written.read_text())["rows"]
    lost = ("stored_twice", "missing", "invalid_stored", "never_handled", "left_open_or_dead")
    assert {name: report[name] for name in lost} == dict.fromkeys(lost, 0)
    assert not report["damaged"]
    assert (report["valid"], report["stored"], report["kills"]) == (1500, 1500, 1)
    assert report["responses"]["forged 400"] == 100
    assert set(report["responses"]) == {"forged 400", "genuine 200"}
    # The receiver was unavailable for a while, and deliveries without a response were repeated.
    assert report["sent_again"] > 0
