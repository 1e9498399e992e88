"""What a process says at its end: nothing of ours, and never a word of the library below."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from diffio_async.sandbox import Sandbox

_START = """
import asyncio, gc, logging, os, sys, warnings
# A slow machine makes asyncio's debug mode talk of slow steps: not what is listened for here.
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))
from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
client = AsyncDiffio("diffio_sandbox_key", base_url=sys.argv[1])
async def ask():
    return await client.projects.list()
"""

QUIET = {
    "closed": "async def main():\n  async with client: await ask()\nasyncio.run(main())",
    "left open by a run that ended": "asyncio.run(ask()); asyncio.run(ask())",
    "left open and collected after the run": "asyncio.run(ask()); del client; gc.collect()",
    "never used": "",
    "closed after the run": "asyncio.run(ask()); asyncio.run(client.aclose())",
    "ended by an error": """
async def main():
  await ask(); raise LookupError
try: asyncio.run(main())
except LookupError: pass
""",
    "ended in the middle of a call": """
async def main():
  task = asyncio.create_task(ask()); await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "a loop closed by hand": """
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
""",
    "a loop closed by hand, after aclose": """
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
loop.run_until_complete(client.aclose())
loop.close()
""",
    "a fork whose child ends as a process does": """
async def main():
  await ask()
  child = os.fork()
  if child == 0:
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)
    asyncio.run(ask())
    os._exit(0)
  os.waitpid(child, 0)
  await ask()
warnings.filterwarnings("ignore", category=DeprecationWarning)
asyncio.run(main())
""",
}


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    """One for a child process: what it leaves open must not be looked for here."""
    async with Sandbox(engine="echo") as running:
        yield running


async def _said(sandbox: Sandbox, script: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", _START + script, sandbox.base_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )
    said, _ = await child.communicate()
    return said.decode()


@pytest.mark.slow
@pytest.mark.parametrize("script", QUIET.values(), ids=QUIET)
async def test_a_process_ends_without_a_word(sandbox: Sandbox, script: str) -> None:
    """In development mode, with warnings as errors."""
    assert await _said(sandbox, script) == ""


@pytest.mark.slow
async def test_a_client_dropped_on_a_running_loop_is_named_and_nothing_else_is(
    sandbox: Sandbox,
) -> None:
    script = """
async def main():
  global client
  await ask()
  del client
  gc.collect()
  await asyncio.sleep(0.05)
asyncio.run(main())
"""
    said = await _said(sandbox, script)
    assert "AsyncDiffio(base_url=" in said
    assert "was left open" in said
    for foreign in ("Unclosed", "client session", "connector", "transport", "Task"):
        assert foreign not in said


@pytest.mark.slow
async def test_a_client_left_open_by_a_loop_without_a_clean_end_is_named(
    sandbox: Sandbox,
) -> None:
    said = await _said(
        sandbox,
        "loop = asyncio.new_event_loop(); loop.run_until_complete(ask()); loop.close()\n"
        "del client; gc.collect()",
    )
    assert "AsyncDiffio(base_url=" in said
