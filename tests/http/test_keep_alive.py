"""Kept-alive connections: which requests are retried on a new one, and which are not."""

import asyncio
import contextlib
import contextvars
import os

import pytest

from diffio_async import AsyncDiffio, DiffioError, ResponseLost
from diffio_async.sandbox import Drop, Fault, LoseResponse, Sandbox
from tests.http.peers import Incoming, head, once, peer, responds
from tests.scripts import GENERATION, requests_to, uploaded

PROJECTS = responds(200, b'{"projects": []}')
CREATE = "/v1/create_project"


async def test_calls_share_a_connection() -> None:
    async with peer(PROJECTS, keep=True) as host, once(host.url()) as client:
        for _ in range(5):
            await client.projects.list()
    assert host.connections == 1


async def test_a_non_idempotent_request_gets_a_new_connection() -> None:
    """On a kept-alive one, a request that was not received looks like one that was accepted."""
    project = responds(200, b'{"apiProjectId": "proj_1"}')
    async with peer(PROJECTS, project, keep=True) as host, once(host.url()) as client:
        await client.projects.list()
        for _ in range(2):
            with contextlib.suppress(DiffioError):  # the response contains no upload offer
                await client.projects.create(b"speech", file_name="a.wav")
    assert [one.target for one in host.requests] == ["/v1/list_projects", CREATE, CREATE]
    assert [one.connection for one in host.requests] == [1, 2, 3]


@pytest.mark.slow
async def test_a_connection_closed_by_the_server_while_idle_is_replaced() -> None:
    async def close_when_idle(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        await PROJECTS(incoming, writer)
        await asyncio.sleep(0.05)
        writer.close()

    async with peer(close_when_idle) as host, once(host.url()) as client:
        for _ in range(3):
            assert await client.projects.list() == []
            await asyncio.sleep(0.1)
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
        await asyncio.sleep(0.2)

    async with peer(send_page, PROJECTS, keep=True) as host, once(host.url()) as client:
        with pytest.raises((DiffioError, TimeoutError)):
            async with asyncio.timeout(0.1):
                await client.projects.list()
        assert await client.projects.list() == []
    assert host.connections == 2
