"""Runs the programs of these tests as processes, and sends them signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
#: Time limit of a program; one that hangs fails with the stacks of its threads.
SECONDS = 50


class Result(NamedTuple):
    """Exit code and output of a finished program."""

    code: int
    lines: list[str]
    errors: str


class Running:
    """A running program."""

    def __init__(self, name: str, scene: str, *flags: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-m", f"tests.bridge.programs.{name}", scene],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONPATH": str(ROOT)},
        )

    def next_line(self) -> str:
        """Return the next line of the program's output."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, self.wait().errors
        return line

    def send(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal to the program."""
        self._process.send_signal(number)

    def wait(self) -> Result:
        """Wait for the end of the program."""
        try:
            out, errors = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)
            out, errors = self._process.communicate()
            pytest.fail(f"it hangs:\n{out}\n{errors}")
        return Result(self._process.returncode, out.splitlines(), errors)

    def close(self) -> None:
        """Kill the program if it is running."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start a scene of a program: `start("exits", "idle")`, with flags for Python after it."""
    running: list[Running] = []

    def begin(name: str, scene: str, *flags: str) -> Running:
        running.append(Running(name, scene, *flags))
        return running[-1]

    yield begin
    for program in running:
        program.close()
