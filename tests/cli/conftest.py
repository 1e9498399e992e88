"""Fixtures that run the command, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from unittest import mock

import anyio
import anyio.to_thread
import pytest
from anyio.abc import Process

from diffio_async import _system
from diffio_async.cli import command, main
from diffio_async.sandbox import Sandbox

SAMPLE = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"

#: Seconds after which a test gives up: on a busy machine, a command starts in 20.
PATIENCE = 100.0
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
        *arguments: object, env: Mapping[str, str] | None = None, before: str = "", **streams: int
    ) -> Process:
        process = await anyio.open_process(
            [sys.executable, "-c", before + COMMAND, *map(str, arguments)],
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
    """Run `diffio-async ARGUMENT…` in the test's folder to its end, in a thread of this process."""

    async def run(*arguments: object, env: Mapping[str, str] | None = None) -> Finished:
        done = await in_process(tmp_path, *arguments, env=env)
        return subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    return run


async def in_process(
    folder: Path, *arguments: object, env: Mapping[str, str] | None = None, content: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a thread, with files as its streams; `content` is its standard input.

    A signal cannot be sent to it. An exception that it does not handle is raised here.
    """
    words = [*map(str, arguments)]
    with anyio.fail_after(120):
        return await anyio.to_thread.run_sync(
            partial(_run_main, folder, words, environment(env), content), abandon_on_cancel=True
        )


def _run_main(
    folder: Path, words: list[str], env: dict[str, str], content: bytes
) -> subprocess.CompletedProcess[bytes]:
    code: str | int | None = None
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(content)
        files[0].seek(0)
        encoding = env.get("PYTHONIOENCODING", "utf-8")
        stdin, out, err = (io.TextIOWrapper(file, encoding=encoding) for file in files)
        for patch in (
            mock.patch.dict(os.environ, env, clear=True),
            mock.patch.multiple(sys, stdin=stdin, stdout=out, stderr=err),
            mock.patch.object(sys, "argv", ["diffio-async", *words]),
            # `python -m pytest` sets a package, of which the program name would be made.
            mock.patch.object(sys.modules["__main__"], "__package__", None),
            # Signals can only be handled by the main thread.
            mock.patch.object(command, "_STOP_SIGNALS", ()),
            mock.patch.object(_system, "HANGUP", None),
            contextlib.chdir(folder),
        ):
            stack.enter_context(patch)
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        out.flush()
        err.flush()
        printed = []
        for file in files[1:]:
            file.seek(0)
            printed.append(file.read())
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, *printed)


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
