"""Fixtures that run the command in its own process and environment."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from diffio_async.sandbox import Sandbox

SAMPLE = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"

#: Where the tests run with Ctrl-C ignored (in the background of a shell), the command must not.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from diffio_async.cli import main; main()"
)

Finished = subprocess.CompletedProcess[str]
Run = Callable[..., Awaitable[Finished]]
Start = Callable[..., Awaitable[Process]]


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Return this environment with only the Diffio variables of `more`."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("DIFFIO_")
    }
    return {**inherited, "COLUMNS": "100", "PYTHONWARNINGS": "error", **(more or {})}


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start `diffio-async ARGUMENT…` in the test's folder; kill what still runs at the end."""
    processes: list[Process] = []

    async def start(
        *arguments: object, env: Mapping[str, str] | None = None, **streams: int
    ) -> Process:
        process = await anyio.open_process(
            [sys.executable, "-c", COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(env),
            stdout=streams.get("stdout", subprocess.PIPE),
            stderr=streams.get("stderr", subprocess.PIPE),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.aclose()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `diffio-async ARGUMENT…` in the test's folder to its end."""

    async def run(*arguments: object, env: Mapping[str, str] | None = None) -> Finished:
        with anyio.fail_after(60):
            done = await anyio.run_process(
                [sys.executable, "-c", COMMAND, *map(str, arguments)],
                cwd=tmp_path,
                env=environment(env),
                check=False,
            )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    return run


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Three seconds of the sample in the test's folder, by their relative name."""
    _cut(tmp_path / "talk.wav", 3)
    return Path("talk.wav")


@pytest.fixture
def long_talk(tmp_path: Path) -> Path:
    """One minute of the repeated sample, which takes seconds to restore."""
    _cut(tmp_path / "long-talk.wav", 60)
    return Path("long-talk.wav")


def _cut(path: Path, seconds: int) -> None:
    with wave.open(str(SAMPLE)) as sample, wave.open(str(path), "wb") as part:
        part.setparams(sample.getparams())
        size = seconds * sample.getframerate() * sample.getsampwidth()
        frames = sample.readframes(sample.getnframes())
        part.writeframes((frames * (size // len(frames) + 1))[:size])


@pytest.fixture
async def echo() -> AsyncIterator[Sandbox]:
    """A sandbox that returns the uploaded recording immediately."""
    async with Sandbox(engine="echo") as sandbox:
        yield sandbox
        assert sandbox.violations == []
