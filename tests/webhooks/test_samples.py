"""The programs in `samples/webhooks`, run as servers with deliveries of the sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import anyio
import pytest

from diffio_async import AsyncDiffio, WebhookInbox
from diffio_async.sandbox import Duplicate, Fault, Sandbox
from tests.ports import free_port
from tests.webhooks.scenes import SECRET, body_of, headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import Process

SAMPLES = Path(__file__).parents[2] / "samples" / "webhooks"

pytestmark = pytest.mark.slow


def command(sample: str, port: int) -> list[str]:
    """Return the command in its first line."""
    if sample == "aiohttp_server":
        return [sys.executable, str(SAMPLES / "aiohttp_server.py"), str(port)]
    return [sys.executable, "-m", "uvicorn", f"{sample}:app", "--port", str(port)]


@asynccontextmanager
async def running(sample: str, folder: Path) -> AsyncIterator[tuple[Process, str]]:
    """Run the sample as a process with its output in files, and yield its URL."""
    port = free_port()
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = await anyio.open_process(
            command(sample, port),
            cwd=SAMPLES,
            env={
                **os.environ,
                "DIFFIO_WEBHOOK_SECRET": SECRET,
                "DIFFIO_INBOX": str(folder / "inbox.db"),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            with anyio.fail_after(120):
                while not await _listens(port):
                    await anyio.sleep(0.05)
            yield process, f"http://127.0.0.1:{port}/webhooks/diffio"
        finally:
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _listens(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


@pytest.mark.parametrize(
    "sample", ["aiohttp_server", "fastapi_app", "litestar_app", "starlette_app"]
)
async def test_a_sample_receives_and_handles_genuine_events(sample: str, tmp_path: Path) -> None:
    """Each event is delivered twice and handled once; a forged one is refused."""
    twice = Fault(origin="webhooks", times=None, action=Duplicate())
    async with running(sample, tmp_path) as (process, url):
        async with Sandbox(engine="echo", webhook_secret=SECRET, faults=[twice]) as sandbox:
            async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
                kinds = ["generation.completed", "generation.failed"]
                await client.webhooks.configure(mode="live", url=url, event_types=kinds)
                for kind in kinds:
                    await client.webhooks.send_test_event(event_type=kind, mode="live")
            with anyio.fail_after(60):
                while sandbox.state.messages:
                    await anyio.sleep(0.02)
            assert [made.status for made in sandbox.deliveries] == [200] * 4
            ids = {made.message_id for made in sandbox.deliveries}
        body = body_of()
        async with aiohttp.ClientSession() as session:
            forged = {**headers_of(body), "svix-id": "msg_other"}
            async with session.post(url, data=body, headers=forged) as response:
                assert (response.status, await response.json()) == (400, {"error": "bad_signature"})
            async with session.get(url) as response:
                assert response.status == 405
        with anyio.fail_after(120):
            while (tmp_path / "out").read_text().count("generation.") < 2:
                await anyio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(120):
            assert await process.wait() in {0, -signal.SIGTERM}
    lines = [line for line in (tmp_path / "out").read_text().splitlines() if "generation." in line]
    assert sorted(lines) == [
        "generation.completed gen_test ",
        "generation.failed gen_test a test failure",
    ]
    assert "Traceback" not in (tmp_path / "err").read_text()
    async with WebhookInbox(tmp_path / "inbox.db") as inbox:
        entries = await inbox.entries()
    assert {entry.message_id for entry in entries} == ids
    assert {entry.state for entry in entries} == {"handled"}
