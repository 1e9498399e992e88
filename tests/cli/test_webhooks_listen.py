"""`diffio-async webhooks listen` and `inbox`: events are printed, stored and forwarded."""

from __future__ import annotations

import json
import os
import pty
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from attrs import define, field

from diffio_async import AsyncDiffio, WebhookEvent, WebhookInbox, WebhookVerifier
from diffio_async.cli.webhooks.forward import Forwarder, NotForwarded
from diffio_async.sandbox import Drop, Duplicate, Fault, LoseResponse, Sandbox
from tests.cli.conftest import PATIENCE
from tests.ports import free_port
from tests.webhooks.scenes import SECRET, body_of, headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import Process

    from tests.cli.conftest import Run, Start

OTHER = "whsec_b3RoZXIgc2VjcmV0IG9mIG91cnM="
ENVIRONMENT = {"DIFFIO_WEBHOOK_SECRET": f"{OTHER} {SECRET}"}


class Listener:
    """A listener that prints JSON."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._pieces = process.stdout
        self._text = b""
        self.url = ""

    async def next(self) -> dict[str, Any]:
        """The next object it prints."""
        with anyio.fail_after(PATIENCE):
            while b"\n" not in self._text:
                self._text += await self._pieces.receive()
        line, _, self._text = self._text.partition(b"\n")
        fact: dict[str, Any] = json.loads(line)
        return fact

    async def until(self, event: str) -> dict[str, Any]:
        """The next object with this event."""
        while (fact := await self.next())["event"] != event:
            pass
        return fact

    async def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Its exit code, and its stderr."""
        self.process.send_signal(number)
        with anyio.fail_after(PATIENCE):
            code = await self.process.wait()
        assert self.process.stderr is not None
        return code, b"".join([piece async for piece in self.process.stderr]).decode()


async def listening(start: Start, *arguments: object) -> Listener:
    """A listener on a free port, once it listens."""
    words = ("webhooks", "listen", "--port", "0", "--json", *arguments)
    listener = Listener(await start(*words, env=ENVIRONMENT))
    listener.url = (await listener.until("listening"))["url"]
    return listener


@define
class Target:
    """A forwarding target that responds with the next of `statuses`, then with 204."""

    port: int
    statuses: list[int] = field(factory=list)
    deliveries: list[tuple[dict[str, str], bytes]] = field(factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Take one delivery."""
        self.deliveries.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)


@asynccontextmanager
async def target(*statuses: int, port: int = 0) -> AsyncIterator[Target]:
    made = Target(port or free_port(), list(statuses))
    runner = web.ServerRunner(web.Server(made.take), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    try:
        yield made
    finally:
        await runner.cleanup()


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        return response.status


@pytest.mark.slow
async def test_events_are_printed(start: Start) -> None:
    """Events of the sandbox are printed, one as a duplicate; Ctrl-C exits with 0."""
    listener = await listening(start)
    assert listener.url.endswith("/webhooks/diffio")
    twice = Fault(origin="webhooks", action=Duplicate())
    async with (
        Sandbox(engine="echo", webhook_secret=SECRET, faults=[twice]) as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        await client.webhooks.configure(
            mode="live", url=listener.url, event_types=["generation.failed"]
        )
        sent = await client.webhooks.send_test_event(event_type="generation.failed", mode="live")
        first, second = await listener.next(), await listener.next()
        while sandbox.state.messages:
            await anyio.sleep(0.01)
        assert [made.status for made in sandbox.deliveries] == [200, 200]
    assert first == {
        "event": "received",
        "message_id": sent.svix_message_id,
        "event_type": "generation.failed",
        "generation_id": "gen_test",
        "api_project_id": "proj_test",
        "status": "error",
        "error": "a test failure",
        "duplicate": False,
    }
    assert second == {**first, "duplicate": True}
    assert await listener.stop() == (0, "")


@pytest.mark.slow
async def test_a_rejected_delivery_is_reported_and_not_printed_as_an_event(start: Start) -> None:
    """The reason is in the JSON and the log; another path is 404."""
    listener = await listening(start, "--path", "/hook")
    assert await post(listener.url, body_of(), headers_of(body_of() + b" ")) == 400
    assert await listener.next() == {
        "event": "rejected",
        "status": 400,
        "reason": "bad_signature",
    }
    assert await post(f"{listener.url}/other", body_of(), headers_of(body_of())) == 404
    code, printed = await listener.stop(signal.SIGTERM)
    assert (code, "bad_signature" in printed, SECRET in printed) == (0, True, False)


@pytest.mark.slow
async def test_each_event_is_a_line(start: Start) -> None:
    """In color only on a terminal; control characters are escaped."""
    narrow = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    process = await start("webhooks", "listen", "--port", "0", env=narrow)
    assert process.stderr is not None
    assert process.stdout is not None
    url = (await process.stderr.receive()).decode().split()[2].rstrip(",")
    odd = body_of("generation.failed", error="caf\u00e9")
    assert await post(url, odd, headers_of(odd)) == 200
    with anyio.fail_after(PATIENCE):
        assert (await process.stdout.receive()).endswith(b"error: caf\\xe9\n")
    body = body_of("generation.failed", error="no \x1b[31mspeech")
    assert await post(url, body, headers_of(body)) == 200
    with anyio.fail_after(PATIENCE):
        line = (await process.stdout.receive()).decode()
    assert line.endswith(" generation.failed gen_1 msg_1 error: no \\x1b[31mspeech (duplicate)\n")

    ours, theirs = pty.openpty()
    try:
        process = await start(
            "webhooks", "listen", "--port", "0", env={**ENVIRONMENT, "TERM": "xterm"}, stdout=theirs
        )
        assert process.stderr is not None
        url = (await process.stderr.receive()).decode().split()[2].rstrip(",")
        assert await post(url, body, headers_of(body)) == 200
        shown = os.read(ours, 1000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\x1b[31m" in shown
    assert "msg_1 error: no \\x1b[31mspeech" in shown


@pytest.mark.slow
async def test_an_event_is_acknowledged_after_it_was_forwarded(start: Start) -> None:
    """Body and signature are unchanged, and a refusal is retried."""
    body = body_of(note="é").replace(b": ", b" :  ")
    async with target(500) as other:
        listener = await listening(start, "--forward", other.url)
        headers = headers_of(body)
        assert await post(listener.url, body, headers) == 200
        assert (await listener.until("forwarded"))["status"] == 204
        assert (await listener.next())["event"] == "received"
        for forwarded, content in other.deliveries:
            assert content == body
            assert {name: forwarded[name] for name in headers} == headers
        assert len(other.deliveries) == 2
    assert (await listener.stop())[0] == 0


@pytest.mark.slow
async def test_an_event_that_cannot_be_forwarded_is_refused() -> None:
    """After attempts for some seconds the receiver responds 503."""
    async with (
        target(*[500] * 9) as other,
        Forwarder(other.url, [SECRET]) as forwarder,
    ):
        with pytest.raises(NotForwarded, match="responded 500"):
            await forwarder.send_with_retries("msg_1", body_of(), timeout=3)
        assert len(other.deliveries) >= 2
    async with Forwarder(other.url, [SECRET]) as forwarder:
        with pytest.raises(NotForwarded, match="cannot be reached"):
            await forwarder.send_with_retries("msg_1", body_of(), timeout=2)


@pytest.mark.slow
async def test_stored_events_are_forwarded_after_the_listener_was_killed(
    start: Start, run: Run, tmp_path: Path
) -> None:
    """Events are acknowledged while the target is down; the next listener forwards them."""
    port, body = free_port(), body_of(note="é")
    arguments = ("--inbox", "inbox.db", "--forward", f"http://127.0.0.1:{port}/hook")
    listener = await listening(start, *arguments)
    assert await post(listener.url, body, headers_of(body)) == 200
    assert await post(listener.url, body, headers_of(body)) == 200
    facts = [await listener.next() for _ in range(3)]
    assert sorted(each["event"] for each in facts) == ["not_forwarded", "received", "received"]
    assert {each["duplicate"] for each in facts if "duplicate" in each} == {True, False}
    listener.process.kill()
    await listener.process.wait()

    done = await run("webhooks", "inbox", "list", "--inbox", "inbox.db", "--json")
    entry = json.loads(done.stdout)
    assert (entry["message_id"], entry["state"], entry["attempts"]) == ("msg_1", "waiting", 1)
    async with target(port=port) as other:
        listener = await listening(start, *arguments)
        assert (await listener.until("forwarded"))["message_id"] == "msg_1"
        assert (await listener.stop())[0] == 0
    for headers, content in other.deliveries:
        assert content == body
        for secret in (OTHER, SECRET):
            assert WebhookVerifier(secret).verify(content, headers).message_id == "msg_1"
    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        assert [entry.state for entry in await inbox.entries()] == ["handled"]


@pytest.mark.slow
async def test_no_event_is_lost_between_sender_and_target(start: Start) -> None:
    """Sixty delayed and duplicated events, faults, a killed listener and a failing target."""
    port = free_port()
    faults = [
        Fault(origin="webhooks", times=10, rate=0.3, action=Drop()),
        Fault(origin="webhooks", times=10, rate=0.3, seed=1, action=LoseResponse()),
    ]
    hurried = Sandbox(
        engine="echo",
        webhook_secret=SECRET,
        webhook_pace=0.01,
        webhook_duplicates=0.2,
        webhook_shuffle=0.3,
        faults=faults,
    )
    async with (
        target(*[204] * 10, 500, 503) as other,
        hurried as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        arguments = ("--port", port, "--inbox", "inbox.db", "--forward", other.url)
        listener = await listening(start, *arguments)
        event_type = "generation.completed"
        await client.webhooks.configure(mode="live", url=listener.url, event_types=[event_type])
        sent = set()
        for number in range(60):
            made = await client.webhooks.send_test_event(event_type=event_type, mode="live")
            sent.add(made.svix_message_id)
            if number == 30:
                listener.process.kill()
                await listener.process.wait()
                listener = await listening(start, *arguments)
        with anyio.fail_after(PATIENCE):
            while (
                sandbox.state.messages
                or {id_of(forwarded) for forwarded, _ in other.deliveries} != sent
            ):
                await anyio.sleep(0.05)
        assert (await listener.stop())[0] == 0
    for forwarded, body in other.deliveries:
        assert WebhookVerifier(SECRET).verify(body, forwarded).message_id == id_of(forwarded)


def id_of(headers: dict[str, str]) -> str:
    """Return the message id, in any spelling of the header."""
    return {name.lower(): value for name, value in headers.items()}["svix-id"]


@pytest.mark.slow
async def test_a_stored_event_is_forwarded_with_its_own_signature(start: Start) -> None:
    """While the signature is recent, and the listener that received it runs."""
    body = body_of()
    async with target() as other:
        listener = await listening(start, "--inbox", "inbox.db", "--forward", other.url)
        headers = headers_of(body)
        assert await post(listener.url, body, headers) == 200
        await listener.until("forwarded")
        [(forwarded, _)] = other.deliveries
        assert {name: forwarded[name] for name in headers} == headers
        assert (await listener.stop())[0] == 0


async def test_an_inbox_is_listed_and_dead_events_are_requeued(run: Run, tmp_path: Path) -> None:
    """As lines and as JSON; 1 if the named event does not exist, 2 without an inbox."""
    async with WebhookInbox(tmp_path / "inbox.db", attempts=1) as inbox:
        verifier = WebhookVerifier(SECRET)
        for message_id in ("msg_1", "msg_2"):
            body = body_of()
            await inbox.store(verifier.verify(body, headers_of(body, message_id)), body)
        async for delivery in inbox.deliveries():
            await delivery.fail("no luck\x1b")
            break
    on = ("--inbox", "inbox.db")
    done = await run("webhooks", "inbox", "list", *on)
    newest, oldest = done.stdout.splitlines()
    assert " waiting  generation.completed gen_1 msg_2" in newest
    printed = r"dead     generation.completed gen_1 msg_1 (1 attempt) error: no luck\x1b"
    assert oldest.endswith(printed)
    done = await run("webhooks", "inbox", "list", *on, "--state", "dead", "--json")
    assert [json.loads(line)["message_id"] for line in done.stdout.splitlines()] == ["msg_1"]
    done = await run("webhooks", "inbox", "retry", *on)
    assert (done.returncode, done.stdout) == (0, "1 requeued\n")
    done = await run("webhooks", "inbox", "retry", "msg_2", *on, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"event": "retried", "count": 1})
    done = await run("webhooks", "inbox", "retry", "msg_3", *on)
    assert (done.returncode, "msg_3 does not exist" in done.stdout) == (1, True)
    done = await run("webhooks", "inbox", "list", *on, "--state", "handled")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "The inbox has no such events.\n")
    (tmp_path / "none").write_text("this is not an inbox" * 100)
    for path, words in (("missing.db", "no inbox at missing.db"), ("none", "none")):
        done = await run("webhooks", "inbox", "list", "--inbox", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
    assert not (tmp_path / "missing.db").exists()


async def test_a_limited_list_is_noted(run: Run, tmp_path: Path) -> None:
    """Of 105 events the newest 100 are listed, with a note on stderr; `--limit 0` lists all."""
    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        for number in range(105):
            event = WebhookEvent(
                event_type="generation.completed",
                generation_id="gen_1",
                message_id=f"msg_{number}",
            )
            await inbox.store(event, b"{}")
    on = ("webhooks", "inbox", "list", "--inbox", "inbox.db")
    cut = "only the newest {} are listed; --limit 0 lists all\n"
    for more in ((), ("--json",)):
        done = await run(*on, *more)
        assert len(done.stdout.splitlines()) == 100
        assert "msg_104" in done.stdout.splitlines()[0]
        assert (done.returncode, done.stderr) == (0, cut.format(100))
        done = await run(*on, *more, "--limit", "3")
        assert (len(done.stdout.splitlines()), done.stderr) == (3, cut.format(3))
        for limit in ("0", "105"):
            done = await run(*on, *more, "--limit", limit)
            assert (len(done.stdout.splitlines()), done.stderr) == (105, "")


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        ([], {}, "set DIFFIO_WEBHOOK_SECRET"),
        ([], {"DIFFIO_WEBHOOK_SECRET": "diffio_live_key"}, "an API key, it seems"),
        (["--forward", "localhost:8000"], ENVIRONMENT, "--forward needs a URL"),
        (["--path", "hook"], ENVIRONMENT, "--path must begin with /"),
        (["--inbox", "."], ENVIRONMENT, "."),
        (["--host", "192.0.2.1"], ENVIRONMENT, "192.0.2.1"),
    ],
)
async def test_a_failed_start_is_explained(
    run: Run, arguments: list[str], env: dict[str, str], words: str
) -> None:
    """One line without secrets, and exit code 2."""
    done = await run("webhooks", "listen", "--port", "0", *arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert "live_key" not in done.stderr


@pytest.mark.slow
async def test_a_closed_reader_ends_the_listener(start: Start, tmp_path: Path) -> None:
    """After `listen --json | head -1` the next event is still stored, and the exit code is 0."""
    ours, theirs = os.pipe()
    try:
        words = ("webhooks", "listen", "--port", "0", "--json", "--inbox", "inbox.db")
        process = await start(*words, env=ENVIRONMENT, stdout=theirs)
        url = json.loads(os.read(ours, 1000))["url"]
    finally:
        os.close(theirs)
        os.close(ours)
    assert await post(url, body_of(), headers_of(body_of())) == 200
    with anyio.fail_after(PATIENCE):
        assert await process.wait() == 0
    assert process.stderr is not None
    assert b"".join([piece async for piece in process.stderr]) == b""
    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        assert len(await inbox.entries()) == 1
