"""Warnings and log output of processes that end with or without closing the client."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from diffio_async.sandbox import Sandbox

_START = """
import asyncio, gc, logging, os, sys, warnings
# Ignore the warnings about slow steps of asyncio's debug mode.
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))
from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
client = AsyncDiffio("diffio_sandbox_key", base_url=sys.argv[1])
async def call():
    return await client.projects.list()
"""

QUIET = {
    "closed": "async def main():\n  async with client: await call()\nasyncio.run(main())",
    "left open by a finished run": "asyncio.run(call()); asyncio.run(call())",
    "left open and collected after the run": "asyncio.run(call()); del client; gc.collect()",
    "never used": "",
    "closed after the run": "asyncio.run(call()); asyncio.run(client.aclose())",
    "failed": """
async def main():
  await call(); raise LookupError
try: asyncio.run(main())
except LookupError: pass
""",
    "ended during a call": """
async def main():
  task = asyncio.create_task(call()); await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "a manually closed loop": """
loop = asyncio.new_event_loop()
loop.run_until_complete(call())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
""",
    "a manually closed loop, after aclose": """
loop = asyncio.new_event_loop()
loop.run_until_complete(call())
loop.run_until_complete(client.aclose())
loop.close()
""",
    "a fork whose child ends like a process": """
async def main():
  await call()
  child = os.fork()
  if child == 0:
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)
    asyncio.run(call())
    os._exit(0)
  os.waitpid(child, 0)
  await call()
warnings.filterwarnings("ignore", category=DeprecationWarning)
asyncio.run(main())
""",
}


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    """A sandbox for a child process, without the check for tasks left in this process."""
    async with Sandbox(engine="echo") as running:
        yield running


async def output_of(sandbox: Sandbox, script: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", _START + script, sandbox.base_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )
    printed, _ = await child.communicate()
    return printed.decode()


@pytest.mark.slow
@pytest.mark.parametrize("script", QUIET.values(), ids=QUIET)
async def test_a_process_prints_nothing(sandbox: Sandbox, script: str) -> None:
    """It runs in development mode, with warnings as errors."""
    assert await output_of(sandbox, script) == ""


@pytest.mark.slow
async def test_only_a_warning_about_the_client_is_printed_if_it_is_dropped_on_a_running_loop(
    sandbox: Sandbox,
) -> None:
    script = """
async def main():
  global client
  await call()
  del client
  gc.collect()
  await asyncio.sleep(0.05)
asyncio.run(main())
"""
    output = await output_of(sandbox, script)
    assert "AsyncDiffio(base_url=" in output
    assert "was left open" in output
    for word in ("Unclosed", "client session", "connector", "transport", "Task"):
        assert word not in output


@pytest.mark.slow
async def test_a_warning_names_the_client_if_its_loop_was_closed_without_shutting_down(
    sandbox: Sandbox,
) -> None:
    output = await output_of(
        sandbox,
        "loop = asyncio.new_event_loop(); loop.run_until_complete(call()); loop.close()\n"
        "del client; gc.collect()",
    )
    assert "AsyncDiffio(base_url=" in output
