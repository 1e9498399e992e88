"""Webhooks: configuration, signatures, deliveries and retries."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from attrs import define, field
from raw_caller import Caller, calling, echoing
from svix.webhooks import Webhook

from diffio_async.sandbox import (
    Delay,
    Drop,
    Duplicate,
    Fault,
    LoseResponse,
    PlanError,
    RespondWith,
    Truncate,
    read_plan,
)
from diffio_async.sandbox.faults import Action
from diffio_async.sandbox.settings import DEFAULT_WEBHOOK_SECRET
from diffio_async.sandbox.webhooks import EVENT_TYPES, signature_headers
from tests.ports import free_port


@define
class Receiver:
    """A webhook receiver that responds with each of `statuses`, then with 204."""

    url: str = ""
    statuses: list[int] = field(factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(factory=list)

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Receive one delivery."""
        self.received.append(
            ({k.lower(): v for k, v in request.headers.items()}, await request.read())
        )
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    async def until(self, count: int) -> list[Any]:
        """Wait for `count` deliveries and return their bodies."""
        async with asyncio.timeout(60):
            while len(self.received) < count:
                await asyncio.sleep(0.01)
        return [json.loads(body) for _, body in self.received]


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(statuses=list(statuses))
    runner = web.ServerRunner(web.Server(receiver.receive), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def configure(caller: Caller, url: str, **more: Any) -> Any:
    request_fields = {"mode": "live", "url": url, "eventTypes": list(EVENT_TYPES), **more}
    return (await caller.ok("webhooks/configure", **request_fields))["webhook"]


async def test_events_of_a_generation_arrive_signed() -> None:
    async with receiving() as receiver, calling(echoing()) as caller:
        result = await configure(caller, receiver.url)
        assert result["signing"] == "svix"
        assert result["apiKeyId"] == result["updatedByKeyId"] == "key_sandbox"
        ids = await caller.restored()
        events = await receiver.until(3)
    assert {event["eventType"] for event in events} == {
        "generation.queued",
        "generation.processing",
        "generation.completed",
    }
    assert {event["generationId"] for event in events} == {ids["generationId"]}
    assert len({event["eventId"] for event in events}) == 3
    completed = next(event for event in events if event["status"] == "complete")
    assert completed["modelKey"] == "diffio-4.6-flash"
    assert completed["transcription"] == {"status": "available"}
    for headers, body in receiver.received:
        Webhook(DEFAULT_WEBHOOK_SECRET).verify(body, headers)


async def test_only_subscribed_events_are_delivered() -> None:
    async with receiving() as receiver, calling(echoing()) as caller:
        await configure(caller, receiver.url, eventTypes=["generation.completed"])
        await caller.restored()
        await caller.restored()
        events = await receiver.until(2)
    assert [event["eventType"] for event in events] == ["generation.completed"] * 2


async def test_a_failed_delivery_is_repeated_with_the_same_id() -> None:
    sandbox = echoing(webhook_pace=0.0001)
    async with receiving(500, 404, 307) as receiver, calling(sandbox) as caller:
        await configure(caller, receiver.url, eventTypes=["generation.completed"])
        await caller.restored()
        await receiver.until(4)
        async with asyncio.timeout(60):
            while caller.sandbox.state.messages:
                await asyncio.sleep(0.01)
        assert [made.status for made in caller.sandbox.deliveries] == [500, 404, 307, 204]
    assert len({headers["svix-id"] for headers, _ in receiver.received}) == 1
    assert len({body for _, body in receiver.received}) == 1


async def test_a_delivery_is_abandoned_after_the_last_attempt() -> None:
    sandbox = echoing(webhook_pace=0)
    async with calling(sandbox) as caller:
        await configure(caller, "http://127.0.0.1:9/hook", eventTypes=["generation.completed"])
        await caller.restored()
        async with asyncio.timeout(60):
            while caller.sandbox.state.messages or not caller.sandbox.deliveries:
                await asyncio.sleep(0.01)
        assert [made.status for made in caller.sandbox.deliveries] == [None] * 8


async def test_pending_deliveries_are_sent_after_a_restart(tmp_path: Path) -> None:
    async with receiving(503) as receiver:
        async with calling(echoing(data=tmp_path, webhook_pace=0.05)) as caller:
            await configure(caller, receiver.url, eventTypes=["generation.completed"])
            await caller.restored()
            await receiver.until(1)
        async with calling(echoing(data=tmp_path, webhook_pace=0.05)) as caller:
            await receiver.until(2)
    first, second = (headers["svix-id"] for headers, _ in receiver.received)
    assert first == second


async def test_a_test_event_is_delivered_to_its_mode() -> None:
    async with receiving() as live, receiving() as test, calling(echoing()) as caller:
        await configure(caller, live.url)
        await configure(caller, test.url, mode="test")
        sent = await caller.ok(
            "webhooks/send_test_event",
            eventType="generation.failed",
            mode="test",
            samplePayload={"generationId": "gen_mine"},
        )
        [event] = await test.until(1)
        assert live.received == []
    assert event["eventType"] == sent["eventType"] == "generation.failed"
    assert event["eventId"] == sent["eventId"]
    assert (event["status"], event["generationId"]) == ("error", "gen_mine")
    assert test.received[0][0]["svix-id"] == sent["svixMessageId"]


async def test_every_key_has_its_own_endpoint_and_secret() -> None:
    async with receiving() as receiver, calling(echoing()) as caller:
        other = await caller.ok("api_keys/create", label="w", scopes=["webhooks:write"])
        await configure(caller, receiver.url, apiKeyId=other["keyId"])
        secret = caller.sandbox.webhook_secret(other["keyId"])
        assert secret != DEFAULT_WEBHOOK_SECRET
        sent = {"eventType": "generation.queued", "mode": "live"}
        none = await caller.api("webhooks/send_test_event", **sent)
        assert none.status == 404
        await caller.ok("webhooks/send_test_event", **sent, key=other["key"])
        await receiver.until(1)
        headers, body = receiver.received[0]
        Webhook(secret).verify(body, headers)
        with pytest.raises(KeyError):
            caller.sandbox.webhook_secret("key_sandbox")
        stranger = await caller.api(
            "webhooks/send_test_event", **sent, key=other["key"], apiKeyId="key_sandbox"
        )
        assert stranger.status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://example.com/hook"},
        {"url": "ftp://127.0.0.1/hook"},
        {"url": "https://"},
        {"url": "nonsense"},
        {"url": "http://[::1"},
        {"mode": "live mode"},
        {"eventTypes": []},
        {"eventTypes": ["generation.exploded"]},
        {"eventTypes": "generation.queued"},
        {"apiKeyId": "key_other"},
    ],
)
async def test_an_invalid_webhook_is_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "mode": "live",
        "url": "https://example.com",
        "eventTypes": ["generation.failed"],
    }
    async with calling(echoing()) as caller:
        got = await caller.api("webhooks/configure", **{**right, **wrong})
        assert got.status == (404 if "apiKeyId" in wrong else 400)
        assert caller.sandbox.state.endpoints == {}
        assert (await caller.api("webhooks/configure", **right)).status == 200


def test_a_signature_equals_that_of_svix() -> None:
    from datetime import UTC, datetime

    headers = signature_headers(DEFAULT_WEBHOOK_SECRET, "msg_1", 1_700_000_000, '{"a":"é"}')
    result = Webhook(DEFAULT_WEBHOOK_SECRET).sign(
        "msg_1", datetime.fromtimestamp(1_700_000_000, UTC), '{"a":"é"}'
    )
    assert headers["svix-signature"] == result


async def delivered(caller: Caller) -> list[tuple[str, int | None, str | None]]:
    """Return every attempt, after all deliveries have ended."""
    async with asyncio.timeout(60):
        while caller.sandbox.state.messages or not caller.sandbox.deliveries:
            await asyncio.sleep(0.01)
    return [(made.event_type, made.status, made.fault) for made in caller.sandbox.deliveries]


async def test_a_share_of_the_events_is_delivered_twice() -> None:
    """With a share of 1, all are, with the same id and separate signatures."""
    async with (
        receiving(500) as receiver,
        calling(echoing(webhook_duplicates=1, webhook_pace=0.0001)) as caller,
    ):
        await configure(caller, receiver.url, eventTypes=["generation.completed"])
        await caller.restored()
        await caller.restored()
        made = await delivered(caller)
    assert sorted(status or 0 for _, status, _ in made) == [204] * 4 + [500]
    ids = [headers["svix-id"] for headers, _ in receiver.received]
    assert len(set(ids)) == 2
    for headers, body in receiver.received:
        Webhook(DEFAULT_WEBHOOK_SECRET).verify(body, headers)


@pytest.mark.slow
async def test_webhook_shuffle_reorders_events() -> None:
    """Events of twelve generations, delayed by up to 0.3 seconds, arrive out of order."""
    async with receiving() as receiver, calling(echoing(webhook_shuffle=0.3)) as caller:
        await configure(caller, receiver.url)
        for _ in range(4):
            await caller.restored()
        events = await receiver.until(12)
    happened = [event["createdAt"] for event in events]
    assert happened != sorted(happened)


DELIVERY_FAULTS: list[tuple[Action, list[int | None], int]] = [
    (Drop(), [None, 204], 1),
    (LoseResponse(), [None, 204], 2),
    (RespondWith(status=410), [410, 204], 1),
    (Duplicate(copies=2), [204, 204, 204], 3),
]


@pytest.mark.parametrize(("action", "statuses", "received"), DELIVERY_FAULTS)
async def test_faults_apply_to_deliveries(
    action: Action, statuses: list[int | None], received: int
) -> None:
    """A delivery of the given type is lost, loses its response, is not sent, or is tripled."""
    fault = Fault(origin="webhooks", path="*.completed", action=action)
    async with (
        receiving() as receiver,
        calling(echoing(faults=[fault], webhook_pace=0.0001)) as caller,
    ):
        await configure(caller, receiver.url, eventTypes=["generation.completed"])
        await caller.restored()
        made = await delivered(caller)
    assert [status for _, status, _ in made] == statuses
    assert made[0][2] == fault.name
    assert len(receiver.received) == received


async def test_duplicates_are_not_duplicated() -> None:
    """A fault without a limit duplicates each event once."""
    fault = Fault(origin="webhooks", times=None, action=Duplicate())
    async with receiving() as receiver, calling(echoing(faults=[fault])) as caller:
        await configure(caller, receiver.url)
        await caller.restored()
        assert len(await delivered(caller)) == 6


@pytest.mark.slow
async def test_a_delayed_delivery_arrives_later() -> None:
    """The first event comes last."""
    late = Fault(origin="webhooks", path="generation.queued", action=Delay(2))
    async with receiving() as receiver, calling(echoing(faults=[late])) as caller:
        await configure(caller, receiver.url)
        await caller.restored()
        events = await receiver.until(3)
    assert events[-1]["eventType"] == "generation.queued"


async def test_a_fault_for_any_origin_does_not_apply_to_deliveries() -> None:
    """It applies to client requests only."""
    fault = Fault(path="*.completed", times=None, action=Drop())
    async with receiving() as receiver, calling(echoing(faults=[fault])) as caller:
        await configure(caller, receiver.url, eventTypes=["generation.completed"])
        await caller.restored()
        assert await delivered(caller) == [("generation.completed", 204, None)]


def test_the_documented_secret_is_the_default() -> None:
    """The secret in the documentation is the one that the sandbox signs with."""
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert f"DIFFIO_WEBHOOK_SECRET={DEFAULT_WEBHOOK_SECRET}\n" in page.read_text(encoding="utf-8")


def test_an_action_that_is_not_for_deliveries_is_refused() -> None:
    """In Python and in a plan; so are `duplicate` for other origins, and a share above 1."""
    with pytest.raises(ValueError, match="actions for webhooks are drop, delay, respond_with"):
        Fault(origin="webhooks", action=Truncate())
    with pytest.raises(ValueError, match="duplicate is for"):
        Fault(action=Duplicate())
    plan = {"faults": [{"origin": "webhooks", "action": {"duplicate": {"copies": 2}}}]}
    [fault] = read_plan(plan)
    assert fault.action == Duplicate(copies=2)
    plan["faults"][0]["action"] = "stall"
    with pytest.raises(PlanError, match=r"faults\[0\]\.action: the actions for webhooks"):
        read_plan(plan)
    for wrong in ({"webhook_duplicates": 1.1}, {"webhook_shuffle": -1}):
        with pytest.raises(ValueError, match="webhook_"):
            echoing(**wrong)


async def _nameserver(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> None:
    """Make names resolve to given addresses; each lookup returns the next list of addresses."""
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def look_up(host: Any, port: Any, **how: Any) -> Any:
        found = addresses.get(host)
        if found is not None:
            host = found.pop(0) if len(found) > 1 else found[0]
        return await real(host, port, **how)

    monkeypatch.setattr(loop, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "host",
    [
        "203.0.113.7",
        "[2001:db8::1]",
        "0.0.0.0",
        "[::]",
        "[::ffff:203.0.113.7]",
        "3405803783",
        "0xcb007107",
        "203.0.29063",
        "rebound.example",
        "mixed.example",
        "nowhere.invalid",
    ],
)
async def test_a_webhook_to_another_machine_is_refused_without_a_retry(
    host: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration is accepted; each event is a refused delivery, logged once."""
    names = {"rebound.example": ["203.0.113.7"], "mixed.example": ["203.0.113.7", "203.0.113.8"]}
    await _nameserver(monkeypatch, names)
    connected: list[Any] = []
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def connect(sock: Any, address: Any) -> None:
        connected.append(address[0])
        await real(sock, address)

    monkeypatch.setattr(loop, "sock_connect", connect)
    async with calling(echoing()) as caller:
        await configure(caller, f"https://{host}/hook")
        connected.clear()
        await caller.restored()
        async with asyncio.timeout(60):
            while caller.sandbox.state.messages:
                await asyncio.sleep(0.01)
        made = caller.sandbox.deliveries
        assert [(one.status, bool(one.refused)) for one in made] == [(None, True)] * 3
    assert not [address for address in connected if address != "127.0.0.1"]
    (line,) = [r.getMessage() for r in caplog.records if "webhooks to" in r.getMessage()]
    assert "are not sent" in line
    assert "--allow-remote-webhooks" in line


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "changing.example"])
async def test_a_webhook_to_loopback_is_delivered(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any name of it is accepted; the connected address is checked."""
    await _nameserver(monkeypatch, {"changing.example": ["127.0.0.1"]})
    runner = web.ServerRunner(web.Server(Receiver().receive), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    port = runner.addresses[0][1]
    try:
        async with calling(echoing(allow_remote_webhooks=host == "changing.example")) as caller:
            await configure(caller, f"http://{host}:{port}/hook")
            await caller.restored()
            assert [status for _, status, _ in await delivered(caller)] == [204] * 3
    finally:
        await runner.cleanup()


async def test_every_url_that_the_client_accepts_can_be_configured() -> None:
    """Clients resolve names below `localhost` to this machine."""
    async with calling(echoing()) as caller:
        for url in ("http://localhost:1/x", "http://app.localhost:1/x", "http://[::1]:1/x"):
            assert (await configure(caller, url))["url"] == url


async def test_a_redirect_of_a_receiver_is_not_followed() -> None:
    async with receiving() as elsewhere:

        async def redirect(request: web.BaseRequest) -> web.Response:
            return web.Response(status=307, headers={"Location": elsewhere.url})

        runner = web.ServerRunner(web.Server(redirect), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with calling(echoing(webhook_pace=0)) as caller:
                await configure(caller, f"http://127.0.0.1:{runner.addresses[0][1]}/hook")
                await caller.restored()
                assert {status for _, status, _ in await delivered(caller)} == {307}
        finally:
            await runner.cleanup()
        assert elsewhere.received == []


async def test_with_remote_webhooks_allowed_plain_http_is_configured_too() -> None:
    """In a network of containers, a receiver has a name and no certificate."""
    async with calling(echoing(allow_remote_webhooks=True)) as caller:
        assert (await configure(caller, "http://receiver:8000/hook"))["url"].startswith("http:")
    async with calling(echoing()) as caller:
        request_fields: dict[str, Any] = {"mode": "live", "eventTypes": list(EVENT_TYPES)}
        for url in ("http://receiver:8000/hook", "https://receiver:99999/", "ftp://127.0.0.1/"):
            assert (await caller.api("webhooks/configure", url=url, **request_fields)).status == 400


async def test_a_target_that_cannot_be_reached_is_one_plain_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has a short reason, and no password of the URL."""
    port = free_port()
    with caplog.at_level("INFO", "diffio_async.sandbox"):
        async with calling(echoing()) as caller:
            await configure(caller, f"http://me:hush@127.0.0.1:{port}/hook")
            await caller.restored()
            async with asyncio.timeout(60):
                while "did not reach" not in caplog.text:
                    await asyncio.sleep(0.01)
    where = f"http://…@127.0.0.1:{port}/hook"
    lines = [line for line in caplog.messages if "did not reach" in line]
    assert all(line.endswith(f" did not reach {where}: refused") for line in lines)
    assert "hush" not in caplog.text
    assert "None" not in caplog.text
