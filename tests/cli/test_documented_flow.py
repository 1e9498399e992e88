"""The documented webhook flow on one machine, run as written, one terminal per part."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[2]
#: The page's ports are fixed, and may be taken here: a network of its own has them free.
SPACE = f"diffio{os.getpid() % 10_000}f"

pytestmark = pytest.mark.slow


@pytest.fixture
def network() -> Iterator[list[str]]:
    """Command prefix for a network namespace with only a loopback interface."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and the command ip (iproute2), to make a network namespace")
    made = subprocess.run(["ip", "netns", "add", SPACE], check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.decode().strip()}")
    try:
        subprocess.run(["ip", "-n", SPACE, "link", "set", "lo", "up"], check=True)
        yield ["ip", "netns", "exec", SPACE]
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], check=False)


class Terminal:
    """A shell that runs one part of the page, and its output lines."""

    def __init__(self, network: list[str], commands: str, folder: Path, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DIFFIO_")}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
        self.process = subprocess.Popen(
            [*network, "bash", "-euo", "pipefail", "-c", commands],
            cwd=folder,
            env={**kept, "PATH": path, "COLUMNS": "100", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()

    def until(self, text: str, seconds: float = 30) -> None:
        """Wait for a line with that text."""
        with self._more:
            found = self._more.wait_for(lambda: any(text in line for line in self.lines), seconds)
        assert found, self.lines

    def interrupt(self) -> int:
        """Press Ctrl-C; gives the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(20)
        self._reader.join(10)
        return code

    def close(self) -> None:
        """End what still runs in it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_webhooks_on_one_machine(network: list[str], tmp_path: Path) -> None:
    """The sandbox, a listener and the commands that configure and test: the event arrives."""
    page = (HERE / "docs" / "cli.md").read_text(encoding="utf-8")
    block = page.partition("in three terminals:")[2]
    (first, second, third) = re.split(
        r"\n\n+", block.partition("```sh\n")[2].partition("\n```")[0].strip()
    )
    terminals: list[Terminal] = []
    try:
        sandbox = Terminal(network, first, tmp_path)
        terminals.append(sandbox)
        sandbox.until("DIFFIO_API_KEY_ID")
        copied = dict(
            line.removeprefix("export ").split("=", 1)
            for line in sandbox.lines
            if line.startswith("export ")
        )
        listener = Terminal(network, second, tmp_path)
        terminals.append(listener)
        listener.until("http://127.0.0.1:")
        commands = Terminal(network, third, tmp_path, **copied)
        terminals.append(commands)
        assert commands.process.wait(60) == 0, commands.lines
        listener.until("generation.completed")
        assert listener.interrupt() == 0
        assert sandbox.interrupt() == 0
    finally:
        for terminal in terminals:
            terminal.close()
