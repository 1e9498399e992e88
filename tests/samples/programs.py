"""Programs of `samples/` as processes, run by the commands in its README."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import Process
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping


SAMPLES = Path(__file__).parents[2] / "samples"
RECORDING = SAMPLES / "noisy-speech.wav"
#: Exit codes of a server that ended as it should after SIGTERM, which Windows does not have.
ENDED = {1} if sys.platform == "win32" else {0, -signal.SIGTERM}
_ROW = re.compile(r"^\| \[`(.+?)`\].*\| `([^`]+)`(?:, `([^`]+)`)? \|$", re.MULTILINE)


def commands(sample: str, **changes: str) -> list[list[str]]:
    """Return the commands of a sample in the README, with other ports, files or folders."""
    rows = _ROW.findall((SAMPLES / "README.md").read_text(encoding="utf-8"))
    found = next(row for name, *row in rows if name == sample)
    return [
        [changes.get(word, word) for word in shlex.split(command)] for command in found if command
    ]


def requests() -> list[str]:
    """Return the commands in the README that use a service."""
    (block,) = re.findall(
        r"^```sh\n(diffio-async webhooks .*?)^```$",
        (SAMPLES / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return [str(line) for line in block.splitlines()]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with the programs of this interpreter first in PATH."""
    # Frameworks start slowly without their byte code.
    kept = {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, **more}


@frozen
class Running:
    """A process that was started, and the file that it writes its output to."""

    process: Process
    output: Path

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        with anyio.fail_after(120):
            return await self.process.wait()


@asynccontextmanager
async def running(
    command: list[str], output: Path, *, folder: Path = SAMPLES, **variables: str
) -> AsyncIterator[Running]:
    """Run a command with its output in a file; kill it, and what it started, at the end."""
    with output.open("wb") as out:
        process = await anyio.open_process(
            command,
            cwd=folder,
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield Running(process, output)
    except BaseException:
        sys.stderr.write(output.read_text(errors="replace"))
        raise
    finally:
        if hasattr(os, "killpg"):
            _kill_group(process.pid)
        elif process.returncode is None:
            process.kill()
        await process.aclose()


def _kill_group(number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


async def succeed(command: list[str], *, folder: Path = SAMPLES, **variables: str) -> str:
    """Run a command, and return its output; fail if it fails."""
    done = await anyio.run_process(command, cwd=folder, env=environment(variables), check=False)
    if done.returncode:
        pytest.fail(f"{command}: {done.stdout.decode()}\n{done.stderr.decode()}")
    return done.stdout.decode()


async def listening(port: str) -> str:
    """Wait until a server listens on the port, and return its URL."""
    with anyio.fail_after(60):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", int(port))
            except OSError:
                await anyio.sleep(0.05)
            else:
                await stream.aclose()
                return f"http://127.0.0.1:{port}"


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until the condition is true."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)
