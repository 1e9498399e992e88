"""Connections that are kept: what may be sent again over a new one, and what must not be."""

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


async def test_what_must_happen_once_gets_a_connection_of_its_own() -> None:
    """On a kept one, a request the server never saw cannot be told from one it accepted."""
    project = responds(200, b'{"apiProjectId": "proj_1"}')
    async with peer(PROJECTS, project, keep=True) as host, once(host.url()) as client:
        await client.projects.list()
        for _ in range(2):
            with contextlib.suppress(DiffioError):  # it offers no upload
                await client.projects.create(b"speech", file_name="a.wav")
    assert [one.target for one in host.incoming] == ["/v1/list_projects", CREATE, CREATE]
    assert [one.connection for one in host.incoming] == [1, 2, 3]


async def test_a_connection_the_server_closed_while_idle_disturbs_nobody() -> None:
    async def hangs_up(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        await PROJECTS(incoming, writer)
        await asyncio.sleep(0.05)
        writer.close()

    async with peer(hangs_up) as host, once(host.url()) as client:
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


async def test_calls_that_share_a_context_do_not_take_each_other_for_themselves(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Whether a request may have been accepted is known of each by itself."""
    await client.projects.list()  # what follows connects while the other call has a connection
    sandbox.faults.add(Fault(path=CREATE, action=LoseResponse()))
    shared = contextvars.copy_context()
    creating = asyncio.create_task(
        client.projects.create(b"speech", file_name="a.wav"), context=shared
    )
    await asyncio.create_task(client.projects.list(), context=shared)
    with pytest.raises(ResponseLost):
        await creating
    assert len(requests_to(sandbox, CREATE)) == 1


async def test_a_generation_is_asked_for_again_under_its_key_and_made_once(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    project_id = await uploaded(client)
    sandbox.faults.add(Fault(path=GENERATION, times=2, action=LoseResponse()))
    await client.generations.create(api_project_id=project_id)
    keys = [seen.json["idempotencyKey"] for seen in requests_to(sandbox, "*-generation")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(sandbox.state.generations) == 1


async def test_a_part_on_a_dead_connection_is_counted_once_by_each_of_us(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Aiohttp would send a `PUT` again by itself: our own retry loop does it, and says so."""
    content = os.urandom(3_000_000)
    sandbox.faults.add(Fault(origin="edge", method="PUT", times=2, action=Drop()))
    project_id = await uploaded(client, content)
    puts = [seen for seen in sandbox.requests if seen.method == "PUT"]
    assert [seen.fault for seen in puts] == ["drop", "drop", None]
    project = sandbox.state.projects[project_id]
    assert sandbox.state.source_path(project).read_bytes() == content


async def test_a_response_left_unread_does_not_spoil_the_connection() -> None:
    """A refusal larger than is read, and then the next call."""
    page = head(500, {"content-length": 40_000_000}) + bytes(100_000)

    async def spill(incoming: Incoming, writer: asyncio.StreamWriter) -> None:
        writer.write(page)
        await asyncio.sleep(0.2)

    async with peer(spill, PROJECTS, keep=True) as host, once(host.url()) as client:
        with pytest.raises((DiffioError, TimeoutError)):
            async with asyncio.timeout(0.1):
                await client.projects.list()
        assert await client.projects.list() == []
    assert host.connections == 2
