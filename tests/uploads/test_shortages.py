"""Shortages of threads, memory or ports: their messages, and retries where they help."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from diffio_async._http.error_mapping import map_exception
from diffio_async._storage.system_errors import shortage_of
from diffio_async.batch.failures import FailureClass, classify
from diffio_async.errors import ConnectionFailed
from tests.disks import in_another_users_process, limited

if TYPE_CHECKING:
    from pathlib import Path

NOT_ON_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS])
def test_a_connection_that_the_system_refuses_is_not_a_fault_of_a_file(number: int) -> None:
    """The error names the missing resource, and a batch treats it as transient."""
    key = ConnectionKey("api.diffio.ai", 443, True, True, None, None, None)
    raw = aiohttp.ClientConnectorError(key, OSError(number, os.strerror(number)))
    url = "https://api.diffio.ai/v1"
    failure = map_exception(raw, established=False, payload_failure=None, closed=False, url=url)
    shortage = shortage_of(failure)
    assert isinstance(failure, ConnectionFailed)
    assert shortage is not None
    assert shortage.transient
    assert shortage.text in str(failure)
    assert classify(failure) is FailureClass.TRANSIENT


@pytest.mark.parametrize(
    "raw", [MemoryError(), RuntimeError("can't start new thread")], ids=["memory", "threads"]
)
def test_memory_and_threads_are_shortages_too(raw: Exception) -> None:
    """They are recognised before and after a connection is established."""
    for established in (False, True):
        failure = map_exception(
            raw, established=established, payload_failure=None, closed=False, url="https://x"
        )
        assert shortage_of(failure) is not None


@NOT_ON_WINDOWS
@pytest.mark.slow
def test_work_is_done_by_the_available_threads() -> None:
    """If the system starts no thread at all, its error is raised."""
    done = in_another_users_process(
        limited("NPROC", 1)
        + "from diffio_async._storage.threads import TrackedExecutor\n"
        + "from diffio_async._storage.system_errors import shortage_of\n"
        + "async def main():\n"
        + "    try: await TrackedExecutor().run(len, 'ab')\n"
        + "    except OSError as failure: print(shortage_of(failure).text)\n"
        + "asyncio.run(main())\n"
    )
    assert "no more threads can be started" in done.stdout, done.stderr


@NOT_ON_WINDOWS
@pytest.mark.slow
def test_one_thread_is_enough() -> None:
    """The system starts two of sixteen threads."""
    done = in_another_users_process(
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))\n"
        "from diffio_async._storage.threads import TrackedExecutor\n"
        "async def main():\n"
        "    threads = TrackedExecutor()\n"
        "    print(sum(await asyncio.gather(*(threads.run(len, 'ab') for _ in range(100)))))\n"
        "asyncio.run(main())\n"
    )
    assert done.stdout == "200\n", done.stderr


@NOT_ON_WINDOWS
@pytest.mark.anyio
@pytest.mark.slow
async def test_a_file_is_opened_when_descriptors_become_available(tmp_path: Path) -> None:
    """Opening is retried until other work releases descriptors."""
    source = tmp_path / "a.wav"
    source.write_bytes(b"abc")
    done = in_another_users_process(
        "import resource, errno\n"
        "from diffio_async._uploads.open_source import open_source\n"
        "async def main():\n"
        "    with open('/dev/null') as first: pass\n"
        "    held = []\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "    try:\n"
        "        while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "    except OSError: pass\n"
        "    asyncio.get_running_loop().call_later(0.3, lambda: [os.close(d) for d in held])\n"
        f"    async with open_source({str(source)!r}, max_bytes=10) as found: print(found.size)\n"
        "asyncio.run(main())\n",
        user=0,
    )
    assert done.stdout == "3\n", done.stderr
