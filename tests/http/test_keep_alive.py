"""Kept-alive connections: which requests are retried on a new one, and which are not."""

import asyncio
import contextvars
import json
import os
import random
import socket
from functools import partial

import pytest

from diffio_async import AsyncDiffio, ClientOptions, DiffioError, ResponseLost, Timeouts
from diffio_async._http.exchange import Attempt, fetch
from diffio_async._http.sessions import Sessions
from diffio_async._protocol.requests import signed_url_request
from diffio_async.sandbox import Drop, Fault, LoseResponse, Sandbox
from tests.conftest import QUICK
from tests.http.conftest import Authority
from tests.http.peers import ONCE, Incoming, head, once, peer, responds
from tests.scripts import GENERATION, requests_to, uploaded

PROJECTS = responds(200, b'{"projects": []}')
NEW_KEY = b'{"keyId": "k", "key": "diffio_key_1234567890"}'
KEY = responds(200, NEW_KEY)
CREATE = "/v1/create_project"


async def test_calls_share_a_connection() -> None:
    async with peer(PROJECTS, keep=True) as host, once(host.url()) as client:
        for _ in range(5):
            await client.projects.list()
    assert host.connections == 1


async def new_key(client: AsyncDiffio, label: str = "backup") -> None:
    """Make a request that must not be repeated."""
    await client.api_keys.create(label=label, scopes=["projects:read"])


async def test_a_non_idempotent_request_uses_a_connection_that_was_just_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("diffio_async._http.aiohttp_internals.MAX_IDLE", 60.0)
    async with peer(PROJECTS, KEY, keep=True) as host, once(host.url()) as client:
        await client.projects.list()
        for _ in range(3):
            await new_key(client)
    assert [one.connection for one in host.requests] == [1, 1, 1, 1]


async def test_a_non_idempotent_request_uses_no_connection_that_was_idle_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server may close it while the request is on its way."""
    monkeypatch.setattr("diffio_async._http.aiohttp_internals.MAX_IDLE", 0.02)
    async with peer(PROJECTS, PROJECTS, KEY, keep=True) as host, once(host.url()) as client:
        for call in (client.projects.list, client.projects.list, partial(new_key, client)):
            await call()
            await asyncio.sleep(0.03)
    assert [one.connection for one in host.requests] == [1, 1, 2]


async def test_other_hosts_keep_their_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffio_async._http.aiohttp_internals.MAX_IDLE", 0.0)
    async with peer(PROJECTS, keep=True) as other, peer(KEY, keep=True) as host:
        sessions = Sessions(ClientOptions())
        try:
            for url, is_once in ((other.url(), False), (host.url(), True), (other.url(), False)):
                request = signed_url_request("POST", url, {})
                await fetch(
                    sessions, Attempt(request=request, timeouts=Timeouts(), once=is_once), 99
                )
        finally:
            await sessions.aclose()
    assert other.connections == 1


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("ending", [socket.SHUT_RDWR, socket.SHUT_WR, None])
async def test_an_end_that_has_arrived_is_seen_before_the_event_loop_reads_it(
    secured: bool, ending: int | None, authority: Authority
) -> None:
    """A non-idempotent request would be lost; `None` is an unsolicited response."""
    writers: list[asyncio.StreamWriter] = []

    async def list_projects(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await PROJECTS(incoming, writer)

    options = ClientOptions(retry=ONCE.retry, ssl=authority.trusting)
    tls = authority.server if secured else None
    async with peer(list_projects, KEY, keep=True, tls=tls) as host:
        async with once(f"{host.scheme}://localhost:{host.port}", options) as client:
            await client.projects.list()
            if ending is None:
                writers[0].write(head(408, {"content-length": 0}))
            else:
                number = os.dup(writers[0].get_extra_info("socket").fileno())
                with socket.socket(fileno=number) as own:
                    own.shutdown(ending)
            await new_key(client)
        assert [one.connection for one in host.requests] == [1, 2]


async def test_an_unsolicited_response_is_not_taken_for_the_next() -> None:
    """The event loop has read it already."""

    async def list_projects(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        await PROJECTS(incoming, writer)
        await asyncio.sleep(0.01)
        writer.write(head(408, {"content-length": 0}))

    async with peer(list_projects, KEY, keep=True) as host, once(host.url()) as client:
        await client.projects.list()
        await asyncio.sleep(0.05)
        await new_key(client)
        assert [one.connection for one in host.requests] == [1, 2]


async def test_an_announced_close_is_respected() -> None:
    closing = responds(200, b'{"projects": []}', connection="close")
    async with peer(closing, KEY, keep=True) as host, once(host.url()) as client:
        await client.projects.list()
        await new_key(client)
    assert [one.connection for one in host.requests] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_done_twice_whenever_a_server_closes_the_connection(
    secured: bool, seed: int, authority: Authority
) -> None:
    """It closes before, within or after a response, or at any moment later."""
    chance = random.Random(seed)
    response = head(200, {"content-length": len(NEW_KEY)}) + NEW_KEY
    later: set[asyncio.Task[None]] = set()

    async def close_at_any_moment(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        async def close_later(seconds: float) -> None:
            await asyncio.sleep(seconds)
            writer.close()

        moment = chance.choice(("never", "before", "within", "after", "later", "later"))
        sent = {"before": b"", "within": response[: chance.randrange(len(response))]}
        writer.write(sent.get(moment, response))
        if moment in {"before", "within", "after"}:
            writer.close()
        elif moment == "later":
            later.add(asyncio.create_task(close_later(chance.uniform(0, 0.004))))

    options = ClientOptions(retry=QUICK, ssl=authority.trusting)
    tls = authority.server if secured else None
    done: list[str] = []
    lost: list[str] = []

    async def create(client: AsyncDiffio, label: str) -> None:
        try:
            await new_key(client, label)
            done.append(label)
        except ResponseLost:
            lost.append(label)

    async with (
        peer(close_at_any_moment, keep=True, tls=tls) as host,
        once(f"{host.scheme}://localhost:{host.port}", options) as client,
    ):
        for batch in range(60):
            # Alone and several at once, on connections that were idle for a moment.
            labels = [f"key {batch}-{number}" for number in range(chance.randint(1, 3))]
            await asyncio.gather(*(create(client, label) for label in labels))
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.003)))
    received = [json.loads(one.body)["label"] for one in host.requests]
    assert len(received) == len(set(received))
    assert set(done) <= set(received) <= {*done, *lost}
    assert host.connections < len(received)
    await asyncio.gather(*later)


@pytest.mark.slow
async def test_a_connection_closed_by_the_server_while_idle_is_replaced() -> None:
    closed = asyncio.Event()

    async def close_when_idle(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        await PROJECTS(incoming, writer)
        await asyncio.sleep(0.05)
        writer.close()
        closed.set()

    async with peer(close_when_idle) as host, once(host.url()) as client:
        for _ in range(3):
            assert await client.projects.list() == []
            await closed.wait()
            closed.clear()
            await asyncio.sleep(0.05)
    assert host.connections == 3


@pytest.mark.parametrize("action", [Drop(), LoseResponse()])
async def test_a_project_is_not_created_twice_when_the_response_is_lost(
    client: AsyncDiffio, sandbox: Sandbox, action: Drop | LoseResponse
) -> None:
    await client.projects.list()
    sandbox.faults.add(Fault(path=CREATE, action=action))
    with pytest.raises(DiffioError):
        await client.projects.create(b"speech", file_name="a.wav")
    assert len(requests_to(sandbox, CREATE)) == 1


async def test_calls_that_share_a_context_are_distinguished(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Whether a request may have been accepted is tracked for each one."""
    await client.projects.list()  # the next call connects while this connection is in use
    sandbox.faults.add(Fault(path=CREATE, action=LoseResponse()))
    shared = contextvars.copy_context()
    creating = asyncio.create_task(
        client.projects.create(b"speech", file_name="a.wav"), context=shared
    )
    await asyncio.create_task(client.projects.list(), context=shared)
    with pytest.raises(ResponseLost):
        await creating
    assert len(requests_to(sandbox, CREATE)) == 1


async def test_a_generation_is_retried_with_its_key_and_created_once(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    project_id = await uploaded(client)
    sandbox.faults.add(Fault(path=GENERATION, times=2, action=LoseResponse()))
    await client.generations.create(api_project_id=project_id)
    keys = [seen.json["idempotencyKey"] for seen in requests_to(sandbox, "*-generation")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(sandbox.state.generations) == 1


async def test_a_part_on_a_dead_connection_is_retried_by_the_retry_policy_alone(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Aiohttp itself would retry a `PUT`; here the retry loop does, and reports it."""
    content = os.urandom(3_000_000)
    sandbox.faults.add(Fault(origin="edge", method="PUT", times=2, action=Drop()))
    project_id = await uploaded(client, content)
    puts = [seen for seen in sandbox.requests if seen.method == "PUT"]
    assert [seen.fault for seen in puts] == ["drop", "drop", None]
    project = sandbox.state.projects[project_id]
    assert sandbox.state.source_path(project).read_bytes() == content


async def test_a_connection_with_an_unread_response_is_not_reused() -> None:
    """The call is cancelled while it reads a large response."""
    page = head(500, {"content-length": 40_000_000}) + bytes(100_000)

    async def send_page(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        writer.write(page)
        await asyncio.sleep(0.5)

    async with peer(send_page, PROJECTS, keep=True) as host, once(host.url()) as client:
        calling = asyncio.create_task(client.projects.list())
        while not host.requests:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert await client.projects.list() == []
    assert host.connections == 2
