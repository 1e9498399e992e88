"""A webhook inbox under load, and what is lost when its receiver is killed: nothing.

    python benchmarks/inbox.py                      # 10,000 deliveries at 500/s, three SIGKILLs
    python benchmarks/inbox.py --deliveries 2000 --rate 400 --kills 1 --json

One process sends; a second receives (aiohttp) and handles; a third handles as well. A fifth of the
deliveries are duplicates, their order is disturbed, one in twenty carries a wrong signature, and
the receiving process is killed on the way and started again. Whatever was not answered is sent
again. Then the handled events and the rows of the inbox are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import platform
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from attrs import field, frozen, mutable

from diffio_async import WebhookEvent, WebhookInbox, WebhookVerifier
from diffio_async.webhooks import aiohttp_app

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - made up, and known to all
OTHER = "whsec_YW5vdGhlciBlbmRwb2ludCdzIHNlY3JldA=="
DUPLICATES, BAD = 0.2, 0.05
#: Seconds after which a killed consumer's events are given to another.
LEASE = 2.0
#: Places by which a delivery may come too early or too late.
DISORDER = 50
#: Seconds after a kill in which the backlog comes in.
AFTERMATH = 3.0


@frozen
class Delivery:
    """One delivery that is to be made; `genuine` says whether its signature fits."""

    message_id: str
    body: bytes
    genuine: bool


@mutable
class Tally:
    """What came of the deliveries; seconds."""

    took: list[tuple[float, float]] = field(factory=list)
    answers: Counter[str] = field(factory=Counter)
    again: int = 0
    kills: list[float] = field(factory=list)


def deliveries(count: int, chance: random.Random) -> list[Delivery]:
    """`count` deliveries: bad ones, duplicates, and all of them out of order."""
    bad, doubled = int(count * BAD), int(count * DUPLICATES)
    made = [
        Delivery(f"msg_{number}", body(number), genuine=number >= bad)
        for number in range(count - doubled)
    ]
    made += chance.sample(made[bad:], doubled)
    chance.shuffle(made)
    places = [(index + chance.uniform(0, DISORDER), each) for index, each in enumerate(made)]
    return [each for _, each in sorted(places, key=lambda pair: pair[0])]


def body(number: int) -> bytes:
    """An event of one of four kinds for one of some generations."""
    kind, status = (
        ("generation.queued", "queued"),
        ("generation.processing", "processing"),
        ("generation.completed", "complete"),
        ("generation.failed", "error"),
    )[number % 4]
    facts = {
        "eventType": kind,
        "eventId": f"evt_{number}",
        "createdAt": "2026-11-22T10:00:00Z",
        "apiKeyId": "key_1",
        "apiProjectId": f"proj_{number // 4}",
        "generationId": f"gen_{number // 4}",
        "status": status,
        "hasVideo": False,
        "modelKey": "diffio-4.6-flash",
        "error": None,
        "errorDetails": None,
        "transcription": {"status": "pending"},
    }
    return json.dumps(facts).encode()


def headers(delivery: Delivery) -> dict[str, str]:
    """Signed now, as the service would; by another secret where it is not genuine."""
    stamp = str(int(time.time()))
    key = base64.b64decode((SECRET if delivery.genuine else OTHER).removeprefix("whsec_"))
    said = f"{delivery.message_id}.{stamp}.".encode() + delivery.body
    signature = base64.b64encode(hmac.digest(key, said, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "svix-id": delivery.message_id,
        "svix-timestamp": stamp,
        "svix-signature": f"v1,{signature}",
    }


# The processes that are sent to.


def inbox_at(folder: Path) -> WebhookInbox:
    """The inbox that they share."""
    return WebhookInbox(folder / "inbox.db", verifier=WebhookVerifier(SECRET), lease=LEASE)


async def consume(inbox: WebhookInbox, handled: Path) -> None:
    """Write down the id of each event that is handled."""
    with handled.open("a", encoding="utf-8") as record:

        @inbox.on()
        async def handle(event: WebhookEvent) -> None:
            record.write(f"{event.message_id}\n")
            record.flush()

        await inbox.run()


async def receive(folder: Path, port: int) -> None:
    """Serve, and handle beside it, until killed."""
    async with inbox_at(folder) as inbox:
        runner = web.AppRunner(aiohttp_app(inbox), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        await consume(inbox, folder / f"handled.{os.getpid()}")


async def only_consume(folder: Path) -> None:
    """Handle until ended."""
    async with inbox_at(folder) as inbox:
        with contextlib.suppress(asyncio.CancelledError):
            running = asyncio.ensure_future(consume(inbox, folder / f"handled.{os.getpid()}"))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
            await running


# The process that sends.


async def deliver(
    session: aiohttp.ClientSession, url: str, delivery: Delivery, tally: Tally
) -> None:
    """Deliver until it is answered for good, as the service does, only sooner."""
    pause = 0.2
    while True:
        began = time.monotonic()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.post(url, data=delivery.body, headers=headers(delivery)) as answer:
                await answer.read()
                tally.took.append((began, time.monotonic() - began))
                word = "genuine" if delivery.genuine else "bad"
                tally.answers[f"{word} {answer.status}"] += 1
                if answer.status == 200 or not delivery.genuine:  # noqa: PLR2004 - HTTP's
                    return
        tally.again += 1
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        pause = min(2.0, pause * 1.5)


async def storm(folder: Path, made: list[Delivery], rate: float, kills: int) -> Tally:
    """Send it all at a rate, killing the receiver on the way."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, tally, sending = f"http://127.0.0.1:{port}/webhooks/diffio", Tally(), set()

    def start(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, *words])  # noqa: S603 - this program

    helper = start("--consume", str(folder))
    receiver = start("--receive", str(folder), str(port))
    try:
        await answering(port)
        places = {len(made) * (number + 1) // (kills + 1) for number in range(kills)}
        limit = aiohttp.TCPConnector(limit=200)
        async with aiohttp.ClientSession(connector=limit) as session:
            began = time.monotonic()
            for number, delivery in enumerate(made):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                sending.add(asyncio.create_task(deliver(session, url, delivery, tally)))
                if number in places:
                    receiver.kill()
                    tally.kills.append(time.monotonic())
                    receiver.wait()
                    receiver = start("--receive", str(folder), str(port))
            await asyncio.gather(*sending)
            await all_handled(folder, 20 * LEASE)
    finally:
        for process in (receiver, helper):
            process.terminate()
            process.wait(10)
    return tally


async def answering(port: int) -> None:
    """Wait until the receiver listens."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)


def counted(folder: Path) -> dict[int, int]:
    """How many rows there are in each state: 0 is open, 1 handled, 2 dead."""
    with contextlib.closing(sqlite3.connect(folder / "inbox.db")) as db:
        return dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))


async def all_handled(folder: Path, seconds: float) -> None:
    """Wait until no row is open."""
    end = time.monotonic() + seconds
    while counted(folder).get(0) and time.monotonic() < end:  # noqa: ASYNC110 - others change it
        await asyncio.sleep(0.1)


def report(folder: Path, made: list[Delivery], tally: Tally, seconds: float) -> dict[str, Any]:
    """What was kept, lost, and how long answers took."""
    valid = {each.message_id for each in made if each.genuine}
    with contextlib.closing(sqlite3.connect(folder / "inbox.db")) as db:
        stored = [row[0] for row in db.execute("SELECT message_id FROM deliveries")]
        damaged = db.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
    handled = Counter(
        line for file in folder.glob("handled.*") for line in file.read_text().splitlines()
    )
    calm = [
        took
        for at, took in tally.took
        if not any(kill - 1 <= at <= kill + AFTERMATH for kill in tally.kills)
    ]
    every = [took for _, took in tally.took]
    return {
        "deliveries": len(made),
        "valid": len(valid),
        "stored": len(stored),
        "stored_twice": len(stored) - len(set(stored)),
        "missing": len(valid - set(stored)),
        "invalid_stored": len(set(stored) - valid),
        "handled": len(handled),
        "never_handled": len(valid - set(handled)),
        "handled_more_than_once": sum(count > 1 for count in handled.values()),
        "left_open_or_dead": sum(count for state, count in counted(folder).items() if state != 1),
        "damaged": damaged,
        "kills": len(tally.kills),
        "sent_again": tally.again,
        "answers": dict(sorted(tally.answers.items())),
        "seconds": round(seconds, 1),
        "p50_ms": milliseconds(calm, 50),
        "p99_ms": milliseconds(calm, 99),
        "p99_ms_with_restarts": milliseconds(every, 99),
        "longest_ms": round(max(every) * 1e3, 1),
    }


def milliseconds(seconds: list[float], share: int) -> float:
    """The time within which so many of a hundred were answered."""
    return round(statistics.quantiles(seconds, n=100)[share - 1] * 1e3, 1)


def main() -> None:
    """Run one of the processes; the sender where none is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0, help="deliveries a second")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the inbox is made, for another disk")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--consume", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.receive:
        asyncio.run(receive(Path(words.receive[0]), int(words.receive[1])))
    elif words.consume:
        asyncio.run(only_consume(Path(words.consume)))
    else:
        made = deliveries(words.deliveries, random.Random(words.seed))  # noqa: S311 - no secret
        with tempfile.TemporaryDirectory(dir=words.folder) as folder:
            began = time.monotonic()
            tally = asyncio.run(storm(Path(folder), made, words.rate, words.kills))
            said = report(Path(folder), made, tally, time.monotonic() - began)
        if words.json:
            print(json.dumps(said))
        else:
            print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
            for name, value in said.items():
                print(f"{name.replace('_', ' '):>24}  {value}")


if __name__ == "__main__":
    main()
