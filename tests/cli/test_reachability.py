"""An unreachable service is reported on stderr after some seconds (here, fractions of them)."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Fault, RespondWith, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from anyio.abc import Process

    from tests.cli.conftest import Run, Start

#: Each test is a process of its own.
pytestmark = pytest.mark.slow

#: Scales the times down.
QUICK = (
    "from diffio_async.cli import client;"
    "client._REPORT_AFTER, client._SILENCE, client._CHECK_SECONDS = 0.3, 0.6, 0.05;"
)
KEY = {"DIFFIO_API_KEY": "diffio_sandbox_key"}


@pytest.fixture
def refused() -> Iterator[str]:
    """Address of a port without a listener."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Run a server that accepts connections and sends nothing; its address."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


async def line_of(process: Process, words: str) -> str:
    """Read stderr until a line with these words."""
    assert process.stderr is not None
    text = ""
    with anyio.fail_after(120):
        while True:
            text += (await process.stderr.receive()).decode()
            for line in text.splitlines():
                if words in line:
                    return line


async def rest_of(process: Process) -> tuple[int, str, str]:
    """Interrupt a process; return its code and the rest of stdout and stderr."""
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stderr is not None
    with anyio.fail_after(120):
        code = await process.wait()
    out = b"".join([piece async for piece in process.stdout]).decode()
    return code, out, b"".join([piece async for piece in process.stderr]).decode()


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(
    "arguments",
    [
        ["download", "gen_1", "--project", "proj_1"],
        ["wait", "gen_1", "--project", "proj_1"],
        ["restore", "talk.wav"],
        ["batch", "talk.wav", "-o", "out"],
    ],
)
async def test_a_dead_network_is_reported(
    start: Start, talk: Path, refused: str, arguments: list[str], more: list[str]
) -> None:
    """Each command reports host and reason, and does not claim that a generation continues."""
    env = {**KEY, "DIFFIO_API_BASE_URL": f"http://{refused}/v1"}
    process = await start(*arguments, *more, env=env, before=QUICK)
    line = await line_of(process, "cannot reach")
    assert line.startswith(f"cannot reach {refused} for ")
    assert line.endswith(" s (refused), retrying")
    code, out, printed = await rest_of(process)
    assert code == 130
    assert "Traceback" not in printed
    assert "continue" not in printed
    facts = [json.loads(each) for each in out.splitlines()]
    if more and arguments[0] == "wait":
        assert (facts[-1]["generation_ids"], facts[-1]["unconfirmed"]) == ([], ["gen_1"])
    elif arguments[0] in {"wait", "download"} and not more:
        assert "the service has not confirmed generation gen_1" in printed


async def test_a_silent_server_is_reported(start: Start) -> None:
    """A server that does not respond is distinguished from one that refuses connections."""
    async with silent() as address:
        env = {**KEY, "DIFFIO_API_BASE_URL": f"http://{address}/v1"}
        process = await start("wait", "gen_1", "--project", "proj_1", env=env, before=QUICK)
        line = await line_of(process, "cannot reach")
        assert line.startswith(f"cannot reach {address} for ")
        assert "(no response)" in line
        await rest_of(process)


async def test_a_name_that_does_not_exist_is_reported(start: Start) -> None:
    """The reason is part of the line."""
    env = {**KEY, "DIFFIO_API_BASE_URL": "https://diffio.invalid/v1"}
    process = await start("wait", "gen_1", "--project", "proj_1", env=env, before=QUICK)
    assert "diffio.invalid for " in await line_of(process, "(name not found)")
    await rest_of(process)


async def test_an_outage_of_the_service_and_its_end_are_reported(start: Start, talk: Path) -> None:
    """Responses of 503 count as an outage; its end is reported, and the work continues."""
    async with Sandbox(engine="echo", duration=1.0) as sandbox:
        process = await start("restore", talk, env=sandbox.environment, before=QUICK)
        with anyio.fail_after(60):
            while not sandbox.state.generations:
                await anyio.sleep(0.02)
        fault = Fault(path="*/get_generation_progress", times=None, action=RespondWith(status=503))
        sandbox.faults.add(fault)
        line = await line_of(process, "cannot reach")
        assert "(responded 503), retrying" in line
        sandbox.faults.clear()
        assert " responds again, after " in await line_of(process, "responds again")
        with anyio.fail_after(120):
            assert await process.wait() == 0


async def test_an_unreachable_service_ends_the_command(run: Run, refused: str) -> None:
    """After the timeout, or a minute, the command fails and prints how to retry."""
    env = {**KEY, "DIFFIO_API_BASE_URL": f"http://{refused}/v1"}
    ids = ["gen_1", "--project", "proj_1", "--timeout", "2"]
    for command, again in (("download", "retry: "), ("wait", "")):
        done = await run(command, *ids, env=env)
        assert done.returncode == 1
        assert "could not be reached (Connection refused)" in done.stderr
        assert again in done.stderr
        assert "continues" not in done.stderr
