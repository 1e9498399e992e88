"""Output of the sandbox: no forged lines and no terminal control sequences."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Sandbox
from diffio_async.sandbox.command import PrintedLog

if TYPE_CHECKING:
    from pathlib import Path

#: A path that a web page's <img> may request: a forged line, and a window title.
FORGED = (
    "/media/x%0Aexport%20DIFFIO_API_BASE_URL=https://evil.example/v1"
    "%0D%1B%5D0;owned%07%C2%9B2J%E2%80%AE?signature=0&expires=1&issue=1"
)


async def send_get(base_url: str, path: str) -> None:
    """Send a request that no client of the SDK would send."""
    host, _, port = base_url.partition("://")[2].partition("/")[0].rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        await stream.send(head.encode())
        assert (await stream.receive()).startswith(b"HTTP/1.1 4")


async def test_a_path_cannot_forge_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log, in the violations, and on the terminal, a path is one printable string."""
    log, handler = logging.getLogger("diffio_async.sandbox"), PrintedLog()
    log.addHandler(handler)
    try:
        async with Sandbox(engine="echo") as sandbox:
            await send_get(sandbox.base_url, FORGED)
            violations = sandbox.violations
        log.warning("%s sent: %s", "somebody", "two\nlines\x1b[2J", exc_info=ValueError("a\nb: c"))
    finally:
        log.removeHandler(handler)
    assert [violation for violation in violations if r"\nexport" in violation]
    assert all(violation.isprintable() for violation in violations)
    shown = capsys.readouterr().err
    assert r"\nexport" in shown
    lines = shown.splitlines()
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.lstrip().startswith("export")]
    assert r"WARNING somebody sent: two\nlines\x1b[2J" in lines
    assert r"  ValueError: a\nb: c" in lines
    ours = [record for record in caplog.records if record.name == "diffio_async.sandbox"]
    assert all(record.getMessage().isprintable() for record in ours if "sent" not in record.msg)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [">/dev/full", ">&-", "2>/dev/full", ">&- 2>&-", "> >(true)"])
async def test_a_sandbox_serves_when_its_output_cannot_be_written(
    tmp_path: Path, streams: str
) -> None:
    """A full disk, a closed descriptor and a closed pipe do not end it; SIGTERM does, with 0."""
    file = tmp_path / "environment"
    command = f'exec "$@" --port 0 --env-file {file} {streams}'
    process = await anyio.open_process(
        ["bash", "-c", command, "-", sys.executable, "-m", "diffio_async.sandbox"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    async with process:
        with anyio.fail_after(120):
            while not file.exists():
                await anyio.sleep(0.05)
        values = dict(line.split("=", 1) for line in file.read_text().splitlines())
        await send_get(values["DIFFIO_API_BASE_URL"], FORGED)
        await send_get(values["DIFFIO_API_BASE_URL"], FORGED)
        process.terminate()
        with anyio.fail_after(120):
            assert await process.wait() == 0


async def test_malformed_requests_are_one_line_each_and_not_many(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Anybody who can connect can send them: a flood of tracebacks would hide all else."""
    handler = PrintedLog()
    logger = logging.getLogger("aiohttp.server")
    logger.addHandler(handler)
    try:
        async with Sandbox() as sandbox:
            port = int(sandbox.base_url.removesuffix("/v1").rpartition(":")[2])
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\x1b[31m\r\n\r\n")
                await reader.read()
                writer.close()
    finally:
        logger.removeHandler(handler)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 5
    assert all(line.isprintable() and len(line) < 400 for line in lines)
    assert "BadHttpMessage" in lines[0]
