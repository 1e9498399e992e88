"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# A slow machine is not a counterexample. With the variable CI, each run takes the same examples.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

SAMPLE = Path(__file__).parents[1] / "samples" / "noisy-speech.wav"


#: Whether tests run on the event loop of uvloop: `nox -s uvloop`.
UVLOOP = "DIFFIO_TEST_UVLOOP" in os.environ


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The package uses aiohttp, which requires asyncio."""
    return "asyncio", {"use_uvloop": UVLOOP}


#: File system in memory on Linux; removing folders on disks takes milliseconds each.
MEMORY = Path("/dev/shm")
_MIN_MEMORY = 2 * 1024**3


def _keep_temporary_files_in_memory() -> None:
    """Place temporary files in memory, unless TMPDIR names another folder."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    if shutil.disk_usage(MEMORY).free >= _MIN_MEMORY:
        # pytest has already used the default, and child processes inherit the variable.
        tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY)


_keep_temporary_files_in_memory()
# Collecting garbage while the tests are imported would find nothing and take seconds.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage automatically again, now that all tests are imported."""
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _freeze_modules() -> None:
    """Exclude everything that exists before a file's first test from the collections after each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings of the user from the environment."""
    for name in ("DIFFIO_API_KEY", "DIFFIO_API_BASE_URL", "DIFFIO_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Fail if a test leaves a descriptor open, or an object that warns when it is collected."""
    before = _descriptors()
    yield
    # Objects that were never closed warn when they are collected; warnings are errors.
    gc.collect()
    left = {name: where for name, where in _descriptors().items() if name not in before}
    assert not left, f"left open: {left}"


def _descriptors() -> dict[str, str]:
    """Return the open sockets and files of this process, if the system lists them."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return {}
    found = {}
    for entry in folder.iterdir():
        try:
            where = str(entry.readlink())
        except OSError:
            continue
        if "/libffi.so" in where:  # where libffi maps its trampolines from its own file
            continue
        if where.startswith("socket:") or (where.startswith("/") and "/dev/" not in where):
            found[f"{entry.name} {where}"] = where
    return found


@pytest.fixture
async def _no_task_left(anyio_backend: str) -> AsyncIterator[None]:
    """Fail if a test leaves a task running."""
    before = asyncio.all_tasks()
    yield
    # Tasks of the test runner itself are ignored.
    left = [
        task
        for task in asyncio.all_tasks() - before
        if not task.done() and "TestRunner" not in str(task.get_coro())
    ]
    assert not left, f"still running: {left}"


@pytest.fixture
def sample() -> Path:
    """Path of the noisy sample recording."""
    return SAMPLE


@pytest.fixture
async def sandbox(_no_task_left: None) -> AsyncIterator[Sandbox]:
    """A sandbox whose generations finish at once, with the unchanged upload as the result."""
    async with Sandbox(engine="echo") as running:
        yield running
    assert running.violations == []


#: The default retry policy with short delays.
QUICK = RetryPolicy(initial_delay=0.01, max_delay=0.05)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncDiffio]:
    """A client of the sandbox, with short retry delays."""
    options = ClientOptions(retry=QUICK)
    async with AsyncDiffio(
        sandbox.api_key, base_url=sandbox.base_url, options=options
    ) as sandbox_client:
        yield sandbox_client
