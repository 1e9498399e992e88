"""Load test of a webhook inbox whose receiver is killed: no event may be lost.

    python benchmarks/inbox.py                      # 10,000 deliveries at 500/s, three SIGKILLs
    python benchmarks/inbox.py --deliveries 2000 --rate 400 --kills 1

One process sends; a second receives (aiohttp) and handles; a third handles as well. A fifth of the
deliveries are duplicates, their order is disturbed, one in twenty carries a wrong signature, and
the receiving process is killed and restarted during the run. Deliveries without a response are sent
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
import random
import signal
import socket
import sqlite3
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
from harness import parser, print_heading, print_line, quantile, save

from diffio_async import WebhookEvent, WebhookInbox, WebhookVerifier
from diffio_async.webhooks import aiohttp_app

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - a public test secret
OTHER = "whsec_YW5vdGhlciBlbmRwb2ludCdzIHNlY3JldA=="
DUPLICATES, BAD = 0.2, 0.05
#: Duration of a lease in seconds; after it, a killed consumer's events are leased to another.
LEASE = 2.0
#: Number of positions by which a delivery may be out of order.
DISORDER = 50
#: Seconds after a kill in which the backlog is delivered.
RECOVERY_SECONDS = 3.0


@frozen
class Delivery:
    """A delivery to send; `genuine` is whether its signature is valid."""

    message_id: str
    body: bytes
    genuine: bool


@mutable
class Tally:
    """Results of the deliveries; times are in seconds."""

    durations: list[tuple[float, float]] = field(factory=list)
    responses: Counter[str] = field(factory=Counter)
    repeated: int = 0
    kills: list[float] = field(factory=list)


def deliveries(count: int, chance: random.Random) -> list[Delivery]:
    """Return `count` deliveries: forged ones, duplicates, and all of them out of order."""
    forged, duplicated = int(count * BAD), int(count * DUPLICATES)
    created = [
        Delivery(f"msg_{number}", body(number), genuine=number >= forged)
        for number in range(count - duplicated)
    ]
    created += chance.sample(created[forged:], duplicated)
    chance.shuffle(created)
    positions = [(index + chance.uniform(0, DISORDER), each) for index, each in enumerate(created)]
    return [each for _, each in sorted(positions, key=lambda pair: pair[0])]


def body(number: int) -> bytes:
    """Return an event of one of four types; four consecutive numbers share a generation."""
    event_type, status = (
        ("generation.queued", "queued"),
        ("generation.processing", "processing"),
        ("generation.completed", "complete"),
        ("generation.failed", "error"),
    )[number % 4]
    event = {
        "eventType": event_type,
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
    return json.dumps(event).encode()


def headers(delivery: Delivery) -> dict[str, str]:
    """Return the headers, signed now; with another secret if the delivery is not genuine."""
    stamp = str(int(time.time()))
    key = base64.b64decode((SECRET if delivery.genuine else OTHER).removeprefix("whsec_"))
    content = f"{delivery.message_id}.{stamp}.".encode() + delivery.body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "svix-id": delivery.message_id,
        "svix-timestamp": stamp,
        "svix-signature": f"v1,{signature}",
    }


# The receiving processes.


def inbox_at(folder: Path) -> WebhookInbox:
    """Return the inbox that the processes share."""
    return WebhookInbox(folder / "inbox.db", verifier=WebhookVerifier(SECRET), lease=LEASE)


async def consume(inbox: WebhookInbox, handled: Path) -> None:
    """Record the id of each event that is handled."""
    with handled.open("a", encoding="utf-8") as record:

        @inbox.on()
        async def handle(event: WebhookEvent) -> None:
            record.write(f"{event.message_id}\n")
            record.flush()

        await inbox.run()


async def receive(folder: Path, port: int) -> None:
    """Receive and handle events until killed."""
    async with inbox_at(folder) as inbox:
        runner = web.AppRunner(aiohttp_app(inbox), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        await consume(inbox, folder / f"handled.{os.getpid()}")


async def only_consume(folder: Path) -> None:
    """Handle events until terminated."""
    async with inbox_at(folder) as inbox:
        with contextlib.suppress(asyncio.CancelledError):
            running = asyncio.ensure_future(consume(inbox, folder / f"handled.{os.getpid()}"))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
            await running


# The sending process.


async def deliver(
    session: aiohttp.ClientSession, url: str, delivery: Delivery, tally: Tally
) -> None:
    """Repeat a delivery until it is accepted, as the service does, but with shorter delays."""
    delay = 0.2
    while True:
        started_at = time.monotonic()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.post(url, data=delivery.body, headers=headers(delivery)) as response:
                await response.read()
                tally.durations.append((started_at, time.monotonic() - started_at))
                kind = "genuine" if delivery.genuine else "forged"
                tally.responses[f"{kind} {response.status}"] += 1
                if response.status == 200 or not delivery.genuine:  # noqa: PLR2004 - HTTP's
                    return
        tally.repeated += 1
        await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
        delay = min(2.0, delay * 1.5)


async def run_load(folder: Path, created: list[Delivery], rate: float, kills: int) -> Tally:
    """Send all deliveries at `rate` per second, and kill the receiver `kills` times."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, tally, sending = f"http://127.0.0.1:{port}/webhooks/diffio", Tally(), set()

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, *arguments])  # noqa: S603 - this program

    helper = start("--consume", str(folder))
    receiver = start("--receive", str(folder), str(port))
    try:
        await wait_until_listening(port)
        kill_after = {len(created) * (number + 1) // (kills + 1) for number in range(kills)}
        limit = aiohttp.TCPConnector(limit=200)
        async with aiohttp.ClientSession(connector=limit) as session:
            started_at = time.monotonic()
            for number, delivery in enumerate(created):
                await asyncio.sleep(max(0.0, started_at + number / rate - time.monotonic()))
                sending.add(asyncio.create_task(deliver(session, url, delivery, tally)))
                if number in kill_after:
                    receiver.kill()
                    tally.kills.append(time.monotonic())
                    receiver.wait()
                    receiver = start("--receive", str(folder), str(port))
            await asyncio.gather(*sending)
            await all_handled(folder, 60 * LEASE)
    finally:
        for process in (receiver, helper):
            process.terminate()
            process.wait(10)
    return tally


async def wait_until_listening(port: int) -> None:
    """Wait until the receiver accepts connections."""
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)


def count_by_state(folder: Path) -> dict[int, int]:
    """Return the number of rows in each state: 0 is open, 1 handled, 2 dead."""
    with contextlib.closing(sqlite3.connect(folder / "inbox.db")) as db:
        return dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))


async def all_handled(folder: Path, seconds: float) -> None:
    """Wait until no row is open."""
    end = time.monotonic() + seconds
    while count_by_state(folder).get(0) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def report(folder: Path, created: list[Delivery], tally: Tally, seconds: float) -> dict[str, Any]:
    """Return the numbers of stored and lost events, and the response times."""
    valid = {each.message_id for each in created if each.genuine}
    with contextlib.closing(sqlite3.connect(folder / "inbox.db")) as db:
        stored = [row[0] for row in db.execute("SELECT message_id FROM deliveries")]
        damaged = db.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
    handled = Counter(
        line for file in folder.glob("handled.*") for line in file.read_text().splitlines()
    )
    undisturbed = [
        duration
        for at, duration in tally.durations
        if not any(kill - 1 <= at <= kill + RECOVERY_SECONDS for kill in tally.kills)
    ]
    every = [duration for _, duration in tally.durations]
    return {
        "deliveries": len(created),
        "valid": len(valid),
        "stored": len(stored),
        "stored_twice": len(stored) - len(set(stored)),
        "missing": len(valid - set(stored)),
        "invalid_stored": len(set(stored) - valid),
        "handled": len(handled),
        "never_handled": len(valid - set(handled)),
        "handled_more_than_once": sum(count > 1 for count in handled.values()),
        "left_open_or_dead": sum(
            count for state, count in count_by_state(folder).items() if state != 1
        ),
        "damaged": damaged,
        "kills": len(tally.kills),
        "sent_again": tally.repeated,
        "responses": dict(sorted(tally.responses.items())),
        "seconds": round(seconds, 1),
        "p50_ms": milliseconds(undisturbed, 50),
        "p99_ms": milliseconds(undisturbed, 99),
        "p99_ms_with_restarts": milliseconds(every, 99),
        "longest_ms": round(max(every) * 1e3, 1),
    }


def milliseconds(seconds: list[float], percentile: int) -> float | None:
    """Return a percentile of times in milliseconds, None without any."""
    return round(quantile(seconds, percentile / 100) * 1e3, 1) if seconds else None


def main() -> None:
    """Run the sender, or one of the receiving processes."""
    given = parser(__doc__)
    given.add_argument("--deliveries", type=int, default=10_000)
    given.add_argument("--rate", type=float, default=500.0, help="deliveries a second")
    given.add_argument("--kills", type=int, default=3)
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--folder", type=Path, help="folder of the inbox, for another disk")
    given.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    given.add_argument("--consume", help=argparse.SUPPRESS)
    arguments = given.parse_args()
    if arguments.receive:
        asyncio.run(receive(Path(arguments.receive[0]), int(arguments.receive[1])))
    elif arguments.consume:
        asyncio.run(only_consume(Path(arguments.consume)))
    else:
        created = deliveries(arguments.deliveries, random.Random(arguments.seed))  # noqa: S311
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            started_at = time.monotonic()
            tally = asyncio.run(run_load(Path(folder), created, arguments.rate, arguments.kills))
            results = report(Path(folder), created, tally, time.monotonic() - started_at)
        print_heading("figure", f"SQLite {sqlite3.sqlite_version}")
        for name, value in results.items():
            print_line(name, value)
        what = f"inbox, {arguments.deliveries:,} deliveries"
        save([{"what": what, "who": "diffio_async", **results}], arguments)


if __name__ == "__main__":
    main()
